package gateway

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/salgue441/velocity/internal/testkit"
	"github.com/salgue441/velocity/proxy/upstream"
)

func proxying(up *testkit.Upstream, rest string) string {
	return settings + "upstreams: [{name: up, targets: [{url: \"" + up.URL() + "\"" + rest + "}]\nroutes: [{name: all, path: /*, upstream: up}]\n"
}

func (g *gatewayIn) endpoint(t *testing.T) *upstream.Endpoint {
	t.Helper()
	return g.running.Load().plan.upstreams[0].state.Endpoints[0]
}

func TestReloadKeepsTheConnections(t *testing.T) {
	up := testkit.NewUpstream(t, "up")
	g := run(t, proxying(up, "}]"))
	before := g.endpoint(t)
	since := adminRuntime{g.Gateway}.Upstreams()[0].Endpoints[0].Since
	testkit.Get(t, g.addr, "/a")
	g.reload(t, proxying(up, ", weight: 5}], balance: {algorithm: round_robin}"))
	testkit.Get(t, g.addr, "/a")
	if after := g.endpoint(t); after != before || after.Live.Weight() != 5 || after.Live.Retired() {
		t.Errorf("endpoint %p became %p with weight %d, draining %v", before, after, after.Live.Weight(), after.Live.Retired())
	}
	if n := up.Accepted(); n != 1 {
		t.Errorf("%d connections to the upstream, want 1", n)
	}
	if now := (adminRuntime{g.Gateway}).Upstreams()[0].Endpoints[0].Since; !now.Equal(since) {
		t.Errorf("the endpoint is up since %v, and was since %v", now, since)
	}
}

// An endpoint that is no longer wanted gets nothing new and finishes what it
// has.
func TestRemovedEndpointDrains(t *testing.T) {
	old, next := testkit.NewUpstream(t, "old"), testkit.NewUpstream(t, "next")
	g := run(t, proxying(old, "}]"))
	gone := g.endpoint(t)
	testkit.Get(t, g.addr, "/a") // leaves an idle connection
	slow := testkit.Dial(t, g.addr)
	slow.Send(t, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
	testkit.Eventually(t, testkit.Patience, "the slow request", func() bool { return old.Requests() == 2 })

	g.reload(t, proxying(next, "}]"))
	if r := testkit.Get(t, g.addr, "/a"); r.Body != "next\n" {
		t.Errorf("a new request went to %q", r.Body)
	}
	if open, idle := gone.Connections(); !gone.Live.Retired() || gone.Live.InFlight() != 1 || open != 1 || idle != 0 {
		t.Errorf("the endpoint that is gone: draining %v, %d in flight, %d connections open, %d idle",
			gone.Live.Retired(), gone.Live.InFlight(), open, idle)
	}
	old.Release()
	if r := slow.Receive(t, "GET"); r.Body != "old\n" {
		t.Errorf("the slow request was answered %q", r.Body)
	}
	testkit.Eventually(t, testkit.Patience, "its last connection to close", func() bool {
		open, _ := gone.Connections()
		return open == 0
	})
}

func TestUnchangedIsNoReload(t *testing.T) {
	g := run(t, settings)
	before := g.running.Load()
	if changed, err := g.Reload(t.Context()); changed || err != nil {
		t.Errorf("Reload: %v, %v", changed, err)
	}
	if g.running.Load() != before {
		t.Error("what runs was replaced")
	}
}

// Whatever stage refuses a document, nothing of it stays behind.
func TestRefusedReloadLeavesNothing(t *testing.T) {
	g := run(t, settings+"routes: [{name: good, path: /a, respond: {body: good}}]\n")
	f := func(document string) {
		t.Helper()
		before := g.running.Load()
		testkit.ReplaceFile(t, g.path, document)
		if changed, err := g.Reload(t.Context()); err == nil || changed {
			t.Fatalf("Reload: %v, %v", changed, err)
		}
		if g.running.Load() != before {
			t.Error("what runs was replaced")
		}
		if r := testkit.Get(t, g.addr, "/a"); r.Body != "good" {
			t.Errorf("answer %q", r.Body)
		}
	}
	const bad = "routes: [{name: bad, path: /a, respond: {body: bad}}]\n"
	f(settings + "routes: [{name: bad, path: a}]\n") // load
	dir := t.TempDir()
	testkit.WriteFile(t, dir, "ca.pem", "no certificate")
	f(settings + bad + "upstreams: [{name: bad, targets: [{url: \"https://127.0.0.1:1\"}], tls: {ca_file: " + filepath.Join(dir, "ca.pem") + "}}]\n") // load or build
	f(strings.Replace(settings, "access_log: {enabled: false}", "access_log: {output: "+filepath.Join(dir, "none", "access.log")+"}", 1) + bad)       // apply
}

func TestRunLeavesNothingBehind(t *testing.T) {
	testkit.VerifyNone(t)
	up := testkit.NewUpstream(t, "up")
	logged := strings.Replace(settings, "access_log: {enabled: false}", "access_log: {output: "+filepath.Join(t.TempDir(), "access.log")+"}", 1)
	watched := strings.Replace(logged, "watch: false, ", "", 1)
	document := func(rest string) string {
		return watched + "upstreams: [{name: up, health_check: {path: /health}, targets: [{url: \"" + up.URL() + "\"}]}]\nroutes: [{path: /*, upstream: up" + rest + "}]\n"
	}
	g := run(t, document(""))
	idle := testkit.Dial(t, g.addr)
	if r := idle.Do(t, "GET", "/a"); r.Status != 200 {
		t.Errorf("status %d: %s", r.Status, r.Body)
	}
	testkit.Get(t, g.AdminAddr().String(), "/admin/v1/status")
	testkit.ReplaceFile(t, g.path, strings.Replace(document(", timeout: 5s"), "port: 0,", "port: 0, idle_timeout: 7s,", 1))
	if _, err := g.Reload(t.Context()); err != nil { // another server, another route
		t.Fatal(err)
	}
	if r := idle.Do(t, "GET", "/a"); r.Status != 200 {
		t.Errorf("status %d: %s", r.Status, r.Body)
	}
	if err := g.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestNewThatFailsLeavesNothingBehind(t *testing.T) {
	testkit.VerifyNone(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	watched := strings.Replace(settings, "watch: false, ", "", 1)
	f := func(document string) {
		t.Helper()
		if g, err := New(Options{ConfigPath: testkit.WriteFile(t, t.TempDir(), "gateway.yaml", document)}); err == nil || g != nil {
			t.Errorf("New: %v, %v", g, err)
		}
	}
	f(strings.Replace(watched, "127.0.0.1, port: 0", "127.0.0.1, port: "+port, 1))
	f(strings.Replace(watched, "admin: {port: 0}", "admin: {port: "+port+"}", 1))
	f(strings.Replace(watched, "access_log: {enabled: false}", "access_log: {output: /nowhere/access.log}", 1))
}
