package e2e

import (
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// checkedOften are health checks at the pace of tests.
const checkedOften = `health_check: {path: /health, interval: 200ms, timeout: 150ms, rise: 2, fall: 2}`

// retriedOften lets all clients' requests be sent again at a time: on a machine
// that stalls they may all fail at once.
const retriedOften = `retries: {attempts: 2, on: [connect_failure, reset_before_response], budget: {percent: 100, min: 24}}`

// kill -9 of one server of three costs no client anything.
func killedServer(t *testing.T, table *figuresTable) {
	all := killOne(t, table, "kill -9 of one of three", retriedOften)
	wantNoneLost(t, all)
}

// Without options of the route a client loses what the server had begun, and
// what is beyond the budget of retries: at most one request.
func killedServerByDefault(t *testing.T, table *figuresTable) {
	all := killOne(t, table, "the same with the default retries", "")
	if lost := len(all.Lost()); lost > 24 {
		t.Errorf("%d requests lost, want at most one of each client: %v", lost, all.Lost().Outcomes())
	}
}

func killOne(t *testing.T, table *figuresTable, name, route string) testkit.Samples {
	t.Helper()
	f := newFleet(t, 3)
	g, _ := start(t, fleetDocument(f, `
balance: {algorithm: round_robin}
outlier_detection: {base_ejection_time: 1s, ejection_jitter: 0s}
`+checkedOften, route))
	l := testkit.StartLoad(t, usualTraffic(g))
	wantShare(t, l.Run(time.Second), "c", 0.30, 0.37)

	f[2].kill(t)
	noticed := f[2].waitState(t, g, "down", "ejected")
	f[2].waitState(t, g, "down")
	without := l.Run(time.Second)

	f[2].restart(t)
	back := f[2].waitAnswering(t, l, l.Now())
	f[2].waitState(t, g, "up")
	wantShare(t, l.Run(time.Second), "c", 0.30, 0.37)

	all := l.Stop()
	table.add(t, scenarioFigures{name, all, without.Share("c"), noticed, back, ""})
	wantWithin(t, "noticing", noticed, 700*time.Millisecond) // two probes, or five failures
	wantWithin(t, "coming back", back, 3*time.Second)        // an ejection, and two probes
	wantShare(t, without, "c", 0, 0)
	return all
}

// A server that is stopped takes connections and answers none. Every request
// that it gets costs its client one time limit and no more.
func frozenServer(t *testing.T, table *figuresTable) {
	const limit = 250 * time.Millisecond
	f := newFleet(t, 3)
	g, _ := start(t, fleetDocument(f, `
balance: {algorithm: round_robin}
outlier_detection: {base_ejection_time: 1s, ejection_jitter: 0s}
`+checkedOften, `
retries:
  attempts: 2
  on: [connect_failure, reset_before_response, timeout]
  per_attempt_timeout: 250ms
  back_off: {base: 0s}
  budget: {percent: 100, min: 24}
`))
	l := testkit.StartLoad(t, usualTraffic(g))
	l.Run(500 * time.Millisecond)

	f[2].freeze(t)
	began := l.Now()
	noticed := f[2].waitState(t, g, "down", "ejected")
	f[2].waitState(t, g, "down")
	without := l.Run(time.Second)

	thawed := l.Now()
	f[2].thaw(t)
	back := f[2].waitAnswering(t, l, thawed)
	f[2].waitState(t, g, "up")
	wantShare(t, l.Run(time.Second), "c", 0.30, 0.37)

	all := l.Stop()
	table.add(t, scenarioFigures{"SIGSTOP of one of three", all, without.Share("c"), noticed, back, "a time limit of 250 ms for an attempt"})
	wantNoneLost(t, all)
	wantWithin(t, "noticing", noticed, time.Second)
	wantWithin(t, "coming back", back, 3*time.Second)
	wantWithin(t, "the slowest request", all.Percentile(100), 2*limit) // two limits would be more
	wantWithin(t, "the slowest request once the server is down", without.Percentile(99), limit/2)
	slow := all.Between(began, thawed).Where(func(s *testkit.Sample) bool { return s.Took > limit/2 })
	if n := len(slow); n == 0 || n > 3*24 {
		t.Errorf("%d requests met the frozen server, want a few: at most three of each client", n)
	}
}

// A server whose process comes and goes costs clients nothing either.
func flappingServer(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	g, _ := start(t, fleetDocument(f, `
balance: {algorithm: round_robin}
outlier_detection: {base_ejection_time: 200ms, ejection_jitter: 0s}
`+checkedOften, retriedOften))
	l := testkit.StartLoad(t, usualTraffic(g))
	l.Run(300 * time.Millisecond)
	var answered int
	for range 4 {
		f[2].kill(t)
		l.Run(500 * time.Millisecond)
		f[2].restart(t)
		answered += len(l.Run(500 * time.Millisecond).Of("c"))
	}
	at := l.Now()
	back := f[2].waitAnswering(t, l, at)
	all := l.Stop()
	table.add(t, scenarioFigures{"one of three killed and restarted every second", all, all.Share("c"), 0, back, "four times"})
	wantNoneLost(t, all)
	if answered == 0 {
		t.Error("the server never answered between its deaths")
	}
}
