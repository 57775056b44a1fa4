package balancer

// random chooses each endpoint with a probability proportional to its weight.
type random struct {
	sequencer
}

func newRandom(endpoints []*Endpoint) *random {
	p := new(random)
	p.start(endpoints)
	return p
}

func (p *random) Pick(_ uint64, tried *Tried) int {
	for range attempts {
		if i := p.draw(tried); i >= 0 {
			return i
		}
	}
	return pickAny(p.endpoints, tried)
}
