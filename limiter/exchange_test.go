package limiter

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// exchangedAlgorithms are those of which counts are exchanged.
var exchangedAlgorithms = []Algorithm{TokenBucket, GCRA, SlidingWindow, FixedWindow}

func shared(t testing.TB, rules ...Rule) *Limiter {
	return build(t, Options{Shared: true, Shards: 4}, rules...)
}

// units is the sum of what is told about all keys.
func units(taken []Taken) float64 {
	sum := 0.0
	for _, t := range taken {
		sum += t.Units
	}
	return sum
}

// TestAllIsToldOnce takes from many goroutines, for keys and the zero Key, while others ask
// what was taken. In the end all has been told, and nothing twice.
func TestAllIsToldOnce(t *testing.T) {
	for _, a := range exchangedAlgorithms {
		for where, key := range keys {
			t.Run(fmt.Sprint(a, "/", where), func(t *testing.T) {
				l := shared(t, Rule{Algorithm: a, Limit: 100_000, Window: time.Hour, Burst: map[Algorithm]int64{GCRA: 100_000}[a]})
				var took atomic.Int64
				var told [4]float64
				parallel(8, func(worker int) {
					rng := rand.New(rand.NewPCG(uint64(worker), 1))
					for range 500 {
						if worker < len(told) && rng.IntN(20) == 0 {
							told[worker] += units(l.AppendTaken(nil, start))
						}
						r := &Request{Key: key, Cost: rng.Int64N(4), At: start, Shard: uint32(worker)}
						var d Decision
						if !l.Allow(r, &d) {
							continue
						}
						took.Add(r.Cost)
						if rng.IntN(4) == 0 {
							delta := rng.Int64N(r.Cost+3) - r.Cost
							l.Charge(r, delta, start)
							took.Add(delta)
						}
					}
				})
				sum := units(l.AppendTaken(nil, start))
				for _, n := range told {
					sum += n
				}
				if math.Abs(sum-float64(took.Load())) > 1e-6 {
					t.Errorf("%v told, %d taken", sum, took.Load())
				}
				if more := l.AppendTaken(nil, start); units(more) != 0 {
					t.Errorf("told again: %+v", more)
				}
			})
		}
	}
}

// TestApply tells a node what others took.
func TestApply(t *testing.T) {
	for _, a := range exchangedAlgorithms {
		for where, key := range keys {
			l := shared(t, Rule{Algorithm: a, Limit: 100, Window: time.Hour, Burst: map[Algorithm]int64{GCRA: 100}[a]})
			ask(l, key, 10, start)
			taken := l.AppendTaken(nil, start)
			if len(taken) != 1 || taken[0].Units != 10 || taken[0].Level != 10 || taken[0].Left != 90 {
				t.Fatalf("%s, %s: %+v", a, where, taken)
			}
			ask(l, key, 5, start) // on the way
			l.Apply(taken[0], 60, start)
			if d := ask(l, key, 0, start); d.Remaining != 35 {
				t.Errorf("%s, %s: %+v, want 35 left", a, where, d)
			}
			l.Apply(taken[0], 300, start)
			if d := ask(l, key, 1, start); d.Allowed || d.Remaining > -200 {
				t.Errorf("%s, %s: %+v, want a debt", a, where, d)
			}
			if n := units(l.AppendTaken(nil, start)); n != 5 {
				t.Errorf("%s, %s: %v told, want 5", a, where, n)
			}
		}
	}
}

// TestWindowsThatEnd lets a window end between two times that a node tells.
func TestWindowsThatEnd(t *testing.T) {
	for where, key := range keys {
		l := shared(t, Rule{Algorithm: SlidingWindow, Limit: 100, Window: time.Hour})
		begin := l.AppendStarts(nil, start)[0]
		ask(l, key, 10, start)
		l.AppendTaken(nil, start)
		ask(l, key, 7, start)
		next := later(int64(time.Hour))
		ask(l, key, 3, next)
		taken := l.AppendTaken(nil, next)
		if len(taken) != 2 || taken[0].Start != begin || taken[0].Units != 7 || taken[1].Start != begin+int64(time.Hour) || taken[1].Units != 3 {
			t.Fatalf("%s: %+v", where, taken)
		}
		l.Apply(taken[0], 50, next)
		l.Apply(taken[1], 20, next)
		again := l.AppendTaken(nil, next)
		if units(again) != 0 {
			t.Errorf("%s: told again: %+v", where, again)
		}
		ask(l, key, 1, next)
		if again = l.AppendTaken(nil, next); len(again) != 1 || again[0].Units != 1 || again[0].Level != 21 {
			t.Errorf("%s: %+v", where, again)
		}

		fixed := shared(t, Rule{Algorithm: FixedWindow, Limit: 100, Window: time.Hour})
		ask(fixed, key, 10, start)
		old := fixed.AppendTaken(nil, start)[0]
		ask(fixed, key, 7, start)
		ask(fixed, key, 3, next)
		fixed.Apply(old, 90, next) // too late
		if taken = fixed.AppendTaken(nil, next); len(taken) != 1 || taken[0].Units != 3 || taken[0].Level != 3 {
			t.Errorf("%s: %+v", where, taken)
		}
	}
}

// TestMovedRecordsAreTold fills and empties a table, so that records move.
func TestMovedRecordsAreTold(t *testing.T) {
	l := build(t, Options{Shared: true, MaxKeys: 200, Full: FullDeny}, Rule{Algorithm: FixedWindow, Limit: 1000, Window: time.Hour})
	rng := rand.New(rand.NewPCG(1, 1))
	took, told := map[Key]float64{}, map[Key]float64{}
	for range 20_000 {
		k := hashed(rng.Uint64N(400))
		switch {
		case rng.IntN(4) == 0:
			if took[k] == told[k] {
				l.Reset(k, start)
			}
		case rng.IntN(30) == 0:
			for _, x := range l.AppendTaken(nil, start) {
				told[x.Key] += x.Units
			}
		default:
			if ask(l, k, 1, start).Allowed {
				took[k]++
			}
		}
	}
	for _, x := range l.AppendTaken(nil, start) {
		told[x.Key] += x.Units
	}
	for k, n := range took {
		if told[k] != n {
			t.Fatalf("%v: %v told, %v taken", k, told[k], n)
		}
	}
}

// TestClockIsSet moves windows. None opens twice.
func TestClockIsSet(t *testing.T) {
	l := shared(t, Rule{Algorithm: FixedWindow, Limit: 10, Window: time.Hour})
	for where, key := range keys {
		ask(l, key, 10, start)
		l.SetClock(start.Wall-int64(3*time.Hour), start.Mono, start)
		if d := ask(l, key, 1, start); d.Allowed {
			t.Errorf("%s: a clock that was set back opened a window: %+v", where, d)
		}
		l.SetClock(start.Wall, start.Mono, start)
		if d := ask(l, key, 1, start); d.Allowed {
			t.Errorf("%s: a clock that was set right opened a window: %+v", where, d)
		}
		if c := l.Clock(start.Mono); c != start.Wall {
			t.Errorf("%s: the clock is %d, want %d", where, c, start.Wall)
		}
	}
}

// TestSettle takes over decisions that were made elsewhere.
func TestSettle(t *testing.T) {
	for _, a := range exchangedAlgorithms {
		for where, key := range keys {
			l := shared(t, Rule{Algorithm: a, Limit: 100, Window: time.Hour, Burst: map[Algorithm]int64{GCRA: 100}[a]})
			begin := l.AppendStarts(nil, start)[0]
			r := &Request{Key: key, Cost: 1, At: start}
			var d Decision
			l.Settle(r, []Level{{Start: begin, Units: 40}}, true, &d)
			if !d.Allowed || d.Remaining != 60 || d.RetryAfter != 0 || d.Limit != 100 {
				t.Errorf("%s, %s: %+v", a, where, d)
			}
			l.Settle(r, []Level{{Start: begin, Units: 100}}, false, &d)
			if d.Allowed || d.Remaining != 0 || d.RetryAfter <= 0 {
				t.Errorf("%s, %s: %+v", a, where, d)
			}
			l.Settle(r, []Level{{Start: begin, Units: 10}}, false, &d)
			if d.Allowed || d.RetryAfter <= 0 {
				t.Errorf("%s, %s: refused with units left: %+v", a, where, d)
			}
			if n := units(l.AppendTaken(nil, start)); n != 0 {
				t.Errorf("%s, %s: %v told that the store knows", a, where, n)
			}
			if s := l.Stats(); s.Admitted != 1 || s.Rules[0].Refused != 2 {
				t.Errorf("%s, %s: %+v", a, where, s)
			}
		}
	}
}
