package balancer

// p2c draws two endpoints by weight and takes the one with fewer requests in
// flight per weight. Of two that are equally loaded the first drawn wins, so
// that idle endpoints receive traffic by their weights.
type p2c struct {
	sequencer
}

func newP2C(endpoints []*Endpoint) *p2c {
	p := new(p2c)
	p.start(endpoints)
	return p
}

func (p *p2c) Pick(_ uint64, tried *Tried) int {
	return p.leastLoadedOf(2, tried)
}

// leastLoadedOf draws endpoints by weight until it has compared as many as asked
// for, and returns the one with the fewest requests in flight per weight. Draws
// that bring nothing new are repeated, but not for ever: where one endpoint has
// nearly all the weight, or is the only one left, it wins without a contest.
func (s *sequencer) leastLoadedOf(choices int, tried *Tried) int {
	best := -1
	var bestLoad, bestShare int64
	for range choices + attempts {
		i := s.draw(tried)
		if i < 0 || i == best {
			continue
		}
		load, share := s.endpoints[i].InFlight(), int64(s.endpoints[i].share())
		if best < 0 || load*bestShare < bestLoad*share {
			best, bestLoad, bestShare = i, load, share
		}
		if choices--; choices == 0 {
			return best
		}
	}
	if best < 0 {
		return pickAny(s.endpoints, tried)
	}
	return best
}
