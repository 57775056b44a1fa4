package limiter

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A saved state is what a limiter remembers, for a limiter of another process:
//
//	magic, version, what
//	varint    Unix time of the moment at which it was saved, by the clock of windows
//	uvarint   number of rules, and for each: its identity (uvarint length, bytes),
//	          shape, and for a calendar the start of its window (varint)
//	records   tag, for a key its 16 bytes, then a cell per rule
//	end       a tag, and the CRC-32C of all before it
//
// Times in cells are relative to the moment of saving, because the monotonic clocks of
// two processes have nothing in common. A cell is
//
//	varint    level, or in a state of what was taken, units or parts taken since
//	uvarint   of the window before, for shapeSliding in a whole state
//	varint    at, if one of these is not 0
//
// and one of shapeLog is the number of its times (uvarint), the first (varint), and
// what each is after the one before it (uvarint).
const (
	stateMagic   = "vl"
	stateVersion = 1
)

// what is in a state.
const (
	stateWhole byte = iota + 1
	stateTaken
)

// Tags of records.
const (
	tagEnd byte = iota
	tagWhole
	tagOverflow
	tagKey
)

// Shapes of cells, which are read even if nobody knows their rule.
const (
	shapeNone byte = iota // nothing is carried
	shapeBucket
	shapeWindow
	shapeSliding
	shapeCalendar
	shapeLog
)

var (
	errNoState    = errors.New("restore limiter: this is no state of version 1")
	errBadState   = errors.New("restore limiter: the state is damaged")
	errCutState   = errors.New("restore limiter: the state is cut short")
	errStateRange = errors.New("restore limiter: a number in the state is out of range")
)

// sizeSum is the bytes of the checksum.
const sizeSum = crc32.Size

func sumOf(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

func (r *counter) shape() byte {
	switch r.kind {
	case kindBucket:
		return shapeBucket
	case kindFixed:
		return shapeWindow
	case kindSliding:
		return shapeSliding
	case kindCalendar:
		return shapeCalendar
	case kindLog:
		return shapeLog
	case kindConcurrency:
	}
	return shapeNone
}

// appendIdentity appends what two rules have in common if they are Same and their
// cells mean the same.
func (p *plan) appendIdentity(dst []byte, i int) []byte {
	r, c := &p.rules[i], &p.counters[i]
	for _, s := range []string{r.Name, string(r.Algorithm), string(r.Period), zone(r.Location)} {
		dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
	for _, n := range []int64{r.Limit, int64(r.Window), r.Burst, c.tick, c.unit} {
		dst = binary.AppendVarint(dst, n)
	}
	return dst
}

// stateReader reads a state. After the first error it reads only zeros.
type stateReader struct {
	rest []byte
	err  error
}

func (r *stateReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *stateReader) byte() byte {
	b := r.bytes(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (r *stateReader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail(errCutState)
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// uvarint reads a number of at most most.
func (r *stateReader) uvarint(most uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail(errCutState)
		return 0
	}
	if n > most {
		r.fail(errStateRange)
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// varint reads a number between -most and most.
func (r *stateReader) varint(most int64) int64 {
	n, size := binary.Varint(r.rest)
	if size <= 0 {
		r.fail(errCutState)
		return 0
	}
	if n > most || n < -most {
		r.fail(errStateRange)
		return 0
	}
	r.rest = r.rest[size:]
	return n
}
