package health

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd is a Prober for very many endpoints: it counts and answers nothing else.
type crowd struct {
	latency time.Duration
	begun   time.Time

	mu         sync.Mutex
	starts     []time.Duration // of probes, since begun
	running    int
	most       int // that ran at a time
	goroutines int // at most
}

func (c *crowd) Probe(context.Context, Probe, Target) error {
	c.mu.Lock()
	c.starts = append(c.starts, time.Since(c.begun))
	c.running++
	c.most = max(c.most, c.running)
	c.goroutines = max(c.goroutines, runtime.NumGoroutine())
	c.mu.Unlock()
	time.Sleep(c.latency) //nolint:forbidigo // the bubble's clock
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	return nil
}

// busiest returns the most probes that began within any step of a twentieth of the
// interval from a time on, and the mean.
func (c *crowd) busiest(from, until, interval time.Duration) (most int, mean float64) {
	step := interval / 20
	counts := make(map[time.Duration]int)
	total := 0
	for _, at := range c.starts {
		if from <= at && at < until {
			counts[at/step]++
			total++
		}
	}
	for _, count := range counts {
		most = max(most, count)
	}
	return most, float64(total) * float64(step) / float64(until-from)
}

// TestTenThousandEndpoints: however many endpoints there are, what runs at a time
// is bounded, and after the first round the probes are spread over the interval.
func TestTenThousandEndpoints(t *testing.T) {
	const n, concurrency, interval = 10_000, 100, 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		s := &crowd{latency: time.Millisecond, begun: time.Now()}
		before := runtime.NumGoroutine()
		c := New(Options{Prober: s, Concurrency: concurrency})
		defer c.Close()
		targets := make([]Target, n)
		for i := range targets {
			targets[i] = target(false)
		}
		c.Set("users", Probe{Interval: interval}, targets)
		if err := c.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		first := time.Since(s.begun)
		if want := n / concurrency * s.latency; first < want || first > want*3/2 {
			t.Errorf("first round took %v, want about %v: as fast as %d at a time can", first, want, concurrency)
		}
		const rounds = 5
		advance(first + rounds*interval)

		c.mu.Lock()
		s.mu.Lock()
		defer c.mu.Unlock()
		defer s.mu.Unlock()
		if s.most != concurrency {
			t.Errorf("%d probes ran at a time, want %d", s.most, concurrency)
		}
		// One goroutine schedules, and one that has just ended may still be counted
		// beside the one that follows it.
		if most := 2*concurrency + 10; s.goroutines-before > most {
			t.Errorf("%d goroutines more than before, want at most %d", s.goroutines-before, most)
		}
		for i := range rounds {
			from := first + time.Duration(i)*interval
			most, mean := s.busiest(from, from+interval, interval)
			if mean < 0.8*n/20 || mean > 1.25*n/20 {
				t.Errorf("round %d: %.0f probes in a twentieth of the interval, want about %d", i+2, mean, n/20)
			}
			if float64(most) > 2*mean {
				t.Errorf("round %d: up to %d probes in a twentieth of the interval, the mean is %.0f", i+2, most, mean)
			}
		}
	})
}

// TestHangingEndpointsStayBounded: when all hang, no more than the bound hang at a
// time, and the others are late, not lost.
func TestHangingEndpointsStayBounded(t *testing.T) {
	const n, concurrency = 1000, 50
	synctest.Test(t, func(t *testing.T) {
		s := &crowd{latency: time.Second, begun: time.Now()}
		c := New(Options{Prober: s, Concurrency: concurrency})
		defer c.Close()
		targets := make([]Target, n)
		for i := range targets {
			targets[i] = target(false)
		}
		c.Set("users", Probe{Interval: 2 * time.Second}, targets)
		if err := c.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(s.begun); took != n/concurrency*time.Second {
			t.Errorf("first round took %v", took)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.most != concurrency {
			t.Errorf("%d ran at a time, want %d", s.most, concurrency)
		}
	})
}
