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

// TestPanicAllocatesNothing: nor does a pick that finds nothing available.
func TestPanicAllocatesNothing(t *testing.T) {
	forPanics(t, 1, 12, func(t *testing.T, p Picker, endpoints []*Endpoint) {
		for _, e := range endpoints {
			e.SetUp(false)
		}
		q := new(Query)
		for range 40 * len(endpoints) {
			p.Pick(q) // what changed is built anew
		}
		if allocs := testing.AllocsPerRun(1000, func() { p.Pick(q) }); allocs != 0 {
			t.Errorf("%v allocations", allocs)
		}
	})
}

func TestObserveAllocatesNothing(t *testing.T) {
	e, now := NewEndpoint(1, true), int64(0)
	if allocs := testing.AllocsPerRun(1000, func() {
		now += 1 << shiftTick
		e.Observe(1000, now)
		e.ObserveFailure(1000, now)
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
