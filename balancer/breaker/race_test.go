package breaker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestBreakerConcurrency: with everybody at everything, no more probes than there
// are places, and onChange is told each change once, in order, one at a time.
func TestBreakerConcurrency(t *testing.T) {
	const probes = 3
	var (
		clock   atomic.Int64
		inside  atomic.Int32
		changes []change
	)
	b := New(Settings{
		ErrorRatio: 60, MinRequests: 10, Window: time.Second, OpenFor: 50 * time.Millisecond, Probes: probes,
		ProbeTimeout: time.Hour, Ramp: 50 * time.Millisecond,
	}, func(from, to State) {
		if inside.Add(1) != 1 {
			t.Error("onChange runs twice at a time")
		}
		changes = append(changes, change{from, to})
		inside.Add(-1)
	})
	underWay := probesUnderWay{most: probes, of: make(map[Permit]int)}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range 15_000 {
				now := clock.Add(20_000)
				permit, ok := b.Allow(now)
				probe := ok && phaseOf(uint64(permit)) == probing
				if probe {
					underWay.change(t, permit, 1)
				}
				outcome := Success
				if bad := now/int64(200*time.Millisecond)%2 == 0; bad && random.IntN(4) > 0 {
					outcome = Failure
				} else if random.IntN(10) == 0 {
					outcome = Ignored
				}
				if probe {
					underWay.change(t, permit, -1)
				}
				b.Record(now, permit, outcome, 0)
				switch {
				case n%5000 == 4999 && i == 0:
					b.Trip(now, 10*time.Millisecond)
				case n%7000 == 6999 && i == 1:
					b.Reset(now)
				case n%100 == 0:
					b.Set(Settings{
						ErrorRatio: 60, MinRequests: 10 + n%3, Window: time.Second + time.Duration(n%7)*time.Millisecond,
						OpenFor: 50 * time.Millisecond, Probes: probes, ProbeTimeout: time.Hour, Ramp: 50 * time.Millisecond,
					})
				case n%50 == 0:
					if s := b.Status(now); s.Failed > s.Requests || s.Requests < 0 || s.InARow < 0 || s.Share < 0 || s.Share > 100 {
						t.Errorf("%+v", s)
					}
				}
			}
		})
	}
	wg.Wait()
	last := Closed
	for i, c := range changes {
		if c.from != last || c.from == c.to {
			t.Fatalf("change %d is from %v to %v, the state was %v", i, c.from, c.to, last)
		}
		last = c.to
	}
	if state := phaseOf(b.word.Load()).state(); state != last {
		t.Errorf("state %v, onChange was last told %v", state, last)
	}
	if len(underWay.of) < 3 {
		t.Errorf("probed in %d generations", len(underWay.of))
	}
	if len(changes) < 6 {
		t.Errorf("%d changes", len(changes))
	}
}

// probesUnderWay counts them by generation; only those of one count together. It
// knows of them after they have begun and before they have ended.
type probesUnderWay struct {
	sync.Mutex
	most int
	of   map[Permit]int
}

func (u *probesUnderWay) change(t *testing.T, permit Permit, by int) {
	u.Lock()
	defer u.Unlock()
	u.of[permit] += by
	if u.of[permit] > u.most {
		t.Errorf("%d probes under way", u.of[permit])
	}
}

// TestProbesAtOnce: when an open breaker is due and all ask at the same time, as
// many as there are places are let through.
func TestProbesAtOnce(t *testing.T) {
	for probes := 1; probes <= 3; probes++ {
		for range 300 {
			b := New(Settings{Probes: probes}, nil)
			b.Trip(0, time.Second)
			var admitted atomic.Int32
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 20 {
						if _, ok := b.Allow(int64(time.Second)); ok {
							admitted.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if n := int(admitted.Load()); n != probes {
				t.Fatalf("%d admitted, want %d", n, probes)
			}
		}
	}
}

// TestOnChangeMayCall: onChange finds no lock held, and what it causes is told
// after what it is told.
func TestOnChangeMayCall(t *testing.T) {
	var b *Breaker
	var told []State
	b = New(Settings{}, func(_, to State) {
		told = append(told, to)
		b.Status(0)
		if to == Open && len(told) == 1 {
			b.Reset(0)
			b.Trip(0, 0)
		}
		told = append(told, to)
	})
	b.Trip(0, 0)
	want := []State{Open, Open, Closed, Closed, Open, Open}
	if len(told) != len(want) {
		t.Fatalf("told %v, want %v", told, want)
	}
	for i := range want {
		if told[i] != want[i] {
			t.Fatalf("told %v, want %v", told, want)
		}
	}
}

// TestOnChangePanics: the breaker survives it.
func TestOnChangePanics(t *testing.T) {
	told := 0
	b := New(Settings{}, func(State, State) {
		told++
		panic("onChange")
	})
	for _, step := range []func(){func() { b.Trip(0, 0) }, func() { b.Reset(0) }} {
		func() {
			defer func() { _ = recover() }()
			step()
		}()
	}
	if told != 2 || b.State(0) != Closed {
		t.Errorf("told %d changes, state %v", told, b.State(0))
	}
}
