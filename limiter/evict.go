package limiter

// window is how many entries are compared when one has to go: the least recently
// used idle one among as many that follow one another, counted on from where the
// last search ended. In a part of up to so many keys that is the oldest idle one;
// in a larger part it is older than 15 in 16 of its idle ones on average.
const window = 16

// oldestIdleLocked looks for an entry that may be evicted. If the window holds
// none it looks at the whole part, and then not again before one can have become
// idle, so that a full table costs newcomers little.
func (p *part) oldestIdleLocked(pl *plan, at Instant) (uint32, bool) {
	if at.Mono < p.nextIdle {
		return 0, false
	}
	best, found := uint32(0), false
	next := int64(never)
	for n := uint32(0); n < p.capacity && (n < window || !found); n++ {
		i := p.hand
		if p.hand++; p.hand == p.capacity {
			p.hand = 0
		}
		idle := p.idleAtLocked(pl, i, at)
		if idle > at.Mono {
			next = min(next, idle)
		} else if !found || p.entries[i].used < p.entries[best].used {
			best, found = i, true
		}
	}
	if !found {
		p.nextIdle = next
	}
	return best, found
}

// idleAtLocked is when the ith entry is idle if nobody uses it.
func (p *part) idleAtLocked(pl *plan, i uint32, at Instant) int64 {
	a := p.account(pl, i)
	pl.advance(a, at, 0)
	return pl.idleAt(a, at)
}
