package limiter

import (
	"encoding/binary"
	"math"
)

// Restore takes over what Save or SaveTaken wrote in another process, of the rules that
// both have: those that are Same. saved is the moment at which it was written, by this
// process's monotonic clock. If that is known only to lie between two moments, the later
// one is safe: everything counts for longer then, by as much as they are apart. All that
// is restored in one limiter should be told with the same difference of the clocks.
//
// Levels of Save are meant for a limiter that has admitted nothing yet; where it has,
// the higher level counts. What SaveTaken wrote is charged as Charge does, and may
// leave a debt. Windows go on where they were, so the limiter goes by the other one's
// relation of monotonic to Unix time from then on (but for Options.Shared, see SetClock),
// and a calendar is not behind the day that the other has reached.
//
// It returns how many keys it has taken over. On an error nothing has changed.
func (l *Limiter) Restore(state []byte, saved int64, now Instant) (keys int, err error) {
	o := restorer{l: l, saved: saved, now: now}
	if err := o.open(state); err != nil {
		return 0, err
	}
	records := o.stateReader
	if o.each(func(byte, Key, account) {}); o.err != nil {
		return 0, o.err
	}
	if l.plan.concurrent || o.what == stateTaken && l.opts.Shared {
		return 0, nil
	}
	if o.what == stateWhole {
		o.setClocks()
	}
	o.stateReader = records
	o.each(func(tag byte, k Key, a account) {
		if o.restore(tag, k, a) && tag == tagKey {
			keys++
		}
	})
	return keys, nil
}

// restorer reads a state into a limiter.
type restorer struct {
	stateReader
	l     *Limiter
	what  byte
	saved int64
	now   Instant
	unix  int64 // at saved, by the clock of windows of who saved
	rules []savedRule
	read  account // the record at hand, of the saved rules
	ready account // what of it concerns the limiter's rules
}

// savedRule is a rule of the limiter that was saved.
type savedRule struct {
	shape byte
	rule  int   // of the limiter, or -1
	start int64 // of a calendar's window
	from  int   // of its log in read
}

// maxSaved bounds times in a state, so that no sum of them overflows.
const maxSaved = math.MaxInt64 / 4

// open checks a state as a whole and reads its header.
func (o *restorer) open(state []byte) error {
	n := len(stateMagic)
	if len(state) < n+2+sizeSum || string(state[:n]) != stateMagic || state[n] != stateVersion {
		return errNoState
	}
	end := len(state) - sizeSum
	if binary.BigEndian.Uint32(state[end:]) != sumOf(state[:end]) {
		return errBadState
	}
	if o.what = state[n+1]; o.what != stateWhole && o.what != stateTaken {
		return errNoState
	}
	o.rest = state[n+2 : end]
	o.unix = o.varint(math.MaxInt64 - 1)
	o.rules = make([]savedRule, o.uvarint(MaxRules))
	own := make(map[string]int, len(o.l.plan.rules))
	for i := range o.l.plan.rules {
		own[string(o.l.plan.appendIdentity(nil, i))] = i
	}
	for i := range o.rules {
		r := &o.rules[i]
		r.rule, r.from = -1, i*MaxLog
		if n, ok := own[string(o.bytes(o.uvarint(math.MaxUint32)))]; ok {
			r.rule = n
		}
		if r.shape = o.byte(); r.shape > shapeLog || r.rule >= 0 && r.shape != o.l.plan.counters[r.rule].shape() {
			o.fail(errBadState)
		}
		if r.shape == shapeCalendar {
			r.start = o.varint(math.MaxInt64 - 1)
		}
	}
	o.read = account{cells: make([]cell, len(o.rules)), log: make([]int64, len(o.rules)*MaxLog)}
	o.ready = newAccount(o.l.plan)
	return o.err
}

// setClocks lets windows go on where they were.
func (o *restorer) setClocks() {
	if !o.l.opts.Shared {
		o.l.plan.base.Store(o.unix - o.saved)
		for _, h := range o.l.store.hots() {
			h.change(o.l.plan, o.now, func() {})
		}
	}
	for _, r := range o.rules {
		if r.shape == shapeCalendar && r.rule >= 0 && r.start > math.MinInt64/2 {
			o.l.plan.counters[r.rule].calendar.at(r.start)
		}
	}
}

// each reads all records. do must not keep the account.
func (o *restorer) each(do func(tag byte, k Key, a account)) {
	for o.err == nil {
		var k Key
		tag := o.byte()
		switch tag {
		case tagEnd:
			if len(o.rest) != 0 {
				o.fail(errBadState)
			}
			return
		case tagWhole, tagOverflow:
		case tagKey:
			if b := o.bytes(16); b != nil {
				k = Key{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
			}
			if k == (Key{}) {
				o.fail(errBadState)
			}
		default:
			o.fail(errBadState)
		}
		for i := range o.rules {
			o.readCell(&o.rules[i], &o.read.cells[i])
		}
		if o.err == nil {
			do(tag, k, o.read)
		}
	}
}

// readCell reads a cell, with times by this process's clocks.
func (o *restorer) readCell(r *savedRule, c *cell) {
	*c = cell{}
	if r.shape == shapeLog {
		c.level = int64(o.uvarint(MaxLog))
		for n, t := int64(0), int64(0); n < c.level; n++ {
			if n == 0 {
				t = o.saved + o.varint(maxSaved)
			} else {
				t += int64(o.uvarint(maxSaved / MaxLog))
			}
			o.read.log[r.from+int(n)] = t
		}
		return
	}
	if c.level = o.varint(maxLevel); c.level < 0 && o.what == stateWhole {
		o.fail(errStateRange)
	}
	if r.shape == shapeSliding && o.what == stateWhole {
		c.prev = int64(o.uvarint(maxLevel))
	}
	if c.level == 0 && c.prev == 0 {
		return
	}
	at := o.varint(math.MaxInt64 - 1)
	if r.shape == shapeBucket {
		c.at = o.saved + at
	} else {
		c.at = o.unix + at
	}
}

// restore takes over a record. It reports whether there was anything to take over.
func (o *restorer) restore(tag byte, k Key, a account) bool {
	if !o.prepare(a) {
		return false
	}
	l := o.l
	if tag == tagKey {
		return o.restoreKey(k)
	}
	where := &l.store.whole
	if tag == tagOverflow {
		where = &l.store.overflow
	}
	h := l.store.hot(where, l.plan)
	h.change(l.plan, o.now, func() { o.merge(h.account, h.shares) })
	return true
}

func (o *restorer) restoreKey(k Key) bool {
	l := o.l
	p := l.store.table.part(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.findLocked(k)
	if !ok {
		if i, ok = p.insertLocked(l.store.table, l.plan, k, o.now); !ok {
			return false
		}
	}
	a := p.account(i)
	l.plan.advance(a, o.now, 0, p.shares)
	o.merge(a, p.shares)
	p.nextIdle = 0
	return true
}

// prepare leaves in ready what still counts of a record, by the rules of the limiter.
func (o *restorer) prepare(a account) bool {
	clear(o.ready.cells)
	counts := false
	for i := range o.rules {
		s := &o.rules[i]
		if s.rule < 0 {
			continue
		}
		r, c := &o.l.plan.counters[s.rule], &o.ready.cells[s.rule]
		log := o.ready.part(r)
		*c = a.cells[i]
		switch {
		case r.limit == 0:
			*c = cell{}
			continue
		case r.kind == kindLog:
			n := min(c.level, int64(len(log))) // the youngest
			copy(log, a.log[s.from:][c.level-n:c.level])
			c.level = n
		case r.kind == kindBucket:
			// Rounded up, if the ticks of the two processes lie askew.
			tick := r.ticks(c.at)
			if tick*r.tick < c.at {
				tick++
			}
			c.at = tick
		}
		if o.what == stateWhole || r.kind == kindLog {
			r.advance(c, log, o.now, 0)
		}
		counts = counts || c.level != 0 || c.prev != 0
	}
	return counts
}

// merge adds what is ready to an account that has been advanced.
func (o *restorer) merge(a account, w *shares) {
	for i := range o.ready.cells {
		r, c, s := &o.l.plan.counters[i], &a.cells[i], &o.ready.cells[i]
		switch {
		case s.level == 0 && s.prev == 0:
		case r.kind == kindLog:
			r.mergeLog(c, a.part(r), s, o.ready.part(r))
		case o.what == stateTaken:
			r.chargeTaken(c, s, w.signed(r, i, s.level))
		default:
			r.mergeLevel(c, s)
		}
	}
}

// mergeLevel raises a cell to another of the same moment.
func (r *counter) mergeLevel(c, s *cell) {
	switch {
	case r.kind == kindBucket || s.at == c.at:
		c.at = max(c.at, s.at)
		c.prev = max(c.prev, s.prev)
	case s.at < c.at:
		return // its window has ended
	default:
		c.at, c.prev = s.at, max(c.prev, s.prev)
	}
	c.level = max(c.level, s.level)
}

// chargeTaken adds to a cell what was taken elsewhere, at its price, or given back there.
func (r *counter) chargeTaken(c, s *cell, price int64) {
	switch {
	case r.kind == kindBucket || s.at >= c.at:
		c.level = max(0, add(c.level, price))
		c.spent = max(-maxLevel, add(c.spent, s.level))
	case r.kind == kindSliding && s.at == c.at-r.window:
		c.prev = max(0, add(c.prev, price))
	}
}

// signed is the price of n units, which may be given back.
func (w *shares) signed(r *counter, i int, n int64) int64 {
	if n < 0 {
		return -w.price(r, i, -n)
	}
	return w.price(r, i, n)
}

// mergeLog adds the times that a log does not have, and keeps the youngest. What has
// the same time in both is the same.
func (r *counter) mergeLog(c *cell, log []int64, s *cell, other []int64) {
	if c.level == 0 {
		*c = cell{level: s.level, at: s.at, spent: c.spent}
		copy(log, other)
		return
	}
	times := make([]int64, 0, 2*len(log))
	m, n := int64(0), int64(0)
	for m < c.level || n < s.level {
		a, b := int64(never), int64(never)
		if m < c.level {
			a = log[r.index(c, m, len(log))]
		}
		if n < s.level {
			b = other[r.index(s, n, len(other))]
		}
		if times = append(times, min(a, b)); a <= b {
			m++
		}
		if b <= a {
			n++
		}
	}
	times = times[max(0, len(times)-len(log)):]
	c.at, c.level = 0, int64(copy(log, times))
}
