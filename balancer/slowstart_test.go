package balancer

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlowStartCurve(t *testing.T) {
	f := func(s SlowStart, elapsed time.Duration, percent float64) {
		t.Helper()
		s.Window = 100 * time.Second
		if got := float64(s.Ramp(elapsed)) / FullRamp * 100; math.Abs(got-percent) > 0.2 {
			t.Errorf("%+v after %v: %.1f %%, want %.1f %%", s, elapsed, got, percent)
		}
	}
	f(SlowStart{}, -time.Second, 10)
	f(SlowStart{}, 0, 10)
	f(SlowStart{}, 5*time.Second, 10)
	f(SlowStart{}, 20*time.Second, 20)
	f(SlowStart{}, 50*time.Second, 50)
	f(SlowStart{}, 100*time.Second, 100)
	f(SlowStart{}, time.Hour, 100)
	f(SlowStart{Aggression: 2}, 25*time.Second, 50)
	f(SlowStart{Aggression: 2}, 64*time.Second, 80)
	f(SlowStart{Aggression: 0.5}, 50*time.Second, 25)
	f(SlowStart{Aggression: 0.5, Floor: 30}, 50*time.Second, 30)
	f(SlowStart{Floor: 1}, 0, 1)
	if got := (SlowStart{}).Ramp(0); got != FullRamp {
		t.Errorf("no window: ramp %d", got)
	}
}

// TestRamps follows two endpoints up in the time of a bubble, which stands still
// but while all goroutines wait.
func TestRamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRamps()
		defer r.Close()
		a, b := NewEndpoint(100, true), NewEndpoint(100, true)
		slow, fast := SlowStart{Window: 100 * time.Second}, SlowStart{Window: 10 * time.Second, Floor: 50}
		r.Start(a, slow)
		changes, last := 0, 0
		clock := time.NewTicker(time.Second) // the bubble's
		defer clock.Stop()
		for second := range 101 {
			if second == 20 {
				r.Start(b, fast)
			}
			synctest.Wait()
			elapsed := time.Duration(second) * time.Second
			if got, want := a.Ramp(), slow.Ramp(elapsed); got < want-3 || got > want {
				t.Errorf("after %v: ramp %d, want %d", elapsed, got, want)
			}
			if second >= 20 {
				if got, want := b.Ramp(), fast.Ramp(elapsed-20*time.Second); got < want-3 || got > want {
					t.Errorf("second endpoint after %v: ramp %d, want %d", elapsed, got, want)
				}
			}
			if a.Ramp() != last {
				changes, last = changes+1, a.Ramp()
			}
			<-clock.C
		}
		if changes > rampSteps+1 {
			t.Errorf("the ramp changed %d times", changes)
		}
		synctest.Wait()
		if r.looping || a.Ramp() != FullRamp || b.Ramp() != FullRamp {
			t.Errorf("at the end: looping %v, ramps %d and %d", r.looping, a.Ramp(), b.Ramp())
		}
		r.Start(a, fast) // the goroutine is made anew
		<-time.After(5 * time.Second)
		synctest.Wait()
		if got, want := a.Ramp(), fast.Ramp(5*time.Second); got != want {
			t.Errorf("second time: ramp %d, want %d", got, want)
		}
	})
}

func TestRampsStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRamps()
		a, b, c := NewEndpoint(1, true), NewEndpoint(1, true), NewEndpoint(1, true)
		s := SlowStart{Window: time.Hour}
		r.Start(a, s)
		r.Start(b, s)
		<-time.After(time.Minute)
		r.Start(b, s) // anew
		r.Stop(a)
		r.Stop(c)
		<-time.After(time.Second)
		if a.Ramp() != FullRamp || b.Ramp() != s.Ramp(0) || c.Ramp() != FullRamp {
			t.Errorf("ramps %d, %d and %d", a.Ramp(), b.Ramp(), c.Ramp())
		}
		r.Start(b, SlowStart{})
		if b.Ramp() != FullRamp {
			t.Errorf("without a window: ramp %d", b.Ramp())
		}
		r.Start(b, s)
		r.Close()
		r.Close()
		if b.Ramp() != FullRamp {
			t.Errorf("after Close: ramp %d", b.Ramp())
		}
		r.Start(c, s)
		if c.Ramp() != FullRamp || r.looping {
			t.Errorf("started after Close: ramp %d, looping %v", c.Ramp(), r.looping)
		}
	})
}

// TestPickWarming: a ramp shows in the least weight too. A quarter of a share is
// one part to the four of each of the others; consistent hashes give a quarter
// of the keys.
func TestPickWarming(t *testing.T) {
	forWeighted(t, func(t *testing.T, algorithm string) {
		want := []int{4, 4, 1}
		if strings.HasPrefix(algorithm, Ring) || strings.HasPrefix(algorithm, Maglev) {
			want = []int{11, 11, 2}
		}
		for _, weight := range []int{1, 2, 100} {
			endpoints := fleet(3, weight)
			p := build(t, algorithm, endpoints)
			endpoints[2].SetRamp(FullRamp / 4)
			count(p, len(endpoints), 200) // time to see the change
			assertShares(t, "warming", count(p, len(endpoints), 40_000), want)
		}
	})
}
