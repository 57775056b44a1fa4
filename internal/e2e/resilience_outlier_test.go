package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// p2c sees that a server is slow before any limit does.
func slowServer(t *testing.T, table *figuresTable) {
	share := map[string]float64{}
	for _, algorithm := range []string{"round_robin", "p2c"} {
		f := newFleet(t, 3)
		g, _ := start(t, fleetDocument(f, "balance: {algorithm: "+algorithm+"}", ""))
		for _, s := range f {
			s.behave(t, "delay=1ms")
		}
		l := testkit.StartLoad(t, usualTraffic(g))
		l.Run(500 * time.Millisecond)
		f[2].behave(t, "delay=50ms")
		l.Run(200 * time.Millisecond)
		from := l.Now()
		l.Run(1500 * time.Millisecond)
		slow := l.Stop().Between(from, from+1500*time.Millisecond) // also those that end later
		wantNoneLost(t, slow)
		share[algorithm] = slow.Share("c")
		table.add(t, scenarioFigures{scenario: "one of three 50 times slower, " + algorithm, samples: slow, share: slow.Share("c")})
	}
	if s := share["round_robin"]; s < 0.28 || s > 0.38 {
		t.Errorf("round_robin gives the slow server %.1f %%, want a third", 100*s)
	}
	if s := share["p2c"]; s > 0.1 {
		t.Errorf("p2c gives the slow server %.1f %%, want at most 10 %%", 100*s)
	}
}

// A server that answers 500 to everything is out after five of them, for longer
// each time.
func errorBursts(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	g, _ := start(t, fleetDocument(f, `
balance: {algorithm: round_robin}
outlier_detection: {consecutive_5xx: 5, base_ejection_time: 1s, ejection_jitter: 0s}
`, ""))
	l := testkit.StartLoad(t, usualTraffic(g))
	l.Run(300 * time.Millisecond)

	f[2].behave(t, "status=500")
	noticed := f[2].waitState(t, g, "ejected")
	out := make([]time.Duration, 2)
	var during testkit.Samples
	for i := range out {
		e := f[2].view(t, g).Ejected
		testkit.Eventually(t, testkit.Patience, fmt.Sprintf("ejection %d", i+1), func() bool {
			e = f[2].view(t, g).Ejected
			return e != nil && e.Times == i+1
		})
		out[i] = e.Until.Sub(e.Since)
		if i == len(out)-1 {
			f[2].behave(t, "")
		}
		// What was under way at the first moment may still arrive.
		from, to := l.At(e.Since)+20*time.Millisecond, l.At(e.Until)
		testkit.Eventually(t, testkit.Patience, "the end of the ejection", func() bool { return l.Now() > to })
		during = append(during, l.Samples().Between(from, to-5*time.Millisecond)...)
	}
	healed := l.Now()
	back := f[2].waitAnswering(t, l, healed)
	f[2].waitState(t, g, "up")
	wantShare(t, l.Run(500*time.Millisecond), "c", 0.30, 0.37)

	all := l.Stop()
	table.add(t, scenarioFigures{
		"one of three answers 500", all, during.Share("c"), noticed, back,
		fmt.Sprintf("out for %v, then %v; back after the end of the second", out[0].Round(time.Millisecond), out[1].Round(time.Millisecond)),
	})
	wantShare(t, during, "c", 0, 0)
	wantWithin(t, "noticing", noticed, 500*time.Millisecond)
	wantWithin(t, "coming back", back, 500*time.Millisecond)
	if out[0] < 900*time.Millisecond || out[0] > 1100*time.Millisecond || out[1] < out[0]*3/2 {
		t.Errorf("out for %v, then %v, want 1 s and then longer", out[0], out[1])
	}
	// Without retries clients see what it took to find out: five, and what was
	// under way, each time.
	if lost := len(all.Lost()); lost < 10 || lost > 2*(5+24) {
		t.Errorf("%d requests lost, want 10 to 58: %v", lost, all.Lost().Outcomes())
	}
}

// observe_only counts what it would have done and does nothing.
func observedOutlier(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	g, _ := start(t, fleetDocument(f, `
balance: {algorithm: round_robin}
outlier_detection: {observe_only: true, consecutive_gateway_errors: 0, base_ejection_time: 300ms, ejection_jitter: 0s}
`, ""))
	f[2].behave(t, "status=500")
	l := testkit.StartLoad(t, usualTraffic(g))
	all := l.Run(time.Second)
	l.Stop()

	observed, enforced := 0.0, 0.0
	for series, v := range testkit.Scrape(t, g.Admin) {
		if strings.HasPrefix(series, "velocity_upstream_ejections_total{") {
			if strings.Contains(series, `enforced="true"`) {
				enforced += v
			} else {
				observed += v
			}
		}
	}
	table.add(t, scenarioFigures{"one of three answers 500, observe_only", all, all.Share("c"), 0, 0, fmt.Sprintf("%v ejections counted, none made", observed)})
	wantShare(t, all, "c", 0.30, 0.37)
	if observed == 0 || enforced != 0 {
		t.Errorf("%v ejections observed and %v made, want some and none", observed, enforced)
	}
}

// When every server fails its check, the check is not believed, unless told so.
func allUnhealthy(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	g, path := start(t, fleetDocument(f, "balance: {algorithm: round_robin}\n"+checkedOften, ""))
	l := testkit.StartLoad(t, usualTraffic(g))
	l.Run(300 * time.Millisecond)
	began := time.Now()
	for _, s := range f {
		s.setHealthy(t, false)
	}
	testkit.Eventually(t, testkit.Patience, "panic", func() bool { return viewOf(t, g, "fleet").Panic })
	noticed := time.Since(began)
	panicking := l.Run(500 * time.Millisecond)
	all := l.Stop()
	table.add(t, scenarioFigures{"all fail their health checks", all, none, noticed, 0, "panic: all get requests"})
	wantNoneLost(t, all)
	wantWithin(t, "panicking", noticed, 1500*time.Millisecond)
	for _, s := range f {
		wantShare(t, panicking, s.name, 0.2, 0.5)
	}
	if v := testkit.Scrape(t, g.Admin).Value(t, `velocity_upstream_panic{upstream="fleet"}`); v != 1 {
		t.Errorf("the metric of panic says %v", v)
	}

	testkit.ReplaceFile(t, path, fleetDocument(f, "balance: {panic_threshold: 0}\n"+checkedOften, ""))
	reload(t, g)
	l = testkit.StartLoad(t, usualTraffic(g))
	refused := l.Run(300 * time.Millisecond)
	if n := len(refused.Where(func(s *testkit.Sample) bool { return s.Status == 503 })); n != len(refused) || n == 0 {
		t.Errorf("%d of %d requests answered 503 without panic", n, len(refused))
	}
	wantCode(t, testkit.Get(t, g.Addr, "/plain"), 503, "no_healthy_endpoint")
	healed := l.Now()
	for _, s := range f {
		s.setHealthy(t, true)
	}
	var back time.Duration
	testkit.Eventually(t, testkit.Patience, "an answer", func() bool {
		back = l.Now() - healed
		return len(l.Samples().Between(healed, l.Now()).Where(func(s *testkit.Sample) bool { return s.Status == 200 })) > 0
	})
	all = l.Stop()
	table.add(t, scenarioFigures{"the same with panic_threshold 0", all, none, 0, back, "503 no_healthy_endpoint meanwhile"})
	wantWithin(t, "coming back", back, 1500*time.Millisecond)
}

// reload has the gateway read its file.
func reload(t *testing.T, g *testkit.Process) {
	t.Helper()
	if r := testkit.Do(t, g.Admin, "POST", "/admin/v1/reload", "Content-Length: 0"); r.Status != 200 {
		t.Fatalf("reload: status %d: %s", r.Status, r.Body)
	}
}

// wantCode fails unless an answer is the gateway's own with this code.
func wantCode(t *testing.T, r testkit.Response, status int, code string) {
	t.Helper()
	var problem struct{ Code string }
	if r.Status == status {
		r.JSON(t, &problem)
	}
	if problem.Code != code {
		t.Errorf("status %d, code %q, want %d %s", r.Status, problem.Code, status, code)
	}
}
