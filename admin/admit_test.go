package admin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const bearer = "Authorization: Bearer " + token

func TestHandlerRefusesToBeOpen(t *testing.T) {
	f := func(o Options, want string) {
		t.Helper()
		_, err := NewHandler(newGateway(), o)
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%+v: error %v, want %q", o, err, want)
		}
	}
	open := "serve management API: an address that is not loopback needs a token or client certificates"
	f(Options{}, open)
	f(Options{Pprof: true, MetricsEnabled: true}, open)
	f(Options{Loopback: true}, "")
	f(Options{Token: token}, "")
	f(Options{ClientCertificates: true}, "")

	f(Options{Loopback: true, MetricsEnabled: true, MetricsPath: "/admin/v1/status"},
		"route metrics: /admin/v1/status is already taken")
	f(Options{Loopback: true, MetricsEnabled: true, MetricsPath: "/health"}, "route metrics: /health is already taken")
	for _, path := range []string{"metrics", "/{a}", "/a{b:*}", "/a?", "/debug/pprof/heap"} {
		f(Options{Loopback: true, MetricsEnabled: true, MetricsPath: path}, `route metrics: "`+path+`" is not a plain path`)
	}
	f(Options{Loopback: true, MetricsEnabled: true, MetricsPath: "/internal/metrics"}, "")
}

func TestTokenIsNeeded(t *testing.T) {
	a := start(t, newGateway(), Options{Token: token, MetricsEnabled: true, Pprof: true}, nil)
	protected := []string{
		"GET /admin/v1/status", "GET /admin/v1/config", "GET /admin/v1/routes", "GET /admin/v1/upstreams",
		"GET /admin/v1/explain?url=http://a/", "POST /admin/v1/reload", "GET /metrics", "HEAD /metrics",
		"GET /admin/v1/health", "PATCH " + first, "POST " + first + "/reset", "POST " + users + "/circuit-breaker",
		"GET /debug/pprof/", "GET /debug/pprof/heap", "GET /debug/pprof/cmdline",
		"OPTIONS /admin/v1/status", "DELETE /admin/v1/status", "GET /nothing", "GET //health", "GET /%68ealth", "GET /health/",
	}
	for _, request := range protected {
		got := a.ask(t, request)
		if got.status != 401 || got.header.Get("WWW-Authenticate") != `Bearer realm="velocity admin"` || got.header.Get("Allow") != "" {
			t.Errorf("%s without a token: %d %v", request, got.status, got.header)
		}
		if got = a.ask(t, request, bearer); got.status == 401 || got.status == 403 {
			t.Errorf("%s with the token: %d", request, got.status)
		}
	}
	for _, request := range []string{"GET /health", "GET /ready", "HEAD /health"} {
		if got := a.ask(t, request, "Host: gateway.internal", "Origin: https://evil.example"); got.status != 200 {
			t.Errorf("%s without a token: %d, want 200", request, got.status)
		}
	}
}

func TestTokenForms(t *testing.T) {
	a := start(t, newGateway(), Options{Token: token}, nil)
	f := func(authorization string, status int, code string) {
		t.Helper()
		got := a.ask(t, "GET /admin/v1/status", "Authorization: "+authorization)
		if status == 200 {
			if got.status != 200 {
				t.Errorf("%q: %d %s", authorization, got.status, got.body)
			}
			return
		}
		wantProblem(t, authorization, got, status, code)
	}
	f("Bearer "+token, 200, "")
	f("bearer   "+token, 200, "")
	f("Basic "+token, 401, "token_missing")
	f(token, 401, "token_missing")
	f("Bearer", 401, "token_missing")
	f("Bearer x", 401, "token_invalid")
	f("Bearer "+token+"x", 401, "token_invalid")
	f("Bearer "+token[:len(token)-1], 401, "token_invalid")
	f("Bearer "+strings.ToUpper(token), 401, "token_invalid")

	got := a.ask(t, "GET /admin/v1/status", "Authorization: Bearer guess-1")
	if want := `Bearer realm="velocity admin", error="invalid_token"`; got.header.Get("WWW-Authenticate") != want {
		t.Errorf("challenge %q, want %q", got.header.Get("WWW-Authenticate"), want)
	}
}

func TestTokensNeverShow(t *testing.T) {
	a := start(t, newGateway(), Options{Token: token}, nil)
	secrets := []string{token, "guess-1"}
	for _, request := range []string{"GET /admin/v1/status", "GET /nothing", "PUT /admin/v1/reload"} {
		for _, secret := range secrets {
			got := a.ask(t, request, "Authorization: Bearer "+secret)
			for _, s := range secrets {
				if strings.Contains(got.body, s) {
					t.Errorf("%s answers with %q: %s", request, s, got.body)
				}
			}
		}
	}
	entries := a.logs.All()
	if len(entries) != 3 {
		t.Errorf("%d log entries for 3 refused tokens", len(entries))
	}
	for _, e := range entries {
		for key, value := range e.ContextMap() {
			if text, ok := value.(string); ok && (strings.Contains(text, token) || strings.Contains(text, "guess")) {
				t.Errorf("%q of %q shows a token: %q", key, e.Message, text)
			}
		}
	}
}

func TestWrongTokensAreLimitedPerPeer(t *testing.T) {
	a := start(t, newGateway(), Options{Token: token}, nil)
	try := func(header string) answer {
		t.Helper()
		return a.ask(t, "GET /admin/v1/status", header)
	}
	a.from("192.0.2.1")
	for range failureLimit {
		wantProblem(t, "wrong token", try("Authorization: Bearer wrong"), 401, "token_invalid")
		a.advance(time.Second)
	}
	got := try(bearer)
	wantProblem(t, "right token after too many wrong ones", got, 429, "too_many_failures")
	if after := got.header.Get("Retry-After"); after != "51" {
		t.Errorf("Retry-After is %q, want 51", after)
	}
	wantProblem(t, "no token", a.ask(t, "GET /admin/v1/status"), 401, "token_missing")

	a.from("192.0.2.2")
	if got := try(bearer); got.status != 200 {
		t.Errorf("another peer gets %d", got.status)
	}
	a.from("192.0.2.1")
	a.advance(49 * time.Second)
	wantProblem(t, "before the window ends", try(bearer), 429, "too_many_failures")
	a.advance(time.Second)
	if got := try(bearer); got.status != 200 {
		t.Errorf("after the window: %d", got.status)
	}
	wantProblem(t, "first failure of the next window", try("Authorization: Bearer wrong"), 401, "token_invalid")
	if got := try(bearer); got.status != 200 {
		t.Errorf("after one failure in the next window: %d", got.status)
	}
}

func TestPeerIsAnIPv6Subnet(t *testing.T) {
	a := start(t, newGateway(), Options{Token: token}, nil)
	for i := range failureLimit {
		a.from("2001:db8:1:2::" + string(rune('1'+i%9)))
		a.ask(t, "GET /admin/v1/status", "Authorization: Bearer wrong")
	}
	a.from("2001:db8:1:2:ffff::1")
	wantProblem(t, "same /64", a.ask(t, "GET /admin/v1/status", bearer), 429, "too_many_failures")
	a.from("2001:db8:1:3::1")
	if got := a.ask(t, "GET /admin/v1/status", bearer); got.status != 200 {
		t.Errorf("another /64 gets %d", got.status)
	}
}

func TestHostMustBeLoopbackWithoutCredentials(t *testing.T) {
	open := start(t, newGateway(), Options{Loopback: true, MetricsEnabled: true}, nil)
	guarded := start(t, newGateway(), Options{Loopback: true, MetricsEnabled: true, Token: token}, nil)
	f := func(host string, ok bool) {
		t.Helper()
		for _, request := range []string{"GET /admin/v1/status", "GET /metrics", "POST /admin/v1/reload", "GET /nothing"} {
			got := open.ask(t, request, "Host: "+host)
			if !ok {
				wantProblem(t, request+" to "+host, got, 403, "host_refused")
			} else if got.status == 403 {
				t.Errorf("%s to %s: %s", request, host, got.body)
			}
		}
		if got := guarded.ask(t, "GET /admin/v1/status", "Host: "+host, bearer); got.status != 200 {
			t.Errorf("with a token, %s gets %d", host, got.status)
		}
	}
	for _, host := range []string{"localhost", "LOCALHOST:8081", "127.0.0.1", "127.0.0.1:8081", "127.9.9.9", "[::1]", "[::1]:8081", "[::ffff:127.0.0.1]"} {
		f(host, true)
	}
	for _, host := range []string{"evil.example", "evil.example:8081", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1:8081", "0.0.0.0", "[::2]"} {
		f(host, false)
	}
}

func TestPagesOfOtherOriginsAreRefused(t *testing.T) {
	for _, o := range []Options{{Loopback: true}, {Loopback: true, Token: token}, {Token: token}} {
		g := newGateway()
		a := start(t, g, o, nil)
		f := func(ok bool, headers ...string) {
			t.Helper()
			g.reloads = newGateway().reloads
			got := a.ask(t, "POST /admin/v1/reload", append(headers, bearer)...)
			if !ok {
				wantProblem(t, strings.Join(headers, ", "), got, 403, "origin_refused")
			} else if got.status != 200 {
				t.Errorf("%q: %d %s", headers, got.status, got.body)
			}
			if reloaded := len(g.reloads) < len(newGateway().reloads); reloaded != ok {
				t.Errorf("%q: reloaded is %v, want %v", headers, reloaded, ok)
			}
		}
		f(true, "Origin: http://localhost")
		f(true, "Origin: https://LOCALHOST")
		f(true, "Sec-Fetch-Site: same-origin")
		f(true, "Sec-Fetch-Site: none")
		f(false, "Origin: https://evil.example")
		f(false, "Origin: http://localhost:3000")
		f(false, "Origin: null")
		f(false, "Sec-Fetch-Site: cross-site")
		f(false, "Sec-Fetch-Site: same-site", "Origin: http://localhost")
	}
}

func TestMetricsAreOpenOnLoopbackOnly(t *testing.T) {
	f := func(o Options, path string, status int) {
		t.Helper()
		o.Token = token
		if got := start(t, newGateway(), o, nil).ask(t, "GET "+path); got.status != status {
			t.Errorf("%+v: %s answers %d, want %d", o, path, got.status, status)
		}
	}
	f(Options{Loopback: true, MetricsEnabled: true}, "/metrics", 200)
	f(Options{Loopback: true, MetricsEnabled: true, MetricsPath: "/m"}, "/m", 200)
	f(Options{Loopback: true, MetricsEnabled: true, MetricsPath: "/m"}, "/metrics", 401)
	f(Options{MetricsEnabled: true}, "/metrics", 401)
	f(Options{Loopback: true}, "/metrics", 401)
}

func TestProfilesNeedCredentials(t *testing.T) {
	a := start(t, newGateway(), Options{Loopback: true, Pprof: true}, nil)
	wantProblem(t, "index", a.ask(t, "GET /debug/pprof/"), 403, "credentials_not_configured")
	wantProblem(t, "heap", a.ask(t, "GET /debug/pprof/heap"), 403, "credentials_not_configured")

	a = start(t, newGateway(), Options{Loopback: true, Pprof: true, Token: token}, nil)
	wantProblem(t, "heap without the token", a.ask(t, "GET /debug/pprof/heap"), 401, "token_missing")
	if got := a.ask(t, "GET /debug/pprof/goroutine?debug=1", bearer); !strings.HasPrefix(got.body, "goroutine profile:") {
		t.Errorf("goroutine profile: %d %.100q", got.status, got.body)
	}
	wantProblem(t, "unknown profile", a.ask(t, "GET /debug/pprof/secrets", bearer), 404, "not_found")
	for _, seconds := range []string{"61", "-1", "x", "NaN", "1e9"} {
		for _, name := range []string{"profile", "trace", "heap"} {
			wantProblem(t, name+" for "+seconds, a.ask(t, "GET /debug/pprof/"+name+"?seconds="+seconds, bearer), 400, "invalid_request")
		}
	}

	a = start(t, newGateway(), Options{Token: token}, nil)
	wantProblem(t, "profiles turned off", a.ask(t, "GET /debug/pprof/", bearer), 404, "not_found")
}

func TestClientCertificateIsNeeded(t *testing.T) {
	certificate := selfSigned(t)
	pool := x509.NewCertPool()
	pool.AddCert(certificate.Leaf)
	f := func(o Options, present bool, header, want string) {
		t.Helper()
		o.ClientCertificates = true
		a := start(t, newGateway(), o, func(ln net.Listener) net.Listener {
			// The handler must not trust that the listener insists.
			return tls.NewListener(ln, &tls.Config{
				Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven,
			})
		})
		client := &tls.Config{RootCAs: pool, ServerName: "localhost"}
		if present {
			client.Certificates = []tls.Certificate{certificate}
		}
		a.client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
			conn, err := a.ln.Dial()
			if err != nil {
				return nil, err
			}
			return tls.Client(conn, client), nil
		}
		got := a.ask(t, "GET /admin/v1/status", header)
		if want == "" && got.status != 200 || want != "" && !strings.Contains(got.body, `"`+want+`"`) {
			t.Errorf("certificate %v, %q: %d %s, want %q", present, header, got.status, got.body, want)
		}
	}
	f(Options{}, true, "X-None: 1", "")
	f(Options{}, false, "X-None: 1", "client_certificate_missing")
	f(Options{Token: token}, false, bearer, "client_certificate_missing")
	f(Options{Token: token}, true, "X-None: 1", "token_missing")
	f(Options{Token: token}, true, bearer, "")

	plain := start(t, newGateway(), Options{ClientCertificates: true, Pprof: true}, nil)
	wantProblem(t, "plain HTTP", plain.ask(t, "GET /admin/v1/status"), 403, "client_certificate_missing")
	wantProblem(t, "plain HTTP", plain.ask(t, "GET /debug/pprof/"), 403, "client_certificate_missing")
}

// selfSigned makes a certificate for localhost that also signs itself and may be
// shown by a client.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
