package limiter

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

const benchmarkKeys = 1 << 20

// benchmarkRules never refuse.
func benchmarkRules() map[string][]Rule {
	rules := map[string][]Rule{}
	for _, a := range []Algorithm{TokenBucket, GCRA, SlidingWindow, FixedWindow} {
		r := Rule{Name: "r", Algorithm: a, Limit: 1e9, Window: time.Second}
		if a == GCRA {
			r.Burst = 1e9
		}
		rules[string(a)] = []Rule{r}
	}
	rules["three"] = []Rule{
		{Name: "second", Algorithm: TokenBucket, Limit: 1e9, Window: time.Second},
		{Name: "minute", Algorithm: SlidingWindow, Limit: 6e10, Window: time.Minute},
		{Name: "day", Algorithm: FixedWindow, Limit: 1e13, Period: Day},
	}
	return rules
}

// BenchmarkAllow measures admissions: of the whole route, of one key, and of keys
// chosen evenly among a million, where nearly all of the time goes into one
// cache miss (compare BenchmarkMiss).
func BenchmarkAllow(b *testing.B) {
	for name, rules := range benchmarkRules() {
		l := build(b, Options{MaxKeys: benchmarkKeys}, rules...)
		all := make([]Key, benchmarkKeys)
		for i := range all {
			all[i] = hashed(uint64(i))
		}
		for where, key := range map[string]func(n uint64) Key{
			"whole":   func(uint64) Key { return Key{} },
			"key":     func(uint64) Key { return all[0] },
			"million": func(n uint64) Key { return hashed(n * 7919 % benchmarkKeys) },
		} {
			for i := range all {
				ask(l, all[i], 1, start)
			}
			b.Run(fmt.Sprintf("%s/%s", name, where), func(b *testing.B) {
				b.ReportAllocs()
				r, d := Request{Cost: 1, At: start}, Decision{}
				for n := uint64(0); b.Loop(); n++ {
					r.Key = key(n)
					r.At.Mono += 20
					l.Allow(&r, &d)
				}
			})
			b.Run(fmt.Sprintf("%s/%s/parallel", name, where), func(b *testing.B) {
				var shards atomic.Uint32
				b.RunParallel(func(pb *testing.PB) {
					r, d := Request{Cost: 1, At: start, Shard: shards.Add(1)}, Decision{}
					for n := uint64(r.Shard) << 32; pb.Next(); n++ {
						r.Key = key(n)
						r.At.Mono += 20
						l.Allow(&r, &d)
					}
				})
			})
		}
	}
}

// BenchmarkRefuse measures what a flood costs.
func BenchmarkRefuse(b *testing.B) {
	for where, key := range keys {
		b.Run(where, func(b *testing.B) {
			l := build(b, Options{}, Rule{Algorithm: TokenBucket, Limit: 1, Window: time.Hour})
			b.ReportAllocs()
			r, d := Request{Key: key, Cost: 1, At: start}, Decision{}
			for b.Loop() {
				r.At.Mono += 20
				l.Allow(&r, &d)
			}
		})
	}
}

// BenchmarkHeld measures Allow and Release of Concurrency.
func BenchmarkHeld(b *testing.B) {
	for where, key := range keys {
		b.Run(where, func(b *testing.B) {
			l := build(b, Options{}, Rule{Algorithm: Concurrency, Limit: 1000})
			r, d := Request{Key: key, Cost: 1, At: start}, Decision{}
			for b.Loop() {
				if l.Allow(&r, &d) {
					l.Release(&r)
				}
			}
		})
	}
}

// BenchmarkNewKeys measures keys that each push an idle one out of a full table.
func BenchmarkNewKeys(b *testing.B) {
	l := build(b, Options{MaxKeys: 65536}, Rule{Algorithm: TokenBucket, Limit: 1000, Window: time.Second})
	r, d := Request{Cost: 1, At: start}, Decision{}
	for n := uint64(0); b.Loop(); n++ {
		r.Key = hashed(n)
		r.At.Mono += 1_000_000
		l.Allow(&r, &d)
	}
}

// BenchmarkMiss is what one access to a place in as much memory as a million keys take
// costs without a limiter, for comparison.
func BenchmarkMiss(b *testing.B) {
	memory := make([][8]uint64, 5*benchmarkKeys/3)
	for i := range memory {
		memory[i][0] = 1
	}
	sum := uint64(0)
	for n := uint64(0); b.Loop(); n++ {
		k := hashed(n*7919%benchmarkKeys ^ sum&1)
		place := &memory[k.Hi%uint64(len(memory))]
		place[1]++
		sum += place[0]
	}
	if sum == 0 {
		b.Fatal("nothing was read")
	}
}
