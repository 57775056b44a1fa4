package balancer

import (
	"math/rand/v2"
	"sync/atomic"
)

// roundRobin is smooth weighted round robin: weights 5, 1, 1 give aabacaa.
// A request takes the next turn of the sequence; a turn that belongs to an
// unavailable or tried endpoint is passed over, so that its share goes to
// whoever the sequence would have served and not to one neighbour.
type roundRobin struct {
	sequencer
	_    [64]byte // the turn is written by every pick, the rest only read
	turn atomic.Uint64
	_    [56]byte
}

// newRoundRobin starts at a random turn: otherwise every gateway of a fleet, and
// every reload, would begin with the same endpoint.
func newRoundRobin(g group) *roundRobin {
	p := new(roundRobin)
	p.start(g)
	p.turn.Store(uint64(rand.Uint32()))
	return p
}

func (p *roundRobin) Pick(q *Query) int {
	n := uint64(len(p.own))
	if n == 0 {
		return -1
	}
	var d *derived[sequence]
	for range attempts {
		turn := p.turn.Add(1) - 1
		d = p.look(turn % n)
		if places := uint64(len(d.value.order)); places > 0 {
			if i := int(d.value.order[turn%places]); p.usable(i, q, d.matters) {
				return i
			}
		}
	}
	return p.rest(q, d.matters)
}
