package limiter

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// goroutineCounts are the concurrencies of the tests with real goroutines.
func goroutineCounts() []int { return []int{1, 2, 3, 4, 8, 16, 32, 64} }

// parallel runs work on n goroutines that start together, and waits for them.
func parallel(n int, work func(worker int)) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			work(i)
		})
	}
	close(begin)
	wg.Wait()
}

// TestNeverOverNeverUnder lets goroutines ask for more than there is while no time
// passes: exactly the limit is admitted, and once anybody has been refused a unit
// nothing is left. Then time passes, and again exactly what flowed in is admitted.
func TestNeverOverNeverUnder(t *testing.T) {
	for _, algorithm := range []Algorithm{TokenBucket, GCRA, SlidingWindow, SlidingLog, FixedWindow} {
		for where, key := range keys {
			for _, workers := range goroutineCounts() {
				t.Run(fmt.Sprintf("%s/%s/%d", algorithm, where, workers), func(t *testing.T) {
					testNeverOverNeverUnder(t, algorithm, key, workers)
				})
			}
		}
	}
}

func testNeverOverNeverUnder(t *testing.T, algorithm Algorithm, key Key, workers int) {
	const limit = 1000
	r := Rule{Name: "r", Algorithm: algorithm, Limit: limit, Window: time.Second}
	if algorithm == GCRA {
		r.Burst = limit
	}
	l, err := New([]Rule{r}, Options{Start: start, Shards: 8})
	if err != nil {
		t.Fatal(err)
	}
	at := start
	for round := range 3 {
		var admitted, refusedSome atomic.Int64
		parallel(workers, func(worker int) {
			rng := rand.New(rand.NewPCG(uint64(worker), uint64(round)))
			refused := 0
			for refused < 20 {
				req := Request{Key: key, Cost: 1 + rng.Int64N(3)*rng.Int64N(2), At: at, Shard: uint32(worker)}
				var d Decision
				if l.Allow(&req, &d) {
					admitted.Add(req.Cost)
				} else if req.Cost == 1 {
					refused++
					refusedSome.Store(1)
				}
			}
		})
		if n := admitted.Load(); n != limit {
			t.Fatalf("round %d: %d units admitted, want %d", round, n, limit)
		}
		at = Instant{Mono: at.Mono + int64(2*time.Second), Wall: at.Wall + int64(2*time.Second)}
	}
}

// TestNoTimeIsGained lets goroutines take from a bucket while a shared clock runs. In
// the end no more was admitted than the first fill and what flowed in.
func TestNoTimeIsGained(t *testing.T) {
	for _, workers := range goroutineCounts() {
		for _, limit := range []int64{1000, 1_000_000} {
			l, err := New([]Rule{{Name: "r", Algorithm: TokenBucket, Limit: limit, Window: time.Second}}, Options{Start: start, Shards: 8})
			if err != nil {
				t.Fatal(err)
			}
			var clock, admitted atomic.Int64
			parallel(workers, func(worker int) {
				for range 4000 {
					at := later(clock.Add(777))
					req := Request{Cost: 1, At: at, Shard: uint32(worker)}
					var d Decision
					if l.Allow(&req, &d) {
						admitted.Add(1)
					}
				}
			})
			most := limit + limit*clock.Load()/int64(time.Second)
			if n := admitted.Load(); n > most {
				t.Errorf("%d goroutines: %d admitted, at most %d may be", workers, n, most)
			}
		}
	}
}

// TestHeldNeverAboveLimit takes and releases at every concurrency.
func TestHeldNeverAboveLimit(t *testing.T) {
	for where, key := range keys {
		for _, workers := range goroutineCounts() {
			for _, limit := range []int64{1, 7, 1000} {
				t.Run(fmt.Sprintf("%s/%d/%d", where, workers, limit), func(t *testing.T) {
					testHeld(t, key, workers, limit)
				})
			}
		}
	}
}

func testHeld(t *testing.T, key Key, workers int, limit int64) {
	l, err := New([]Rule{{Name: "r", Algorithm: Concurrency, Limit: limit}}, Options{Start: start, Shards: 4})
	if err != nil {
		t.Fatal(err)
	}
	var held, refused atomic.Int64
	parallel(workers, func(worker int) {
		for i := range 500 {
			req := Request{Key: key, Cost: 1, At: start, Shard: uint32(worker + i)}
			var d Decision
			if !l.Allow(&req, &d) {
				refused.Add(1)
				continue
			}
			if n := held.Add(1); n > limit {
				t.Errorf("%d held, at most %d may be", n, limit)
			}
			held.Add(-1)
			req.Shard = uint32(i)
			l.Release(&req)
		}
	})
	if refused.Load() != 0 && int64(workers) <= limit {
		t.Errorf("%d refused although no more than %d can be held", refused.Load(), workers)
	}
	all := Request{Key: key, Cost: limit, At: start}
	var d Decision
	if !l.Allow(&all, &d) {
		t.Errorf("after all have released: %+v", d)
	}
}

// TestStatsOfHotKey wants every request counted, whoever decided it.
func TestStatsOfHotKey(t *testing.T) {
	l, err := New([]Rule{{Name: "r", Algorithm: FixedWindow, Limit: 500, Window: time.Second}}, Options{Start: start, Shards: 4})
	if err != nil {
		t.Fatal(err)
	}
	parallel(8, func(worker int) {
		for range 200 {
			var d Decision
			l.Allow(&Request{Cost: 1, At: start, Shard: uint32(worker)}, &d)
		}
	})
	if s := l.Stats(); s.Admitted != 500 || s.Rules[0].Refused != 1100 {
		t.Errorf("%+v, want 500 admitted and 1100 refused", s)
	}
}

// TestSlackIsBounded takes single units from shards of a bucket that is full nearly all the
// time, and then asks for all that a bucket behind one lock would have, less what flows
// in during slack.
func TestSlackIsBounded(t *testing.T) {
	rule := Rule{Name: "r", Algorithm: TokenBucket, Limit: 1_000_000, Window: time.Second}
	for taken := int64(1); taken < 1000; taken += 37 {
		for _, gap := range []int64{1_000, 10_000, 99_000} {
			s := newSession(t, []Rule{rule}, Key{}, 4)
			for i := range taken {
				s.at = s.later(time.Duration(gap))
				s.allow(1, uint32(i))
			}
			left, _ := s.left(s.at)
			if n := left - slack/1000; !ask(s.l, Key{}, n, s.at).Allowed {
				t.Fatalf("%d units %d ns apart: %d of %d refused", taken, gap, n, left)
			}
		}
	}
}

// TestChargesAndRefundsInParallel changes what requests took while others are decided.
// At no time does anything get lost or come twice: in the end exactly the limit is taken.
func TestChargesAndRefundsInParallel(t *testing.T) {
	for _, algorithm := range []Algorithm{TokenBucket, SlidingWindow, SlidingLog, FixedWindow} {
		for where, key := range keys {
			for _, workers := range goroutineCounts() {
				l := build(t, Options{Shards: 4}, Rule{Algorithm: algorithm, Limit: 1000, Window: time.Hour})
				var net atomic.Int64
				parallel(workers, func(worker int) {
					rng := rand.New(rand.NewPCG(uint64(worker), 5))
					for range 100 {
						req := &Request{Key: key, Cost: 3, At: start, Shard: uint32(worker)}
						var d Decision
						if !l.Allow(req, &d) {
							continue
						}
						delta := rng.Int64N(4) - 3
						l.Charge(req, delta, start)
						net.Add(req.Cost + delta)
					}
				})
				for ask(l, key, 1, start).Allowed {
					net.Add(1)
				}
				if net.Load() != 1000 {
					t.Errorf("%s, %s, %d goroutines: %d taken, want 1000", algorithm, where, workers, net.Load())
				}
			}
		}
	}
}
