package outlier

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Tests of the detector run in bubbles of testing/synctest: their time stands still
// until every goroutine waits, and then jumps to what is due next.

// advance lets time pass, and all that falls into it happen.
func advance(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // the bubble's clock
	synctest.Wait()
}

// world is a detector and what it reported.
type world struct {
	*Detector
	t     *testing.T
	begun time.Time

	mu      sync.Mutex
	reports []string
}

func (w *world) note(format string, a ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = append(w.reports, fmt.Sprintf("%v ", time.Since(w.begun).Truncate(time.Millisecond))+fmt.Sprintf(format, a...))
}

// bubble runs a test with a detector, and closes it.
func bubble(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, begun: time.Now()}
		w.Detector = New(Options{
			OnEject: func(e Ejection) {
				w.note("%s out: %v, %v, times %d, enforced %v", e.URL, e.Cause, e.Until.Sub(e.Since), e.Times, e.Enforced)
			},
			OnReturn: func(r Return) { w.note("%s back: %v, enforced %v", r.URL, r.Reason, r.Enforced) },
		})
		defer w.Close()
		test(w)
	})
}

// want compares what was reported since the last call.
func (w *world) want(reports ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.reports, reports) {
		w.t.Errorf("reports %q, want %q", w.reports, reports)
	}
	w.reports = nil
}

func (w *world) observe(p *Passive, results string) {
	observe(p, results)
	synctest.Wait()
}

func fleet(n int) []Target {
	targets := make([]Target, n)
	for i := range targets {
		targets[i] = Target{URL: string(rune('a' + i)), Passive: passive()}
	}
	return targets
}

func TestObserveOnly(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(20)
		w.Set("users", Settings{ObserveOnly: true}, targets)
		for _, target := range targets[:3] {
			w.observe(target.Passive, "eeeeeeeeee")
		}
		w.want("0s a out: consecutive_5xx, 30s, times 1, enforced false", "0s b out: consecutive_5xx, 30s, times 1, enforced false")
		for _, target := range targets {
			if target.Passive.Endpoint().Ejected() {
				t.Error("an endpoint was ejected")
			}
		}
		c := w.Counters("users")
		if c.Detected[Consecutive5xx] < 3 || c.Ejected != [Causes]uint64{} || c.Out != 2 || c.Overflow == 0 {
			t.Errorf("counters %+v", c)
		}
		if s := w.Status("users")[0]; !s.Ejected || s.Enforced {
			t.Errorf("status %+v", s)
		}
		advance(30 * time.Second)
		w.want("30s a back: expired, enforced false", "30s b back: expired, enforced false")
	})
}

func TestSwitchingEnforcement(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(3)
		a := targets[0].Passive
		w.Set("users", Settings{}, targets)
		w.observe(a, "eeeee")
		w.Set("users", Settings{ObserveOnly: true}, targets)
		w.want("0s a out: consecutive_5xx, 30s, times 1, enforced true", "0s a back: switched, enforced true")
		if a.Endpoint().Ejected() {
			t.Error("still ejected")
		}
		w.observe(a, "eeeee")
		w.Set("users", Settings{}, targets)
		w.want("0s a out: consecutive_5xx, 1m0s, times 2, enforced false", "0s a back: switched, enforced false")
	})
}

func TestEjectionJitter(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(50)
		w.Set("users", Settings{EjectionJitter: 10 * time.Second, MaxEjectionPercent: 100}, targets)
		lengths := make(map[time.Duration]bool)
		for i, target := range targets {
			w.observe(target.Passive, "eeeee")
			s := w.Status("users")[i]
			length := s.Until.Sub(s.Since)
			if length < 30*time.Second || length > 40*time.Second {
				t.Errorf("ejected for %v, want 30 s to 40 s", length)
			}
			lengths[length] = true
		}
		if len(lengths) < 40 {
			t.Errorf("%d different lengths of 50", len(lengths))
		}
		advance(40 * time.Second)
		if out := w.Counters("users").Out; out != 0 {
			t.Errorf("%d are still out", out)
		}
	})
}

// TestOneOutlierAtATime: an endpoint that is out is not found again.
func TestOneOutlierAtATime(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(3)
		w.Set("users", Settings{MaxEjectionPercent: 100, ConsecutiveGateway: 3}, targets)
		w.observe(targets[0].Passive, "eeggg") // both limits with one answer
		w.observe(targets[0].Passive, "eeeeeeeeeeeeggggg")
		w.want("0s a out: consecutive_gateway, 30s, times 1, enforced true")
		c := w.Counters("users")
		if c.Out != 1 || c.Detected != [Causes]uint64{ConsecutiveGateway: 1} || c.Overflow != 0 {
			t.Errorf("counters %+v", c)
		}
	})
}

// TestOtherFlagsStay: ejections and what others decide do not mix.
func TestOtherFlagsStay(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(2)
		e := targets[0].Passive.Endpoint()
		e.SetUp(false)
		w.Set("users", Settings{}, targets)
		w.observe(targets[0].Passive, "eeeee")
		if !e.Ejected() || e.Up() {
			t.Error("flags mixed up by the ejection")
		}
		advance(time.Minute)
		if e.Ejected() || e.Up() || e.Available() {
			t.Error("flags mixed up by the return")
		}
	})
}

func TestCloseReportsAndLeaves(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(2)
		w.Set("users", Settings{}, targets)
		w.observe(targets[0].Passive, "eeeee")
		w.Return(targets[0].Passive)
		w.observe(targets[0].Passive, "eeeee")
		w.Close()
		w.want("0s a out: consecutive_5xx, 30s, times 1, enforced true", "0s a back: released, enforced true",
			"0s a out: consecutive_5xx, 1m0s, times 2, enforced true")
		if !targets[0].Passive.Endpoint().Ejected() {
			t.Error("Close changed an endpoint")
		}
		w.Set("users", Settings{}, targets)
		if w.Status("users") != nil {
			t.Error("watched after Close")
		}
		w.Close()
	})
}

// TestCloseLosesNoEvent: what was decided before Close is told before it returns.
func TestCloseLosesNoEvent(t *testing.T) {
	for range 50 {
		returned := 0
		d := New(Options{OnReturn: func(Return) { returned++ }})
		target := Target{Passive: passive()}
		d.Set("users", Settings{}, []Target{target})
		d.mu.Lock()
		d.groups["users"].detect(target.Passive, Consecutive5xx, time.Now(), func() string { return "" })
		d.mu.Unlock()
		d.Return(target.Passive)
		d.Close()
		if returned != 1 {
			t.Fatalf("%d returns were reported, want 1", returned)
		}
	}
}

// TestCallbacksMayCallBack: a callback that calls the detector does not block it.
func TestCallbacksMayCallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d *Detector
		targets := fleet(2)
		returned := 0
		d = New(Options{
			OnEject: func(e Ejection) {
				d.Status(e.Upstream)
				d.Set(e.Upstream, Settings{Consecutive5xx: 7}, targets)
				d.Return(targets[0].Passive)
			},
			OnReturn: func(Return) { returned++ },
		})
		defer d.Close()
		d.Set("users", Settings{}, targets)
		observe(targets[0].Passive, "eeeee")
		synctest.Wait()
		if returned != 1 || targets[0].Passive.Endpoint().Ejected() {
			t.Errorf("returned %d times", returned)
		}
	})
}

func TestInjectedClock(t *testing.T) {
	now := epoch
	g := quiet(Settings{}, 2)
	g.detector.options.Now = func() time.Time { return now }
	g.detector.groups["users"] = g
	p := g.members[0]
	p.tripped.Store(1 << Consecutive5xx)
	g.detector.tripped.Store(p)
	if due, ok := g.detector.step(); !ok || !due.Equal(epoch.Add(10*time.Second)) || !p.endpoint.Ejected() {
		t.Errorf("due %v, ejected %v", due.Sub(epoch), p.endpoint.Ejected())
	}
	now = epoch.Add(25 * time.Second)
	if due, _ := g.detector.step(); !due.Equal(epoch.Add(30 * time.Second)) {
		t.Errorf("due %v, want the return at 30 s", due.Sub(epoch))
	}
	now = epoch.Add(30 * time.Second)
	if due, _ := g.detector.step(); !due.Equal(epoch.Add(35*time.Second)) || p.endpoint.Ejected() {
		t.Errorf("due %v, ejected %v", due.Sub(epoch), p.endpoint.Ejected())
	}
}

// TestManyUpstreams: each upstream has its own times and percentages.
func TestManyUpstreams(t *testing.T) {
	bubble(t, func(w *world) {
		users, orders := fleet(3), fleet(3)
		orders[0].URL = "x"
		w.Set("users", Settings{}, users)
		advance(time.Second)
		w.Set("orders", Settings{BaseEjection: 3 * time.Second}, orders)
		w.observe(users[0].Passive, "eeeee")
		w.observe(orders[0].Passive, "eeeee")
		w.want("1s a out: consecutive_5xx, 30s, times 1, enforced true", "1s x out: consecutive_5xx, 3s, times 1, enforced true")
		advance(3 * time.Second)
		w.want("4s x back: expired, enforced true")
		advance(27 * time.Second)
		w.want("31s a back: expired, enforced true")
		if c := w.Counters("users"); c.Out != 0 || c.Ejected[Consecutive5xx] != 1 {
			t.Errorf("counters %+v", c)
		}
		if w.Counters("carts") != (Counters{}) {
			t.Error("an unknown upstream has counters")
		}
	})
}

// TestSweepSkipsEjected: what was on its way at the ejection is not part
// of the interval in which the endpoint returns.
func TestSweepSkipsEjected(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(6)
		w.Set("users", Settings{BaseEjection: 15 * time.Second}, targets)
		w.observe(targets[0].Passive, "eeeee")
		serve(targets[0].Passive, 200, 200, 0)
		for _, target := range targets[1:] {
			serve(target.Passive, 200, 0, 0)
		}
		advance(10 * time.Second)
		if s := w.Status("users"); s[0].Rate != -1 || s[1].Rate != 100 {
			t.Errorf("rates %v and %v", s[0].Rate, s[1].Rate)
		}
		advance(10 * time.Second)
		w.want("0s a out: consecutive_5xx, 15s, times 1, enforced true", "15s a back: expired, enforced true")
	})
}
