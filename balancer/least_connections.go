package balancer

import "math/rand/v2"

const (
	// maxScan is the longest list of which all endpoints are looked at in a pick.
	maxScan = 32
	// leastChoices is how many endpoints least connections compares of a longer one.
	leastChoices = 3
)

// newLeastConnections returns a picker that takes the endpoint with the fewest
// requests in flight per weight. Up to maxScan endpoints it compares all of them;
// of more it compares leastChoices that are drawn by weight, because looking at
// all would cost more than it gains.
func newLeastConnections(g group) Picker {
	if len(g.own) <= maxScan {
		p := new(leastOfAll)
		p.start(g, func(_, _ *derived[struct{}]) {})
		return p
	}
	p := new(leastOfSome)
	p.start(g)
	return p
}

// leastOfSome is least connections over a long list.
type leastOfSome struct {
	sequencer
}

// Pick draws endpoints until it has compared as many as it should. Draws that
// bring nothing new are repeated, but not for ever: where one endpoint has nearly
// all the weight, or is the only one left, it wins without a contest.
func (p *leastOfSome) Pick(q *Query) int {
	d := p.glance()
	best, compared := -1, 0
	var bestLoad, bestShare int64
	for range leastChoices + attempts {
		i := p.draw(d, rand.Uint32(), q)
		if i < 0 || i == best {
			continue
		}
		e := p.list[i]
		load, share := e.InFlight(), int64(shareOf(e.state.Load(), d.matters))
		if best < 0 || load*bestShare < bestLoad*share {
			best, bestLoad, bestShare = i, load, share
		}
		if compared++; compared == leastChoices {
			return best
		}
	}
	if best < 0 {
		return p.rest(q, d.matters)
	}
	return best
}

// leastOfAll is least connections over at most maxScan endpoints.
type leastOfAll struct {
	follower[struct{}]
}

// Pick chooses among equally loaded endpoints at random by weight: the first of
// the list would otherwise serve alone whatever an idle gateway receives.
func (p *leastOfAll) Pick(q *Query) int {
	var (
		equal               [maxScan]struct{ index, share int32 } // the least loaded so far
		n                   int
		total               int32 // of the shares in equal
		bestLoad, bestShare int64
	)
	matters := p.flags()
	for k, e := range p.own {
		i := p.index[k]
		share := int64(shareOf(e.state.Load(), matters))
		if share == 0 || q.Tried.Has(int(i)) {
			continue
		}
		load := e.InFlight()
		mine, best := load*bestShare, bestLoad*share
		if n > 0 && mine > best {
			continue
		}
		if n == 0 || mine < best {
			n, total, bestLoad, bestShare = 0, 0, load, share
		}
		equal[n].index, equal[n].share = i, int32(share)
		n++
		total += int32(share)
	}
	switch n {
	case 0:
		return p.rest(q, matters)
	case 1:
		return int(equal[0].index)
	}
	at := rand.Int32N(total)
	for _, e := range equal[:n] {
		if at < e.share {
			return int(e.index)
		}
		at -= e.share
	}
	panic("BUG: shares do not add up")
}
