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
			var tried Tried
			for name, pick := range map[string]func(){
				"first": func() { p.Pick(0, nil) },
				"retry": func() {
					tried.Reset()
					tried.Add(p.Pick(0, &tried))
					p.Pick(0, &tried)
				},
			} {
				if allocs := testing.AllocsPerRun(1000, pick); allocs != 0 {
					t.Errorf("%s pick of %d: %v allocations", name, n, allocs)
				}
			}
		}
	})
}
