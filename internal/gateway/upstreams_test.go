package gateway

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/balancer/breaker"
	"github.com/salgue441/velocity/balancer/health/outlier"
	"github.com/salgue441/velocity/internal/testkit"
)

// view is the first upstream as management shows it.
func (g *gatewayIn) view() admin.Upstream { return g.Upstreams()[0] }

// A circuit breaker keeps its state over reloads that change its settings, and
// one that is taken away frees its endpoint.
func TestBreakersOverReloads(t *testing.T) {
	up := testkit.NewUpstream(t, "up")
	g := run(t, proxying(up, "}], circuit_breaker: {server: {consecutive_failures: 3}, upstream: {error_percent: 50}}"))
	e := g.endpoint(t)
	ofServer, ofAll := e.Breaker.Load(), g.living.upstreams["up"].Breaker.Load()
	ofServer.Trip(g.proxy.Now(), 0)
	if !e.Live.Broken() || g.view().Endpoints[0].State != admin.StateBroken {
		t.Errorf("open: %+v", g.view().Endpoints[0])
	}
	g.reload(t, proxying(up, "}], circuit_breaker: {server: {consecutive_failures: 4, ramp: 0}, upstream: {error_percent: 60}}"))
	if e.Breaker.Load() != ofServer || ofServer.State(g.proxy.Now()) != breaker.Open || ofServer.Settings().ConsecutiveFailures != 4 ||
		ofServer.Settings().Ramp > 0 || g.living.upstreams["up"].Breaker.Load() != ofAll {
		t.Errorf("after a reload: %+v, %+v", ofServer.Settings(), ofServer.Status(g.proxy.Now()))
	}
	if r := testkit.Get(t, g.addr, "/a"); r.Status != 503 || !strings.Contains(r.Body, "circuit_open") {
		t.Errorf("open: %d %s", r.Status, r.Body)
	}
	if _, after, err := g.ResetEndpoint("up", strings.TrimPrefix(up.URL(), "http://")); err != nil || after.State != admin.StateUp {
		t.Errorf("ResetEndpoint: %+v, %v", after, err)
	}
	if _, after, err := g.SetBreaker("up", admin.BreakerChange{Open: true}); err != nil || after.State != admin.BreakerOpen {
		t.Errorf("SetBreaker: %+v, %v", after, err)
	}
	if r := testkit.Get(t, g.addr, "/a"); r.Status != 503 || !strings.Contains(r.Body, "circuit_open") {
		t.Errorf("the upstream's is open: %d %s", r.Status, r.Body)
	}
	ofServer.Trip(g.proxy.Now(), 0)
	g.reload(t, proxying(up, "}]"))
	if e.Breaker.Load() != nil || e.Live.Broken() || g.living.upstreams["up"].Breaker.Load() != nil {
		t.Error("breakers stay that are not configured")
	}
	if r := testkit.Get(t, g.addr, "/a"); r.Status != 200 {
		t.Errorf("without: %d %s", r.Status, r.Body)
	}
}

// An ejection lives over reloads; with the detection it ends.
func TestEjectionOverReloads(t *testing.T) {
	up := testkit.NewUpstream(t, "up")
	g := run(t, proxying(up, "}], outlier_detection: {consecutive_5xx: 3}"))
	e := g.endpoint(t)
	for range 3 {
		e.Passive.Observe(outlier.ServerError)
	}
	testkit.Eventually(t, testkit.Patience, "the ejection", e.Live.Ejected)
	v := g.view()
	if x := v.Endpoints[0]; x.State != admin.StateEjected || x.Ejected == nil || x.Ejected.Cause != "consecutive_5xx" || !x.Ejected.Enforced {
		t.Errorf("ejected: %+v, %+v", x, x.Ejected)
	}
	if !v.Panic {
		t.Error("the only endpoint is ejected, and there is no panic")
	}
	if r := testkit.Get(t, g.addr, "/a"); r.Status != 200 {
		t.Errorf("in a panic: %d %s", r.Status, r.Body)
	}
	g.reload(t, proxying(up, "}], outlier_detection: {consecutive_5xx: 4}"))
	if !e.Live.Ejected() {
		t.Error("a reload ended the ejection")
	}
	g.reload(t, proxying(up, "}], outlier_detection: {enabled: false}"))
	if e.Live.Ejected() {
		t.Error("the ejection outlives the detection")
	}
}

// An endpoint that joins others begins slowly, and one that is there at the
// start does not.
func TestSlowStartOfNewEndpoints(t *testing.T) {
	a, b := testkit.NewUpstream(t, "a"), testkit.NewUpstream(t, "b")
	const slow = "balance: {slow_start: {window: 1h, min_percent: 20}}"
	g := run(t, proxying(a, "}], "+slow))
	first := g.endpoint(t)
	g.reload(t, proxying(a, "}, {url: \""+b.URL()+"\"}], "+slow))
	second := g.running.Load().plan.upstreams[0].state.Endpoints[1]
	if first.Live.Ramp() != balancer.FullRamp || second.Live.Ramp() != balancer.FullRamp/5 {
		t.Errorf("ramps %d and %d", first.Live.Ramp(), second.Live.Ramp())
	}
	if x := g.view().Endpoints[1]; x.State != admin.StateWarming || x.RampPercent < 19 || x.RampPercent > 21 {
		t.Errorf("warming: %+v", x)
	}
}

// The adaptive limit keeps what it has learned.
func TestAdaptiveLimitOverReloads(t *testing.T) {
	up := testkit.NewUpstream(t, "up")
	g := run(t, proxying(up, "}], adaptive_concurrency: {max: 50}"))
	limit := g.living.upstreams["up"].Adaptive()
	g.reload(t, proxying(up, "}], adaptive_concurrency: {max: 60}"))
	if g.living.upstreams["up"].Adaptive() != limit || limit.Settings().Max != 60 {
		t.Errorf("after a reload: %+v", limit.Settings())
	}
	if c := g.view().Concurrency; c == nil || c.Max != 60 {
		t.Errorf("shown as %+v", c)
	}
	g.reload(t, proxying(up, "}]"))
	if g.living.upstreams["up"].Adaptive() != nil || g.view().Concurrency != nil {
		t.Error("the limit outlives its configuration")
	}
}

func discovering(path, rest string) string {
	return settings + "upstreams: [{name: up, discovery: {file: {path: " + path + "}}" + rest + "}]\nroutes: [{name: all, path: /*, upstream: up}]\n"
}

// Endpoints follow what discovery finds, without a new snapshot; those that stay
// keep their connections, and a source that fails changes nothing.
func TestDiscoveryIsFollowed(t *testing.T) {
	a, b := testkit.NewUpstream(t, "a"), testkit.NewUpstream(t, "b")
	dir := t.TempDir()
	list := func(urls ...string) {
		testkit.ReplaceFile(t, filepath.Join(dir, "servers.yaml"), "- "+strings.Join(urls, "\n- ")+"\n")
	}
	list(a.URL())
	g := run(t, discovering(filepath.Join(dir, "servers.yaml"), ", balance: {algorithm: round_robin}"))
	has := func(want int) func() bool { return func() bool { return len(g.view().Endpoints) == want } }
	if !has(1)() {
		t.Fatalf("at the start: %+v", g.view())
	}
	first, snapshot := g.endpoint(t), g.proxy.Snapshot()
	testkit.Get(t, g.addr, "/a")
	list(a.URL(), b.URL())
	testkit.Eventually(t, testkit.Patience, "the second server", has(2))
	if e := g.running.Load().plan.upstreams[0].state.Endpoints; e[0] != first && e[1] != first || g.proxy.Snapshot() != snapshot {
		t.Error("the first endpoint or the snapshot was replaced")
	}
	seen := map[string]bool{}
	for range 20 {
		seen[testkit.Get(t, g.addr, "/a").Body] = true
	}
	if len(seen) != 2 {
		t.Errorf("answers of %v", seen)
	}
	testkit.ReplaceFile(t, filepath.Join(dir, "servers.yaml"), "- {")
	testkit.Eventually(t, testkit.Patience, "the failure to show", func() bool { return g.view().Discovery.State == admin.DependencyDegraded })
	if !has(2)() || g.view().Discovery.Error == "" {
		t.Errorf("while it fails: %+v", g.view().Discovery)
	}
	list(b.URL())
	testkit.Eventually(t, testkit.Patience, "the first server to go", has(1))
	if !first.Live.Retired() {
		t.Error("the endpoint that is gone is not retired")
	}
	if r := testkit.Get(t, g.addr, "/a"); r.Body != "b\n" {
		t.Errorf("answer %q", r.Body)
	}
}

// A reload keeps what an unchanged source has found, and goes on with it while a
// changed one has not answered.
func TestDiscoveryOverReloads(t *testing.T) {
	a, b := testkit.NewUpstream(t, "a"), testkit.NewUpstream(t, "b")
	dir := t.TempDir()
	path := testkit.WriteFile(t, dir, "servers.json", fmt.Sprintf("[%q]", a.URL()))
	g := run(t, discovering(path, ""))
	before := g.endpoint(t)
	g.reload(t, discovering(path, ", first_byte_timeout: 3s"))
	if g.endpoint(t) != before {
		t.Error("the endpoint was replaced")
	}
	g.reload(t, discovering(filepath.Join(dir, "missing.json"), ""))
	if r := testkit.Get(t, g.addr, "/a"); g.endpoint(t) != before || r.Body != "a\n" {
		t.Errorf("with a source that has not answered: %d %q", r.Status, r.Body)
	}
	testkit.WriteFile(t, dir, "missing.json", fmt.Sprintf("[%q]", b.URL()))
	testkit.Eventually(t, testkit.Patience, "the other list", func() bool { return testkit.Get(t, g.addr, "/a").Body == "b\n" })
	g.reload(t, proxying(a, "}]"))
	if g.endpoint(t).Target != a.URL() || g.view().Discovery != nil {
		t.Errorf("without discovery: %+v", g.view())
	}
	if n := len(g.sources.Statuses()); n != 0 {
		t.Errorf("%d sources run", n)
	}
}

// /ready needs what the configuration says it does.
func TestReadyRequires(t *testing.T) {
	up := testkit.NewUpstream(t, "up")
	dir := t.TempDir()
	path := filepath.Join(dir, "servers.yaml")
	document := strings.Replace(discovering(path, ""), "server: {", "server: {ready_requires: [\"upstream:up\", \"discovery:up\"], ", 1)
	g := run(t, document)
	ready := func(want int) func() bool {
		return func() bool { return testkit.Get(t, g.addr, "/ready").Status == want }
	}
	testkit.Eventually(t, testkit.Patience, "to be ready but for the server", g.ready.Load)
	if !ready(503)() {
		t.Error("ready without servers")
	}
	if reasons := strings.Join(g.Status().NotReady, "; "); reasons != "upstream:up has no available endpoint; discovery:up has found no server" {
		t.Errorf("reasons %q", reasons)
	}
	testkit.WriteFile(t, dir, "servers.yaml", "- "+up.URL()+"\n")
	testkit.Eventually(t, testkit.Patience, "to be ready", ready(200))
	if _, _, err := g.SetEndpoint("up", strings.TrimPrefix(up.URL(), "http://"), admin.EndpointChange{Mode: admin.ModeDisabled}); err != nil {
		t.Fatal(err)
	}
	if !ready(503)() {
		t.Error("ready with the only server disabled")
	}
}

// Metrics show what upstreams do.
func TestUpstreamMetrics(t *testing.T) {
	up := testkit.NewUpstream(t, "up")
	g := run(t, proxying(up, `}], circuit_breaker: {upstream: {error_percent: 50}}, adaptive_concurrency: {}, health_check: {path: /}`))
	testkit.Get(t, g.addr, "/a")
	var text strings.Builder
	testkit.Eventually(t, testkit.Patience, "a probe", func() bool {
		text.Reset()
		g.WriteMetrics(&text)
		return strings.Contains(text.String(), `velocity_health_probes_total{upstream="up",endpoint="`+up.URL()+`",result="success"} 1`)
	})
	for _, want := range []string{
		`velocity_circuit_breaker_state{upstream="up",endpoint=""} 0`,
		`velocity_upstream_panic{upstream="up"} 0`,
		`velocity_upstream_concurrency{upstream="up"} 0`,
		`velocity_upstream_ejections_total{upstream="up",cause="consecutive_5xx",enforced="true"} 0`,
		`velocity_upstream_endpoint_weight{upstream="up",endpoint="` + up.URL() + `"} 1`,
	} {
		if !strings.Contains(text.String(), want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}
