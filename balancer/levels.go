package balancer

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// levels chooses among levels of a list, each with a picker of its own. The first
// level that is healthy enough takes all; what a level cannot carry goes to the
// next. A level has the endpoints of one priority or, of that, those of the
// gateway's zone and then the others.
type levels struct {
	follower[[]uint32] // the end of each level's part of the traffic, in 1/2³²
	overprovision      int
	pickers            []Picker
	of                 []int32 // the level of each endpoint
	byKey              bool    // a caller with a key stays at its level
}

// splitLevels returns the list indices of each level, the first one first.
func splitLevels(members []Member, zone string) [][]int32 {
	rank := func(i int32) int {
		m := &members[i]
		if zone == "" || m.Zone == zone {
			return 2 * m.Priority
		}
		return 2*m.Priority + 1
	}
	order := make([]int32, len(members))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(rank(a), rank(b)) })
	var split [][]int32
	for n, i := range order {
		if n == 0 || rank(i) != rank(order[n-1]) {
			split = append(split, nil)
		}
		split[len(split)-1] = append(split[len(split)-1], i)
	}
	return split
}

func newLevels(s *Settings, whole group, split [][]int32, ids []uint64) (Picker, error) {
	p := &levels{
		overprovision: cmp.Or(s.Overprovision, defaultOverprovision), of: make([]int32, len(whole.list)),
		byKey: s.Algorithm == Ring || s.Algorithm == Maglev,
	}
	for level, index := range split {
		g := group{list: whole.list, index: index, trust: whole.trust}
		for _, i := range index {
			g.own = append(g.own, whole.list[i])
			p.of[i] = int32(level)
		}
		picker, err := newAlgorithm(s, g, ids)
		if err != nil {
			return nil, err
		}
		p.pickers = append(p.pickers, picker)
	}
	p.start(whole, p.share)
	return p, nil
}

// share computes the parts of the levels from the states of the endpoints.
// Endpoints of weight 0 and those no longer configured are none of a level's.
func (p *levels) share(next, _ *derived[[]uint32]) {
	total, available := make([]int, len(p.pickers)), make([]int, len(p.pickers))
	for i, state := range next.states {
		if state&maskWeight == 0 || state&flagRetired != 0 {
			continue
		}
		total[p.of[i]]++
		if shareOf(state, next.matters) > 0 {
			available[p.of[i]]++
		}
	}
	next.value = make([]uint32, len(p.pickers))
	sum := uint64(0)
	for level, percent := range loads(available, total, p.overprovision) {
		sum += uint64(percent)
		next.value[level] = uint32(min(sum<<32/100, 1<<32-1))
	}
}

// loads returns the percentage of traffic for each level. The health of a level
// is the percentage of its endpoints that are available times overprovision,
// at most 100 %. A level takes as much as its health and passes on the rest. If
// all together are below 100 %, their healths are scaled up to that. If nothing
// is available the first has all.
func loads(available, total []int, overprovision int) []int {
	health := make([]int, len(total))
	sum := 0
	for level := range health {
		if total[level] > 0 {
			health[level] = min(100, overprovision*available[level]/total[level])
		}
		sum += health[level]
	}
	sum = min(sum, 100)
	load := make([]int, len(health))
	left, first := 100, 0
	for level, h := range health {
		if sum > 0 {
			load[level] = min(left, (200*h+sum)/(2*sum)) // rounded to the nearest
		}
		left -= load[level]
		if health[first] == 0 {
			first = level
		}
	}
	if health[first] == 0 {
		first = 0
	}
	load[first] += left // lost by rounding
	return load
}

func (p *levels) Pick(q *Query) int {
	random := rand.Uint64()
	d := p.look(scale(uint32(random>>32), len(p.own)))
	part := uint32(random)
	if p.byKey && q.HasKey {
		part = uint32(mix(mix(q.Key))) // other bits than the level's picker goes by
	}
	level := 0
	for level < len(d.value)-1 && part >= d.value[level] {
		level++
	}
	if i := p.pickers[level].Pick(q); i >= 0 {
		return i
	}
	return p.elsewhere(q, level, d.matters)
}

// elsewhere goes on to the levels after one that has nothing left, and then back
// to those before.
func (p *levels) elsewhere(q *Query, level int, matters uint64) int {
	for n := range len(p.pickers) - 1 {
		if i := p.pickers[(level+1+n)%len(p.pickers)].Pick(q); i >= 0 {
			return i
		}
	}
	return p.rest(q, matters)
}
