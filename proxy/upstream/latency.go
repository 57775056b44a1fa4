package upstream

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// minSamples is how many recent replies it takes to speak of percentiles.
	minSamples = 100
	// keptSamples is how many replies count at the most; at that many, all are
	// halved, so that what was long ago fades.
	keptSamples = 4096
	// latencyBuckets reach beyond a minute, in steps of an eighth of a power
	// of two: a percentile is at most 12.5 % too long.
	latencyBuckets = 192
)

// Latency remembers how long recent replies took, in 776 bytes. The zero value
// has seen none. It is safe for concurrent use, without a lock.
type Latency struct {
	count   atomic.Int32
	fading  atomic.Bool
	buckets [latencyBuckets]atomic.Int32
}

// Observe adds the time to a reply's header.
func (l *Latency) Observe(d time.Duration) {
	l.buckets[latencyBucket(d)].Add(1)
	// At or above, not at: more may come while one observer is fading.
	if l.count.Add(1) >= keptSamples && l.fading.CompareAndSwap(false, true) {
		l.fade()
		l.fading.Store(false)
	}
}

// fade halves all counts. Observers go on meanwhile.
func (l *Latency) fade() {
	var removed int32
	for i := range l.buckets {
		n := l.buckets[i].Load()
		half := n - n/2
		l.buckets[i].Add(-half)
		removed += half
	}
	l.count.Add(-removed)
}

// Percentile returns the time that p percent of recent replies took at the
// most, and false as long as there were too few replies to tell.
func (l *Latency) Percentile(p int) (time.Duration, bool) {
	n := l.count.Load()
	if n < minSamples {
		return 0, false
	}
	beyond := int64(n) * int64(100-p) / 100 // how many took longer
	for i := latencyBuckets - 1; i > 0; i-- {
		if beyond -= int64(l.buckets[i].Load()); beyond < 0 {
			return latencyBound(i), true
		}
	}
	return latencyBound(0), true
}

// latencyBucket is linear up to 8 µs, and has 8 buckets for each doubling from
// there on.
func latencyBucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 8 {
		return int(us)
	}
	shift := bits.Len64(us) - 4
	return min(8*shift+int(us>>shift), latencyBuckets-1)
}

// latencyBound is the time that a bucket ends before.
func latencyBound(i int) time.Duration {
	if i < 8 {
		return time.Duration(i+1) * time.Microsecond
	}
	return time.Duration(i%8+9) << (i/8 - 1) * time.Microsecond
}
