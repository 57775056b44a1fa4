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

// TestConsecutive ejects by rows of failures. Letters are those of observe.
func TestConsecutive(t *testing.T) {
	f := func(settings Settings, results, want string) {
		t.Helper()
		bubble(t, func(w *world) {
			targets := fleet(3)
			w.Set("users", settings, targets)
			w.observe(targets[0].Passive, results)
			got := ""
			if s := w.Status("users")[0]; s.Ejected {
				got = s.Cause.String()
			}
			if got != want || targets[0].Passive.Endpoint().Ejected() != (want != "") {
				t.Errorf("%+v, %s: %q, want %q", settings, results, got, want)
			}
		})
	}
	defaults := Settings{}
	f(defaults, "eeee", "")
	f(defaults, "eeeee", "consecutive_5xx")
	f(defaults, "eeeeseeee", "")
	f(defaults, "ggggg", "consecutive_gateway")
	f(defaults, "lllll", "consecutive_gateway")
	f(defaults, "glglg", "consecutive_gateway")
	f(defaults, "ggegg", "consecutive_5xx")
	f(Settings{ConsecutiveGateway: Off}, "ggggg", "consecutive_5xx")
	f(Settings{Consecutive5xx: Off}, "eeeeeeeeee", "")
	f(Settings{Consecutive5xx: Off}, "eegggge", "")
	f(Settings{Consecutive5xx: Off, ConsecutiveGateway: 2}, "egeg", "")
	f(Settings{Consecutive5xx: 10, ConsecutiveGateway: 3}, "eeeggg", "consecutive_gateway")
	f(Settings{ConsecutiveLocal: 2}, "ll", "") // takes effect only if split
	split := Settings{SplitLocal: true}
	f(split, "llll", "")
	f(split, "lllll", "consecutive_local")
	f(split, "lllleeee", "")
	f(split, "eelleellel", "consecutive_5xx")
	f(split, "llllsllll", "")
	f(Settings{SplitLocal: true, ConsecutiveLocal: Off}, "llllllllll", "")
	f(Settings{Consecutive5xx: 1}, "e", "consecutive_5xx")
}

// TestEjectionTimes: each ejection is longer, to a limit, and each interval in
// service makes the next one shorter.
func TestEjectionTimes(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(3)
		a := targets[0].Passive
		w.Set("users", Settings{MaxEjection: 75 * time.Second}, targets)
		w.observe(a, "eeeee")
		w.want("0s a out: consecutive_5xx, 30s, times 1, enforced true")
		advance(30*time.Second - 1)
		w.want()
		if !a.Endpoint().Ejected() {
			t.Error("returned early")
		}
		advance(1)
		w.want("30s a back: expired, enforced true")
		if a.Endpoint().Ejected() || !a.Endpoint().Available() {
			t.Error("the endpoint is not available again")
		}
		w.observe(a, "eeeee")
		w.want("30s a out: consecutive_5xx, 1m0s, times 2, enforced true")
		advance(time.Minute)
		w.observe(a, "eeeee")
		w.want("1m30s a back: expired, enforced true", "1m30s a out: consecutive_5xx, 1m15s, times 3, enforced true")
		advance(75 * time.Second) // to 2m45s
		w.observe(a, "eeeee")     // times stays at the first one of the longest
		w.want("2m45s a back: expired, enforced true", "2m45s a out: consecutive_5xx, 1m15s, times 3, enforced true")

		// It returns at 4m0s, just before that interval's end. The ends at 4m10s
		// and 4m20s each take one off.
		advance(75*time.Second + 20*time.Second)
		if s := w.Status("users")[0]; s.Times != 1 || s.Ejected {
			t.Errorf("status %+v, want times 1", s)
		}
		w.observe(a, "eeeee")
		w.want("4m0s a back: expired, enforced true", "4m20s a out: consecutive_5xx, 1m0s, times 2, enforced true")
	})
}

// TestReturnIsClean: failures before the return and while out count for nothing.
func TestReturnIsClean(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(3)
		a := targets[0].Passive
		w.Set("users", Settings{Consecutive5xx: 5, ConsecutiveGateway: 3}, targets)
		w.observe(a, "eeggg") // the row of 5xx is at its limit too
		w.observe(a, "eeee")  // still on their way when it was ejected
		advance(30 * time.Second)
		w.want("0s a out: consecutive_gateway, 30s, times 1, enforced true", "30s a back: expired, enforced true")
		w.observe(a, "eeee")
		w.want()
		w.observe(a, "e")
		w.want("30s a out: consecutive_5xx, 1m0s, times 2, enforced true")
	})
}

func TestMaxEjectionPercent(t *testing.T) {
	f := func(percent, n, want int) {
		t.Helper()
		bubble(t, func(w *world) {
			targets := fleet(n)
			w.Set("users", Settings{MaxEjectionPercent: percent}, targets)
			for _, target := range targets {
				w.observe(target.Passive, "eeeee")
			}
			c := w.Counters("users")
			if c.Out != want || c.Detected[Consecutive5xx] != uint64(n) || c.Overflow != uint64(n-want) || c.Ejected[Consecutive5xx] != uint64(want) {
				t.Errorf("%d%% of %d: counters %+v, want %d out", percent, n, c, want)
			}
		})
	}
	f(0, 1, 1) // one always may be
	f(0, 9, 1)
	f(0, 10, 1)
	f(0, 19, 1)
	f(0, 20, 2)
	f(Off, 20, 1)
	f(50, 3, 1)
	f(50, 4, 2)
	f(99, 4, 3)
	f(100, 4, 4)
	f(1000, 4, 4)
}

// TestOverflowIsDetectedAgain: an endpoint that may not be ejected is found again
// after another row, when there may be room.
func TestOverflowIsDetectedAgain(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(3)
		w.Set("users", Settings{}, targets)
		w.observe(targets[0].Passive, "eeeee")
		w.observe(targets[1].Passive, "eeeee")
		advance(30 * time.Second)
		w.want("0s a out: consecutive_5xx, 30s, times 1, enforced true", "30s a back: expired, enforced true")
		w.observe(targets[1].Passive, "eeee")
		w.want()
		w.observe(targets[1].Passive, "e")
		w.want("30s b out: consecutive_5xx, 30s, times 1, enforced true")
	})
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
