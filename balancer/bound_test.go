package balancer

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestHashBound: with many requests in flight, many of them of one key, no
// endpoint has more than the factor times its share, rounded up.
func TestHashBound(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		f := func(percent, slack int, weights ...int) {
			t.Helper()
			n := len(weights)
			endpoints := fleet(n, weights...)
			p := buildWith(t, Settings{Algorithm: algorithm, BalanceFactor: percent, TableSize: 8191}, members(endpoints))
			sum := 0
			for _, w := range weights {
				sum += w
			}
			var inFlight []int
			q := Query{HasKey: true}
			for step := range 40 * n {
				q.Key = uint64(rand.IntN(1 + step%3*n)) // a third of all have one key
				i := p.Pick(&q)
				endpoints[i].Begin()
				inFlight = append(inFlight, i)
				most := int(math.Ceil(float64(percent)*float64(len(inFlight))*float64(weights[i])/100/float64(sum))) + slack
				if got := int(endpoints[i].InFlight()); got > most {
					t.Fatalf("%d endpoints: %d of %d in flight at %d, want at most %d", n, got, len(inFlight), i, most)
				}
				if len(inFlight) > 20*n {
					end := rand.IntN(len(inFlight))
					endpoints[inFlight[end]].End()
					inFlight[end] = inFlight[len(inFlight)-1]
					inFlight = inFlight[:len(inFlight)-1]
				}
			}
		}
		f(100, 0, 1, 1, 1)
		f(125, 0, 1, 1, 1, 1, 1)
		f(150, 0, 4, 2, 1, 1)
		f(125, 0, slices.Repeat([]int{1, 2}, maxScan/2)...)
		f(125, 1, slices.Repeat([]int{1}, 100)...) // counted by turns
	})
}

// TestHashBoundKeepsKeys: as long as the load is even, a bound moves few keys.
func TestHashBoundKeepsKeys(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		endpoints := fleet(10, 1)
		s := Settings{Algorithm: algorithm, TableSize: 8191}
		free := place(buildWith(t, s, members(endpoints)), keys)
		for _, e := range endpoints {
			for range 100 {
				e.Begin()
			}
		}
		s.BalanceFactor = 125
		p := buildWith(t, s, members(endpoints))
		if !slices.Equal(free, place(p, keys)) {
			t.Error("keys moved although no endpoint is full")
		}
		for range 50 {
			endpoints[4].Begin()
		}
		its, others := moved(free, place(p, keys), 4)
		if its == 0 || others != 0 {
			t.Errorf("%d keys of a full endpoint moved, and %d of others", its, others)
		}
	})
}

// TestHashBoundCountsBeforeItGivesUp: an outdated count that says that all are
// full is not what overloads one.
func TestHashBoundCountsBeforeItGivesUp(t *testing.T) {
	endpoints := fleet(100, 1)
	for i, e := range endpoints {
		e.Begin()
		if i != 42 {
			e.Begin()
			e.Begin()
		}
	}
	p := buildWith(t, Settings{Algorithm: Maglev, BalanceFactor: 100, TableSize: 8191}, members(endpoints)).(*maglev)
	for key := range uint64(100) {
		p.bound.inFlight.Store(0)
		p.bound.shares.Store(100)
		if i := p.Pick(&Query{HasKey: true, Key: key}); i != 42 {
			t.Fatalf("key %d: picked %d, want the only one with room", key, i)
		}
	}
}
