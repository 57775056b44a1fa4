package limiter

import (
	"fmt"
	"testing"
	"time"
)

// most is how often a limiter lets one unit of a key through at one moment.
func most(l *Limiter, key Key, at Instant) int64 {
	for n := int64(0); ; n++ {
		if !ask(l, key, 1, at).Allowed {
			return n
		}
	}
}

// TestShares divides limits among nodes, in the middle of their use, and makes them whole
// again.
func TestShares(t *testing.T) {
	for _, a := range []Algorithm{TokenBucket, GCRA, SlidingWindow, SlidingLog, FixedWindow} {
		for where, key := range keys {
			t.Run(fmt.Sprint(a, "/", where), func(t *testing.T) {
				l := shared(t, Rule{Algorithm: a, Limit: 120, Window: time.Minute, Burst: map[Algorithm]int64{GCRA: 120}[a]})
				l.SetShare(Share{Nodes: 3}, start)
				if n := most(l, key, start); n != 40 {
					t.Errorf("%d admitted, want 40", n)
				}
				at := later(int64(10 * time.Minute))
				if n := most(l, key, at); n != 40 {
					t.Errorf("%d admitted in the next window, want 40", n)
				}
				at = later(int64(20 * time.Minute))
				for range 20 {
					ask(l, key, 1, at)
				}
				l.SetShare(Share{}, at)
				if n := most(l, key, at); n != 60 {
					t.Errorf("%d admitted, want 60: the others are thought to have taken 40", n)
				}
				at = later(int64(30 * time.Minute))
				for range 60 {
					ask(l, key, 1, at)
				}
				l.SetShare(Share{Nodes: 6}, at)
				if n := most(l, key, at); n != 10 {
					t.Errorf("%d admitted, want a sixth of the 60 that were left", n)
				}
				l.SetShare(Share{Nodes: 6, Exchanged: true}, at)
				at = later(int64(40 * time.Minute))
				want := int64(120)
				if a == SlidingLog {
					want = 20
				}
				if n := most(l, key, at); n != want {
					t.Errorf("%d admitted, want %d", n, want)
				}
			})
		}
	}
}

// TestSharesOfLittle leaves one unit to everybody, and of a bucket no more than its rate.
func TestSharesOfLittle(t *testing.T) {
	for _, a := range []Algorithm{TokenBucket, GCRA, SlidingWindow, SlidingLog, FixedWindow} {
		for where, key := range keys {
			l := shared(t, Rule{Algorithm: a, Limit: 2, Window: time.Minute})
			l.SetShare(Share{Nodes: 5}, start)
			admitted := int64(0)
			for i := range int64(5 * 60) {
				admitted += most(l, key, later(i*int64(time.Second)))
			}
			least, highest := int64(4), int64(6)
			if a == TokenBucket || a == GCRA {
				least, highest = 2, 3 // 2/5 a minute, and the first
			}
			if a == SlidingWindow {
				least = 2
			}
			if admitted < least || admitted > highest {
				t.Errorf("%s, %s: %d admitted in 5 minutes, want %d to %d", a, where, admitted, least, highest)
			}
			// A request of all units is not locked out, and one of more is told so.
			at := later(int64(time.Hour))
			if d := ask(l, key, l.plan.counters[0].limit, at); !d.Allowed {
				t.Errorf("%s, %s: the whole limit: %+v", a, where, d)
			}
			if d := ask(l, key, 3, at); d.Allowed || d.RetryAfter != Never {
				t.Errorf("%s, %s: above the limit: %+v", a, where, d)
			}
		}
	}
}

// TestSharesOfHeld divides what may be held, and gives it back as it was taken.
func TestSharesOfHeld(t *testing.T) {
	for where, key := range keys {
		l := shared(t, Rule{Algorithm: Concurrency, Limit: 10})
		hold := func(n int) (held []*Request) {
			for range n {
				r := &Request{Key: key, Cost: 1, At: start}
				var d Decision
				if l.Allow(r, &d) {
					held = append(held, r)
				}
			}
			return held
		}
		first := hold(5)
		l.SetShare(Share{Nodes: 3}, start)
		if n := len(hold(10)); n != 0 {
			t.Errorf("%s: %d more held, want none", where, n)
		}
		for _, r := range first {
			l.Release(r)
		}
		held := hold(10)
		if len(held) != 3 {
			t.Errorf("%s: %d held, want 3", where, len(held))
		}
		l.SetShare(Share{}, start)
		more := hold(20)
		if len(more) != 7 {
			t.Errorf("%s: %d more held, want 7", where, len(more))
		}
		for _, r := range append(held, more...) {
			l.Release(r)
		}
		if n := len(hold(20)); n != 10 {
			t.Errorf("%s: %d held after all, want 10", where, n)
		}
	}
}

// TestFailingStores refuses everything, or nothing.
func TestFailingStores(t *testing.T) {
	for name, rules := range ruleSets() {
		for where, key := range keys {
			s := newSession(t, rules, key, 4)
			for range 3 {
				ask(s.l, key, 1, start) // units lie in shards
			}
			s.l.SetShare(Share{Deny: true}, start)
			for range 5 {
				if d := ask(s.l, key, 1, start); d.Allowed || d.RetryAfter != time.Second {
					t.Fatalf("%s, %s: %+v", name, where, d)
				}
			}
			s.l.SetShare(Share{Allow: true}, start)
			for range 20 {
				if d := ask(s.l, key, 1, start); !d.Allowed || d.RetryAfter != 0 {
					t.Fatalf("%s, %s: %+v", name, where, d)
				}
			}
		}
	}
}

// TestSharesLiveOn wants a share kept by the next limiter.
func TestSharesLiveOn(t *testing.T) {
	r := Rule{Name: "r", Algorithm: FixedWindow, Limit: 100, Window: time.Hour}
	l := shared(t, r)
	l.SetShare(Share{Nodes: 4}, start)
	for _, rules := range [][]Rule{{r}, {r, {Name: "more", Algorithm: TokenBucket, Limit: 1000, Window: time.Hour}}} {
		next, err := l.Next(rules, Options{Shared: true, Shards: 4}, start)
		if err != nil {
			t.Fatal(err)
		}
		key := hashed(uint64(len(rules)))
		if n := most(next, key, start); n != 25 {
			t.Errorf("%d admitted, want 25", n)
		}
	}
}
