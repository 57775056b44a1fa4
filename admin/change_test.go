package admin

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

const (
	isJSON = "Content-Type: application/json"
	users  = "/admin/v1/upstreams/users"
	first  = users + "/endpoints/127.0.0.1:3000"
)

// view reads the endpoint that an answer shows.
func view(t *testing.T, got answer) Endpoint {
	t.Helper()
	var e Endpoint
	if err := json.Unmarshal([]byte(got.body), &e); err != nil || got.status != 200 {
		t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	return e
}

func TestEndpointIsChanged(t *testing.T) {
	a := start(t, newGateway(), open(), nil)
	f := func(body, mode string, weight int) {
		t.Helper()
		e := view(t, a.tell(t, "PATCH "+first, body, isJSON))
		if e.ID != "127.0.0.1:3000" || e.Mode != mode || e.Weight != weight || e.ConfiguredWeight != 100 {
			t.Errorf("%s: %+v, want mode %s and weight %d", body, e, mode, weight)
		}
	}
	f(`{"mode": "drained"}`, "drained", 100)
	f(`{"weight": 5}`, "drained", 5)
	f(`{"mode": "disabled", "weight": 0}`, "disabled", 0)
	f(`{"weight": 65535}`, "disabled", 65535)
	f(` { "weight" : null , "mode" : "enabled" } `, "enabled", 100)
	f(`{"\u006dode": "\u0064rained"}`, "drained", 100)
	if got := a.tell(t, "PATCH "+first, `{"mode": "enabled"}`, "Content-Type: application/merge-patch+json; charset=utf-8"); got.status != 200 {
		t.Errorf("a merge patch: %d %s", got.status, got.body)
	}
}

func TestChangesAreLogged(t *testing.T) {
	a := start(t, newGateway(), open(), nil)
	a.from("192.0.2.7")
	f := func(message, path, body string, want map[string]any) {
		t.Helper()
		method := "POST "
		if strings.HasSuffix(path, "3001") {
			method = "PATCH "
		}
		if got := a.tell(t, method+path, body, isJSON); got.status != 200 {
			t.Fatalf("%s: %d %s", path, got.status, got.body)
		}
		entries := a.logs.FilterMessage(message).TakeAll()
		if len(entries) != 1 {
			t.Fatalf("%s: logged %d times", message, len(entries))
		}
		if got := entries[0].ContextMap(); !reflect.DeepEqual(got, want) || entries[0].Level != zap.InfoLevel {
			t.Errorf("%s: logged %v\nwant %v", message, got, want)
		}
	}
	second := users + "/endpoints/127.0.0.1:3001"
	f("endpoint reset by management API", second+"/reset", "", map[string]any{
		"peer": "192.0.2.7:50000", "upstream": "users", "endpoint": "127.0.0.1:3001", "state_before": "ejected", "state": "up",
	})
	f("endpoint changed by management API", second, `{"mode": "drained", "weight": 7}`, map[string]any{
		"peer": "192.0.2.7:50000", "upstream": "users", "endpoint": "127.0.0.1:3001",
		"mode_before": "enabled", "mode": "drained", "weight_before": int64(50), "weight": int64(7),
	})
	f("circuit breaker changed by management API", users+"/circuit-breaker", `{"action": "open", "for": "30s"}`, map[string]any{
		"peer": "192.0.2.7:50000", "upstream": "users", "state_before": "closed", "state": "open", "for": 30 * time.Second,
	})
}

// problemsOf are the problems in an answer, as "path: message (suggestion)".
func problemsOf(t *testing.T, got answer) []string {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(got.body), &p); err != nil {
		t.Fatalf("%s: %v", got.body, err)
	}
	var list []string
	for _, one := range p.Problems {
		text := one.Path + ": " + one.Message
		if one.Suggestion != "" {
			text += " (" + one.Suggestion + ")"
		}
		list = append(list, text)
	}
	return list
}

const (
	badMode   = "mode: must be one of enabled, drained, disabled"
	badWeight = "weight: must be a whole number from 0 to 65535, or null for the configured weight"
	badFor    = "for: must be a positive duration such as 30s"
)

// A body's problems are told all at once, and nothing is changed.
func TestBodyThatCannotBeUsed(t *testing.T) {
	g := newGateway()
	a := start(t, g, open(), nil)
	f := func(request, body string, want ...string) {
		t.Helper()
		got := a.tell(t, request, body, isJSON)
		wantProblem(t, body, got, 400, "invalid_request")
		if list := problemsOf(t, got); !reflect.DeepEqual(list, want) {
			t.Errorf("%s: problems %q\nwant %q", body, list, want)
		}
	}
	patch := "PATCH " + first
	for _, noObject := range []string{
		" ", "[]", "null", `"mode"`, "5", "{", `{"mode"}`, `{"mode": "drained"} {}`, `{"mode": "drained"}x`, `{"mode": "drained",}`,
		`{'mode': 'drained'}`, "{\"mode\": \"dr\nained\"}", `{"weight": 05}`, `{"weight": +5}`, "{\"weight\": 5}\x00",
	} {
		f(patch, noObject)
	}
	f(patch, `{}`, ": needs mode, weight or both")
	f(patch, `{"mode": "draned"}`, badMode+" (drained)")
	f(patch, `{"mode": "off"}`, badMode)
	f(patch, `{"mode": ""}`, badMode)
	f(patch, `{"mode": null}`, badMode)
	f(patch, `{"mode": ["drained"]}`, badMode)
	f(patch, `{"Mode": "drained"}`, "Mode: unknown member (mode)")
	for _, weight := range []string{"-1", "65536", "1.5", "1e2", `"5"`, "true", "[5]", "{}", "99999999999999999999"} {
		f(patch, `{"weight": `+weight+`}`, badWeight)
	}
	f(patch, `{"mode": "drained", "mode": "enabled"}`, "mode: is there twice")
	f(patch, `{"wieght": 5, "mode": 1, "weight": -1, "x": {"mode": 1}}`,
		"wieght: unknown member (weight)", "x: unknown member", badMode, badWeight)

	breaker := "POST " + users + "/circuit-breaker"
	f(breaker, "{", []string(nil)...)
	f(breaker, `{}`, "action: is required: open or close")
	f(breaker, `{"action": "clos"}`, "action: must be one of open, close (close)")
	for _, d := range []string{`"0s"`, `"-1s"`, `"30"`, `30`, `null`, `""`} {
		f(breaker, `{"action": "open", "for": `+d+`}`, badFor)
	}
	f(breaker, `{"action": "close", "for": "30s", "reason": ""}`, "reason: unknown member", "for: has no effect with action close")
	if !reflect.DeepEqual(g.groups, newGateway().groups) {
		t.Errorf("a refused body has changed %+v", g.groups)
	}
}

func TestBodyThatIsNotRead(t *testing.T) {
	a := start(t, newGateway(), open(), nil)
	patch, drain := "PATCH "+first, `{"mode": "drained"}`
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json-patch+json", "application/json/x", "json"} {
		got := a.tell(t, patch, drain, "Content-Type: "+contentType)
		wantProblem(t, contentType, got, 415, "unsupported_media_type")
		if accept := got.header.Get("Accept-Patch"); accept != "application/json, application/merge-patch+json" {
			t.Errorf("Accept-Patch is %q", accept)
		}
	}
	wantProblem(t, "no body", a.ask(t, patch, isJSON), 400, "invalid_request")
	fits := drain + strings.Repeat(" ", maxBody-len(drain))
	if got := a.tell(t, patch, fits, isJSON); got.status != 200 {
		t.Errorf("a body of %d bytes: %d %s", len(fits), got.status, got.body)
	}
	wantProblem(t, "a large body", a.tell(t, patch, fits+" ", isJSON), 413, "body_too_large")
}

func TestChangesThatCannotBeMade(t *testing.T) {
	g := newGateway()
	g.groups = append(g.groups,
		Upstream{Name: "orders", Endpoints: []Endpoint{{URL: "http://10.0.0.1:80"}, {URL: "https://10.0.0.1:80"}}})
	a := start(t, g, open(), nil)
	f := func(request, body string, status int, code, detail string, candidates ...string) {
		t.Helper()
		got := a.tell(t, request, body, isJSON)
		wantProblem(t, request, got, status, code)
		var p problem
		if err := json.Unmarshal([]byte(got.body), &p); err != nil || p.Detail != detail || !reflect.DeepEqual(p.Candidates, candidates) {
			t.Errorf("%s: %s\nwant detail %q and candidates %q", request, got.body, detail, candidates)
		}
	}
	drain, shut := `{"mode": "drained"}`, `{"action": "open"}`
	const upstreams = "/admin/v1/upstreams/"
	noUpstream, noEndpoint := `no upstream is named "usrs"`, `no endpoint is named "127.0.0.1:3002"`
	f("PATCH "+upstreams+"usrs/endpoints/127.0.0.1:3000", drain, 404, "upstream_not_found", noUpstream, "users", "orders")
	f("POST "+upstreams+"usrs/endpoints/127.0.0.1:3000/reset", "", 404, "upstream_not_found", noUpstream, "users", "orders")
	f("POST "+upstreams+"usrs/circuit-breaker", shut, 404, "upstream_not_found", noUpstream, "users", "orders")
	f("PATCH "+users+"/endpoints/127.0.0.1:3002", drain, 404, "endpoint_not_found", noEndpoint, "127.0.0.1:3000", "127.0.0.1:3001")
	f("POST "+users+"/endpoints/127.0.0.1:3002/reset", "", 404, "endpoint_not_found", noEndpoint, "127.0.0.1:3000", "127.0.0.1:3001")
	f("POST "+upstreams+"orders/circuit-breaker", shut, 409, "no_circuit_breaker", "the upstream has no circuit breaker of its own")
	f("PATCH "+upstreams+"orders/endpoints/10.0.0.1:80", drain, 409, "endpoint_ambiguous",
		"2 endpoints are at 10.0.0.1:80; name one by its URL", "http://10.0.0.1:80", "https://10.0.0.1:80")
	g.broken = errors.New("with secret-value")
	f("PATCH "+first, drain, 500, "internal_error", "the change could not be made; the log has the details")
	if n := a.logs.FilterMessage("change by management API").Len(); n != 1 {
		t.Errorf("the cause was logged %d times", n)
	}
}

// Names reach the runtime as they are, whatever they are made of.
func TestNamesArePercentEncoded(t *testing.T) {
	g := newGateway()
	template := g.groups[0].Endpoints[0]
	for _, name := range []string{"route:all", "route:GET /a/b*", "a+b", "100%", "ü", "a%2Fb", ".."} {
		u := Upstream{Name: name, CircuitBreaker: &CircuitBreaker{State: BreakerClosed}}
		for _, target := range []string{"http://[::1]:3000", "http://h", "https://h", "http://s", "https://s:80"} {
			e := template
			e.URL = target
			u.Endpoints = append(u.Endpoints, e)
		}
		g.groups = append(g.groups, u)
	}
	a := start(t, g, open(), nil)
	f := func(upstream, endpoint, name, target string) {
		t.Helper()
		u, err := g.upstream(name)
		if err != nil {
			t.Fatal(err)
		}
		path := "/admin/v1/upstreams/" + upstream
		e := view(t, a.tell(t, "PATCH "+path+"/endpoints/"+endpoint, `{"weight": 7}`, isJSON))
		view(t, a.tell(t, "POST "+path+"/endpoints/"+endpoint+"/reset", ""))
		if got := a.tell(t, "POST "+path+"/circuit-breaker", `{"action": "open"}`, isJSON); got.status != 200 || u.CircuitBreaker.State != BreakerOpen {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
		for i := range u.Endpoints {
			if hit := u.Endpoints[i].Weight == 7; hit != (u.Endpoints[i].URL == target) {
				t.Errorf("%s of %s: weight of %s is %d", endpoint, upstream, u.Endpoints[i].URL, u.Endpoints[i].Weight)
			}
			u.Endpoints[i].Weight = 100
		}
		if e.URL != target {
			t.Errorf("%s of %s: answered %s, want %s", endpoint, upstream, e.URL, target)
		}
	}
	f("route:all", "[::1]:3000", "route:all", "http://[::1]:3000")
	f("route%3Aall", "%5B%3A%3A1%5D%3A3000", "route:all", "http://[::1]:3000")
	f("route:GET%20%2Fa%2Fb*", "h:80", "route:GET /a/b*", "http://h")
	f("route%3AGET%20%2fa%2fb%2A", "h:443", "route:GET /a/b*", "https://h")
	f("a+b", "http%3A%2F%2Fs", "a+b", "http://s")
	f("a%2Bb", "https:%2F%2Fs:80", "a+b", "https://s:80")
	f("100%25", "h:80", "100%", "http://h")
	f("%C3%BC", "h:80", "ü", "http://h")
	f("a%252Fb", "h:80", "a%2Fb", "http://h")
	f("%2E%2E", "h:80", "..", "http://h")
}

// Go's client does not send what is not percent-encoded properly.
func TestNameThatCannotBeDecoded(t *testing.T) {
	handle, err := NewHandler(newGateway(), open())
	if err != nil {
		t.Fatal(err)
	}
	for path, detail := range map[string]string{
		users + "/endpoints/%zz":                  "endpoint: is not percent-encoded as it must be",
		"/admin/v1/upstreams/%2/endpoints/h:80":   "upstream: is not percent-encoded as it must be",
		"/admin/v1/upstreams/%/endpoints/%/reset": "upstream: is not percent-encoded as it must be",
	} {
		var ctx fasthttp.RequestCtx
		ctx.Request.SetRequestURI(path)
		ctx.Request.Header.SetHost("localhost")
		ctx.Request.Header.SetMethod(fasthttp.MethodPatch)
		if strings.HasSuffix(path, "/reset") {
			ctx.Request.Header.SetMethod(fasthttp.MethodPost)
		}
		handle(&ctx)
		if got := string(ctx.Response.Body()); ctx.Response.StatusCode() != 400 || !strings.Contains(got, detail) {
			t.Errorf("%s: %d %s, want %s", path, ctx.Response.StatusCode(), got, detail)
		}
	}
}

// On the gateway's own listener bodies stream.
func TestBodyThatStreams(t *testing.T) {
	f := func(body string, length, status int) {
		t.Helper()
		g := newGateway()
		handle, err := NewHandler(g, open())
		if err != nil {
			t.Fatal(err)
		}
		var ctx fasthttp.RequestCtx
		ctx.Request.SetRequestURI(first)
		ctx.Request.Header.SetHost("localhost")
		ctx.Request.Header.SetMethod(fasthttp.MethodPatch)
		ctx.Request.Header.SetContentType("application/json")
		ctx.Request.SetBodyStream(strings.NewReader(body), length)
		handle(&ctx)
		if got := ctx.Response.StatusCode(); got != status {
			t.Errorf("%q of length %d: %d %s, want %d", body, length, got, ctx.Response.Body(), status)
		}
	}
	drain := `{"mode": "drained"}`
	f(drain, len(drain), 200)
	f(drain+"GET / HTTP/1.1", len(drain), 200)
	f(drain, len(drain)+1, 400)
	f(drain, -1, 411)
	f(drain, maxBody+1, 413)
}

func TestChangesHaveTheirMethods(t *testing.T) {
	a := start(t, newGateway(), open(), nil)
	f := func(request, allow string) {
		t.Helper()
		got := a.ask(t, request)
		wantProblem(t, request, got, 405, "method_not_allowed")
		if got.header.Get("Allow") != allow {
			t.Errorf("%s: Allow is %q, want %q", request, got.header.Get("Allow"), allow)
		}
	}
	f("GET "+first, "OPTIONS, PATCH")
	f("POST "+first, "OPTIONS, PATCH")
	f("DELETE "+first, "OPTIONS, PATCH")
	f("PATCH "+first+"/reset", "OPTIONS, POST")
	f("GET "+users+"/circuit-breaker", "OPTIONS, POST")
	wantProblem(t, "an endpoint without a name", a.ask(t, "PATCH "+users+"/endpoints/"), 404, "not_found")
	wantProblem(t, "a slash that is not encoded", a.ask(t, "PATCH "+users+"/endpoints/http://127.0.0.1:3000"), 404, "not_found")
}

func TestEndpointIDs(t *testing.T) {
	urls := []string{"http://h", "http://h:8080", "https://h:443", "https://h:8080", "http://[::1]", "http://h", "unix:/run/x"}
	want := []string{"h:80", "http://h:8080", "h:443", "https://h:8080", "[::1]:80", "h:80", "unix:/run/x"}
	if got := EndpointIDs(urls); !reflect.DeepEqual(got, want) {
		t.Errorf("IDs %q\nwant %q", got, want)
	}
	for i, id := range want {
		if got, err := FindEndpoint(urls, id); err != nil || urls[got] != urls[i] {
			t.Errorf("%s: found %d, %v", id, got, err)
		}
		if got, err := FindEndpoint(urls, urls[i]); err != nil || urls[got] != urls[i] {
			t.Errorf("%s: found %d, %v", urls[i], got, err)
		}
	}
	if _, err := FindEndpoint(nil, ""); !errors.As(err, new(*NotFound)) {
		t.Errorf("of none: %v", err)
	}
}

func TestNearestNames(t *testing.T) {
	f := func(name, suggested string, want ...string) {
		t.Helper()
		known := []string{"users", "orders", "payments", "USERS-eu", "users", "q", "r", "s"}
		if got := nearest(name, known); len(got) != maxCandidates || !slices.Equal(got[:len(want)], want) {
			t.Errorf("%q: nearest are %q, want %q first", name, got, want)
		}
		if got := suggestion(name, known); got != suggested {
			t.Errorf("%q: suggested %q, want %q", name, got, suggested)
		}
	}
	f("user", "users", "users")
	f("users-EU", "USERS-eu", "USERS-eu", "users")
	f("oders", "orders", "orders")
	f("catalogue", "")
	if got := nearest(strings.Repeat("x", maxCompared+1), []string{"x"}); got != nil {
		t.Errorf("a name that is too long is near %q", got)
	}
}
