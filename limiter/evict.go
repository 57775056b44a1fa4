package limiter

// window is how many records are compared when one has to go: the least recently
// used idle one among as many that follow one another, counted on from where the
// last search ended. In a part of up to so many keys that is the oldest idle one;
// in a larger part it is older than 15 in 16 of its idle ones on average.
const window = 16

// oldestIdleLocked looks for a record that may be evicted. If the window holds
// none it looks at the whole part, and then not again before one can have become
// idle, so that a full table costs newcomers little.
func (p *part) oldestIdleLocked(pl *plan, at Instant) (int, bool) {
	if at.Mono < p.nextIdle {
		return 0, false
	}
	best, found := 0, false
	next := int64(never)
	for n := 0; n < int(p.slots) && (n < window || !found); n++ {
		i := p.hand
		p.hand = p.after(p.hand)
		if p.key(i) == (Key{}) {
			continue
		}
		idle := p.idleAtLocked(pl, i, at)
		if idle > at.Mono {
			next = min(next, idle)
		} else if !found || *p.used(i) < *p.used(best) {
			best, found = i, true
		}
	}
	if !found {
		p.nextIdle = next
	}
	return best, found
}

// idleAtLocked is when the ith record is idle if nobody uses it.
func (p *part) idleAtLocked(pl *plan, i int, at Instant) int64 {
	a := p.account(i)
	pl.advance(a, at, 0, p.shares)
	return pl.idleAt(a, at)
}
