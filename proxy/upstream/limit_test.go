package upstream

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/salgue441/velocity/balancer/breaker"
)

// soon and never are waits that surely end, and surely do not, within a test.
const (
	soon  = time.Millisecond
	never = time.Hour
)

func limited(most, size int, timeout time.Duration) *Upstream {
	u := New("u")
	u.SetLimits(Limits{MaxInFlight: most, QueueSize: size, QueueTimeout: timeout})
	return u
}

func wantCounts(t *testing.T, u *Upstream, entered, waiting int64) {
	t.Helper()
	if u.Entered() != entered || u.Waiting() != waiting {
		t.Errorf("%d entered and %d wait, want %d and %d", u.Entered(), u.Waiting(), entered, waiting)
	}
}

func enter(t *testing.T, u *Upstream) {
	t.Helper()
	if entered, err := u.Enter(soon); entered == (Entry{}) || err != nil {
		t.Fatalf("entered %v, %v", entered, err)
	}
}

func TestEnterWithoutLimit(t *testing.T) {
	u := New("u")
	if entered, err := u.Enter(soon); entered != (Entry{}) || err != nil {
		t.Errorf("entered %v, %v; want neither", entered, err)
	}
	wantCounts(t, u, 0, 0)
}

func TestEnterWithoutQueue(t *testing.T) {
	u := limited(2, 0, never)
	enter(t, u)
	enter(t, u)
	if entered, err := u.Enter(never); entered != (Entry{}) || !errors.Is(err, ErrFull) {
		t.Errorf("entered %v, %v; want %v", entered, err, ErrFull)
	}
	leave(u)
	enter(t, u)
	wantCounts(t, u, 2, 0)
}

func TestEnterWaitsNoLonger(t *testing.T) {
	f := func(queue, patience time.Duration) {
		t.Helper()
		u := limited(1, 1, queue)
		enter(t, u)
		if entered, err := u.Enter(patience); entered != (Entry{}) || !errors.Is(err, ErrQueueTimeout) {
			t.Errorf("queue %v, patience %v: entered %v, %v", queue, patience, entered, err)
		}
		wantCounts(t, u, 1, 0)
	}
	f(soon, 0)
	f(soon, never)
	f(never, soon)
	f(0, soon)
}

// queue starts n requests that enter one after another, and returns where each
// says its number once it is in.
func queue(t *testing.T, u *Upstream, n int) <-chan int {
	t.Helper()
	in := make(chan int, n)
	for i := range n {
		before := u.Waiting()
		go func() {
			if entered, err := u.Enter(0); entered == (Entry{}) || err != nil {
				t.Errorf("request %d: entered %v, %v", i, entered, err)
			}
			in <- i
		}()
		for u.Waiting() == before {
			runtime.Gosched()
		}
	}
	return in
}

func TestQueueIsFair(t *testing.T) {
	u := limited(1, 10, 0)
	enter(t, u)
	in := queue(t, u, 10)
	if _, err := u.Enter(never); !errors.Is(err, ErrFull) {
		t.Errorf("full queue: %v", err)
	}
	var order []int
	for range 10 {
		leave(u)
		order = append(order, <-in)
	}
	if !slices.IsSorted(order) {
		t.Errorf("order %v", order)
	}
	leave(u)
	wantCounts(t, u, 0, 0)
}

func TestSetLimitsInPlace(t *testing.T) {
	u := limited(1, 10, 0)
	enter(t, u)
	in := queue(t, u, 5)
	u.SetLimits(Limits{MaxInFlight: 3, QueueSize: 10})
	<-in
	<-in
	wantCounts(t, u, 3, 3)

	u.SetLimits(Limits{MaxInFlight: 1}) // those that wait stay
	leave(u)
	leave(u)
	wantCounts(t, u, 1, 3)
	leave(u)
	<-in
	wantCounts(t, u, 1, 2)

	u.SetLimits(Limits{})
	<-in
	<-in
	wantCounts(t, u, 3, 0)
	for range 3 {
		leave(u)
	}
	wantCounts(t, u, 0, 0)
}

// TestLimitUnderRace has many requests enter and leave, some with little
// patience, while the limit changes: nothing is lost and no one is stuck.
func TestLimitUnderRace(t *testing.T) {
	const most = 4
	u := limited(most, 8, 0)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 500 {
				entered, err := u.Enter(time.Duration(rand.Int64N(int64(200 * time.Microsecond))))
				if (entered != (Entry{})) != (err == nil) {
					t.Errorf("entered %v with %v", entered, err)
				}
				if entered != (Entry{}) {
					if n := u.Entered(); n > most {
						t.Errorf("%d in flight, limit %d", n, most)
					}
					leave(u)
				}
			}
		})
	}
	for i := range 200 {
		u.SetLimits(Limits{MaxInFlight: 1 + i%most, QueueSize: i % 9})
	}
	wg.Wait()
	wantCounts(t, u, 0, 0)
}

func BenchmarkEnterLeave(b *testing.B) {
	for name, u := range map[string]*Upstream{"unlimited": New("u"), "limited": limited(1000, 10, 0)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if entry, _ := u.Enter(0); entry != (Entry{}) {
						leave(u)
					}
				}
			})
		})
	}
}

// leave gives back a place that was counted by Limits.MaxInFlight alone.
func leave(u *Upstream) { Entry{upstream: u}.Leave(0, 0, breaker.Ignored) }
