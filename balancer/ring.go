package balancer

import (
	"math/bits"
	"math/rand/v2"
)

const (
	// ringPoints is how many points an endpoint of mean weight has at least:
	// its share is then within 8 % of what its weight says (one standard
	// deviation).
	ringPoints = 160
	// minRing is the least number of points on a ring, unless set.
	minRing = 1024
)

// ring is a consistent hash ring in the manner of ketama: each endpoint has
// points on a circle in proportion to its weight, and a key belongs to the next
// point. Another endpoint in the list takes keys from all and moves none between
// them, as long as the number of points per weight remains (see pointsFor).
type ring struct {
	hashed[*circle]
}

// circle is the points in ascending order. Each is a 32-bit hash and, below it,
// the list index of its endpoint.
type circle struct {
	points []uint64
	first  []int32 // by the upper bits of a hash: the first point that has these or higher ones
	shift  int     // what is not upper bits
}

func newRing(s *Settings, g group, ids []uint64) *ring {
	p := new(ring)
	size := s.RingSize
	if size == 0 {
		size = max(minRing, ringPoints*len(g.own))
	}
	p.start(s, g, ids, func(weights []uint64) *circle { return p.build(weights, uint64(size)) })
	return p
}

func (p *ring) Pick(q *Query) int {
	if len(p.own) == 0 {
		return -1
	}
	d := p.glance()
	key := keyOf(q)
	c, last := d.value, -1
	var r room
	at := c.find(uint32(key >> 32))
	for range min(maxProbes, len(c.points)) {
		if !q.HasKey {
			at = int(scale(rand.Uint32(), len(c.points))) // points are by weight, the distances between them are not
		} else if at == len(c.points) {
			at = 0
		}
		i := int(uint32(c.points[at]))
		if i != last && p.takes(i, key, q, d.matters, &r) {
			return i
		}
		last = i
		at++
	}
	return p.settle(key, q, d.matters, &r)
}

// find returns the first point at or after a hash, the number of points if that
// is beyond the last.
func (c *circle) find(hash uint32) int {
	if len(c.points) == 0 {
		return 0
	}
	at := int(c.first[hash>>c.shift])
	for at < len(c.points) && uint32(c.points[at]>>32) < hash {
		at++
	}
	return at
}

// build places the points of all endpoints, in rank order, so that points of one
// hash are in an order that all nodes agree on.
func (p *ring) build(weights []uint64, size uint64) *circle {
	counts, total := pointsFor(weights, size)
	points := make([]uint64, 0, total)
	for rank, n := range counts {
		i := p.at(rank)
		seed := p.ids[i]
		for range n {
			points = append(points, mix(seed)>>32<<32|uint64(i))
			seed += golden
		}
	}
	return newCircle(sortPoints(points))
}

// newCircle prepares the lookup in points, which are in order, with about as many
// places as there are points.
func newCircle(points []uint64) *circle {
	c := &circle{points: points, shift: 33 - bits.Len(uint(max(len(points), 2)))}
	c.first = make([]int32, 1<<(32-c.shift))
	at := 0
	for upper := range c.first {
		for at < len(points) && int(points[at]>>32>>c.shift) < upper {
			at++
		}
		c.first[upper] = int32(at)
	}
	return c
}

// sortPoints sorts by hash and leaves equal ones in their order: in three passes
// by 11 bits each, which for many points takes a fraction of the time that
// comparing them does.
func sortPoints(points []uint64) []uint64 {
	const digit = 11
	other := make([]uint64, len(points))
	for shift := 32; shift < 64; shift += digit {
		var ends [1 << digit]int32
		for _, point := range points {
			ends[point>>shift%(1<<digit)]++
		}
		end := int32(0)
		for d, n := range ends {
			ends[d] = end
			end += n
		}
		for _, point := range points {
			d := point >> shift % (1 << digit)
			other[ends[d]] = point
			ends[d]++
		}
		points, other = other, points
	}
	return points
}

// pointsFor returns how many points each weight has, at least size in all: the
// weight times a power of two, and at least one. That power is the same for
// most lists of about the same length and weights, so that the points of an
// endpoint do not depend on who else is there.
func pointsFor(weights []uint64, size uint64) (counts []uint64, total uint64) {
	var sum uint64
	for _, w := range weights {
		sum += w
	}
	if sum == 0 {
		return nil, 0
	}
	up, down := 0, 0
	for sum<<up < size {
		up++
	}
	for up == 0 && sum>>(down+1) >= size {
		down++
	}
	counts = make([]uint64, len(weights))
	for rank, w := range weights {
		if w > 0 {
			counts[rank] = max(1, w<<up>>down)
			total += counts[rank]
		}
	}
	return counts, total
}
