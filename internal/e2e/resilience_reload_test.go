package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// optionSets differ in every option of an upstream that a reload may switch.
var optionSets = []string{
	`
balance: {algorithm: p2c, slow_start: {window: 1s}}
health_check: {path: /health, interval: 500ms}
outlier_detection: {consecutive_5xx: 3, base_ejection_time: 1s}
circuit_breaker: {server: {error_percent: 50}, upstream: {latency_limit: 5s}}
adaptive_concurrency: {min: 200}
`, `
balance: {algorithm: maglev, hash_on: "${header.X-Key}", max_load: 150, sticky: {secret: 0123456789abcdef0123456789abcdef}}
outlier_detection: {observe_only: true, interval: 1s}
circuit_breaker: {server: {consecutive_failures: 10}}
max_in_flight: 500
`, `
balance: {algorithm: least_connections, panic_threshold: 50, overprovision: 200}
outlier_detection: {enabled: false}
adaptive_concurrency: {min: 100, max: 500}
queue: {size: 100}
`, `
balance: {algorithm: ring, hash_on: "${client_ip}", sticky: {secret: another-secret-of-32-characters!, cookie: other}}
circuit_breaker: {upstream: {error_percent: 80}}
`,
}

// A reload may change every option of an upstream, and no request notices.
func reloadedOptions(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	revision := func(n int) string {
		return fleetDocument(f, optionSets[n%len(optionSets)], fmt.Sprintf(`headers: {response: {set: {X-Revision: "%d"}}}`, n))
	}
	g, path := start(t, revision(0))
	traffic := usualTraffic(g)
	traffic.Headers = func(client, n int) []string { return []string{"X-Key: " + keyOf(client, n)} }
	l := testkit.StartLoad(t, traffic)
	l.Run(200 * time.Millisecond)

	const reloads = 100
	var slowest time.Duration
	for n := 1; n <= reloads; n++ {
		testkit.ReplaceFile(t, path, revision(n))
		began := time.Now()
		reload(t, g)
		slowest = max(slowest, time.Since(began))
		if r := testkit.Get(t, g.Addr, "/plain"); r.Header.Get("X-Revision") != fmt.Sprint(n) {
			t.Fatalf("revision %q after reload %d", r.Header.Get("X-Revision"), n)
		}
		l.Run(10 * time.Millisecond) // some requests under each
	}
	all := l.Stop()
	table.add(t, scenarioFigures{"100 reloads that change all options of the upstream", all, none, 0, 0, "the slowest reload took " + millis(slowest)})
	wantNoneLost(t, all)
	if problems := strings.Count(g.Stderr(), `"level":"error"`); problems > 0 {
		t.Errorf("%d errors logged", problems)
	}
}

// What keeps a server out of service goes with the option that did it, and comes
// with it: requests get to a sick server only while nothing forbids it.
func reloadedWhileOut(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	const never = "balance: {algorithm: round_robin}\noutlier_detection: {enabled: false}\n"
	g, path := start(t, fleetDocument(f, never, ""))
	l := testkit.StartLoad(t, usualTraffic(g))
	f[2].behave(t, "status=500")
	f[2].setHealthy(t, false)
	var slowest time.Duration
	for _, c := range []struct{ state, option string }{
		{"ejected", "balance: {algorithm: round_robin}\noutlier_detection: {consecutive_5xx: 5}"},
		{"down", never + checkedOften},
		{"broken", never + "circuit_breaker: {server: {consecutive_failures: 5}}"},
		{"ejected", "balance: {algorithm: round_robin}\noutlier_detection: {consecutive_5xx: 5, interval: 1s}"},
	} {
		testkit.ReplaceFile(t, path, fleetDocument(f, c.option, ""))
		reload(t, g)
		slowest = max(slowest, f[2].waitState(t, g, c.state))
		wantShare(t, l.Run(200*time.Millisecond), "c", 0, 0)
		testkit.ReplaceFile(t, path, fleetDocument(f, never, ""))
		reload(t, g)
		if state := f[2].view(t, g).State; state != "up" {
			t.Errorf("%s: %s once nothing keeps the server out", c.state, state)
		}
		wantShare(t, l.Run(200*time.Millisecond), "c", 0.30, 0.37)
	}
	all := l.Stop()
	table.add(t, scenarioFigures{"reloads that take out and let in one of three", all, none, slowest, 0, "by ejection, health checks and a breaker; the server answers 500"})
	if n := len(all.Lost()) - len(all.Of("c")); n > 0 {
		t.Errorf("%d requests lost that the sick server never had", n)
	}
}

// A gateway is ready only while what it requires is.
func requiredUpstream(t *testing.T, table *figuresTable) {
	f := newFleet(t, 2)
	document := strings.Replace(fleetDocument(f, "outlier_detection: {enabled: false}\n"+checkedOften, retriedOften),
		"server: {", "server: {ready_requires: [\"upstream:fleet\"], ", 1)
	g, _ := start(t, document)
	ready := func(status int) func() bool {
		return func() bool {
			return testkit.Get(t, g.Addr, "/ready").Status == status && testkit.Get(t, g.Admin, "/ready").Status == status
		}
	}
	testkit.Eventually(t, testkit.Patience, "/ready at the start", ready(200))
	l := testkit.StartLoad(t, usualTraffic(g))
	f[0].kill(t)
	f[0].waitState(t, g, "down")
	l.Run(100 * time.Millisecond)
	if !ready(200)() {
		t.Error("not ready though one of two servers is up")
	}
	all := l.Stop()
	wantNoneLost(t, all)

	f[1].kill(t)
	began := time.Now()
	testkit.Eventually(t, testkit.Patience, "/ready to fail", ready(503))
	noticed := time.Since(began)
	if r := testkit.Get(t, g.Addr, "/health"); r.Status != 200 {
		t.Errorf("/health says %d", r.Status)
	}
	f[0].restart(t)
	began = time.Now()
	testkit.Eventually(t, testkit.Patience, "/ready to succeed again", ready(200))
	back := time.Since(began)
	table.add(t, scenarioFigures{"ready_requires, both servers killed", all, none, noticed, back, "the load ends before the second death"})
	wantWithin(t, "noticing", noticed, 1500*time.Millisecond)
	wantWithin(t, "being ready again", back, 1500*time.Millisecond)
}
