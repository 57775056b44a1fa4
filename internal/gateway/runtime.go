package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/proxy"
)

var _ admin.Runtime = adminRuntime{}

// adminHandlers makes the management API for a configuration: for its own
// listener and, when it is exposed, for the gateway's, where only the token
// counts.
func (g *Gateway) adminHandlers(c *config.Config) (own, exposed fasthttp.RequestHandler, err error) {
	o := admin.Options{
		Token:              c.Admin.Token.Reveal(),
		ClientCertificates: c.Admin.TLS.ClientCAFile != "",
		Loopback:           isLoopback(c.Admin.Host),
		MetricsEnabled:     c.Observability.Metrics.Enabled && c.Observability.Metrics.Prometheus.Enabled,
		MetricsPath:        c.Observability.Metrics.Prometheus.Path,
		Pprof:              c.Admin.Pprof,
		Logger:             g.log,
	}
	if own, err = admin.NewHandler(adminRuntime{g}, o); err != nil || !c.Admin.ExposeOnGateway {
		return own, nil, err
	}
	o.ClientCertificates, o.Loopback = false, false
	exposed, err = admin.NewHandler(adminRuntime{g}, o)
	return own, exposed, err
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// local answers the paths that are the gateway's own: /health and /ready,
// unless a route names exactly that path and takes the request, and the
// management API when it is exposed.
func local(c *config.Config, isReady func() bool, exposed fasthttp.RequestHandler) func(x *proxy.Exchange) bool {
	claimable := slices.ContainsFunc(c.Routes, func(r config.Route) bool { return claims(&r) })
	return func(x *proxy.Exchange) bool {
		path := x.Path
		switch {
		case len(path) < 6 || path[1] != 'h' && path[1] != 'r' && path[1] != 'a':
			return false
		case string(path) == healthPath || string(path) == readyPath:
			if claimable && x.Claimed() {
				return false
			}
			if string(path) == healthPath {
				answerProbe(x, true, "ok\n")
			} else {
				answerProbe(x, isReady(), "ready\n")
			}
		case exposed != nil && bytes.HasPrefix(path, []byte("/admin/v1/")):
			proxy.OwnResponse(x.Ctx)
			exposed(x.Ctx)
		default:
			return false
		}
		return true
	}
}

const (
	healthPath = "/health"
	readyPath  = "/ready"
)

// claims reports whether a route names a path that is otherwise the gateway's.
func claims(r *config.Route) bool { return r.Path == healthPath || r.Path == readyPath }

// answerProbe answers a liveness or readiness probe.
func answerProbe(x *proxy.Exchange, good bool, text string) {
	switch {
	case !x.AllowOnly("GET, HEAD"):
	case good:
		x.RespondText(fasthttp.StatusOK, text)
	default:
		x.RespondText(fasthttp.StatusServiceUnavailable, "draining\n")
	}
}

// adminRuntime is the gateway as the management API sees it.
type adminRuntime struct{ *Gateway }

// Reload implements admin.Runtime.
func (r adminRuntime) Reload(ctx context.Context) (admin.Reload, error) {
	changed, err := r.Gateway.Reload(ctx)
	var problems config.Problems
	if errors.As(err, &problems) {
		return admin.Reload{}, &admin.InvalidConfig{Problems: configProblems(problems)}
	}
	if err != nil {
		return admin.Reload{}, err
	}
	run := r.running.Load()
	return admin.Reload{Changed: changed, Hash: run.plan.config.Hash(), Warnings: warningTexts(run.plan)}, nil
}

func configProblems(problems config.Problems) []admin.ConfigProblem {
	out := make([]admin.ConfigProblem, len(problems))
	for i, p := range problems {
		out[i] = admin.ConfigProblem(p)
	}
	return out
}

func warningTexts(p *plan) []string {
	out := make([]string, len(p.warnings))
	for i, w := range p.warnings {
		out[i] = w.String()
	}
	return out
}

// Status implements admin.Runtime.
func (g *Gateway) Status() admin.Status {
	r := g.running.Load()
	s := admin.Status{
		Version: g.options.Version, Commit: g.options.Commit, GoVersion: runtime.Version(),
		StartedAt: g.started, UptimeSeconds: int64(time.Since(g.started).Seconds()),
		NotReady: g.notReady(r), Draining: g.draining.Load(),
		Config: admin.ConfigView{
			Hash: r.plan.config.Hash(), Files: config.Files(r.plan.config), LoadedAt: r.at, Revision: r.revision,
		},
		Connections: g.door.open.Load(),
		Warnings:    warningTexts(r.plan),
	}
	s.Ready = g.ready.Load() && len(s.NotReady) == 0
	for _, a := range g.acceptors() {
		s.Listeners = append(s.Listeners, admin.Listener{Name: "gateway", Address: a.address()})
	}
	if a := g.AdminAddr(); a != nil {
		s.Listeners = append(s.Listeners, admin.Listener{
			Name: "admin", Address: a.String(), TLS: r.plan.config.Admin.TLS.CertFile != "",
		})
	}
	if t := g.lastReload.Load(); t != nil {
		try := &admin.ReloadTry{At: t.at, Success: t.err == nil, Problems: configProblems(t.problems)}
		if t.err != nil {
			try.Error = t.err.Error()
		}
		s.Config.LastReload = try
	}
	s.Counts.Routes, s.Counts.Upstreams = len(r.plan.routes), len(r.plan.upstreams)
	for _, u := range r.plan.upstreams {
		for _, e := range u.upstream.State().Endpoints {
			s.Counts.Endpoints++
			if e.Live.Available() {
				s.Counts.EndpointsUp++
			}
		}
	}
	return s
}

// Config implements admin.Runtime.
func (g *Gateway) Config() ([]byte, error) { return g.running.Load().plan.config.YAML() }

// Routes implements admin.Runtime.
func (g *Gateway) Routes() []admin.Route {
	p := g.running.Load().plan
	out := make([]admin.Route, len(p.routes))
	for i, r := range p.routes {
		out[i] = describe(&p.config.Routes[i], r)
	}
	return out
}

// WriteMetrics implements admin.Runtime.
func (g *Gateway) WriteMetrics(w io.Writer) { g.registry.WritePrometheus(w) }

// Explain implements admin.Runtime.
func (g *Gateway) Explain(method, rawURL string, headers [][2]string, clientIP string) (admin.Explanation, error) {
	return explain(g.running.Load().plan, method, rawURL, headers, clientIP)
}

// Explain says what a configuration would do with a request, without starting
// anything. The error is config.Problems when the document is bad.
func Explain(configPath string, env []string, method, rawURL string, headers [][2]string, clientIP string) (admin.Explanation, error) {
	p, err := Check(configPath, env)
	if err != nil {
		return admin.Explanation{}, err
	}
	return explain(p.plan, method, rawURL, headers, clientIP)
}

func explain(p *plan, method, rawURL string, headers [][2]string, clientIP string) (admin.Explanation, error) {
	head, err := requestHead(method, rawURL, headers)
	if err != nil {
		return admin.Explanation{}, err
	}
	client := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if clientIP != "" {
		if client, err = netip.ParseAddr(clientIP); err != nil {
			return admin.Explanation{}, fmt.Errorf("parse client address: %w", err)
		}
	}
	x, err := p.snapshot.Explain(head, client)
	if err != nil {
		return admin.Explanation{}, err
	}
	out := admin.Explanation{Method: method, URL: rawURL, CanonicalPath: x.Path, Phases: []string{}, Candidates: []admin.Candidate{}}
	out.Status = x.Local
	if x.Err != nil {
		out.Status, out.Code = x.Err.Status, x.Err.Code
		if x.Allow != "" {
			out.Allow = strings.Split(x.Allow, ", ")
		}
	}
	if x.Route != nil {
		out.Route = x.Route.Name
		for i, r := range p.routes {
			if r == x.Route {
				a := action(&p.config.Routes[i], r)
				out.Action = &a
			}
		}
		out.Phases = phaseNames(x.Route)
	}
	for _, c := range x.Candidates {
		r := &p.config.Routes[c.Route]
		out.Candidates = append(out.Candidates, admin.Candidate{Route: r.Name, Origin: origin(r.Origin), Won: c.Won, Reason: c.Reason})
	}
	return out, nil
}

// requestHead writes the request as a client would.
func requestHead(method, rawURL string, headers [][2]string) ([]byte, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("parse URL: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("parse URL: %q must be absolute, such as http://api.example.com/v1/users", rawURL)
	}
	// The path as written: url.URL would clean and re-encode it.
	target := rawURL[strings.Index(rawURL, "://")+3:]
	if i := strings.IndexAny(target, "/?#"); i >= 0 {
		target = target[i:]
	} else {
		target = "/"
	}
	target, _, _ = strings.Cut(target, "#")
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, target)
	hasHost := false
	for _, h := range headers {
		if strings.ContainsAny(h[0]+h[1], "\r\n") {
			return nil, fmt.Errorf("header %q has a line break", h[0])
		}
		hasHost = hasHost || strings.EqualFold(h[0], "Host")
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if !hasHost {
		host := u.Host
		if h, port, err := net.SplitHostPort(host); err == nil && (port == "80" && u.Scheme == "http" || port == "443" && u.Scheme == "https") {
			host = h
		}
		fmt.Fprintf(&b, "Host: %s\r\n", host)
	}
	b.WriteString("\r\n")
	return b.Bytes(), nil
}
