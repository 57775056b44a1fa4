package balancer

import "math/rand/v2"

// p2c draws two endpoints by weight and takes the one that costs less: latency ×
// (1 + requests in flight), those in flight counted against the weight.
//
// The weight decides how often an endpoint is drawn and how much a request in
// flight counts, and not a second time what an idle endpoint costs: otherwise
// the lighter of two idle ones would never win. Of two that cost the same the first
// drawn wins, and latencies that are nearly equal count as equal, so that
// equal endpoints share by weight however their latencies wobble.
//
// An endpoint of which no latency is known is taken for as fast as the one it is
// compared with. So it gets what its weight and its requests in flight earn it:
// it neither starves nor, being new, gets everything before its first answer.
type p2c struct {
	sequencer
}

// nearlyEqual is the ratio up to which latencies count as equal.
const nearlyEqual = 1.25

func newP2C(g group) *p2c {
	p := new(p2c)
	p.start(g)
	return p
}

// Pick repeats draws that bring nothing new, but not for ever: where one endpoint
// has nearly all the weight, or is the only one left, it wins without a contest.
func (p *p2c) Pick(q *Query) int {
	if len(p.own) == 0 {
		return -1
	}
	random, first := rand.Uint64(), -1
	d := p.look(scale(uint32(random>>16), len(p.own)))
	for n := range 2 + attempts {
		if n >= 2 {
			random = rand.Uint64()
		}
		i := p.draw(d, uint32(random), q)
		random >>= 32
		switch {
		case i < 0 || i == first:
		case first >= 0:
			return p.cheaper(d, first, i, q.Now)
		case d.value.endpoints == 1:
			return i
		default:
			first = i
		}
	}
	if first < 0 {
		return p.rest(q, d.matters)
	}
	return first
}

func (p *p2c) cheaper(d *derived[sequence], i, j int, now int64) int {
	a, b := p.list[i], p.list[j]
	costA, costB := a.load(d), b.load(d)
	la, lb := a.latency.at(now), b.latency.at(now)
	if la != 0 && lb != 0 && (la > nearlyEqual*lb || lb > nearlyEqual*la) {
		costA, costB = costA*la, costB*lb
	}
	if costB < costA {
		return j
	}
	return i
}

// load is the requests in flight if the endpoint had one more and the mean
// weight of its group.
func (e *Endpoint) load(d *derived[sequence]) float64 {
	share := max(shareOf(e.state.Load(), d.matters), 1)
	return 1 + float64(e.InFlight())*d.value.mean/float64(share)
}
