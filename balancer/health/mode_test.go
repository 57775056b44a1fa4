package health

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/salgue441/velocity/balancer"
)

func TestDisabledIsNotProbed(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		a, b := target(false), target(false)
		c.Set("users", steady(), []Target{a, b})
		probeUntil(s, a.Endpoint, 2)
		a.Endpoint.SetMode(balancer.Disabled)
		b.Endpoint.SetMode(balancer.Drained)
		n, m := len(s.of(a.Endpoint)), len(s.of(b.Endpoint))
		advance(time.Minute)
		if got := len(s.of(a.Endpoint)); got != n {
			t.Errorf("%d probes while disabled", got-n)
		}
		if got := len(s.of(b.Endpoint)) - m; got < 50 {
			t.Errorf("%d probes in a minute while drained", got)
		}
		if status := c.Status("users"); !status[0].Paused || !status[0].Up || status[0].Succeeded != 0 || status[1].Paused {
			t.Errorf("status %+v", status)
		}

		// Enabled again it is probed at once with Wake, and within its interval
		// without.
		a.Endpoint.SetMode(balancer.Enabled)
		c.Wake("users", a.Endpoint)
		synctest.Wait()
		if got := len(s.of(a.Endpoint)); got != n+1 {
			t.Errorf("%d probes right after Wake, want 1", got-n)
		}
		if c.Status("users")[0].Paused {
			t.Error("still paused")
		}
		a.Endpoint.SetMode(balancer.Disabled)
		advance(10 * time.Second)
		n = len(s.of(a.Endpoint))
		a.Endpoint.SetMode(balancer.Enabled)
		advance(1500 * time.Millisecond)
		if got := len(s.of(a.Endpoint)); got == n {
			t.Error("not probed again without Wake")
		}
	})
}

// TestPausedAreSpread: endpoints that are disabled together and enabled together,
// without Wake, are not probed together.
func TestPausedAreSpread(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		targets := make([]Target, 1000)
		for i := range targets {
			targets[i] = target(false)
			targets[i].Endpoint.SetMode(balancer.Disabled)
		}
		c.Set("users", Probe{Interval: time.Second}, targets)
		advance(500 * time.Millisecond)
		for _, target := range targets {
			target.Endpoint.SetMode(balancer.Enabled)
		}
		perTenth := make(map[int64]int)
		begun := time.Now()
		advance(time.Second)
		for _, target := range targets {
			if len(s.of(target.Endpoint)) == 0 {
				t.Fatal("an endpoint was not probed within its interval")
			}
			perTenth[s.of(target.Endpoint)[0].at.Sub(begun).Milliseconds()/100]++
		}
		for tenth, count := range perTenth {
			if count > 200 {
				t.Errorf("%d of 1000 within tenth %d of a second", count, tenth)
			}
		}
	})
}

// TestFirstResultAfterPauseDecides: what was found before the endpoint was disabled
// is too old to be put against a new result.
func TestFirstResultAfterPauseDecides(t *testing.T) {
	f := func(before, after bool) {
		t.Helper()
		bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
			a := target(false)
			c.Set("users", Probe{Interval: time.Second, Rise: 5, Fall: 5}, []Target{a})
			probeUntil(s, a.Endpoint, 1)
			s.set(a.Endpoint, !before)
			probeUntil(s, a.Endpoint, 7)
			if a.Endpoint.Up() != before {
				t.Fatalf("up %v before the pause", !before)
			}
			a.Endpoint.SetMode(balancer.Disabled)
			advance(10 * time.Second)
			if a.Endpoint.Up() != before {
				t.Errorf("before %v: the flag changed while disabled", before)
			}
			s.set(a.Endpoint, !after)
			a.Endpoint.SetMode(balancer.Enabled)
			c.Wake("users", a.Endpoint)
			synctest.Wait()
			if a.Endpoint.Up() != after {
				t.Errorf("before %v, after %v: up %v after one result", before, after, !after)
			}
			s.set(a.Endpoint, after)
			probeUntil(s, a.Endpoint, len(s.of(a.Endpoint))+4)
			if a.Endpoint.Up() != after {
				t.Errorf("before %v, after %v: changed before rise or fall", before, after)
			}
		})
	}
	f(true, true)
	f(true, false)
	f(false, true)
	f(false, false)
}

// TestRoundDoesNotWaitForDisabled also has an endpoint that is new and disabled
// come up by its first success.
func TestRoundDoesNotWaitForDisabled(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		a, b := target(false), target(false)
		a.Endpoint.SetMode(balancer.Disabled)
		c.Set("users", steady(), []Target{a, b})
		if err := c.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(s.of(a.Endpoint)) != 0 || a.Endpoint.Up() || !b.Endpoint.Up() {
			t.Error("probed, or up, though disabled")
		}
		a.Endpoint.SetMode(balancer.Enabled)
		c.Wake("users", a.Endpoint)
		synctest.Wait()
		if !a.Endpoint.Up() {
			t.Error("not up after the first success")
		}
		c.Wake("users", balancer.NewEndpoint(1, true)) // of no upstream
		c.Wake("carts", a.Endpoint)
	})
}

// TestIntervals looks at the gaps in each state.
func TestIntervals(t *testing.T) {
	gaps := func(s *stub, e *balancer.Endpoint, from int) (shortest, longest time.Duration) {
		probes := s.of(e)
		shortest = time.Hour
		for i := from; i < len(probes); i++ {
			gap := probes[i].at.Sub(probes[i-1].at)
			shortest, longest = min(shortest, gap), max(longest, gap)
		}
		return shortest, longest
	}
	f := func(name string, probe Probe, up bool, want time.Duration) {
		t.Helper()
		bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
			a := target(up)
			s.set(a.Endpoint, !up)
			c.Set("users", probe, []Target{a})
			advance(100 * want)
			shortest, longest := gaps(s, a.Endpoint, 2)
			if shortest < want*9/10 || longest > want*11/10 || len(s.of(a.Endpoint)) < 50 {
				t.Errorf("%s: gaps %v to %v, want about %v", name, shortest, longest, want)
			}
		})
	}
	f("up", Probe{Interval: time.Second, DownInterval: time.Minute, FastInterval: time.Hour}, true, time.Second)
	f("down", Probe{Interval: time.Second}, false, time.Second)
	f("down, slower", Probe{Interval: time.Second, DownInterval: 10 * time.Second, FastInterval: time.Hour}, false, 10*time.Second)
	f("down, faster", Probe{Interval: 10 * time.Second, DownInterval: time.Second}, false, time.Second)

	changing := func(name string, probe Probe, up bool, want time.Duration) {
		t.Helper()
		bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
			probe.Rise, probe.Fall = 1000, 1000
			a := target(true)
			if !up {
				probe.Fall = 1
				s.set(a.Endpoint, true)
			}
			c.Set("users", probe, []Target{a})
			probeUntil(s, a.Endpoint, 2)
			s.set(a.Endpoint, up)
			from := len(s.of(a.Endpoint)) + 2
			probeUntil(s, a.Endpoint, from+20)
			if shortest, longest := gaps(s, a.Endpoint, from); shortest < want*9/10 || longest > want*11/10 {
				t.Errorf("%s: gaps %v to %v, want about %v", name, shortest, longest, want)
			}
		})
	}
	changing("up and failing, fast", Probe{Interval: 10 * time.Second, FastInterval: time.Second}, true, time.Second)
	changing("up and failing", Probe{Interval: 5 * time.Second, DownInterval: time.Second}, true, 5*time.Second)
	changing("down and succeeding, fast", Probe{Interval: 10 * time.Second, FastInterval: time.Second}, false, time.Second)
	changing("down and succeeding", Probe{Interval: 10 * time.Second, DownInterval: 5 * time.Second}, false, 5*time.Second)
}
