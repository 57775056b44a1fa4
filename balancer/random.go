package balancer

// random chooses each endpoint with a probability proportional to its weight.
type random struct {
	sequencer
}

func newRandom(g group) *random {
	p := new(random)
	p.start(g)
	return p
}

func (p *random) Pick(q *Query) int {
	if len(p.own) == 0 {
		return -1
	}
	d := p.glance()
	for range attempts {
		if i := p.draw(d, q); i >= 0 {
			return i
		}
	}
	return p.rest(q, d.matters)
}
