package limiter

import (
	"math"
	"math/bits"
	"sync"
)

// Keys live in a table of fixed size. The hash chooses a part, which has a lock and an
// open-addressed array of its own; nothing in it is a pointer, so that the garbage
// collector does not look at a million keys. A key lies beside its cells, and with one
// rule in the same cache line: mostly one lookup is one miss.
//
// A lock per part, and not compare-and-swap per key: with it several rules are charged
// at once or not at all without a moment at which some are held, which no words
// swapped one by one can offer, and uncontended it costs less than the cache miss
// beside it. One key that all cores hammer is serialised by it; the zero Key, which
// is not in the table, has shards.

const (
	// partKeys is how many keys a part is made for.
	partKeys  = 1024
	mostParts = 4096
	// spareDeviations is how many standard deviations above the mean a part has
	// room for: keys fall into parts at random, and the table as a whole must take
	// what it promises. Four leave one part in 30,000 too small at full load.
	spareDeviations = 4
)

// head is the first cell of a record, before one cell per rule.
type head = cell

// key of the record, the zero Key if it is empty.
func (p *part) key(i int) Key {
	h := &p.cells[i*int(p.stride)]
	return Key{Hi: uint64(h.level), Lo: uint64(h.at)}
}

// used is the monotonic time of a record's last use.
func (p *part) used(i int) *int64 { return &p.cells[i*int(p.stride)].prev }

// part is a fraction of the table behind its own lock. What every request wants of it
// lies in the first cache line.
type part struct {
	mu     sync.Mutex
	cells  []cell
	slots  uint32 // places for records, more than room so that searches are short
	stride uint32 // cells per record
	shares *shares
	counts counts

	dirty    bitmap // records that were charged here, nil if nobody wants to know
	log      []int64
	logSize  int
	live     int
	room     int   // most records
	hand     int   // where the search for an idle record goes on
	nextIdle int64 // no record becomes idle before, as far as known
	top      top
	_        [8]byte
}

// table is all parts.
type table struct {
	parts   []part
	stride  int
	logSize int
	room    int
	slots   int
	shared  bool
}

func newTable(p *plan, keys int, shared bool) *table {
	parts := 1
	for parts < mostParts && keys > parts*partKeys {
		parts *= 2
	}
	room := keys
	if parts > 1 {
		mean := (keys + parts - 1) / parts
		room = mean + int(math.Ceil(spareDeviations*math.Sqrt(float64(mean))))
	}
	return &table{parts: make([]part, parts), stride: 1 + len(p.counters), logSize: p.logSize, room: room, slots: room + room/2 + 1, shared: shared}
}

// bytes is the memory of a table in which every part has been used.
func (t *table) bytes() int {
	const sizeCell, sizeTime, sizePart = 32, 8, 512
	return len(t.parts) * (sizePart + topKeys*sizeTop + t.slots*(t.stride*sizeCell+t.logSize*sizeTime))
}

// part of the key; the other half of the hash chooses the place in it.
func (t *table) part(k Key) *part { return &t.parts[k.Lo&uint64(len(t.parts)-1)] }

// openLocked makes the part's arrays when it is first used.
func (p *part) openLocked(t *table) {
	if p.cells == nil {
		p.room, p.slots, p.stride, p.logSize = t.room, uint32(t.slots), uint32(t.stride), t.logSize
		p.cells = make([]cell, t.slots*t.stride)
		p.log = make([]int64, t.slots*t.logSize)
		p.top.slots = make([]topSlot, topKeys)
		if t.shared {
			p.dirty = newBitmap(t.slots)
		}
	}
}

// home is where the search for a key starts.
func (p *part) home(k Key) int {
	high, _ := bits.Mul64(k.Hi, uint64(p.slots))
	return int(high)
}

func (p *part) after(i int) int {
	if i++; i == int(p.slots) {
		return 0
	}
	return i
}

// distance from one place to another, onward.
func (p *part) distance(from, to int) int {
	if to < from {
		to += int(p.slots)
	}
	return to - from
}

// record is the ith: its head and its cells.
func (p *part) record(i int) []cell {
	stride := int(p.stride)
	return p.cells[i*stride : i*stride+stride]
}

// account is the ith record's.
func (p *part) account(i int) account {
	a := account{cells: p.record(i)[1:]}
	if p.logSize > 0 {
		a.log = p.log[i*p.logSize:][:p.logSize]
	}
	return a
}

// findLocked returns the index of the key's record, or else of the empty place where it
// would be.
func (p *part) findLocked(k Key) (int, bool) {
	if p.cells == nil {
		return 0, false
	}
	for i := p.home(k); ; i = p.after(i) {
		switch p.key(i) {
		case k:
			return i, true
		case Key{}:
			return i, false
		}
	}
}

// insertLocked makes a record for a key that has none, if there is room or can be made.
func (p *part) insertLocked(t *table, pl *plan, k Key, at Instant) (int, bool) {
	p.openLocked(t)
	if p.live == p.room {
		i, ok := p.oldestIdleLocked(pl, at)
		if !ok {
			return 0, false
		}
		p.removeLocked(i)
		p.counts.evicted++
	}
	i, _ := p.findLocked(k)
	p.cells[i*int(p.stride)] = head{level: int64(k.Hi), at: int64(k.Lo), prev: at.Mono}
	p.live++
	return i, true
}

// removeLocked forgets a record. Those after it move up, so that no search ends early.
func (p *part) removeLocked(i int) {
	p.live--
	for gap := i; ; {
		i = p.after(i)
		k := p.key(i)
		if k == (Key{}) {
			clear(p.record(gap))
			p.dirty.clear(gap)
			return
		}
		// A record may fill the gap unless its home lies behind the gap.
		if home := p.home(k); p.distance(home, i) >= p.distance(gap, i) {
			copy(p.record(gap), p.record(i))
			copy(p.log[gap*p.logSize:][:p.logSize], p.log[i*p.logSize:])
			p.dirty.move(gap, i)
			gap = i
		}
	}
}

// allowLocked decides about a request of the ith record's key.
func (p *part) allowLocked(pl *plan, i int, r *Request, d *Decision) bool {
	*p.used(i) = r.At.Mono
	a, n := p.account(i), max(r.Cost, 1)
	pl.advance(a, r.At, 0, p.shares)
	short, observed := pl.short(a, r.At, n, p.shares)
	if short &^= observed; short == 0 {
		pl.charge(a, r.At, max(r.Cost, 0), observed, p.shares)
		p.dirty.set(i)
		r.spared = observed
		p.counts.admit(observed)
	}
	pl.describe(a, r.At, n, short, d, p.shares)
	if short != 0 {
		p.counts.refuse(d.Rule)
		p.top.add(r.Key, r.Label)
	}
	return short == 0
}

// chargeLocked changes what a request took.
func (p *part) chargeLocked(pl *plan, i int, r *Request, delta int64, now Instant) {
	a := p.account(i)
	pl.advance(a, now, 0, p.shares)
	p.dirty.set(i)
	if delta > 0 {
		pl.charge(a, now, delta, 0, p.shares)
		return
	}
	pl.refund(a, r.At, now, magnitude(delta), r.spared, p.shares)
	p.nextIdle = 0
}
