package breaker

import (
	"slices"
	"sync/atomic"
	"time"
)

// buckets is how many steps a window moves in.
const buckets = 10

// A bucket's count shares a word with the number of the bucket, counted since the
// clock's 0, that it belongs to. Whoever finds the number of an earlier round
// starts the count anew with the same compare-and-swap that counts: nothing has
// to be swept, and nothing can be lost in between.
const (
	countBits = 28
	countMask = 1<<countBits - 1
	// mostCount is where a bucket stops counting, well before the next bit is at
	// risk, and the sum of all would be too much for an int of 32 bits.
	mostCount = 200_000_000
)

// series counts one kind of event. Numbers of buckets have 36 bits, which last for
// 21 years of the shortest window.
type series [buckets]atomic.Uint64

// add counts an event in bucket number. One that comes a whole window late is
// dropped. One whose goroutine is held up between the load and the addition, for
// nearly a whole window, counts in the bucket that has taken the place meanwhile.
func (s *series) add(number int64) {
	slot := &s[number%buckets]
	for {
		old := slot.Load()
		switch of := int64(old >> countBits); {
		case of == number:
			if old&countMask < mostCount {
				slot.Add(1)
			}
			return
		case of > number:
			return
		}
		if slot.CompareAndSwap(old, uint64(number)<<countBits|1) {
			return
		}
	}
}

// within is what a word counts for the window that ends with bucket number.
func within(word uint64, number int64) int {
	if of := int64(word >> countBits); of > number || of <= number-buckets {
		return 0
	}
	return int(word & countMask)
}

// window counts requests over the last time in 248 bytes.
type window struct {
	length int64 // of a bucket
	total  series
	failed series
	slow   series
}

// sums are the counts of a window.
type sums struct {
	requests int
	failed   int
	slow     int
}

func newWindow(d time.Duration) *window { return &window{length: int64(d / buckets)} }

func (w *window) number(now int64) int64 { return max(0, now) / w.length }

// sums reads the parts before the whole, which writers count first. Between two
// reads a bucket may pass out of the window, hence the limit.
func (w *window) sums(now int64) sums {
	var n sums
	number := w.number(now)
	for i := range buckets {
		n.failed += within(w.failed[i].Load(), number)
		n.slow += within(w.slow[i].Load(), number)
		n.requests += within(w.total[i].Load(), number)
	}
	return sums{n.requests, min(n.failed, n.requests), min(n.slow, n.requests)}
}

// reset forgets all. What is counted at the same time is forgotten or not.
func (w *window) reset() {
	for i := range buckets {
		w.total[i].Store(0)
		w.failed[i].Store(0)
		w.slow[i].Store(0)
	}
}

// resized returns a window of another duration with the same counts, each at its
// time up to the length of a bucket. What is counted in w from now on is lost.
func (w *window) resized(d time.Duration) *window {
	resized := newWindow(d)
	w.total.copyTo(&resized.total, w.length, resized.length)
	w.failed.copyTo(&resized.failed, w.length, resized.length)
	w.slow.copyTo(&resized.slow, w.length, resized.length)
	return resized
}

func (s *series) copyTo(to *series, oldLength, newLength int64) {
	var words [buckets]uint64
	for i := range s {
		words[i] = s[i].Load()
	}
	// Later ones take the place of earlier ones.
	slices.Sort(words[:])
	newest := words[buckets-1] >> countBits
	for _, word := range words {
		if word>>countBits+buckets <= newest {
			continue // it was no longer in the window
		}
		number := int64(word>>countBits) * oldLength / newLength
		slot := &to[number%buckets]
		count := word & countMask
		if old := slot.Load(); int64(old>>countBits) == number {
			count += old & countMask
		}
		slot.Store(uint64(number)<<countBits | min(count, mostCount))
	}
}
