package balancer

import "math/rand/v2"

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
	random := rand.Uint64()
	d := p.look(scale(uint32(random), len(p.own)))
	if i := p.draw(d, uint32(random>>32), q); i >= 0 {
		return i
	}
	for range attempts - 1 {
		if i := p.draw(d, rand.Uint32(), q); i >= 0 {
			return i
		}
	}
	return p.rest(q, d.matters)
}
