package telemetry

import (
	"runtime"
	"sync/atomic"
)

// lineSize is the room that every slot starts with: enough for a usual line. A
// longer line grows its slot up to maxLine, and the slot keeps that room.
const lineSize = 1 << 10

// ring is a bounded queue of lines with many producers and one consumer. A
// producer claims a slot, writes the line into the slot's own buffer and
// publishes it; nothing is copied and nobody waits for anybody.
//
// Each slot carries a sequence number that says whose turn it is: at position p,
// p means free for the producer, p+1 means published for the consumer, and the
// consumer gives it back as p+size, which is the next lap's p.
type ring struct {
	slots []slot
	mask  uint64
	_     [64]byte
	tail  atomic.Uint64 // next position to claim, with closedBit once closed
	_     [64]byte
	head  atomic.Uint64 // next position to consume; written by the consumer only
}

// slot fills a cache line, so that neighbouring producers do not share one.
type slot struct {
	seq  atomic.Uint64
	line []byte // length 0 between laps; the consumer skips an empty line
	_    [32]byte
}

const closedBit = 1 << 63

// newRing makes a ring of at least the given number of slots. The buffers are
// one allocation without pointers: costing the collector nothing, and memory
// only as far as the first lap has come.
func newRing(lines int) *ring {
	size := 2
	for size < lines {
		size *= 2
	}
	r := &ring{slots: make([]slot, size), mask: uint64(size - 1)}
	room := make([]byte, size*lineSize)
	for i := range r.slots {
		r.slots[i].seq.Store(uint64(i))
		r.slots[i].line = room[i*lineSize : i*lineSize : (i+1)*lineSize]
	}
	return r
}

// claim returns a slot to fill and its position, or nil when the ring is full or
// closed. A claimed slot must be published, whatever happens.
func (r *ring) claim() (*slot, uint64) {
	for {
		pos := r.tail.Load()
		if pos&closedBit != 0 {
			return nil, 0
		}
		s := &r.slots[pos&r.mask]
		switch seq := s.seq.Load(); {
		case seq == pos:
			if r.tail.CompareAndSwap(pos, pos+1) {
				return s, pos
			}
		case seq < pos:
			return nil, 0 // not consumed since the last lap
		}
		// Another producer was faster: look again.
	}
}

// publish hands a claimed slot to the consumer.
func (s *slot) publish(pos uint64) {
	s.seq.Store(pos + 1)
}

// halfFull tells whether, counting up to pos, half of the slots wait to be
// consumed. The consumer may have passed pos already: then none does.
func (r *ring) halfFull(pos uint64) bool {
	waiting := int64(pos + 1 - r.head.Load())
	return waiting >= int64(len(r.slots)/2)
}

// ready tells whether next would return a line. Consumer only.
func (r *ring) ready() bool {
	head := r.head.Load()
	return r.slots[head&r.mask].seq.Load() == head+1
}

// appendNext appends the next line to dst and frees its slot. It returns false
// when the next slot is not published. Consumer only.
func (r *ring) appendNext(dst []byte) ([]byte, bool) {
	head := r.head.Load()
	s := &r.slots[head&r.mask]
	if s.seq.Load() != head+1 {
		return dst, false
	}
	dst = append(dst, s.line...)
	s.line = s.line[:0]
	s.seq.Store(head + uint64(len(r.slots)))
	r.head.Store(head + 1)
	return dst, true
}

// close refuses further claims.
func (r *ring) close() {
	r.tail.Or(closedBit)
}

// settle waits until the producers that claimed a slot before close have
// published it, or there is a line to consume, and tells which: false means that
// the ring is closed and empty for good. Consumer only, after close.
func (r *ring) settle() bool {
	for !r.ready() {
		if r.head.Load() == r.tail.Load()&^closedBit {
			return false
		}
		runtime.Gosched()
	}
	return true
}
