package balancer

import "math/rand/v2"

// group is the endpoints that one picker chooses from: a whole list, or a level
// of one. Pickers speak of endpoints by their index in the list.
type group struct {
	list  []*Endpoint // the whole list
	own   []*Endpoint // those of the group
	index []int32     // of each of own in list
	trust *trust      // shared by the groups of a list
}

// usable reports whether endpoint i may be picked.
func (g *group) usable(i int, q *Query, matters uint64) bool {
	return shareOf(g.list[i].state.Load(), matters) != 0 && !q.Tried.Has(i)
}

// rest is what algorithms fall back to when their quick way found only endpoints
// that are unavailable or tried: a weighted random choice among all of the group
// that are left, in time proportional to its size. It alone may say that there
// is none, because it alone has looked at all of them.
func (g *group) rest(q *Query, matters uint64) int {
	if i := g.anyOf(q, matters); i >= 0 {
		return i
	}
	i, panics := g.lastLook(q)
	if panics {
		return g.anyOf(q, panicFlags)
	}
	return i
}

// isWhole reports whether the group is the whole list.
func (g *group) isWhole() bool { return len(g.own) == len(g.list) }

// lastLook is for a pick that found nothing. It returns an endpoint that has come
// back this very moment or, if there is none, -1 and whether the list panics: one
// pass answers both, so that no request falls between them. A level has nobody
// to panic with: the list looks when all its levels have found nothing.
func (g *group) lastLook(q *Query) (i int, panics bool) {
	if g.trust.percent == 0 || !g.isWhole() {
		return -1, false
	}
	var c census
	for i, e := range g.list {
		state := e.state.Load()
		c.add(state)
		if shareOf(state, maskFlags) > 0 && !q.Tried.Has(i) {
			return i, false
		}
	}
	return -1, c.panics(g.trust.percent)
}

// anyOf is a weighted random choice among all usable endpoints, -1 if there is none.
func (g *group) anyOf(q *Query, matters uint64) int {
	var total uint64
	for k, e := range g.own {
		if !q.Tried.Has(int(g.index[k])) {
			total += shareOf(e.state.Load(), matters)
		}
	}
	if total == 0 {
		return -1
	}
	at, last := rand.Uint64N(total), -1
	for k, e := range g.own {
		i := int(g.index[k])
		share := shareOf(e.state.Load(), matters)
		if share == 0 || q.Tried.Has(i) {
			continue
		}
		if at < share {
			return i
		}
		at -= share
		last = i // shares may have shrunk since they were added up
	}
	return last
}

// Panicking reports whether the health of the list is not believed at present.
// It looks at every endpoint.
func (g *group) Panicking() bool { return g.trust.isBroken() }
