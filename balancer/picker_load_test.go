package balancer

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPickByLoad keeps many requests in flight, of which a random one ends at a
// time: who goes by load spreads those in flight by weight.
func TestPickByLoad(t *testing.T) {
	f := func(algorithm string, tolerance float64, weights ...int) {
		t.Helper()
		endpoints := fleet(len(weights), weights...)
		p := build(t, algorithm, endpoints)
		var inFlight []int
		total := 0
		for _, w := range weights {
			total += w
		}
		begin := func() {
			i := p.Pick(new(Query))
			endpoints[i].Begin()
			inFlight = append(inFlight, i)
		}
		for range 20 * total {
			begin()
		}
		for range 50_000 {
			end := rand.IntN(len(inFlight))
			endpoints[inFlight[end]].End()
			inFlight[end] = inFlight[len(inFlight)-1]
			inFlight = inFlight[:len(inFlight)-1]
			begin()
		}
		for i, w := range weights {
			if got, want := float64(endpoints[i].InFlight()), float64(20*w); math.Abs(got-want) > tolerance*want {
				t.Errorf("%s, weights %v: %v in flight at %d, want about %v", algorithm, weights, got, i, want)
			}
		}
	}
	f(LeastConnections, 0.06, 1, 1, 1)
	f(LeastConnections, 0.06, 5, 3, 2)
	f(P2C, 0.2, 1, 1, 1)
	f(P2C, 0.2, 5, 3, 2)
	long := slices.Repeat([]int{2, 1}, 25)
	f(P2C, 0.4, long...)
	f(LeastConnections, 0.4, long...)
}

// TestPickAvoidsLoaded: an endpoint that does not answer, and so holds more and
// more requests, receives next to nothing from who goes by load.
func TestPickAvoidsLoaded(t *testing.T) {
	for _, algorithm := range []string{P2C, LeastConnections} {
		for _, n := range []int{3, 20, 100} {
			endpoints := fleet(n, 1)
			for range 1000 {
				endpoints[0].Begin()
			}
			got := count(build(t, algorithm, endpoints), n, 10_000)[0]
			// Of two or more different endpoints one is always better; only
			// when all draws bring the same one is it not compared.
			if got > 40 {
				t.Errorf("%s, %d endpoints: %d of 10000 picks went to the loaded one", algorithm, n, got)
			}
		}
	}
}
