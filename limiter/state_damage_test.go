package limiter

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"
)

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
