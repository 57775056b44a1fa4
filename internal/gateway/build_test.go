package gateway

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/internal/testkit"
)

// planOf builds a document on top of what lives.
func planOf(t *testing.T, l living, document string) *plan {
	t.Helper()
	c, err := config.Load(testkit.WriteFile(t, t.TempDir(), "gateway.yaml", document), nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := build(c, l, telemetry.NewRegistry(""))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// kept is what lives on after a plan has become what runs.
func kept(p *plan) living {
	l := living{upstreams: newLiving().upstreams, endpoints: p.endpoints}
	for _, u := range p.upstreams {
		l.upstreams[u.upstream.Name()] = u.upstream
	}
	return l
}

// What the router finds wrong is found at the route that caused it.
func TestRouterProblemsNameTheRoute(t *testing.T) {
	path := testkit.WriteFile(t, t.TempDir(), "gateway.yaml", `routes:
  - {name: first, path: /a, respond: {body: a}}
  - {name: other, path: /b, respond: {body: b}}
  - name: second
    path: /a
    respond: {body: c}
`)
	c, err := Check(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 {
		t.Fatalf("warnings %v, want one", c.Warnings)
	}
	w := c.Warnings[0]
	if !w.Warning || w.File != path || w.Line != 5 || w.Path != "routes[2].path" || !strings.Contains(w.Message, `"first"`) {
		t.Errorf("warning %+v", w)
	}
}

// What only building can find out still has its place.
func TestBuildProblemsHavePlaces(t *testing.T) {
	dir := t.TempDir()
	testkit.WriteFile(t, dir, "ca.pem", "no certificate")
	path := testkit.WriteFile(t, dir, "gateway.yaml", `upstreams:
  - name: users
    targets: [{url: "https://127.0.0.1:1"}]
    tls: {ca_file: ca.pem}
routes:
  - {path: /*, upstream: users}
`)
	_, err := Check(path, nil)
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("error %v", err)
	}
	if p := problems[0]; p.File != path || p.Line != 4 || !strings.HasPrefix(p.Path, "upstreams[0].tls") {
		t.Errorf("problem %+v", p)
	}
}

// An endpoint lives on while its upstream, address and transport settings are
// the same; how it is chosen and what it is worth may change.
func TestEndpointsLiveByIdentity(t *testing.T) {
	const url = "http://127.0.0.1:1"
	document := func(name, rest string) string {
		return fmt.Sprintf("upstreams:\n  - {name: %s, targets: [{url: %q%s}\nroutes: [{path: /*, upstream: %s}]\n", name, url, rest, name)
	}
	first := planOf(t, newLiving(), document("users", "}]"))
	f := func(name, rest string, want bool) {
		t.Helper()
		second := planOf(t, kept(first), document(name, rest))
		same := second.upstreams[0].state.Endpoints[0] == first.upstreams[0].state.Endpoints[0]
		if same != want {
			t.Errorf("upstream %s, %q: endpoint lives on: %v, want %v", name, rest, same, want)
		}
		if sameUpstream := second.upstreams[0].upstream == first.upstreams[0].upstream; sameUpstream != (name == "users") {
			t.Errorf("upstream %s, %q: upstream lives on: %v", name, rest, sameUpstream)
		}
	}
	f("users", "}]", true)
	f("users", ", weight: 7}]", true)
	f("users", `}, {url: "http://127.0.0.1:2"}]`, true)
	f("users", "}], balance: {algorithm: round_robin}", true)
	f("users", "}], health_check: {path: /health}", true)
	f("users", "}], response_timeout: 7s", true)
	f("users", "}], connect_timeout: 7s", false)
	f("users", "}], pool: {max_connections: 7}", false)
	f("users", "}], pool: {keep_alive: false}", false)
	f("others", "}]", false)
}

// Building changes nothing that runs.
func TestBuildIsPure(t *testing.T) {
	first := planOf(t, newLiving(), "upstreams: [{name: u, targets: [{url: \"http://127.0.0.1:1\"}]}]\nroutes: [{path: /*, upstream: u}]\n")
	u := first.upstreams[0]
	u.upstream.Set(u.state)
	u.state.Endpoints[0].Live.SetWeight(1)
	planOf(t, kept(first), "upstreams: [{name: u, targets: [{url: \"http://127.0.0.1:1\", weight: 9}, {url: \"http://127.0.0.1:2\"}]}]\nroutes: [{path: /*, upstream: u}]\n")
	if u.upstream.State() != u.state {
		t.Error("the endpoints of a living upstream changed")
	}
	if w := u.state.Endpoints[0].Live.Weight(); w != 1 {
		t.Errorf("the weight of a living endpoint changed to %d", w)
	}
}
