package balancer

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestPickConcurrently has half of the endpoints come and go while many pick;
// the other half stays, so that there always is something to pick.
func TestPickConcurrently(t *testing.T) {
	forAlgorithms(t, func(t *testing.T, algorithm string) {
		for _, n := range []int{8, 64} {
			endpoints := fleet(n, 1, 3)
			banned := NewEndpoint(5, true) // down before anyone picks, for good
			endpoints = append(endpoints, banned)
			p := build(t, algorithm, endpoints)
			banned.SetUp(false)

			const pickers, picks = 4, 5000
			counts := make([]atomic.Int64, len(endpoints))
			var picking, changing sync.WaitGroup
			var done atomic.Bool
			changing.Go(func() {
				for i := 0; !done.Load(); i++ {
					e := endpoints[n/2+i%(n/2)]
					switch i % 3 {
					case 0:
						e.SetUp(i%2 == 0)
					case 1:
						e.SetWeight(i % 5)
					default:
						e.SetUp(true)
					}
				}
			})
			for range pickers {
				picking.Go(func() {
					var q Query
					for j := range picks {
						q.Reset()
						q.Tried.Add(j % (n / 2))
						q.Key, q.HasKey = mix(uint64(j)), j%2 == 0
						i := p.Pick(&q)
						if i < 0 || q.Tried.Has(i) {
							t.Errorf("picked %d", i)
							return
						}
						endpoints[i].Begin()
						counts[i].Add(1)
						endpoints[i].End()
					}
				})
			}
			picking.Wait()
			done.Store(true)
			changing.Wait()

			if got := counts[n].Load(); got != 0 {
				t.Errorf("%d endpoints: %d picks of one that was down", n, got)
			}
			for i, e := range endpoints {
				if e.InFlight() != 0 {
					t.Errorf("endpoint %d has %d in flight", i, e.InFlight())
				}
			}
			// The storm is over: shares must be those of the final state.
			want := make([]int, len(endpoints))
			for i, e := range endpoints {
				if e.Available() {
					want[i] = e.Weight()
				}
			}
			if !strings.HasPrefix(algorithm, FirstAvailable) && !strings.HasSuffix(algorithm, "+levels") {
				count(p, len(endpoints), 60*len(endpoints))
				assertShares(t, "after the storm", count(p, len(endpoints), 40_000), want)
			}
		}
	})
}

// TestPickByWeightConcurrently: many at once still share by weight.
func TestPickByWeightConcurrently(t *testing.T) {
	forWeighted(t, func(t *testing.T, algorithm string) {
		weights := []int{5, 3, 1, 1}
		p := build(t, algorithm, fleet(len(weights), weights...))
		total := make([]int, len(weights))
		var mu sync.Mutex
		var picking sync.WaitGroup
		for range 8 {
			picking.Go(func() {
				counts := count(p, len(weights), 5000)
				mu.Lock()
				defer mu.Unlock()
				for i, c := range counts {
					total[i] += c
				}
			})
		}
		picking.Wait()
		assertShares(t, "concurrent", total, weights)
	})
}

// TestPickByWeightWhileOthersComeAndGo: the shares of those that stay are by
// weight while others change, and while many pick.
func TestPickByWeightWhileOthersComeAndGo(t *testing.T) {
	forWeighted(t, func(t *testing.T, algorithm string) {
		weights := []int{4, 3, 2, 1}
		endpoints := fleet(8, append(weights, 5)...)
		p := build(t, algorithm, endpoints)
		total := make([]int, len(weights))
		var mu sync.Mutex
		var picking, changing sync.WaitGroup
		var done atomic.Bool
		changing.Go(func() {
			for i := 0; !done.Load(); i++ {
				e := endpoints[4+i%4]
				e.SetUp(i/4%2 == 0)
				e.SetEjected(i/8%3 == 0)
				runtime.Gosched()
			}
		})
		for range 4 {
			picking.Go(func() {
				counts := count(p, len(endpoints), 10_000)
				mu.Lock()
				defer mu.Unlock()
				for i := range total {
					total[i] += counts[i]
				}
			})
		}
		picking.Wait()
		done.Store(true)
		changing.Wait()
		assertShares(t, "those that stay", total, weights)
	})
}
