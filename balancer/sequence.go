package balancer

// maxSequence bounds the length of a sequence, and with it the precision of
// weights: a share smaller than one in maxSequence is raised to that. Lists
// longer than maxSequence/8 have 8 places for each endpoint instead.
const maxSequence = 4096

// sequence lists endpoints so that each appears in proportion to its share and
// as evenly spread as possible. Taken in order it is smooth weighted round
// robin; a random place in it is a weighted random choice. It is immutable.
type sequence struct {
	order     []int32 // indices in the list; empty if no endpoint has a share
	endpoints int     // that have a share
	mean      float64 // of their shares
}

// sequencer keeps a sequence that follows its endpoints.
type sequencer struct {
	follower[sequence]
}

func (s *sequencer) start(g group) {
	s.follower.start(g, func(next, _ *derived[sequence]) {
		next.value = newSequence(next.states, next.matters, g.index)
	})
}

// draw returns the endpoint of a random place, which is a random one by weight,
// or -1 if it is unavailable or tried.
func (s *sequencer) draw(d *derived[sequence], random uint32, q *Query) int {
	order := d.value.order
	if len(order) == 0 {
		return -1
	}
	i := int(order[scale(random, len(order))])
	if !s.usable(i, q, d.matters) {
		return -1
	}
	return i
}

// newSequence makes a sequence for endpoints that have these states and indices.
func newSequence(states []uint64, matters uint64, index []int32) (q sequence) {
	shares := make([]uint64, len(states))
	var sum uint64
	for k, state := range states {
		shares[k] = shareOf(state, matters)
		if shares[k] > 0 {
			q.endpoints++
			sum += shares[k]
		}
	}
	q.mean = float64(sum) / float64(max(q.endpoints, 1))
	shrink(shares)
	q.order = spread(shares)
	for place, k := range q.order {
		q.order[place] = index[k]
	}
	return q
}

// shrink divides the shares by their greatest common divisor and, if their sum
// is still beyond the bound, scales them down; none that is positive becomes 0.
func shrink(shares []uint64) {
	var sum, divisor uint64
	for _, share := range shares {
		sum += share
		divisor = gcd(share, divisor)
	}
	if sum == 0 {
		return
	}
	bound := uint64(max(maxSequence, 8*len(shares)))
	for i, share := range shares {
		switch {
		case share == 0:
		case sum/divisor <= bound:
			shares[i] = share / divisor
		default:
			shares[i] = max(1, (share*bound+sum/2)/sum)
		}
	}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// equals are the endpoints of one share. Among them the turn simply goes round,
// so only the one whose turn it is competes with those of other shares.
type equals struct {
	share   int64
	members []int32
	taken   int // turns that the members had together
}

// next is the member whose turn it is.
func (e *equals) next() int32 { return e.members[e.taken%len(e.members)] }

// credit is what that member has after a number of steps: it earned its share in
// each and paid the total for each of its turns.
func (e *equals) credit(steps, total int64) int64 {
	return steps*e.share - total*int64(e.taken/len(e.members))
}

// spread orders endpoints by smooth weighted round robin: at each step every
// endpoint earns its share, the one with most (the first of several) goes next
// and pays the total. Treating endpoints of equal share as one gives the same
// order in length × distinct shares steps rather than length × endpoints.
func spread(shares []uint64) []int32 {
	var groups []*equals
	byShare := make(map[uint64]*equals)
	var total int64
	for i, share := range shares {
		if share == 0 {
			continue
		}
		total += int64(share)
		group := byShare[share]
		if group == nil {
			group = &equals{share: int64(share)}
			byShare[share] = group
			groups = append(groups, group)
		}
		group.members = append(group.members, int32(i))
	}
	order := make([]int32, total)
	for step := range order {
		var chosen *equals
		var most int64
		for _, group := range groups {
			credit := group.credit(int64(step)+1, total)
			if chosen == nil || credit > most || credit == most && group.next() < chosen.next() {
				chosen, most = group, credit
			}
		}
		order[step] = chosen.next()
		chosen.taken++
	}
	return order
}
