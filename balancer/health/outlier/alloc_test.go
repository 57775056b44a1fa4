//go:build !race

package outlier

import "testing"

func TestObserveAllocatesNothing(t *testing.T) {
	d := New(Options{})
	defer d.Close()
	watched := passive()
	d.Set("users", Settings{Consecutive5xx: 3, BaseEjection: 1}, []Target{{Passive: watched}})
	for name, p := range map[string]*Passive{"nil": nil, "unwatched": passive(), "watched": watched} {
		for result := Success; result <= LocalError; result++ {
			if allocs := testing.AllocsPerRun(1000, func() { p.Observe(Success); p.Observe(result) }); allocs != 0 {
				t.Errorf("%s, result %d: %v allocations", name, result, allocs)
			}
		}
	}
	// Handing over allocates nothing either. The detector allocates, at its own
	// time, and is kept out by a limit that it does not judge by.
	l := Settings{Consecutive5xx: 1, ConsecutiveGateway: 1}.withDefaults().limits(&Detector{wake: make(chan struct{}, 1)})
	p := passive()
	p.limits.Store(l)
	if allocs := testing.AllocsPerRun(1000, func() {
		p.Observe(GatewayError)
		l.detector.tripped.Store(nil)
		p.tripped.Store(0)
	}); allocs != 0 {
		t.Errorf("at the limit: %v allocations", allocs)
	}
}
