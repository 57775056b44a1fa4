package balancer

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkPick measures a pick among endpoints that all are available and have
// uneven weights and a few requests in flight.
func BenchmarkPick(b *testing.B) {
	for _, algorithm := range Algorithms() {
		for _, n := range []int{3, 32, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", algorithm, n), func(b *testing.B) {
				p := benchmarkPicker(b, algorithm, n)
				b.ReportAllocs()
				var q Query
				for b.Loop() {
					p.Pick(&q)
				}
			})
			b.Run(fmt.Sprintf("%s/%d/parallel", algorithm, n), func(b *testing.B) {
				p := benchmarkPicker(b, algorithm, n)
				b.RunParallel(func(pb *testing.PB) {
					var q Query
					for pb.Next() {
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
			var q Query
			q.Tried.Add(7)
			for b.Loop() {
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

func benchmarkPicker(b *testing.B, algorithm string, n int) Picker {
	endpoints := make([]*Endpoint, n)
	for i := range endpoints {
		endpoints[i] = NewEndpoint(1+i%4, true)
		for range rand.IntN(4) {
			endpoints[i].Begin()
		}
	}
	return build(b, algorithm, endpoints)
}
