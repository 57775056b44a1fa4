package balancer

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// benchmarked are the algorithms, and some in settings that cost something.
func benchmarked() []string {
	return append(Algorithms(), P2C+"+panic", P2C+"+levels", Ring+"+bound", Maglev+"+bound")
}

// BenchmarkPick measures a pick among endpoints that all are available and have
// uneven weights, a few requests in flight and latencies that have decayed a
// little. The target is below 50 ns with 100 endpoints.
func BenchmarkPick(b *testing.B) {
	for _, algorithm := range benchmarked() {
		for _, n := range []int{3, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", algorithm, n), func(b *testing.B) {
				p := benchmarkPicker(b, algorithm, n)
				b.ReportAllocs()
				q := Query{HasKey: true, Now: 2 * second}
				for b.Loop() {
					q.Key++
					p.Pick(&q)
				}
			})
			b.Run(fmt.Sprintf("%s/%d/parallel", algorithm, n), func(b *testing.B) {
				p := benchmarkPicker(b, algorithm, n)
				b.RunParallel(func(pb *testing.PB) {
					q := Query{HasKey: true, Now: 2 * second}
					for pb.Next() {
						q.Key++
						p.Pick(&q)
					}
				})
			})
		}
	}
}

// BenchmarkPickSecond measures the pick of a retry.
func BenchmarkPickSecond(b *testing.B) {
	for _, algorithm := range Algorithms() {
		b.Run(algorithm, func(b *testing.B) {
			p := benchmarkPicker(b, algorithm, 100)
			q := Query{HasKey: true, Now: 2 * second}
			q.Tried.Add(7)
			for b.Loop() {
				q.Key++
				p.Pick(&q)
			}
		})
	}
}

// BenchmarkBuild measures what a change of one endpoint costs the pick that sees
// it; "spread" is the worst case, of many distinct weights.
func BenchmarkBuild(b *testing.B) {
	weights := map[string]func(i int) int{
		"equal":  func(int) int { return 100 },
		"few":    func(i int) int { return 1 + i%4 },
		"spread": func(i int) int { return 1 + i*61 },
	}
	for name, weight := range weights {
		for _, n := range []int{3, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				endpoints := make([]*Endpoint, n)
				for i := range endpoints {
					endpoints[i] = NewEndpoint(weight(i), true)
				}
				for b.Loop() {
					sequenceOf(endpoints)
				}
			})
		}
	}
}

// BenchmarkBuildTable measures what a change of a weight costs the pick that sees
// it, while others go on with the table of before.
func BenchmarkBuildTable(b *testing.B) {
	for _, algorithm := range []string{Ring, Maglev} {
		for _, n := range []int{3, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", algorithm, n), func(b *testing.B) {
				endpoints := fleet(n, 100)
				p := buildWith(b, Settings{Algorithm: algorithm}, members(endpoints))
				for i := 0; b.Loop(); i++ {
					endpoints[0].SetWeight(100 + i%2)
					switch p := p.(type) {
					case *ring:
						p.follow(p.current.Load())
					case *maglev:
						p.follow(p.current.Load())
					}
				}
			})
		}
	}
}

// BenchmarkObserve measures what the answer to a request costs.
func BenchmarkObserve(b *testing.B) {
	e := NewEndpoint(1, true)
	now := int64(0)
	for b.Loop() {
		now += 100_000 // 10 000 requests a second
		e.Observe(time.Duration(1+now%7)*time.Millisecond, now)
	}
}

func benchmarkPicker(b *testing.B, algorithm string, n int) Picker {
	endpoints := make([]*Endpoint, n)
	for i := range endpoints {
		endpoints[i] = NewEndpoint(1+i%4, true)
		endpoints[i].Observe(time.Duration(1+rand.IntN(20))*time.Millisecond, second)
		for range rand.IntN(4) {
			endpoints[i].Begin()
		}
	}
	return build(b, algorithm, endpoints)
}
