package balancer

import (
	"math/rand/v2"
	"sync/atomic"
)

// bound keeps the requests in flight at an endpoint within a percentage of its
// share by weight of all that are in flight at the group, rounded up
// (consistent hashing with bounded loads). Only available endpoints count.
//
// Counting is proportional to the group. Groups of up to maxScan are counted in
// each pick that meets an endpoint which is not idle. Larger ones are counted
// when all of the first choices are full and otherwise so often that a pick looks
// at meanScan endpoints in the mean: the bound is then that of some len/meanScan
// picks ago, which is off by some 1/meanScan of a request.
type bound struct {
	percent uint64 // 0: no bound

	inFlight, shares atomic.Uint64 // as last counted
}

// meanScan is how many endpoints of a large group a pick counts in the mean.
const meanScan = 8

// room is what one pick knows of the load of the group. Its zero value is nothing.
type room struct {
	inFlight, shares uint64
	known, fresh     bool
}

// admits reports whether endpoint i, which has the share, may have one more request.
func (b *bound) admits(g *group, i int, share, matters uint64, r *room) bool {
	load := uint64(max(g.list[i].InFlight(), 0))
	if load == 0 {
		return true // the bound, rounded up, is at least 1
	}
	if !r.known {
		b.recall(g, matters, r)
	}
	return b.below(load, share, r)
}

// below compares load with percent of the mean with one more request, rounded up.
func (b *bound) below(load, share uint64, r *room) bool {
	return load*100*r.shares < b.percent*(r.inFlight+1)*share
}

// recall takes what was counted last, or counts if that may be old.
func (b *bound) recall(g *group, matters uint64, r *room) {
	r.inFlight, r.shares, r.known = b.inFlight.Load(), b.shares.Load(), true
	if len(g.own) <= maxScan || r.shares == 0 || scale(rand.Uint32(), len(g.own)) < meanScan {
		b.count(g, matters, r)
	}
}

func (b *bound) count(g *group, matters uint64, r *room) {
	*r = room{known: true, fresh: true}
	for _, e := range g.own {
		if share := shareOf(e.state.Load(), matters); share > 0 {
			r.shares += share
			r.inFlight += uint64(max(e.InFlight(), 0))
		}
	}
	b.inFlight.Store(r.inFlight)
	b.shares.Store(r.shares)
}
