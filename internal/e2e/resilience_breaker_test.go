package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// A server whose circuit breaker is open gets nothing; the others serve. It comes
// back by way of a few probes and a growing share.
func serverBreaker(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	g, _ := start(t, fleetDocument(f, `
balance: {algorithm: round_robin}
outlier_detection: {enabled: false}
circuit_breaker:
  server: {window: 200ms, min_requests: 10, error_percent: 50, open_for: 500ms, probes: 2, ramp: 1s}
`, ""))
	l := testkit.StartLoad(t, usualTraffic(g))
	l.Run(300 * time.Millisecond)

	f[2].behave(t, "status=500")
	noticed := f[2].waitState(t, g, "broken")
	lost := len(l.Samples().Lost())
	b := f[2].view(t, g).CircuitBreaker
	if b.RetryAt == nil {
		t.Fatalf("the breaker of a broken server: %+v", b)
	}
	testkit.Eventually(t, testkit.Patience, "the breaker to open again", func() bool { return f[2].view(t, g).CircuitBreaker.Opened >= 2 })
	probed := len(l.Samples().Lost()) - lost
	// What was under way at the first moment may still arrive.
	open := l.Samples().Between(l.At(*b.Since)+20*time.Millisecond, l.At(*b.RetryAt)-5*time.Millisecond)
	f[2].behave(t, "")
	healed := l.Now()
	back := f[2].waitAnswering(t, l, healed)
	early := l.Run(300 * time.Millisecond)
	testkit.Eventually(t, testkit.Patience, "the breaker to close", func() bool { return f[2].view(t, g).CircuitBreaker.State == "closed" })
	closed := l.Now() - healed
	late := l.Run(500 * time.Millisecond)

	all := l.Stop()
	table.add(t, scenarioFigures{"one of three answers 500, its breaker opens", all, open.Share("c"), noticed, back, fmt.Sprintf(
		"%d failures until it opened, %d by probes; share %.0f %% at first, closed after %s", lost, probed, 100*early.Share("c"), millis(closed))})
	wantWithin(t, "opening", noticed, time.Second)
	wantShare(t, open, "c", 0, 0)
	wantWithin(t, "coming back", back, 1500*time.Millisecond)
	wantWithin(t, "closing", closed, 4*time.Second)
	wantShare(t, early, "c", 0.001, 0.25)
	wantShare(t, late, "c", 0.30, 0.37)
	if probed > 2*2 {
		t.Errorf("%d requests failed as probes of a half-open breaker, want at most 2 each time", probed)
	}
	if n := len(all.Between(healed+back, l.Now()).Lost()); n > 0 {
		t.Errorf("%d requests lost after the server was well again", n)
	}
}

// When the breakers of all servers are open, requests are refused at once.
func allBroken(t *testing.T, table *figuresTable) {
	f := newFleet(t, 2)
	g, _ := start(t, fleetDocument(f, `
outlier_detection: {enabled: false}
circuit_breaker: {server: {consecutive_failures: 5, open_for: 1500ms, ramp: 0s}}
`, ""))
	l := testkit.StartLoad(t, usualTraffic(g))
	l.Run(200 * time.Millisecond)
	for _, s := range f {
		s.behave(t, "status=500")
	}
	noticed := f[0].waitState(t, g, "broken")
	f[1].waitState(t, g, "broken")
	opened := l.Now()
	wantCode(t, testkit.Get(t, g.Addr, "/plain"), 503, "circuit_open")
	open := l.Run(300 * time.Millisecond)
	if l.Now()-opened > time.Second {
		t.Fatal("the machine is too slow to see what open breakers do")
	}
	for _, s := range f {
		s.behave(t, "")
	}
	healed := l.Now()
	back := f[0].waitAnswering(t, l, healed)
	for _, s := range f {
		s.waitState(t, g, "up")
	}
	wantNoneLost(t, l.Run(200*time.Millisecond))
	l.Stop()
	table.add(t, scenarioFigures{"the breakers of all servers open", open, none, noticed, back, "503 circuit_open meanwhile"})
	if n := len(open.Where(func(s *testkit.Sample) bool { return s.Status == 503 && s.Instance == "" })); n != len(open) {
		t.Errorf("%d of %d requests were answered 503 by the gateway, want all: %v", n, len(open), open.Outcomes())
	}
	wantWithin(t, "the answer of open breakers", open.Percentile(99), 50*time.Millisecond)
	wantWithin(t, "coming back", back, 2500*time.Millisecond)
}

// An upstream whose circuit breaker is open is answered for at once: with an
// error, or by the fallback.
func upstreamBreaker(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	other := newServer(t, "other", serverHost()+":0")
	g, _ := start(t, documentOf("targets: "+f.targets()+`
outlier_detection: {enabled: false}
circuit_breaker:
  upstream: {window: 200ms, min_requests: 10, error_percent: 50, open_for: 1500ms, probes: 2, ramp: 500ms}
`, `  - {name: other, targets: [{url: "`+other.url()+`"}]}`, "")+`
  - {name: fixed, path: /fixed, upstream: fleet, fallback: {respond: {status: 200, content_type: application/json, body: "[]"}}}
  - {name: elsewhere, path: /elsewhere, upstream: fleet, fallback: {upstream: other}}
`)
	l := testkit.StartLoad(t, usualTraffic(g))
	l.Run(300 * time.Millisecond)
	for _, s := range f {
		s.behave(t, "status=500")
	}
	began := time.Now()
	isIn := func(state string) func() bool {
		return func() bool { return viewOf(t, g, "fleet").CircuitBreaker.State == state }
	}
	testkit.Eventually(t, testkit.Patience, "the breaker to open", isIn("open"))
	noticed := time.Since(began)

	opened := l.Now()
	wantCode(t, testkit.Get(t, g.Addr, "/plain"), 503, "circuit_open")
	if r := testkit.Get(t, g.Addr, "/fixed"); r.Status != 200 || r.Body != "[]" {
		t.Errorf("fallback.respond: status %d, body %q", r.Status, r.Body)
	}
	if r := testkit.Get(t, g.Addr, "/elsewhere"); r.Status != 200 || r.Header.Get("X-Echo-Instance") != "other" {
		t.Errorf("fallback.upstream: status %d by %q", r.Status, r.Header.Get("X-Echo-Instance"))
	}
	open := l.Run(400 * time.Millisecond)
	if !isIn("open")() || l.Now()-opened > 1400*time.Millisecond {
		t.Fatal("the machine is too slow to see what an open breaker does")
	}
	metrics := testkit.Scrape(t, g.Admin)
	for _, route := range []string{"fixed", "elsewhere"} {
		if v := metrics.Value(t, `velocity_fallbacks_total{route="`+route+`"}`); v != 1 {
			t.Errorf("%v fallbacks of %s counted, want 1", v, route)
		}
	}

	for _, s := range f {
		s.behave(t, "")
	}
	healed := l.Now()
	testkit.Eventually(t, testkit.Patience, "the breaker to half-open", func() bool { return !isIn("open")() })
	back := l.Now() - healed
	testkit.Eventually(t, testkit.Patience, "the breaker to close", isIn("closed"))
	closed := l.Now() - healed
	late := l.Run(300 * time.Millisecond)
	all := l.Stop()
	table.add(t, scenarioFigures{
		"all answer 500, the upstream's breaker opens", open, none, noticed, back,
		fmt.Sprintf("while it is open: 503 circuit_open, or the fallback; closed after %s", millis(closed)),
	})
	wantWithin(t, "opening", noticed, time.Second)
	wantWithin(t, "the answer of an open breaker", open.Percentile(99), 50*time.Millisecond)
	if n := len(open.Where(func(s *testkit.Sample) bool { return s.Status == 503 && s.Instance == "" })); n != len(open) {
		t.Errorf("%d of %d requests were answered 503 by the gateway, want all: %v", n, len(open), open.Outcomes())
	}
	wantWithin(t, "half-opening", back, 2*time.Second)
	wantWithin(t, "closing", closed, 4*time.Second)
	wantNoneLost(t, late)
	if len(all.Between(healed, healed+closed).Where(func(s *testkit.Sample) bool { return s.Status == 200 })) == 0 {
		t.Error("no request was let through before the breaker closed")
	}
}

// adaptiveConcurrency overloads a server that works on eight requests at a time,
// 10 ms on each: 800 in a second, of which 3,200 are wanted.
func adaptiveConcurrency(t *testing.T, table *figuresTable) {
	p99 := map[bool]time.Duration{}
	for _, adaptive := range []bool{false, true} {
		f := newFleet(t, 1)
		option, name := "", "a server with four times its load"
		if adaptive {
			option, name = "adaptive_concurrency: {}", "the same with adaptive_concurrency"
		}
		g, _ := start(t, fleetDocument(f, option, ""))
		f[0].behave(t, "delay=10ms&capacity=8")
		l := testkit.StartLoad(t, testkit.Traffic{Addr: g.Addr, Clients: 80, Pause: 25 * time.Millisecond})
		l.Run(1500 * time.Millisecond)
		const measured = 1500 * time.Millisecond
		from := l.Now()
		l.Run(measured)
		view := viewOf(t, g, "fleet")
		s := l.Stop().Between(from, from+measured) // also those that end later
		admitted := s.Of("a")
		p99[adaptive] = admitted.Percentile(99)
		limit := "no limit"
		if c := view.Concurrency; c != nil {
			limit = fmt.Sprintf("limit %d; %d turned away", c.Limit, len(s)-len(admitted))
		}
		rate := float64(len(admitted)) / measured.Seconds()
		table.add(t, scenarioFigures{name, admitted, none, 0, 0, fmt.Sprintf("%.0f/s served; %s", rate, limit)})
		if rate < 400 {
			t.Errorf("%.0f requests a second served, want nearly 800", rate)
		}
		if other := s.Where(func(s *testkit.Sample) bool { return s.Status != 200 && s.Status != 503 }); len(other) > 0 {
			t.Errorf("answers other than 200 and 503: %v", other.Outcomes())
		}
	}
	if p99[true] > p99[false]/2 {
		t.Errorf("p99 of those admitted is %v, and %v without the limit; want at most half", p99[true], p99[false])
	}
}
