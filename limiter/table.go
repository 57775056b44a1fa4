package limiter

import (
	"math"
	"sync"
)

// Keys live in a table of fixed size. The hash chooses a part, which has a lock, an
// index of chains and arrays of its own; nothing in a part is a pointer, so that
// the garbage collector does not look at a million keys. Within its part a key may
// use any place, and one lookup touches three cache lines: the lock's, the head of
// the chain's, and the entry's with its first cells.
//
// A lock per part, and not compare-and-swap per entry: with it several rules are
// charged at once or not at all without a moment at which some are held, which no
// words swapped one by one can offer, and uncontended it costs less than the cache
// miss beside it. One key that all cores hammer is serialised by it; the zero Key,
// which is not in the table, has shards.

const (
	// partKeys is how many keys a part is made for.
	partKeys  = 1024
	mostParts = 4096
	// spareDeviations is how many standard deviations above the mean a part has
	// room for: keys fall into parts at random, and the table as a whole must take
	// what it promises. Four leave one part in 30,000 too small at full load.
	spareDeviations = 4
)

// entry is a key in a part. Its cells have the same index.
type entry struct {
	key  Key
	used int64  // monotonic time of last use
	next uint32 // 1 + index of the next in the chain, or in the list of free ones
	_    uint32
}

// part is a fraction of the table behind its own lock.
type part struct {
	mu       sync.Mutex
	capacity uint32
	fresh    uint32 // entries from here on have never been used
	free     uint32 // 1 + index of the first free entry
	hand     uint32 // where the search for an idle entry goes on
	live     uint32
	nextIdle int64 // no entry becomes idle before, as far as known
	heads    []uint32
	entries  []entry
	cells    []cell
	log      []int64
	counts   counts
	top      top
	_        [64]byte // the next part's lock is another core's
}

// table is all parts.
type table struct {
	parts    []part
	rules    int
	logSize  int
	heads    int
	capacity uint32
}

func newTable(p *plan, keys int) *table {
	parts := 1
	for parts < mostParts && keys > parts*partKeys {
		parts *= 2
	}
	room := keys
	if parts > 1 {
		mean := (keys + parts - 1) / parts
		room = mean + int(math.Ceil(spareDeviations*math.Sqrt(float64(mean))))
	}
	heads := 1
	for heads < room {
		heads *= 2
	}
	return &table{parts: make([]part, parts), rules: len(p.counters), logSize: p.logSize, heads: heads, capacity: uint32(room)}
}

// bytes is the memory of a table in which every part has been used.
func (t *table) bytes() int {
	const sizeHead, sizeEntry, sizeCell, sizeTime, sizePart = 4, 32, 24, 8, 512
	entry := sizeEntry + t.rules*sizeCell + t.logSize*sizeTime
	return len(t.parts) * (sizePart + topKeys*sizeTop + t.heads*sizeHead + int(t.capacity)*entry)
}

// part of the key; the other half of the hash chooses the chain.
func (t *table) part(k Key) *part { return &t.parts[k.Lo&uint64(len(t.parts)-1)] }

func (p *part) head(k Key) *uint32 { return &p.heads[k.Hi&uint64(len(p.heads)-1)] }

// open makes the part's arrays when it is first used.
func (p *part) openLocked(t *table) {
	if p.heads != nil {
		return
	}
	p.heads = make([]uint32, t.heads)
	p.entries = make([]entry, t.capacity)
	p.cells = make([]cell, int(t.capacity)*t.rules)
	p.log = make([]int64, int(t.capacity)*t.logSize)
	p.top.slots = make([]topSlot, topKeys)
	p.capacity = t.capacity
}

// account is the ith entry's.
func (p *part) account(pl *plan, i uint32) account {
	n, m := len(pl.counters), pl.logSize
	return account{cells: p.cells[int(i)*n : int(i)*n+n], log: p.log[int(i)*m : int(i)*m+m]}
}

// findLocked returns the index of the key's entry.
func (p *part) findLocked(k Key) (uint32, bool) {
	if p.heads == nil {
		return 0, false
	}
	for at := *p.head(k); at != 0; {
		e := &p.entries[at-1]
		if e.key == k {
			return at - 1, true
		}
		at = e.next
	}
	return 0, false
}

// insertLocked makes an entry for a key that has none, if there is room or can be made.
func (p *part) insertLocked(t *table, pl *plan, k Key, at Instant) (uint32, bool) {
	p.openLocked(t)
	i, ok := p.takeLocked(pl, at)
	if !ok {
		return 0, false
	}
	head := p.head(k)
	p.entries[i] = entry{key: k, used: at.Mono, next: *head}
	*head = i + 1
	p.live++
	clear(p.account(pl, i).cells)
	return i, true
}

// takeLocked finds a place for an entry.
func (p *part) takeLocked(pl *plan, at Instant) (uint32, bool) {
	if p.free != 0 {
		i := p.free - 1
		p.free = p.entries[i].next
		return i, true
	}
	if p.fresh < p.capacity {
		p.fresh++
		return p.fresh - 1, true
	}
	i, ok := p.oldestIdleLocked(pl, at)
	if !ok {
		return 0, false
	}
	p.unlinkLocked(i)
	p.counts.evicted++
	return i, true
}

// removeLocked forgets an entry.
func (p *part) removeLocked(i uint32) {
	p.unlinkLocked(i)
	p.entries[i] = entry{next: p.free}
	p.free = i + 1
}

func (p *part) unlinkLocked(i uint32) {
	link := p.head(p.entries[i].key)
	for *link != i+1 {
		link = &p.entries[*link-1].next
	}
	*link = p.entries[i].next
	p.live--
}

// allowLocked decides about a request of the ith entry's key.
func (p *part) allowLocked(pl *plan, i uint32, r *Request, d *Decision) bool {
	p.entries[i].used = r.At.Mono
	a, n := p.account(pl, i), max(r.Cost, 1)
	pl.advance(a, r.At, 0)
	short, observed := pl.short(a, r.At, n)
	if short &^= observed; short == 0 {
		pl.charge(a, r.At, max(r.Cost, 0), observed)
		r.spared = observed
		p.counts.admit(observed)
	}
	pl.describe(a, r.At, n, short, d)
	if short != 0 {
		p.counts.refuse(d.Rule)
		p.top.add(r.Key, r.Label)
	}
	return short == 0
}

// chargeLocked changes what a request took.
func (p *part) chargeLocked(pl *plan, i uint32, r *Request, delta int64, now Instant) {
	a := p.account(pl, i)
	pl.advance(a, now, 0)
	if delta > 0 {
		pl.charge(a, now, delta, 0)
		return
	}
	pl.refund(a, r.At, now, magnitude(delta), r.spared)
	p.nextIdle = 0
}
