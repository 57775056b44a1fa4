package limiter

import "encoding/binary"

// lateCharge is how much older than its decision a request may be for SaveTaken to find
// it in a SlidingLog.
const lateCharge = int64(10e9)

// Save appends what the limiter remembers to dst, for Restore in a limiter of another
// process, and returns dst and how many keys are not in it because it would have grown by
// more than most bytes (but for the rules and the zero Key, which are always in it).
// Idle keys are left out, and so is what is held of Concurrency, which has to be released
// here. Requests go on meanwhile: it takes the lock of one part of the table after
// another, for some 100 µs each with a thousand keys, and sends the units of the
// zero Key's shards home.
//
// SaveTaken tells what is taken from then on.
func (l *Limiter) Save(dst []byte, most int, now Instant) (state []byte, left int) {
	s := l.newSaver(stateWhole, now)
	s.reset = !l.opts.Shared
	return s.save(dst, most)
}

// SaveTaken appends what was taken since the last Save or SaveTaken, which was at
// the monotonic time since, for Restore in the limiter that has restored what was saved
// then; nothing if there is nothing to tell. With Options.Shared there never is: the
// other process hears of it from whoever is told what AppendTaken returns. Of a
// SlidingLog, what is given back is not told.
func (l *Limiter) SaveTaken(dst []byte, most int, since int64, now Instant) (state []byte, left int) {
	if l.opts.Shared {
		return dst, 0
	}
	s := l.newSaver(stateTaken, now)
	s.reset, s.since = true, since-lateCharge
	return s.save(dst, most)
}

// saver writes a state.
type saver struct {
	l     *Limiter
	what  byte
	now   Instant
	unix  int64
	since int64 // times of logs before it are left out of stateTaken
	reset bool  // count anew what is taken
}

func (l *Limiter) newSaver(what byte, now Instant) *saver {
	return &saver{l: l, what: what, now: now, unix: now.Mono + l.plan.base.Load()}
}

func (s *saver) save(dst []byte, most int) (state []byte, left int) {
	start := len(dst)
	state = s.appendHeader(dst)
	records := len(state)
	if !s.l.plan.concurrent {
		state = s.appendHot(state, Whole, tagWhole)
		state = s.appendHot(state, Overflow, tagOverflow)
		state, left = s.appendKeys(state, start+most-1-sizeSum)
	}
	if s.what == stateTaken && len(state) == records {
		return dst, left
	}
	state = append(state, tagEnd)
	return binary.BigEndian.AppendUint32(state, sumOf(state[start:])), left
}

func (s *saver) appendHeader(dst []byte) []byte {
	dst = append(dst, stateMagic...)
	dst = append(dst, stateVersion, s.what)
	dst = binary.AppendVarint(dst, s.unix)
	p := s.l.plan
	dst = binary.AppendUvarint(dst, uint64(len(p.counters)))
	var identity []byte
	for i := range p.counters {
		r := &p.counters[i]
		identity = p.appendIdentity(identity[:0], i)
		dst = append(binary.AppendUvarint(dst, uint64(len(identity))), identity...)
		dst = append(dst, r.shape())
		if r.kind == kindCalendar {
			dst = binary.AppendVarint(dst, r.calendar.at(s.now.Wall).start)
		}
	}
	return dst
}

// appendHot appends the record of a hot account, if there is one.
func (s *saver) appendHot(dst []byte, what Account, tag byte) []byte {
	if h := s.l.store.loaded(what); h != nil {
		h.change(s.l.plan, s.now, func() {
			if s.what == stateWhole || s.taken(h.account) {
				dst = s.appendAccount(append(dst, tag), h.account)
			}
			s.told(h.account)
		})
	}
	return dst
}

// appendKeys appends the records of keys, up to end bytes in all. A part's are
// gathered aside, so that its lock is not held while dst grows.
func (s *saver) appendKeys(dst []byte, end int) (state []byte, left int) {
	var records []byte
	for i := range s.l.store.table.parts {
		p := &s.l.store.table.parts[i]
		p.mu.Lock()
		records = records[:0]
		n := p.live
		if len(dst) < end {
			records, n = s.appendPartLocked(records, p)
		}
		p.mu.Unlock()
		if len(records) == 0 || len(records) > end-len(dst) {
			left += n
			continue
		}
		dst = append(dst, records...)
	}
	return dst, left
}

// appendPartLocked appends the records of a part and returns how many there are.
func (s *saver) appendPartLocked(dst []byte, p *part) ([]byte, int) {
	n := 0
	for i := range int(p.slots) {
		k := p.key(i)
		if k == (Key{}) {
			continue
		}
		a := p.account(i)
		// A key that is idle is as good as one that nobody has seen.
		if s.what == stateTaken && s.taken(a) || s.what == stateWhole && p.idleAtLocked(s.l.plan, i, s.now) > s.now.Mono {
			n++
			dst = append(dst, tagKey)
			dst = binary.BigEndian.AppendUint64(dst, k.Hi)
			dst = binary.BigEndian.AppendUint64(dst, k.Lo)
			dst = s.appendAccount(dst, a)
		}
		s.told(a)
	}
	return dst, n
}

// taken reports whether something was taken since the last time.
func (s *saver) taken(a account) bool {
	for i := range s.l.plan.counters {
		r, c := &s.l.plan.counters[i], &a.cells[i]
		if r.kind != kindLog && c.spent != 0 {
			return true
		}
		if log := a.part(r); log != nil && c.level > 0 && log[r.newest(c, len(log))] > s.since {
			return true
		}
	}
	return false
}

// told begins to count anew what is taken.
func (s *saver) told(a account) {
	if s.reset {
		for i := range a.cells {
			a.cells[i].spent = 0
		}
	}
}

func (s *saver) appendAccount(dst []byte, a account) []byte {
	for i := range s.l.plan.counters {
		r, c := &s.l.plan.counters[i], &a.cells[i]
		if r.kind == kindLog {
			dst = s.appendLog(dst, r, c, a.part(r))
			continue
		}
		n, prev := c.level, c.prev
		if s.what == stateTaken {
			n, prev = c.spent, 0
		}
		dst = binary.AppendVarint(dst, n)
		if r.kind == kindSliding && s.what == stateWhole {
			dst = binary.AppendUvarint(dst, uint64(prev))
		}
		if n == 0 && prev == 0 {
			continue
		}
		if r.kind == kindBucket {
			dst = binary.AppendVarint(dst, c.at*r.tick-s.now.Mono)
		} else {
			dst = binary.AppendVarint(dst, c.at-s.unix)
		}
	}
	return dst
}

func (s *saver) appendLog(dst []byte, r *counter, c *cell, log []int64) []byte {
	first := int64(0)
	if s.what == stateTaken {
		for first < c.level && log[r.index(c, first, len(log))] <= s.since {
			first++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(c.level-first))
	for n := first; n < c.level; n++ {
		t := log[r.index(c, n, len(log))]
		if n == first {
			dst = binary.AppendVarint(dst, t-s.now.Mono)
		} else {
			dst = binary.AppendUvarint(dst, uint64(t-log[r.index(c, n-1, len(log))]))
		}
	}
	return dst
}
