package balancer

import "math/rand/v2"

const (
	// maxScan is the longest list of which least connections compares all.
	maxScan = 32
	// leastChoices is how many endpoints it compares of a longer one.
	leastChoices = 3
)

// newLeastConnections returns a picker that takes the endpoint with the fewest
// requests in flight per weight. Up to maxScan endpoints it compares all of them;
// of more it compares leastChoices that are drawn by weight, because looking at
// all would cost more than it gains.
func newLeastConnections(endpoints []*Endpoint) Picker {
	if len(endpoints) <= maxScan {
		return &leastOfAll{endpoints}
	}
	p := new(leastOfSome)
	p.start(endpoints)
	return p
}

// leastOfSome is least connections over a long list.
type leastOfSome struct {
	sequencer
}

func (p *leastOfSome) Pick(_ uint64, tried *Tried) int {
	return p.leastLoadedOf(leastChoices, tried)
}

// leastOfAll is least connections over at most maxScan endpoints.
type leastOfAll struct {
	endpoints []*Endpoint
}

// Pick chooses among equally loaded endpoints at random by weight: the first of
// the list would otherwise serve alone whatever an idle gateway receives.
func (p *leastOfAll) Pick(_ uint64, tried *Tried) int {
	var (
		equal               [maxScan]struct{ index, share int32 } // the least loaded so far
		n                   int
		total               int32 // of the shares in equal
		bestLoad, bestShare int64
	)
	for i, e := range p.endpoints {
		share := int64(e.share())
		if share == 0 || tried.Has(i) {
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
		equal[n].index, equal[n].share = int32(i), int32(share)
		n++
		total += int32(share)
	}
	switch n {
	case 0:
		return -1
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
