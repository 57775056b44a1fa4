//go:build !race

package balancer

import "testing"

func TestPickAllocatesNothing(t *testing.T) {
	forAlgorithms(t, func(t *testing.T, algorithm string) {
		for _, n := range sizes {
			endpoints := fleet(n, 3, 1)
			if n > 2 {
				endpoints[1].SetUp(false)
			}
			p := build(t, algorithm, endpoints)
			q := Query{Key: 7, HasKey: true}
			for name, pick := range map[string]func(){
				"first": func() { p.Pick(&q) },
				"retry": func() {
					q.Tried.Reset()
					q.Tried.Add(p.Pick(&q))
					p.Pick(&q)
				},
			} {
				if allocs := testing.AllocsPerRun(1000, pick); allocs != 0 {
					t.Errorf("%s pick of %d: %v allocations", name, n, allocs)
				}
			}
		}
	})
}
