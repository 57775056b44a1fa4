package limiter

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

const unbounded = 1 << 30

func mustRestore(t testing.TB, l *Limiter, state []byte, saved int64, now Instant) int {
	t.Helper()
	keys, err := l.Restore(state, saved, now)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// restart makes another process of the session's, whose monotonic clock stands at mono
// and whose wall clock was off by step when it started. If it learns of the state a
// little later, that is as if its clock were behind.
func (s *session) restart(shards int, mono, step time.Duration) {
	s.t.Helper()
	state, left := s.l.Save(nil, unbounded, s.now())
	if left != 0 {
		s.t.Fatalf("%d keys were left out", left)
	}
	s.shift = int64(mono) - s.at.Mono
	now := s.now()
	next, err := New(s.rules, Options{Start: Instant{Mono: now.Mono, Wall: now.Wall + int64(step)}, Shards: shards, MaxKeys: 10})
	if err != nil {
		s.t.Fatal(err)
	}
	mustRestore(s.t, next, state, now.Mono, now)
	s.l, s.held = next, nil
}

// TestRestoredDecidesAlike replaces the process again and again. Decisions are those
// that the first one would have made, at the moment at which it is thought to be.
func TestRestoredDecidesAlike(t *testing.T) {
	for name, rules := range ruleSets() {
		if rules[0].Algorithm == Concurrency {
			continue
		}
		for where, key := range keys {
			t.Run(name+"/"+where, func(t *testing.T) {
				for seed := range uint64(3) {
					s, next := newSession(t, rules, key, 4), fromSeed(seed)
					for n := range 1000 {
						s.advance(next)
						s.act(next)
						if n%100 == 99 {
							step := time.Duration(next(int64(50*time.Hour))) - 25*time.Hour
							s.restart(1<<next(3), time.Duration(next(int64(200*time.Hour))), step)
						}
					}
				}
			})
		}
	}
}

// TestTakenFollows has two processes admit at the same time, of which the new one is told
// now and then what the old one took. It never believes that more is left than there is
// after what both took, and if hardly any time has passed it knows exactly. No two
// requests come in the same nanosecond.
func TestTakenFollows(t *testing.T) {
	for name, rules := range ruleSets() {
		if rules[0].Algorithm == Concurrency {
			continue
		}
		for where, key := range keys {
			for _, still := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/still %v", name, where, still), func(t *testing.T) {
					s, next := newSession(t, rules, key, 2), fromSeed(7)
					for range 20 {
						s.advance(next)
						s.act(next)
					}
					old := s.l
					s.restart(2, 3*time.Second, 0)
					since := s.at.Mono
					for n := range 200 {
						if !still {
							s.advance(next)
						}
						s.at = s.later(1)
						cost := next(3)
						if r := (&Request{Key: key, Cost: cost, At: s.at}); n%2 == 0 && old.Allow(r, new(Decision)) {
							for _, m := range s.models {
								m.take(s.at, cost)
							}
						}
						if n%10 == 9 {
							state, _ := old.SaveTaken(nil, unbounded, since, s.at)
							if since = s.at.Mono; len(state) > 0 {
								mustRestore(t, s.l, state, s.now().Mono, s.now())
							}
							s.notMore(still && s.rules[0].Window > time.Microsecond)
						}
						s.at = s.later(1)
						if r := (&Request{Key: key, Cost: cost, At: s.now()}); s.l.Allow(r, new(Decision)) {
							for _, m := range s.models {
								m.take(s.at, cost)
							}
						}
					}
				})
			}
		}
	}
}

// notMore asks that no more is left than the models have.
func (s *session) notMore(exactly bool) {
	s.t.Helper()
	d, _ := s.l.Read(s.key, s.now())
	for i, m := range s.models {
		switch left := m.left(s.at); {
		case s.rules[i].Limit == 0:
		case d[i].Remaining > left:
			s.t.Fatalf("rule %s: %d remaining, %d left", s.rules[i].Name, d[i].Remaining, left)
		case exactly && d[i].Remaining < left-s.lag:
			s.t.Fatalf("rule %s: %d remaining of %d left", s.rules[i].Name, d[i].Remaining, left)
		}
	}
}

// TestSaveUnderTraffic saves while requests are decided: not one unit is lost or told twice.
func TestSaveUnderTraffic(t *testing.T) {
	const limit, workers, each = 1 << 30, 8, 3000
	for where, key := range keys {
		for _, a := range []Algorithm{TokenBucket, GCRA, SlidingWindow, FixedWindow} {
			r := Rule{Algorithm: a, Limit: limit, Window: time.Hour}
			if a == GCRA {
				r.Burst = limit
			}
			old, next := build(t, Options{Shards: 4}, r), build(t, Options{}, r)
			var first []byte
			var rest [][]byte
			var admitted atomic.Int64
			parallel(workers+1, func(n int) {
				if n == workers {
					first, _ = old.Save(nil, unbounded, start)
					for range 20 {
						state, _ := old.SaveTaken(nil, unbounded, start.Mono, start)
						rest = append(rest, state)
					}
					return
				}
				for range each {
					if old.Allow(&Request{Key: key, Cost: 1, At: start, Shard: uint32(n)}, new(Decision)) {
						admitted.Add(1)
					}
				}
			})
			last, _ := old.SaveTaken(nil, unbounded, start.Mono, start)
			for _, state := range append([][]byte{first}, append(rest, last)...) {
				if len(state) > 0 {
					mustRestore(t, next, state, start.Mono, start)
				}
			}
			d, _ := next.Read(key, start)
			if got := limit - d[0].Remaining; got != admitted.Load() || got != workers*each {
				t.Errorf("%s, %s: %d of %d are known", a, where, got, admitted.Load())
			}
			if state, _ := old.SaveTaken(nil, unbounded, start.Mono, start); len(state) != 0 {
				t.Errorf("%s, %s: there is nothing to tell, but %d bytes", a, where, len(state))
			}
		}
	}
}

// TestRestoreKnownRules restores what both limiters have, whatever the order.
func TestRestoreKnownRules(t *testing.T) {
	a := Rule{Name: "a", Algorithm: FixedWindow, Limit: 10, Window: time.Hour}
	b := Rule{Name: "b", Algorithm: SlidingLog, Limit: 20, Window: time.Hour}
	c := Rule{Name: "c", Algorithm: TokenBucket, Limit: 30, Window: time.Hour}
	d := Rule{Name: "d", Algorithm: FixedWindow, Limit: 40, Period: Day}
	other := b
	other.Limit = 25
	observing := c
	observing.Observe = true
	for where, key := range keys {
		old := build(t, Options{}, a, b, c, d)
		for range 5 {
			ask(old, key, 1, start)
		}
		state, _ := old.Save(nil, unbounded, start)
		next := build(t, Options{}, d, observing, other)
		mustRestore(t, next, state, start.Mono, start)
		left, _ := next.Read(key, start)
		if left[0].Remaining != 35 || left[1].Remaining != 25 || left[2].Remaining != 25 {
			t.Errorf("%s: %+v", where, left)
		}
		none := build(t, Options{}, other)
		if keys := mustRestore(t, none, state, start.Mono, start); keys != 0 || none.Stats().Keys != 0 {
			t.Errorf("%s: %d keys without a rule", where, keys)
		}
		held := build(t, Options{}, Rule{Algorithm: Concurrency, Limit: 3})
		ask(held, key, 1, start)
		state, _ = held.Save(nil, unbounded, start)
		again := build(t, Options{}, Rule{Algorithm: Concurrency, Limit: 3})
		mustRestore(t, again, state, start.Mono, start)
		if left, _ := again.Read(key, start); left[0].Remaining != 3 {
			t.Errorf("%s: what is held was carried: %+v", where, left)
		}
	}
}

// TestIdentityIsSame holds the identity of rules in a state against Same.
func TestIdentityIsSame(t *testing.T) {
	var all []Rule
	for _, rules := range ruleSets() {
		all = append(all, rules...)
	}
	identity := func(r Rule) string {
		return string(build(t, Options{MaxKeys: 1}, r).plan.appendIdentity(nil, 0))
	}
	for _, r := range all {
		for _, o := range all {
			if same := identity(r) == identity(o); same != r.Same(o) {
				t.Errorf("%+v and %+v: %v", r, o, same)
			}
		}
		r.Observe = true
		if n := slices.IndexFunc(all, r.Same); n < 0 || identity(all[n]) != identity(r) {
			t.Errorf("%+v is another rule when it observes", r)
		}
	}
}

// TestIdleKeysAreNotSaved saves after what was taken has come back.
func TestIdleKeysAreNotSaved(t *testing.T) {
	l := build(t, Options{}, Rule{Algorithm: TokenBucket, Limit: 10, Window: time.Second})
	for i := range uint64(100) {
		ask(l, hashed(i), 1, start)
	}
	ask(l, hashed(5), 9, start)
	state, _ := l.Save(nil, unbounded, later(int64(500*time.Millisecond)))
	next := build(t, Options{}, Rule{Algorithm: TokenBucket, Limit: 10, Window: time.Second})
	if keys := mustRestore(t, next, state, start.Mono, start); keys != 1 || next.Stats().Keys != 1 {
		t.Errorf("%d keys, want the one that is not full", keys)
	}
}

// TestSaveIsBounded leaves out what has no room.
func TestSaveIsBounded(t *testing.T) {
	const n = 20_000
	r := Rule{Algorithm: FixedWindow, Limit: 3, Window: time.Hour}
	l := build(t, Options{MaxKeys: n}, r)
	for i := range uint64(n) {
		ask(l, hashed(i), 1, start)
	}
	for _, most := range []int{0, 100, 10_000, 100_000, unbounded} {
		state, left := l.Save([]byte("before"), most, start)
		if len(state)-6 > max(most, 100) {
			t.Errorf("%d bytes, want at most %d", len(state), most)
		}
		next := build(t, Options{MaxKeys: n}, r)
		if keys := mustRestore(t, next, state[6:], start.Mono, start); keys+left != n || most == unbounded && left != 0 {
			t.Errorf("at most %d: %d keys, and %d left out, of %d", most, keys, left, n)
		}
	}
}

// TestSaveOlderThanRequests saves at a moment before the last request: what it took has
// not begun to come back.
func TestSaveOlderThanRequests(t *testing.T) {
	for _, a := range []Algorithm{TokenBucket, GCRA, SlidingWindow, SlidingLog, FixedWindow} {
		for where, key := range keys {
			old, next := build(t, Options{}, Rule{Algorithm: a, Limit: 1, Window: time.Minute}), build(t, Options{}, Rule{Algorithm: a, Limit: 1, Window: time.Minute})
			ask(old, key, 1, later(int64(9*time.Second)))
			state, _ := old.Save(nil, unbounded, start)
			mustRestore(t, next, state, start.Mono, start)
			for s := range int64(180) {
				at := later((10 + s) * int64(time.Second))
				was, is := must(old.Read(key, at)), must(next.Read(key, at))
				if was[0] != is[0] {
					t.Fatalf("%s, %s, after %d s: %+v, but it was %+v", a, where, s, is, was)
				}
			}
		}
	}
}

// TestCalendarIsNotBehind has the wall clock of the new process a day behind: it stays
// in the day that the old one has reached, for keys too that the old one never saw.
func TestCalendarIsNotBehind(t *testing.T) {
	r := Rule{Algorithm: FixedWindow, Limit: 2, Period: Day}
	old, next := build(t, Options{}, r), build(t, Options{}, r)
	day := int64(24 * time.Hour)
	ask(old, hashed(1), 1, later(day))
	state, _ := old.Save(nil, unbounded, later(day))
	mustRestore(t, next, state, start.Mono, start)
	ask(next, hashed(1), 1, start)
	ask(next, hashed(2), 2, start)
	for _, n := range []uint64{1, 2} {
		if d := ask(next, hashed(n), 1, later(day)); d.Allowed {
			t.Errorf("key %d has a quota for the same day again", n)
		}
	}
}

// TestLogKeepsTheYoungest has two processes take more than the limit together.
func TestLogKeepsTheYoungest(t *testing.T) {
	r := Rule{Algorithm: SlidingLog, Limit: 2, Window: time.Hour}
	minutes := func(n int) Instant { return later(int64(n) * int64(time.Minute)) }
	for where, key := range keys {
		old, next := build(t, Options{}, r), build(t, Options{}, r)
		ask(next, key, 2, minutes(10))
		ask(old, key, 2, minutes(20))
		taken, _ := old.SaveTaken(nil, unbounded, start.Mono, minutes(20))
		mustRestore(t, next, taken, minutes(20).Mono, minutes(20))
		for _, at := range []int{20, 75, 79} {
			if d := must(next.Read(key, minutes(at))); d[0].Remaining != 0 {
				t.Errorf("%s: %d remaining after %d minutes", where, d[0].Remaining, at)
			}
		}
		if d := must(next.Read(key, minutes(80))); d[0].Remaining != 2 {
			t.Errorf("%s: %d remaining when all have gone", where, d[0].Remaining)
		}
	}
}

// TestTakenGoesOn has a process tell the next one what it was told by the one before.
func TestTakenGoesOn(t *testing.T) {
	for _, a := range []Algorithm{TokenBucket, SlidingWindow, SlidingLog, FixedWindow} {
		for where, key := range keys {
			var chain []*Limiter
			for range 3 {
				chain = append(chain, build(t, Options{}, Rule{Algorithm: a, Limit: 10, Window: time.Hour}))
			}
			for i := range 2 {
				state, _ := chain[i].Save(nil, unbounded, start)
				mustRestore(t, chain[i+1], state, start.Mono, start)
			}
			ask(chain[0], key, 3, later(1))
			for i := range 2 {
				taken, _ := chain[i].SaveTaken(nil, unbounded, start.Mono, later(2))
				mustRestore(t, chain[i+1], taken, start.Mono+2, later(2))
			}
			if d := must(chain[2].Read(key, later(2))); d[0].Remaining != 7 {
				t.Errorf("%s, %s: %d remaining, want 7", a, where, d[0].Remaining)
			}
		}
	}
}
