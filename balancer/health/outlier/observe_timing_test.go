package outlier

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkObserve(b *testing.B) {
	d := New(Options{})
	defer d.Close()
	watched, tolerated := passive(), passive()
	d.Set("users", Settings{}, []Target{{Passive: watched}})
	d.Set("orders", Settings{Consecutive5xx: Off}, []Target{{Passive: tolerated}})
	cases := []struct {
		name    string
		p       *Passive
		results []Result
	}{
		{"nil", nil, []Result{Success}},
		{"unwatched", passive(), []Result{Success}},
		{"success", watched, []Result{Success}},
		{"mixed", watched, []Result{Success, Success, Success, ServerError}},
		{"failure", tolerated, []Result{ServerError}},
		{"failure at limit", watched, []Result{ServerError}},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				c.p.Observe(c.results[i&(len(c.results)-1)])
				i++
			}
		})
	}
	b.Run("success/parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				watched.Observe(Success)
			}
		})
	})
}

// BenchmarkSweep measures the end of an interval of one upstream.
func BenchmarkSweep(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g := newGroup(nil, "users", time.Unix(0, 0))
			g.configure(Settings{}.withDefaults(), time.Unix(0, 0))
			targets := make([]Target, n)
			for i := range targets {
				targets[i].Passive = passive()
			}
			g.list(targets, time.Unix(0, 0))
			for b.Loop() {
				for _, p := range g.members {
					p.successes.Add(200)
				}
				g.sweep(time.Unix(0, 0))
			}
		})
	}
}
