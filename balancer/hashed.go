package balancer

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// maxProbes is how many places of a ring or table a pick looks at before it
// compares all endpoints.
const maxProbes = 64

// hashed is what consistent hashes have in common. T is the lookup table, which
// depends on identities and weights alone: whether an endpoint may be used is
// looked up in the pick, so that one that goes away or is full moves nobody's
// keys but its own.
//
// A warming endpoint takes the part of its keys that its ramp allows, and these
// are chosen by a hash of key and endpoint: as the ramp goes up, each key comes
// over once and stays.
type hashed[T any] struct {
	follower[T]
	ids   []uint64 // of the whole list
	ranks []int32  // of the group, by identity: the order that all nodes agree on
	bound bound
}

// start has the table built from the weights of the endpoints, in rank order.
func (h *hashed[T]) start(s *Settings, g group, ids []uint64, build func(weights []uint64) T) {
	h.ids = ids
	h.bound.percent = uint64(s.BalanceFactor)
	h.ranks = make([]int32, len(g.own))
	for k := range h.ranks {
		h.ranks[k] = int32(k)
	}
	slices.SortFunc(h.ranks, func(a, b int32) int { return cmp.Compare(ids[g.index[a]], ids[g.index[b]]) })
	h.follower.start(g, func(next, old *derived[T]) {
		if old != nil && sameWeights(next.states, old.states) {
			next.value = old.value
			return
		}
		weights := make([]uint64, len(next.states))
		for rank, k := range h.ranks {
			weights[rank] = next.states[k] & maskWeight
		}
		next.value = build(weights)
	})
}

func sameWeights(a, b []uint64) bool {
	for k := range a {
		if (a[k]^b[k])&maskWeight != 0 {
			return false
		}
	}
	return true
}

// at returns the list index of the endpoint with a rank.
func (h *hashed[T]) at(rank int) int32 { return h.index[h.ranks[rank]] }

// keyOf returns the query's key, mixed so that all its bits count, or a random one.
func keyOf(q *Query) uint64 {
	if !q.HasKey {
		return rand.Uint64()
	}
	return mix(q.Key)
}

// takes reports whether endpoint i takes a key.
func (h *hashed[T]) takes(i int, key uint64, q *Query, matters uint64, r *room) bool {
	state := h.list[i].state.Load()
	share := shareOf(state, matters)
	if share == 0 || q.Tried.Has(i) {
		return false
	}
	if ramp := state & maskRamp >> shiftRamp; ramp != FullRamp && mix(key^h.ids[i])%FullRamp >= ramp {
		return false
	}
	return h.bound.percent == 0 || h.bound.admits(&h.group, i, share, matters, r)
}

// settle finds a place for a key that nobody took on the way.
func (h *hashed[T]) settle(key uint64, q *Query, matters uint64, r *room) int {
	if r.known && !r.fresh {
		h.bound.count(&h.group, matters, r)
	}
	if i := h.best(key, q, matters, r); i >= 0 {
		return i
	}
	if i := h.best(key, q, matters, nil); i >= 0 {
		return i
	}
	i, panics := h.lastLook(q)
	if panics {
		return h.best(key, q, panicFlags, nil)
	}
	return i
}

// best chooses among all usable endpoints by weighted rendezvous hashing, which
// has what makes a hash consistent as well. With r nil, load does not count.
func (h *hashed[T]) best(key uint64, q *Query, matters uint64, r *room) int {
	best, most := -1, math.Inf(-1)
	for k, e := range h.own {
		i := int(h.index[k])
		share := shareOf(e.state.Load(), matters)
		if share == 0 || q.Tried.Has(i) {
			continue
		}
		if r != nil && h.bound.percent != 0 && !h.bound.admits(&h.group, i, share, matters, r) {
			continue
		}
		unit := (float64(mix(key^h.ids[i])>>11) + 0.5) / (1 << 53)
		if score := float64(share) / -math.Log(unit); score > most {
			best, most = i, score
		}
	}
	return best
}

// identities returns an ID for each member, no two equal.
func identities(members []Member) []uint64 {
	ids := make([]uint64, len(members))
	taken := make(map[uint64]bool, len(members))
	for i, m := range members {
		id := mix(m.ID)
		for taken[id] {
			id = mix(id + 1)
		}
		taken[id] = true
		ids[i] = id
	}
	return ids
}

// golden is 2⁶⁴ over the golden ratio: the step of SplitMix64.
const golden = 0x9e3779b97f4a7c15

// mix spreads every bit of x over all bits of the result, one to one: the
// finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x += golden
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
