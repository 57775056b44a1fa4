package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/salgue441/velocity/balancer"
)

// The tests of the checker run in bubbles of testing/synctest: their time stands
// still until every goroutine waits, and then jumps to what is due next.

// advance lets time pass, and all that falls into it happen.
func advance(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // the bubble's clock
	synctest.Wait()
}

var errSick = errors.New("status 500")

// stub is a Prober that endpoints answer as the test says.
type stub struct {
	latency time.Duration // of every answer

	mu      sync.Mutex
	sick    map[*balancer.Endpoint]bool
	probes  map[*balancer.Endpoint][]probed
	running int
	most    int // that ran at a time
}

type probed struct {
	at   time.Time
	path string
	url  string
}

func newStub() *stub {
	return &stub{sick: make(map[*balancer.Endpoint]bool), probes: make(map[*balancer.Endpoint][]probed)}
}

func (s *stub) Probe(ctx context.Context, probe Probe, target Target) error {
	s.mu.Lock()
	s.probes[target.Endpoint] = append(s.probes[target.Endpoint], probed{time.Now(), probe.Path, target.URL})
	s.running++
	s.most = max(s.most, s.running)
	s.mu.Unlock()
	var err error
	if s.latency > 0 {
		select {
		case <-time.After(s.latency):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if err == nil && s.sick[target.Endpoint] {
		err = errSick
	}
	return err
}

func (s *stub) set(e *balancer.Endpoint, sick bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sick[e] = sick
}

func (s *stub) of(e *balancer.Endpoint) []probed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.probes[e])
}

// steady is a probe whose second run is within 1 s of the first, and whose later
// ones are 0.9 to 1.1 s after the one before.
func steady() Probe { return Probe{Interval: time.Second} }

func target(up bool) Target {
	return Target{URL: "http://127.0.0.1:3000", Endpoint: balancer.NewEndpoint(1, up)}
}

// bubble runs a test with a checker over a stub, and closes the checker.
func bubble(t *testing.T, options Options, test func(t *testing.T, c *Checker, s *stub)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStub()
		options.Prober = s
		c := New(options)
		defer c.Close()
		test(t, c, s)
	})
}

// dues returns when the endpoints of an upstream are due.
func dues(c *Checker, upstream string) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var dues []time.Time
	for _, k := range c.upstreams[upstream] {
		dues = append(dues, k.due)
	}
	return dues
}

// probeUntil lets time pass until an endpoint has been probed n times in all.
func probeUntil(s *stub, e *balancer.Endpoint, n int) {
	synctest.Wait()
	for len(s.of(e)) < n {
		advance(10 * time.Millisecond)
	}
}

func TestCheckerSchedule(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		begun := time.Now()
		a := target(false)
		c.Set("users", Probe{Interval: 10 * time.Second}, []Target{a})
		advance(10 * time.Minute)
		probes := s.of(a.Endpoint)
		if !probes[0].at.Equal(begun) {
			t.Errorf("first probe after %v, want at once", probes[0].at.Sub(begun))
		}
		var shortest, longest time.Duration = time.Hour, 0
		for i := 1; i < len(probes); i++ {
			gap := probes[i].at.Sub(probes[i-1].at)
			if i == 1 {
				if gap > 10*time.Second {
					t.Errorf("second probe after %v, want at most 10 s", gap)
				}
				continue
			}
			shortest, longest = min(shortest, gap), max(longest, gap)
		}
		if shortest < 9*time.Second || longest > 11*time.Second {
			t.Errorf("intervals %v to %v, want 9 s to 11 s", shortest, longest)
		}
		if longest-shortest < 500*time.Millisecond {
			t.Errorf("intervals %v to %v hardly differ: no jitter", shortest, longest)
		}
	})
}

// TestCheckerIntervalFromStart: the time that a probe takes is part of its interval.
func TestCheckerIntervalFromStart(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		s.latency = 900 * time.Millisecond
		a := target(false)
		c.Set("users", steady(), []Target{a})
		advance(100 * time.Second)
		if n := len(s.of(a.Endpoint)); n < 90 || n > 115 {
			t.Errorf("%d probes in 100 s, want about 100", n)
		}
	})
}

func TestCheckerRiseAndFall(t *testing.T) {
	var events []Event
	options := Options{OnChange: func(e Event) { events = append(events, e) }}
	bubble(t, options, func(t *testing.T, c *Checker, s *stub) {
		a := target(false)
		n := 0
		step := func(sick bool, wantUp bool) {
			t.Helper()
			s.set(a.Endpoint, sick)
			n++
			if n == 1 {
				c.Set("users", Probe{Interval: time.Second, Rise: 2, Fall: 3}, []Target{a})
			}
			probeUntil(s, a.Endpoint, n)
			if got := a.Endpoint.Up(); got != wantUp {
				t.Errorf("after probe %d: up %v, want %v", n, got, wantUp)
			}
		}
		step(true, false)
		step(false, true) // the very first success suffices
		step(true, true)
		step(true, true)
		step(false, true) // failures were not in a row
		step(true, true)
		step(true, true)
		step(true, false)
		step(false, false)
		step(true, false)
		step(false, false)
		step(false, true)

		var got []string
		for _, e := range events {
			got = append(got, fmt.Sprintf("%s %v %q", e.Upstream, e.Up, e.Cause))
			if e.Target.Endpoint != a.Endpoint {
				t.Error("event is about another endpoint")
			}
		}
		want := []string{`users true ""`, `users false "status 500"`, `users true ""`}
		if !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

// TestCheckerNewEndpointThatIsUp: a check that is added to an endpoint with
// traffic takes it down only after Fall failures.
func TestCheckerNewEndpointThatIsUp(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		a := target(true)
		s.set(a.Endpoint, true)
		c.Set("users", steady(), []Target{a})
		probeUntil(s, a.Endpoint, 2)
		if !a.Endpoint.Up() {
			t.Error("down after 2 failures, want 3")
		}
		probeUntil(s, a.Endpoint, 3)
		if a.Endpoint.Up() {
			t.Error("up after 3 failures")
		}
	})
}

func TestCheckerTimeLimit(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		s.latency = time.Hour
		a := target(false)
		c.Set("users", Probe{Timeout: 300 * time.Millisecond}, []Target{a})
		advance(300 * time.Millisecond)
		status := c.Status("users")[0]
		if status.Failed != 1 || status.Cause != "timed out after 300ms" || status.Latency != 300*time.Millisecond {
			t.Errorf("status %+v", status)
		}
	})
}

func TestCheckerStatus(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		if got := c.Status("users"); got != nil {
			t.Errorf("status of an unknown upstream: %+v", got)
		}
		s.latency = 20 * time.Millisecond
		begun := time.Now()
		a, b := target(false), target(false)
		b.URL = "http://127.0.0.1:3001"
		s.set(b.Endpoint, true)
		c.Set("users", steady(), []Target{b, a})
		advance(20 * time.Millisecond)
		ended := begun.Add(20 * time.Millisecond)
		want := []Status{
			{URL: b.URL, Since: begun, Cause: "status 500", Failed: 1, Probed: ended, Latency: s.latency},
			{URL: a.URL, Up: true, Since: ended, Succeeded: 1, Probed: ended, Latency: s.latency},
		}
		if got := c.Status("users"); !slices.Equal(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// TestCheckerUnchangedSetDisturbsNothing compares endpoints whose upstream is set
// again all the time with the schedule that they had.
func TestCheckerUnchangedSetDisturbsNothing(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		a, b := target(false), target(false)
		s.set(b.Endpoint, true)
		set := func() {
			probe := steady()
			probe.Headers = [][2]string{{"X-A", "1"}}
			c.Set("users", probe, []Target{a, b, a})
		}
		set()
		advance(0)
		before := c.Status("users")
		due := dues(c, "users")
		for range 400 {
			set()
		}
		advance(0)
		if got := c.Status("users"); !slices.Equal(got, before) {
			t.Errorf("got  %+v\nwant %+v", got, before)
		}
		advance(time.Second)
		for i, e := range []*balancer.Endpoint{a.Endpoint, b.Endpoint} {
			if second := s.of(e)[1].at; !second.Equal(due[i]) {
				t.Errorf("endpoint %d: second probe %v later than it was due", i, second.Sub(due[i]))
			}
		}
	})
}

func TestCheckerChangedProbeKeepsState(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		a := target(false)
		c.Set("orders", Probe{Interval: 10 * time.Minute}, []Target{target(false)}) // due earlier, until the change
		c.Set("users", Probe{Interval: time.Hour, Path: "/old"}, []Target{a})
		advance(0)
		s.set(a.Endpoint, true)
		c.Set("users", Probe{Interval: time.Second, Path: "/new", Fall: 1}, []Target{a})
		if status := c.Status("users")[0]; !status.Up || status.Succeeded != 1 {
			t.Errorf("right after the change: %+v", status)
		}
		advance(time.Second)
		probes := s.of(a.Endpoint)
		if len(probes) < 2 || probes[1].path != "/new" {
			t.Fatalf("probes %+v, want one of /new within a second", probes)
		}
		if a.Endpoint.Up() {
			t.Error("up after one failure, though fall is 1 now")
		}
	})
}

// TestCheckerChangedTarget: the endpoint is the identity; a new URL or TLS
// configuration is used from the next probe on, without another schedule.
func TestCheckerChangedTarget(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		a := target(false)
		c.Set("users", steady(), []Target{a})
		advance(0)
		a.URL = "http://127.0.0.1:4000"
		c.Set("users", steady(), []Target{a})
		due := dues(c, "users")[0]
		advance(time.Second)
		if got := s.of(a.Endpoint)[1]; got.url != a.URL || !got.at.Equal(due) {
			t.Errorf("second probe went to %s, %v later than it was due", got.url, got.at.Sub(due))
		}
	})
}

func TestCheckerStopsMissing(t *testing.T) {
	f := func(name string, stop func(c *Checker, kept Target)) {
		t.Helper()
		bubble(t, Options{OnProbe: func(r Result) {
			if r.Target.URL == "gone" {
				t.Errorf("%s: a probe of the missing endpoint was reported", name)
			}
		}}, func(t *testing.T, c *Checker, s *stub) {
			kept, gone := target(false), target(false)
			gone.URL = "gone"
			s.latency = 100 * time.Millisecond
			c.Set("users", steady(), []Target{kept, gone})
			advance(50 * time.Millisecond) // both probes are running
			stop(c, kept)
			advance(10 * time.Second)
			if n := len(s.of(gone.Endpoint)); n != 1 {
				t.Errorf("%s: %d probes, want 1", name, n)
			}
			if gone.Endpoint.Up() {
				t.Errorf("%s: flag was touched after it was given up", name)
			}
		})
	}
	f("Set", func(c *Checker, kept Target) { c.Set("users", steady(), []Target{kept}) })
	f("Remove", func(c *Checker, _ Target) { c.Remove("users") })
	f("Close", func(c *Checker, _ Target) { c.Close(); c.Set("users", steady(), []Target{target(false)}) })
}

// TestCheckerCloseIsNoFailure: a probe that Close cuts off says nothing about its
// endpoint.
func TestCheckerCloseIsNoFailure(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		s.latency = 500 * time.Millisecond
		a := target(true)
		c.Set("users", Probe{Fall: 1}, []Target{a})
		synctest.Wait()
		begun := time.Now()
		c.Close()
		if took := time.Since(begun); took != 0 {
			t.Errorf("Close waited %v for a running probe", took)
		}
		if !a.Endpoint.Up() {
			t.Error("the endpoint went down")
		}
		if s.running != 0 {
			t.Error("Close returned while a probe ran")
		}
	})
}

func TestCheckerRound(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Checker, s *stub) {
		if err := c.Round(t.Context()); err != nil {
			t.Errorf("without targets: %v", err)
		}
		s.latency = 200 * time.Millisecond
		a, b := target(false), target(false)
		s.set(b.Endpoint, true)
		begun := time.Now()
		c.Set("users", steady(), []Target{a})
		c.Set("orders", steady(), []Target{b})

		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := c.Round(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		if err := c.Round(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took != 200*time.Millisecond {
			t.Errorf("took %v, want 200ms", took)
		}
		if !a.Endpoint.Up() || b.Endpoint.Up() {
			t.Error("flags do not show the first probes")
		}
		advance(100 * time.Millisecond)
		begun = time.Now()
		if err := c.Round(t.Context()); err != nil || time.Since(begun) != 0 {
			t.Errorf("all were probed: error %v after %v", err, time.Since(begun))
		}
	})
}

// TestCheckerRoundForgetsRemoved: who waits is not held up by endpoints that are
// removed before their first probe ended.
func TestCheckerRoundForgetsRemoved(t *testing.T) {
	bubble(t, Options{Concurrency: 1}, func(t *testing.T, c *Checker, s *stub) {
		s.latency = 200 * time.Millisecond
		c.Set("users", steady(), []Target{target(false), target(false)})
		synctest.Wait()
		begun := time.Now()
		c.Remove("users")
		if err := c.Round(t.Context()); err != nil || time.Since(begun) != 0 {
			t.Errorf("error %v after %v", err, time.Since(begun))
		}
	})
}

// TestCheckerCallbacksMayCallBack: a callback that changes the checker does not
// block it, and an endpoint's events come in order.
func TestCheckerCallbacksMayCallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub()
		var c *Checker
		a, b := target(false), target(false)
		var ups []bool
		c = New(Options{Prober: s, OnChange: func(e Event) {
			if e.Target.Endpoint != a.Endpoint {
				return
			}
			ups = append(ups, e.Up)
			c.Status("users")
			c.Set("orders", steady(), []Target{b})
		}})
		defer c.Close()
		c.Set("users", Probe{Interval: time.Second, Rise: 1, Fall: 1}, []Target{a})
		for i := range 10 {
			probeUntil(s, a.Endpoint, i+1)
			s.set(a.Endpoint, i%2 == 0)
		}
		if len(s.of(b.Endpoint)) == 0 {
			t.Error("the upstream that the callback set is not probed")
		}
		for i, up := range ups {
			if up != (i%2 == 0) {
				t.Fatalf("changes %v do not alternate", ups)
			}
		}
	})
}

// TestCheckerConcurrentUse is for the race detector, with real time and requests
// that are refused.
func TestCheckerConcurrentUse(t *testing.T) {
	seen := make(chan struct{}, 1)
	c := New(Options{Concurrency: 4, OnProbe: func(Result) {
		select {
		case seen <- struct{}{}:
		default:
		}
	}})
	url := refusing(t)
	targets := make([]Target, 8)
	for i := range targets {
		targets[i] = Target{URL: url, Endpoint: balancer.NewEndpoint(1, false)}
	}
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			upstream := fmt.Sprint("upstream", i%2)
			for j := range 50 {
				c.Set(upstream, Probe{Interval: time.Millisecond, Fall: 1 + j%3}, targets[j%4:])
				c.Status(upstream)
			}
		})
	}
	wait.Wait()
	<-seen
	if err := c.Round(t.Context()); err != nil {
		t.Error(err)
	}
	c.Close()
	c.Close()
	if c.Status("upstream0") != nil || len(c.queue) != 0 {
		t.Error("Close left checks behind")
	}
}
