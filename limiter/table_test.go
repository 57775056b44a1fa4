package limiter

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// hashed is a key whose halves are even.
func hashed(n uint64) Key {
	mix := func(z uint64) uint64 {
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	return Key{Hi: mix(n + 0x9e3779b97f4a7c15), Lo: mix(n + 0x3c6ef372fe94f82a)}
}

func build(t testing.TB, opts Options, rules ...Rule) *Limiter {
	t.Helper()
	opts.Start = start
	for i := range rules {
		if rules[i].Name == "" {
			rules[i].Name = fmt.Sprint(i)
		}
	}
	l, err := New(rules, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ask asks for n units and returns the decision.
func ask(l *Limiter, k Key, n int64, at Instant) Decision {
	var d Decision
	l.Allow(&Request{Key: k, Cost: n, At: at}, &d)
	return d
}

// TestTableKeepsWhatItPromises fills a table of many parts to its last key.
func TestTableKeepsWhatItPromises(t *testing.T) {
	const n = 50_000
	l := build(t, Options{MaxKeys: n, Full: FullDeny}, Rule{Algorithm: FixedWindow, Limit: 2, Window: time.Hour})
	for round := range 2 {
		for i := range uint64(n) {
			if d := ask(l, hashed(i), 1, start); !d.Allowed || d.Remaining != int64(1-round) {
				t.Fatalf("round %d, key %d: %+v", round, i, d)
			}
		}
	}
	if s := l.Stats(); s.Keys != n || s.Evicted != 0 || s.Overflowed != 0 || s.Admitted != 2*n {
		t.Errorf("%+v", s)
	}
}

// TestEviction has more keys than room: idle ones go, the oldest first.
func TestEviction(t *testing.T) {
	l := build(t, Options{MaxKeys: 4, Full: FullDeny}, Rule{Algorithm: TokenBucket, Limit: 10, Window: 10 * time.Second})
	second := int64(time.Second)
	for i, n := range []int64{3, 9, 1, 2} { // idle after so many seconds
		ask(l, hashed(uint64(i)), n, later(int64(i)))
	}
	if d := ask(l, hashed(10), 1, later(second/2)); d.Allowed || !d.Overflow || d.RetryAfter != time.Duration(second/2+2) {
		t.Errorf("all are active: %+v", d)
	}
	if d := ask(l, hashed(10), 1, later(5*second)); !d.Allowed || d.Overflow {
		t.Errorf("three are idle: %+v", d)
	}
	for i, want := range []bool{false, true, true, true} {
		if _, found := l.Read(hashed(uint64(i)), later(5*second)); found != want {
			t.Errorf("key %d is there: %v, want %v: the oldest idle one goes", i, found, want)
		}
	}
	if s := l.Stats(); s.Evicted != 1 || s.Keys != 4 || s.Overflowed != 1 {
		t.Errorf("%+v", s)
	}
}

// TestActiveKeysAreNeverForgotten floods a table with made-up keys; those that were
// there keep what they have taken.
func TestActiveKeysAreNeverForgotten(t *testing.T) {
	for _, full := range []Full{FullShare, FullDeny, FullAllow} {
		l := build(t, Options{MaxKeys: 100, Full: full, Shards: 2}, Rule{Algorithm: SlidingWindow, Limit: 10, Window: time.Minute})
		for i := range uint64(50) {
			ask(l, hashed(i), 10, start)
		}
		admitted := 0
		for i := range uint64(10_000) {
			if ask(l, hashed(1000+i), 1, start).Allowed {
				admitted++
			}
		}
		want := map[Full]int{FullShare: 50 + 10, FullDeny: 50, FullAllow: 10_000}[full]
		if admitted != want {
			t.Errorf("%s: %d newcomers admitted, want %d", full, admitted, want)
		}
		for i := range uint64(50) {
			if d := ask(l, hashed(i), 1, start); d.Allowed {
				t.Errorf("%s: key %d was forgotten: %+v", full, i, d)
			}
		}
	}
}

// TestHeldKeysStay never evicts a key of which something is held, and releases where
// the request was admitted.
func TestHeldKeysStay(t *testing.T) {
	l := build(t, Options{MaxKeys: 1, Shards: 1}, Rule{Algorithm: Concurrency, Limit: 2})
	var d Decision
	a, b := &Request{Key: hashed(1), Cost: 2, At: start}, &Request{Key: hashed(2), Cost: 2, At: start}
	if !l.Allow(a, &d) || d.Overflow || !l.Allow(b, &d) || !d.Overflow {
		t.Fatalf("%+v", d)
	}
	if d := ask(l, hashed(3), 1, start); d.Allowed || !d.Overflow {
		t.Errorf("the shared bucket is full: %+v", d)
	}
	l.Release(b)
	if d := ask(l, hashed(3), 1, start); !d.Allowed || !d.Overflow {
		t.Errorf("the shared bucket has room: %+v", d)
	}
	l.Release(a)
	if d := ask(l, hashed(4), 1, start); !d.Allowed || d.Overflow {
		t.Errorf("the table has room: %+v", d)
	}
}

// TestTableAgainstMap compares a crowded part with a map over random inserts and
// removals.
func TestTableAgainstMap(t *testing.T) {
	l := build(t, Options{MaxKeys: 64, Full: FullDeny}, Rule{Algorithm: SlidingLog, Limit: 5, Window: time.Hour})
	want := map[Key]int64{}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		k := hashed(rng.Uint64N(90))
		if rng.IntN(3) == 0 {
			if had := l.Reset(k, start); had != (want[k] != 0) {
				t.Fatalf("reset found %v, the map %d", had, want[k])
			}
			delete(want, k)
			continue
		}
		_, known := want[k]
		allowed := (known || len(want) < 64) && want[k] < 5
		if d := ask(l, k, 1, start); d.Allowed != allowed {
			t.Fatalf("%+v, want %v", d, allowed)
		}
		if allowed {
			want[k]++
		}
	}
}

// TestTopRefused finds the keys that are refused often among many that are refused
// once.
func TestTopRefused(t *testing.T) {
	l := build(t, Options{MaxKeys: 5000}, Rule{Algorithm: FixedWindow, Limit: 0, Window: time.Hour})
	refuse := func(key, times uint64) {
		for range times {
			var d Decision
			l.Allow(&Request{Key: hashed(key), Cost: 1, At: start, Label: fmt.Appendf(nil, "key %d", key)}, &d)
		}
	}
	for i := range uint64(3000) {
		refuse(i, 1)
		if i%10 == 0 {
			refuse(7_000_001, 20)
			refuse(7_000_002, 10)
		}
	}
	top := l.TopRefused(2)
	if len(top) != 2 || top[0].Label != "key 7000001" || top[1].Label != "key 7000002" {
		t.Fatalf("%+v", top)
	}
	for i, want := range []uint64{6000, 3000} {
		if top[i].Refused < want || top[i].Refused-top[i].Excess > want {
			t.Errorf("%+v, want %d within", top[i], want)
		}
	}
}
