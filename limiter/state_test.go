package limiter

import (
	"encoding/binary"
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

// everything is a state with all that one can hold.
func everything(t testing.TB) (*Limiter, []byte) {
	rules := ruleSets()["all"]
	l := build(t, Options{MaxKeys: 2}, rules...)
	for _, k := range []Key{{}, hashed(1), hashed(2), hashed(3)} {
		ask(l, k, 3, start)
		ask(l, k, 2, later(int64(2*time.Second)))
	}
	state, left := l.Save(nil, unbounded, later(int64(2*time.Second)))
	if left != 0 || l.Stats().Overflowed == 0 {
		t.Fatal("not all was saved")
	}
	return l, state
}

// TestDamagedState leaves the limiter as it was.
func TestDamagedState(t *testing.T) {
	_, state := everything(t)
	l := build(t, Options{}, ruleSets()["all"]...)
	f := func(what string, state []byte) {
		t.Helper()
		keys, err := l.Restore(state, start.Mono, start)
		if d, ok := l.Read(hashed(1), start); err == nil || keys != 0 || ok || d[0].Remaining != 200 || l.Stats().Keys != 0 || l.store.whole.Load() != nil {
			t.Fatalf("%s: %d keys, %v", what, keys, err)
		}
	}
	for n := range state {
		f(fmt.Sprintf("the first %d bytes", n), state[:n])
		if n < len(state)-sizeSum {
			f(fmt.Sprintf("the first %d bytes, with their sum", n), resum(append(slices.Clone(state[:n]), 0, 0, 0, 0)))
		}
		damaged := slices.Clone(state)
		damaged[n] ^= 1 << (n % 8)
		f(fmt.Sprintf("byte %d", n), damaged)
	}
	f("more behind it", append(slices.Clone(state), 1))
	f("more behind it, with its sum", resum(append(slices.Clone(state), 0, 0, 0, 0)))
	if mustRestore(t, l, state, start.Mono, start) != 2 {
		t.Error("the whole state was not restored")
	}
}

// resum makes a state's sum right.
func resum(state []byte) []byte {
	if n := len(state) - sizeSum; n >= 0 {
		binary.BigEndian.PutUint32(state[n:], sumOf(state[:n]))
	}
	return state
}

// FuzzRestore gives a limiter a state whose sum is right and whose rest need not be.
func FuzzRestore(f *testing.F) {
	l, state := everything(f)
	f.Add(state)
	ask(l, hashed(1), 1, later(int64(3*time.Second)))
	taken, _ := l.SaveTaken(nil, unbounded, start.Mono, later(int64(3*time.Second)))
	f.Add(taken)
	f.Fuzz(func(t *testing.T, state []byte) {
		l := build(t, Options{MaxKeys: 10, Shards: 2}, ruleSets()["all"]...)
		keys, err := l.Restore(resum(slices.Clone(state)), start.Mono, start)
		if s := l.Stats(); err != nil && (keys != 0 || s.Keys != 0 || l.store.whole.Load() != nil || l.store.overflow.Load() != nil) {
			t.Fatalf("%v, but something was restored: %+v", err, s)
		}
		for _, k := range []Key{{}, hashed(1), hashed(2)} {
			for _, after := range []time.Duration{0, time.Second, time.Minute, 48 * time.Hour} {
				at := later(int64(after))
				r := &Request{Key: k, Cost: 1, At: at}
				if l.Allow(r, new(Decision)) {
					l.Charge(r, 2, at)
				}
				for _, d := range must(l.Read(k, at)) {
					if d.Remaining > d.Limit {
						t.Fatalf("more than the limit: %+v", d)
					}
				}
			}
		}
		again, _ := l.Save(nil, unbounded, start)
		_, _ = build(t, Options{}, ruleSets()["all"]...).Restore(again, start.Mono, start) // what is out of range in one may be in the other
	})
}

func must[T any](v T, _ bool) T { return v }

// BenchmarkState measures the hand-over of as many keys as a table has room for by
// default.
func BenchmarkState(b *testing.B) {
	sets := map[string][]Rule{
		"bucket": {{Name: "r", Algorithm: TokenBucket, Limit: 100, Window: time.Minute}},
		"three": {
			{Name: "second", Algorithm: TokenBucket, Limit: 10, Window: time.Second, Burst: 1000},
			{Name: "minute", Algorithm: SlidingWindow, Limit: 100, Window: time.Minute},
			{Name: "day", Algorithm: FixedWindow, Limit: 1000, Period: Day},
		},
		"log": {{Name: "r", Algorithm: SlidingLog, Limit: 100, Window: time.Hour}},
	}
	for name, rules := range sets {
		l := build(b, Options{}, rules...)
		for i := range uint64(DefaultMaxKeys) {
			for range 10 {
				ask(l, hashed(i), 1, later(int64(i)*1000))
			}
		}
		now := later(int64(DefaultMaxKeys) * 1000)
		b.Run("save/"+name, func(b *testing.B) {
			var state []byte
			for b.Loop() {
				state, _ = l.Save(state[:0], unbounded, now)
			}
			b.ReportMetric(float64(len(state)), "bytes")
		})
		b.Run("taken/"+name, func(b *testing.B) {
			for b.Loop() {
				_, _ = l.SaveTaken(nil, unbounded, now.Mono+20e9, now)
			}
		})
		state, _ := l.Save(nil, unbounded, now)
		b.Run("restore/"+name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				next := build(b, Options{}, rules...)
				b.StartTimer()
				if keys := mustRestore(b, next, state, now.Mono, now); keys != DefaultMaxKeys {
					b.Fatalf("%d keys", keys)
				}
			}
		})
	}
}
