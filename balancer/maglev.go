package balancer

// maxMaglev is how many endpoints the entries of a table can name.
const maxMaglev = 1<<16 - 1

// maglev is Google's lookup table of prime size: each endpoint has a permutation
// of all places and, by turns that go by weight, takes the first place of its own
// that is free. Shares are more even than a ring's; a change of the list or of
// weights moves some keys between endpoints that remain.
//
// A key whose endpoint cannot take it goes on through a permutation of its own,
// so that what an endpoint leaves is spread over all others by weight.
type maglev struct {
	hashed[[]uint16]
}

func newMaglev(s *Settings, g group, ids []uint64) *maglev {
	p := new(maglev)
	size := s.tableSize()
	p.start(s, g, ids, func(weights []uint64) []uint16 { return p.build(weights, uint64(size)) })
	return p
}

func (p *maglev) Pick(q *Query) int {
	if len(p.own) == 0 {
		return -1
	}
	d := p.glance()
	key := keyOf(q)
	var r room
	if size := len(d.value); size > 0 {
		at := scale(uint32(key>>32), size)
		i := int(d.value[at])
		if p.takes(i, key, q, d.matters, &r) {
			return i
		}
		step := 1 + scale(uint32(key), size-1)
		for range min(maxProbes, size) - 1 {
			if at += step; at >= uint64(size) {
				at -= uint64(size)
			}
			if i := int(d.value[at]); p.takes(i, key, q, d.matters, &r) {
				return i
			}
		}
	}
	return p.settle(key, q, d.matters, &r)
}

// build fills the table. Turns follow the sequence of weighted round robin. Which
// places are taken is kept in bits of their own, which stay in the cache.
func (p *maglev) build(weights []uint64, size uint64) []uint16 {
	shrink(weights)
	turns := spread(weights)
	if len(turns) == 0 {
		return nil
	}
	type progress struct{ at, skip uint64 }
	permutations := make([]progress, len(weights))
	for rank := range permutations {
		id := p.ids[p.at(rank)]
		permutations[rank] = progress{mix(id+1) % size, 1 + mix(id+2)%(size-1)}
	}
	table := make([]uint16, size)
	taken := make([]uint64, (size+63)/64)
	for n := range size {
		rank := turns[n%uint64(len(turns))]
		own := &permutations[rank]
		for taken[own.at/64]&(1<<(own.at%64)) != 0 {
			if own.at += own.skip; own.at >= size {
				own.at -= size
			}
		}
		taken[own.at/64] |= 1 << (own.at % 64)
		table[own.at] = uint16(p.at(int(rank)))
	}
	return table
}
