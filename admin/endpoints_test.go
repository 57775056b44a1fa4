package admin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func open() Options { return Options{Loopback: true, MetricsEnabled: true} }

func TestEveryAnswerIsUncachedAndTyped(t *testing.T) {
	a := start(t, newGateway(), open(), nil)
	f := func(request string, status int, contentType string) {
		t.Helper()
		got := a.ask(t, request)
		if got.status != status || got.header.Get("Content-Type") != contentType {
			t.Errorf("%s: %d %q, want %d %q", request, got.status, got.header.Get("Content-Type"), status, contentType)
		}
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", request, got.header)
		}
	}
	f("GET /health", 200, "application/json")
	f("GET /admin/v1/status", 200, "application/json")
	f("HEAD /admin/v1/status", 200, "application/json")
	f("GET /admin/v1/config", 200, "application/yaml")
	f("GET /metrics", 200, "text/plain; version=0.0.4; charset=utf-8")
	f("GET /admin/v1/explain", 400, "application/problem+json")
	f("GET /nothing", 404, "application/problem+json")
}

func TestUnknownPathsAndMethods(t *testing.T) {
	a := start(t, newGateway(), open(), nil)
	for _, path := range []string{"/", "/admin", "/admin/v1", "/admin/v1/", "/admin/v1/status/", "/ADMIN/v1/status", "/admin//v1/status", "/admin/v1/x/../status", "/debug/pprof/"} {
		wantProblem(t, path, a.ask(t, "GET "+path), 404, "not_found")
	}
	f := func(request, allow string) {
		t.Helper()
		got := a.ask(t, request)
		wantProblem(t, request, got, 405, "method_not_allowed")
		if got.header.Get("Allow") != allow {
			t.Errorf("%s: Allow is %q, want %q", request, got.header.Get("Allow"), allow)
		}
	}
	f("POST /admin/v1/status", "GET, HEAD, OPTIONS")
	f("PUT /admin/v1/routes", "GET, HEAD, OPTIONS")
	f("GET /admin/v1/reload", "OPTIONS, POST")
	f("POST /admin/v1/rate-limits/users/keys?key=a", "DELETE, GET, HEAD, OPTIONS")
	f("BREW /metrics", "GET, HEAD, OPTIONS")
	if got := a.ask(t, "OPTIONS /admin/v1/reload"); got.status != 200 || got.header.Get("Allow") != "OPTIONS, POST" || got.body != "" {
		t.Errorf("OPTIONS: %d %v %q", got.status, got.header, got.body)
	}
}

func TestEmptyListsAreListsAndNotNull(t *testing.T) {
	a := start(t, &gateway{table: []Route{{Name: "all"}}}, open(), nil)
	f := func(request, want string) {
		t.Helper()
		if got := a.ask(t, request); !strings.Contains(got.body, want) || strings.Contains(got.body, "null") {
			t.Errorf("%s: %s\nwant %s, and null nowhere", request, got.body, want)
		}
	}
	f("GET /admin/v1/status", `"warnings": []`)
	f("GET /admin/v1/routes", `"hosts": []`)
	f("GET /admin/v1/upstreams", `"upstreams": []`)
	f("GET /admin/v1/rate-limits", `"rate_limits": []`)
	f("GET /admin/v1/explain?url=http://a/", `"phases": []`)
}

func TestReady(t *testing.T) {
	g := newGateway()
	a := start(t, g, open(), nil)
	g.state.Draining = true
	got := a.ask(t, "GET /ready")
	wantProblem(t, "draining", got, 503, "not_ready")
	if !strings.Contains(got.body, "draining") {
		t.Errorf("draining: %s", got.body)
	}
	g.state.Draining, g.state.Ready = false, false
	wantProblem(t, "starting", a.ask(t, "GET /ready"), 503, "not_ready")
	if got := a.ask(t, "GET /health"); got.status != 200 {
		t.Errorf("a starting gateway is not alive: %d", got.status)
	}
}

func TestConfigThatCannotBeRendered(t *testing.T) {
	g := newGateway()
	g.configErr = errors.New("render secret-value")
	got := start(t, g, open(), nil).ask(t, "GET /admin/v1/config")
	wantProblem(t, "config", got, 500, "internal_error")
	if strings.Contains(got.body, "secret-value") {
		t.Errorf("the cause shows: %s", got.body)
	}
}

func TestReloadOutcomes(t *testing.T) {
	g := newGateway()
	g.reloads = []func(context.Context) (Reload, error){
		func(context.Context) (Reload, error) { return Reload{Hash: "9b1f6a02", Warnings: []string{"w"}}, nil },
		func(ctx context.Context) (Reload, error) {
			deadline, ok := ctx.Deadline()
			if left := time.Until(deadline); !ok || left > time.Hour || left < 59*time.Minute {
				return Reload{}, fmt.Errorf("deadline in %v, want an hour", left)
			}
			return Reload{}, fmt.Errorf("warm upstreams: %w", context.DeadlineExceeded)
		},
		func(context.Context) (Reload, error) {
			return Reload{}, errors.New("read configs/gateway.yaml: permission denied")
		},
		func(context.Context) (Reload, error) {
			return Reload{}, fmt.Errorf("load configuration: %w", &InvalidConfig{Problems: []ConfigProblem{{File: "a.yaml", Message: "<b>"}}})
		},
		func(context.Context) (Reload, error) { panic("boom") },
	}
	o := open()
	o.ReloadTimeout = time.Hour
	a := start(t, g, o, nil)

	got := a.ask(t, "POST /admin/v1/reload")
	if want := "{\n  \"changed\": false,\n  \"hash\": \"9b1f6a02\",\n  \"warnings\": [\n    \"w\"\n  ]\n}\n"; got.status != 200 || got.body != want {
		t.Errorf("unchanged: %d %s", got.status, got.body)
	}
	wantProblem(t, "timeout", a.ask(t, "POST /admin/v1/reload"), 504, "reload_timeout")
	got = a.ask(t, "POST /admin/v1/reload")
	wantProblem(t, "other error", got, 500, "reload_failed")
	if !strings.Contains(got.body, "permission denied") {
		t.Errorf("the operator is not told why: %s", got.body)
	}
	got = a.ask(t, "POST /admin/v1/reload")
	wantProblem(t, "invalid", got, 422, "config_invalid")
	if !strings.Contains(got.body, `"detail": "the configuration has 1 problem; the running one stays in place"`) ||
		!strings.Contains(got.body, `"message": "\u003cb\u003e"`) {
		t.Errorf("invalid: %s", got.body)
	}
	wantProblem(t, "panic", a.ask(t, "POST /admin/v1/reload"), 500, "internal_error")
	if got := a.logs.FilterMessage("management request panicked").Len(); got != 1 {
		t.Errorf("%d panics logged, want 1", got)
	}
	if got := a.ask(t, "GET /admin/v1/status"); got.status != 200 {
		t.Errorf("after a panic: %d", got.status)
	}
}

// The context of a reload must outlive fasthttp's own, which is reused.
func TestReloadContextIsItsOwn(t *testing.T) {
	g := newGateway()
	var kept context.Context
	g.reloads = []func(context.Context) (Reload, error){func(ctx context.Context) (Reload, error) {
		kept = ctx //nolint:fatcontext // kept to see that it is not reused
		return Reload{}, ctx.Err()
	}}
	a := start(t, g, open(), nil)
	if got := a.ask(t, "POST /admin/v1/reload"); got.status != 200 {
		t.Fatalf("reload: %d %s", got.status, got.body)
	}
	if !errors.Is(kept.Err(), context.Canceled) {
		t.Errorf("after the answer the context has %v, want it cancelled", kept.Err())
	}
}

func TestExplainPassesTheQuestionOn(t *testing.T) {
	g := newGateway()
	a := start(t, g, open(), nil)
	f := func(query url.Values, want [4]any) {
		t.Helper()
		if got := a.ask(t, "GET /admin/v1/explain?"+query.Encode()); got.status != 200 {
			t.Errorf("%v: %d %s", query, got.status, got.body)
		}
		if !reflect.DeepEqual(g.explained, want) {
			t.Errorf("%v: asked %q, want %q", query, g.explained, want)
		}
	}
	f(url.Values{"url": {"http://a.example/x?y=1&z=%2f"}}, [4]any{"GET", "http://a.example/x?y=1&z=%2f", [][2]string(nil), ""})
	f(url.Values{
		"url": {"https://[::1]:8443/"}, "method": {"PROPFIND"}, "client_ip": {"2001:db8::1"},
		"header": {"X-B: 2", "X-A:1", "X-B:  three: four ", "X-Empty:"},
	}, [4]any{"PROPFIND", "https://[::1]:8443/", [][2]string{{"X-B", "2"}, {"X-A", "1"}, {"X-B", "three: four"}, {"X-Empty", ""}}, "2001:db8::1"})

	g.refusal = errors.New("path has a null byte")
	got := a.ask(t, "GET /admin/v1/explain?url=http://a/%2500")
	wantProblem(t, "refused", got, 400, "invalid_request")
	if !strings.Contains(got.body, "path has a null byte") {
		t.Errorf("refused: %s", got.body)
	}
}

func TestExplainChecksTheQuestion(t *testing.T) {
	a := start(t, newGateway(), open(), nil)
	f := func(query, detail string) {
		t.Helper()
		got := a.ask(t, "GET /admin/v1/explain?"+query)
		wantProblem(t, query, got, 400, "invalid_request")
		if !strings.Contains(got.body, `"detail": "`+detail+`"`) {
			t.Errorf("%s: %s\nwant detail %s", query, got.body, detail)
		}
	}
	const badURL = "url: must be an absolute http or https URL"
	f("", badURL)
	f("url=/path", badURL)
	f("url=ftp://a/", badURL)
	f("url=http:///path", badURL)
	f("url=http://a/%0d%0aX:1", badURL)
	f("url=http://a/b+c", badURL)
	f("url=http://a/&method=GE+T", "method: must be an HTTP method")
	f("url=http://a/&method=", "method: must be an HTTP method")
	f("url=http://a/&header=X", "header: must be Name: value")
	f("url=http://a/&header=X+Y:1", "header: must be Name: value")
	f("url=http://a/&header=X:1%0d%0aY:2", "header: must be Name: value")
	f("url=http://a/&client_ip=a.example", "client_ip: must be an IP address")
	f("url=http://a/?b=1&c=2", `unknown parameter \"c\"; url must be percent-encoded`)
}

// Nothing in a question may break out of the request that is built from it.
func FuzzExplain(f *testing.F) {
	f.Add("url=http://a/&header=X:1&client_ip=::1&method=GET")
	f.Add("url=http://a/%2500&header=%00:%0a")
	f.Fuzz(func(t *testing.T, query string) {
		var args fasthttp.Args
		args.Parse(query)
		q, err := parseQuestion(&args)
		if err != nil {
			return
		}
		parts := []string{q.method, q.url, q.clientIP}
		for _, h := range q.headers {
			parts = append(parts, h[0], h[1])
		}
		for _, part := range parts {
			if strings.ContainsAny(part, "\r\n\x00") {
				t.Errorf("%q: the question holds %q", query, part)
			}
		}
	})
}
