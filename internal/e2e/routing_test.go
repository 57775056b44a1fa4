package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/salgue441/velocity/internal/testkit"
)

func TestRouting(t *testing.T) {
	t.Parallel()
	up := testkit.NewUpstream(t, "up")
	g, _ := start(t, settings+`
routes:
  - {name: users, path: "/api/v1/*", methods: [GET, POST], targets: [{url: "`+up.URL()+`"}], headers: {response: {set: {X-Route: "${route}"}}}}
  - {name: host, path: "/*", hosts: ["*.example.org"], respond: {body: "host ${host}"}}
  - {name: stripped, path: "/strip/*", strip_prefix: /strip, targets: [{url: "`+up.URL()+`"}]}
  - {name: rewritten, path: "/users/{id}/posts", rewrite: {path: "/posts/by/${param.id}"}, targets: [{url: "`+up.URL()+`"}]}
  - {name: moved, path: "/old/*", redirect: {path: /new, code: 301}}
  - {name: fixed, path: /fixed, respond: {status: 418, body: short and stout, headers: {X-Id: "${request_id}"}}}
`)
	c := testkit.Dial(t, g.Addr)

	f := func(target, wantPath string) {
		t.Helper()
		r := c.Do(t, "GET", target)
		if r.Status != 200 || r.Body != "up\n" {
			t.Fatalf("%s: status %d, body %q", target, r.Status, r.Body)
		}
		if got := up.Last().RequestURI; got != wantPath {
			t.Errorf("%s: the upstream was asked for %s, want %s", target, got, wantPath)
		}
	}
	f("/api/v1/users?a=1&b=%20", "/api/v1/users?a=1&b=%20")
	f("/api/v1", "/api/v1")
	f("/x/../api/v1//users", "/api/v1/users")
	f("/strip/a/b?c=d", "/a/b?c=d")
	f("/users/42/posts?x=y", "/posts/by/42?x=y")

	if r := c.Do(t, "GET", "/api/v1/users"); r.Header.Get("X-Route") != "users" {
		t.Errorf("response headers %v", r.Header)
	}
	if r := c.Do(t, "HEAD", "/api/v1/users"); r.Status != 200 || r.Body != "" {
		t.Errorf("HEAD: status %d, body %q", r.Status, r.Body)
	}
	if r := c.Do(t, "GET", "/api/v10"); r.Status != 404 {
		t.Errorf("a prefix matched within a segment: status %d", r.Status)
	}
	if r := c.Do(t, "DELETE", "/api/v1/users"); r.Status != 405 || r.Header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("status %d, Allow %q", r.Status, r.Header.Get("Allow"))
	}
	if r := c.Do(t, "GET", "/anything", "Host: a.example.org"); r.Status != 200 || !strings.HasPrefix(r.Body, "host") {
		t.Errorf("by host: status %d, body %q", r.Status, r.Body)
	}
	if r := c.Do(t, "GET", "/old/x?y=z"); r.Status != 301 || !strings.HasSuffix(r.Header.Get("Location"), "/new?y=z") {
		t.Errorf("redirect: status %d, Location %q", r.Status, r.Header.Get("Location"))
	}
	if r := c.Do(t, "GET", "/fixed", "X-Request-Id: mine"); r.Status != 418 || r.Body != "short and stout" || r.Header.Get("X-Id") != "mine" {
		t.Errorf("fixed response: status %d, headers %v, body %q", r.Status, r.Header, r.Body)
	}
}

func TestErrorBodies(t *testing.T) {
	t.Parallel()
	gone := testkit.NewUpstream(t, "gone")
	gone.Stop()
	g, _ := start(t, settings+`
routes: [{name: gone, path: "/gone/*", targets: [{url: "`+gone.URL()+`"}]}]
`)
	f := func(target, accept, wantType string, wantStatus int) testkit.Response {
		t.Helper()
		r := testkit.Get(t, g.Addr, target, "Accept: "+accept, "X-Request-Id: the-id")
		if r.Status != wantStatus || r.Header.Get("Content-Type") != wantType {
			t.Errorf("%s: status %d, type %q; want %d, %q", target, r.Status, r.Header.Get("Content-Type"), wantStatus, wantType)
		}
		if r.Header.Get("X-Request-Id") != "the-id" || !strings.Contains(r.Body, "the-id") {
			t.Errorf("%s: no request ID in header %q or body %q", target, r.Header.Get("X-Request-Id"), r.Body)
		}
		if strings.Contains(r.Body, gone.Addr) || strings.Contains(r.Body, "127.0.0.1") {
			t.Errorf("%s: the body tells of the inside: %q", target, r.Body)
		}
		return r
	}
	const problem = "application/problem+json"
	var p struct {
		Type, Title, Code string
		Status            int
	}
	f("/nowhere", "*/*", problem, 404).JSON(t, &p)
	if p.Status != 404 || p.Title == "" || p.Code == "" {
		t.Errorf("problem %+v", p)
	}
	f("/nowhere", "text/html,application/xhtml+xml", "text/plain; charset=utf-8", 404)
	f("/nowhere", "application/json", problem, 404)
	f("/gone/x", "application/json", problem, 502)

	ids := map[string]bool{}
	for range 3 {
		ids[testkit.Get(t, g.Addr, "/nowhere").Header.Get("X-Request-Id")] = true
	}
	if len(ids) != 3 || ids[""] {
		t.Errorf("request IDs %v", ids)
	}
}

func TestHeadersToTheUpstream(t *testing.T) {
	t.Parallel()
	up := testkit.NewUpstream(t, "up")
	g, _ := start(t, settings+`
routes:
  - path: "/*"
    targets: [{url: "`+up.URL()+`"}]
    headers: {request: {set: {X-Client: "${client_ip}"}, remove: [X-Secret]}}
`)
	testkit.Get(t, g.Addr, "/a", "Host: api.example.com", "Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5",
		"TE: gzip", "Proxy-Connection: close", "X-Secret: s", "X-Forwarded-For: 6.6.6.6", "X-Kept: yes", "X-Request-Id: abc")
	got := up.Last()
	if got.Host != "api.example.com" {
		t.Errorf("Host %q", got.Host)
	}
	want := http.Header{
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"api.example.com"},
		"Via": {"1.1 velocity"}, "X-Client": {"127.0.0.1"}, "X-Kept": {"yes"}, "X-Request-Id": {"abc"},
	}
	for name, values := range want {
		if strings.Join(got.Header[name], "|") != strings.Join(values, "|") {
			t.Errorf("%s: %q, want %q", name, got.Header[name], values)
		}
	}
	for _, name := range []string{"X-Hop", "Keep-Alive", "Te", "Proxy-Connection", "X-Secret"} {
		if values, ok := got.Header[name]; ok {
			t.Errorf("%s was passed on: %q", name, values)
		}
	}
}

func TestCORSAtTheEdge(t *testing.T) {
	t.Parallel()
	up := testkit.NewUpstream(t, "up")
	g, _ := start(t, settings+`
plugins:
  - {name: cors, config: {allowed_origins: ["https://app.example"], allowed_methods: [GET, PUT], allowed_headers: [X-Token]}}
routes:
  - {path: "/*", methods: [GET, PUT], targets: [{url: "`+up.URL()+`"}]}
`)
	preflight := func(origin string) testkit.Response {
		return testkit.Do(t, g.Addr, "OPTIONS", "/a", "Origin: "+origin,
			"Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-token")
	}
	r := preflight("https://app.example")
	if r.Status != 204 || r.Header.Get("Access-Control-Allow-Origin") != "https://app.example" ||
		!strings.Contains(r.Header.Get("Access-Control-Allow-Methods"), "PUT") {
		t.Errorf("preflight: status %d, headers %v", r.Status, r.Header)
	}
	if r := preflight("https://evil.example"); r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of another origin: headers %v", r.Header)
	}
	if n := up.Requests(); n != 0 {
		t.Errorf("%d preflights reached the upstream", n)
	}
	r = testkit.Get(t, g.Addr, "/a", "Origin: https://app.example")
	if r.Status != 200 || r.Header.Get("Access-Control-Allow-Origin") != "https://app.example" || r.Header.Get("Vary") != "Origin" {
		t.Errorf("request: status %d, headers %v", r.Status, r.Header)
	}
}
