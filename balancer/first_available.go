package balancer

// firstAvailable takes the first endpoint of the list that is available: the
// others are in reserve, in their order. Weights other than 0 have no meaning.
type firstAvailable struct {
	follower[struct{}]
}

func newFirstAvailable(g group) *firstAvailable {
	p := new(firstAvailable)
	p.start(g, func(_, _ *derived[struct{}]) {})
	return p
}

func (p *firstAvailable) Pick(q *Query) int {
	if i := p.first(q, p.flags()); i >= 0 {
		return i
	}
	i, panics := p.lastLook(q)
	if panics {
		return p.first(q, panicFlags)
	}
	return i
}

func (p *firstAvailable) first(q *Query, matters uint64) int {
	for k, e := range p.own {
		if i := int(p.index[k]); shareOf(e.state.Load(), matters) != 0 && !q.Tried.Has(i) {
			return i
		}
	}
	return -1
}
