package config

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// checkSettings checks the sections that are not lists, after the environment
// had its say.
func checkSettings(s scope, c *Config) {
	checkServer(s, &c.Server)
	checkAdmin(s, &c.Admin)
	checkObservability(s, &c.Observability)
	checkListeners(s, c)
}

func checkServer(s scope, srv *Server) {
	if !isListenHost(srv.Host) {
		s.problem("server.host", "expected an IP address or a host name, got %q", srv.Host)
	}
	if !isToken(srv.RequestID.Header) {
		s.problem("server.request_id.header", "%q is not a header name", srv.RequestID.Header)
	}
}

func checkAdmin(s scope, a *Admin) {
	if !isListenHost(a.Host) {
		s.problem("admin.host", "expected an IP address or a host name, got %q", a.Host)
	}
	given := s.below("admin")
	if a.Token != "" && a.TokenFile != "" {
		s.problem("admin.token_file", "give token or token_file, not both")
	} else if a.TokenFile != "" {
		a.Token = readSecret(s, "admin.token_file", &a.TokenFile)
	} else if a.Token == "" && given.has("token") {
		s.problem("admin.token", "must not be empty")
	}
	if a.Token != "" && len(a.Token) < 16 {
		s.warn("admin.token", "is shorter than 16 characters and may be guessed")
	}
	checkAdminTLS(s, &a.TLS)

	hasToken := a.Token != "" || a.TokenFile != ""
	if a.ExposeOnGateway && !hasToken {
		s.problem("admin.expose_on_gateway", "needs admin.token or admin.token_file")
	}
	if !a.Enabled || !isListenHost(a.Host) || isLoopback(a.Host) {
		return
	}
	if !hasToken && a.TLS.ClientCAFile == "" {
		s.problem("admin.host", "%s can be reached from other machines: set admin.token, admin.token_file or "+
			"admin.tls.client_ca_file, or listen on 127.0.0.1", a.Host)
	} else if a.TLS.CertFile == "" {
		s.warn("admin.host", "%s can be reached from other machines and the token travels unencrypted; set admin.tls", a.Host)
	}
}

func checkAdminTLS(s scope, t *AdminTLS) {
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		s.problem("admin.tls.cert_file", "needs key_file beside it")
	case t.KeyFile != "" && t.CertFile == "":
		s.problem("admin.tls.key_file", "needs cert_file beside it")
	case t.ClientCAFile != "" && t.CertFile == "":
		s.problem("admin.tls.client_ca_file", "needs cert_file and key_file beside it")
	}
	var cert, key []byte
	if t.CertFile != "" {
		cert = readNamed(s, "admin.tls.cert_file", &t.CertFile)
	}
	if t.KeyFile != "" {
		key = readNamed(s, "admin.tls.key_file", &t.KeyFile)
	}
	if cert != nil && key != nil {
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			s.problem("admin.tls.cert_file", "does not go with key_file: %v", err)
		}
	}
	if t.ClientCAFile != "" {
		checkCAFile(s, "admin.tls.client_ca_file", &t.ClientCAFile)
	}
}

func checkObservability(s scope, o *Observability) {
	if path := o.Metrics.Prometheus.Path; !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#{}* ") {
		s.problem("observability.metrics.prometheus.path", "expected a path such as /metrics, got %q", path)
	}
	out := o.AccessLog.Output
	if out != "stdout" && out != "stderr" && !filepath.IsAbs(out) {
		s.suggest("observability.access_log.output", nearest(out, []string{"stdout", "stderr"}),
			"expected stdout, stderr or the absolute path of a file, got %q", out)
	}
	checkLoggedHeaders(s, "observability.access_log.request_headers", o.AccessLog.RequestHeaders)
	checkLoggedHeaders(s, "observability.access_log.response_headers", o.AccessLog.ResponseHeaders)
}

func checkLoggedHeaders(s scope, field string, names []string) {
	for i, name := range names {
		at := field + "[" + strconv.Itoa(i) + "]"
		switch strings.ToLower(name) {
		case "authorization", "proxy-authorization", "cookie", "set-cookie":
			s.problem(at, "%s holds credentials and cannot be logged", name)
		default:
			if !isToken(name) {
				s.problem(at, "%q is not a header name", name)
			}
		}
	}
}

// readNamed reads a file that a setting names, and makes the setting's path
// absolute or relative to the working directory.
func readNamed(s scope, field string, name *string) []byte {
	path, data, err := s.d.readFile(*name)
	if err != nil {
		s.problem(field, "%v", err)
		return nil
	}
	*name = path
	return data
}

func readSecret(s scope, field string, name *string) Secret {
	data := readNamed(s, field, name)
	secret := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if data != nil && secret == "" {
		s.problem(field, "%s is empty", *name)
	}
	return Secret(secret)
}

func checkCAFile(s scope, field string, name *string) {
	data := readNamed(s, field, name)
	if data != nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
		s.problem(field, "%s holds no PEM certificate", *name)
	}
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// overlap reports whether listening on both hosts with one port is sure to
// fail.
func overlap(a, b string) bool {
	return a == b || a == "" || b == "" || isUnspecified(a) || isUnspecified(b)
}

func isUnspecified(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsUnspecified()
}

func isListenHost(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || isHostName(host)
}

// checkReadiness reports requirements that name nothing. It comes once all files
// are read.
func checkReadiness(s scope, c *Config) {
	for i, text := range c.Server.ReadyRequires {
		at := "server.ready_requires[" + strconv.Itoa(i) + "]"
		kind, name, _ := strings.Cut(text, ":")
		n := slices.IndexFunc(c.Upstreams, func(u Upstream) bool { return u.Name == name })
		switch {
		case kind != "upstream" && kind != "discovery":
			s.problem(at, "expected upstream:NAME or discovery:NAME, got %q", text)
		case n < 0:
			s.problem(at, "no upstream is named %q", name)
		case kind == "discovery" && c.Upstreams[n].Discovery == nil:
			s.problem(at, "upstream %s has no discovery", name)
		}
	}
}
