package breaker

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The tests of Watch run in bubbles of testing/synctest: their time stands still
// until every goroutine waits, and then jumps to what is due next.

type told struct {
	sync.Mutex
	changes []string
}

func (w *told) take() []string {
	w.Lock()
	defer w.Unlock()
	changes := w.changes
	w.changes = nil
	return changes
}

func watched(t *testing.T, test func(t *testing.T, w *Watch, now func() int64, until func(time.Duration))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		now := func() int64 { return int64(time.Since(begun)) }
		w := NewWatch(now)
		defer w.Close()
		test(t, w, now, func(d time.Duration) {
			time.Sleep(d - time.Since(begun)) //nolint:forbidigo // the bubble's clock
			synctest.Wait()
		})
	})
}

func TestWatch(t *testing.T) {
	watched(t, func(t *testing.T, w *Watch, now func() int64, until func(time.Duration)) {
		var told told
		add := func(name string, openFor time.Duration) *Breaker {
			b := New(Settings{ConsecutiveFailures: 1, OpenFor: openFor, Ramp: 2 * time.Second, Jitter: -1}, func(_, to State) {
				told.Lock()
				defer told.Unlock()
				told.changes = append(told.changes, name+" "+to.String())
			})
			w.Add(b)
			return b
		}
		expect := func(want ...string) {
			t.Helper()
			if got := told.take(); !slices.Equal(got, want) {
				t.Errorf("%v: told %q, want %q", time.Duration(now()), got, want)
			}
		}
		a, b := add("a", 10*time.Second), add("b", 5*time.Second)
		until(time.Second)
		for _, breaker := range []*Breaker{a, b} {
			p, _ := breaker.Allow(now())
			breaker.Record(now(), p, Failure, 0)
		}
		expect("a open", "b open")
		until(5999 * time.Millisecond)
		expect()
		until(6 * time.Second)
		expect("b half_open")
		until(10999 * time.Millisecond)
		expect()
		until(11 * time.Second)
		expect("a half_open")
		until(60 * time.Second)
		expect() // without a probe they stay half-open
		p, ok := a.Allow(now())
		if !ok {
			t.Fatal("a probe is refused")
		}
		a.Record(now(), p, Success, 0)
		until(62 * time.Second)
		expect("a closed")
		w.Remove(b)
		b.Trip(now(), time.Second)
		until(90 * time.Second)
		expect("b open")
		b.Trip(now(), time.Second)
		w.Add(b) // is due once it is added
		until(91 * time.Second)
		expect("b half_open")
	})
}

// TestWatchFromOnChange: what onChange does may be to add and remove breakers.
func TestWatchFromOnChange(t *testing.T) {
	watched(t, func(t *testing.T, w *Watch, now func() int64, until func(time.Duration)) {
		var b *Breaker
		var told told
		b = New(Settings{}, func(_, to State) {
			told.Lock()
			told.changes = append(told.changes, to.String())
			told.Unlock()
			w.Remove(b)
			w.Add(b)
		})
		w.Add(b)
		b.Trip(now(), time.Minute)
		until(time.Minute)
		if got := told.take(); !slices.Equal(got, []string{"open", "half_open"}) {
			t.Errorf("told %q", got)
		}
	})
}

// TestWatchMany: many that open together are each in time.
func TestWatchMany(t *testing.T) {
	watched(t, func(t *testing.T, w *Watch, now func() int64, until func(time.Duration)) {
		const n = 500
		var mu sync.Mutex
		late, halfOpen := 0, 0
		breakers := make([]*Breaker, n)
		for i := range breakers {
			breakers[i] = New(Settings{}, func(_, to State) {
				if to != HalfOpen {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				halfOpen++
				if now() != int64(i+1)*int64(time.Millisecond) {
					late++
				}
			})
			w.Add(breakers[i])
		}
		for i, b := range breakers {
			b.Trip(now(), time.Duration(i+1)*time.Millisecond)
		}
		until(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if halfOpen != n || late != 0 {
			t.Errorf("%d of %d half-open, %d not in time", halfOpen, n, late)
		}
	})
}
