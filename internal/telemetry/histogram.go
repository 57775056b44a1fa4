package telemetry

import (
	"math/bits"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// firstBound is the upper bound of the first bucket. Each further bound
	// doubles it: 10 µs, 20 µs, … 83.9 s.
	firstBound = 10 * time.Microsecond
	boundCount = 24
)

// bucketOf returns the index of the bucket for d: the smallest i with
// d <= firstBound<<i, or boundCount when d is above every bound.
func bucketOf(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	// The number of doublings is the bit length of how many whole first
	// buckets fit below d; the -1 makes bounds inclusive, as `le` demands.
	return min(bits.Len64(uint64(d-1)/uint64(firstBound)), boundCount)
}

// histogram counts durations in fixed exponential buckets. Its zero value is
// ready; all methods are safe for concurrent use, without a lock.
type histogram struct {
	buckets [boundCount + 1]atomic.Uint64 // the last is +Inf
	nanos   atomic.Uint64
}

func (h *histogram) observe(d time.Duration) {
	h.buckets[bucketOf(d)].Add(1)
	if d > 0 {
		h.nanos.Add(uint64(d))
	}
}

// tally is a histogram at rest: what a scrape reads, possibly summed over
// several histograms.
type tally struct {
	buckets [boundCount + 1]uint64
	nanos   uint64
	count   uint64
}

// add reads h into t. Concurrent observations may or may not be included; the
// count always agrees with the buckets.
func (t *tally) add(h *histogram) {
	for i := range h.buckets {
		n := h.buckets[i].Load()
		t.buckets[i] += n
		t.count += n
	}
	t.nanos += h.nanos.Load()
}

// boundLabels are the bounds in seconds as the text of an `le` label.
var boundLabels = formatBounds()

func formatBounds() (labels [boundCount + 1]string) {
	for i := range boundCount {
		// One division, rounded once: Duration.Seconds rounds twice.
		seconds := float64(firstBound<<i) / float64(time.Second)
		labels[i] = strconv.FormatFloat(seconds, 'g', -1, 64)
	}
	labels[boundCount] = "+Inf"
	return labels
}
