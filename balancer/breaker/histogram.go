package breaker

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// histogramSteps is how many buckets each doubling has.
	histogramSteps = 16
	// histogramBuckets reach to 134 s; what is longer counts as that.
	histogramBuckets = 24*histogramSteps + histogramSteps
)

// histogram counts latencies in 1600 bytes. It is linear up to 16 µs; from there
// on a bucket is at most a sixteenth wide, and a quantile, which is interpolated
// within its bucket, at most that wrong: usually far less.
type histogram [histogramBuckets]atomic.Uint32

func (h *histogram) add(d time.Duration) { h[histogramBucket(d)].Add(1) }

// take empties the histogram into another. What is added meanwhile is taken or
// stays, and is never lost.
func (h *histogram) take(into *[histogramBuckets]uint32) (total int) {
	for i := range h {
		into[i] = 0
		if h[i].Load() != 0 {
			into[i] = h[i].Swap(0)
			total += int(into[i])
		}
	}
	return total
}

// quantile is the latency that p percent of total counts do not exceed.
func quantile(counts *[histogramBuckets]uint32, total int, p float64) time.Duration {
	rank := max(1, p/100*float64(total))
	for i, n := range counts {
		if float64(n) >= rank {
			from, to := histogramBound(i), histogramBound(i+1)
			return from + time.Duration(float64(to-from)*rank/float64(n))
		}
		rank -= float64(n)
	}
	return histogramBound(histogramBuckets)
}

func histogramBucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < histogramSteps {
		return int(us)
	}
	shift := bits.Len64(us) - 5
	return min(histogramSteps*shift+int(us>>shift), histogramBuckets-1)
}

// histogramBound is the time that bucket i begins at.
func histogramBound(i int) time.Duration {
	if i < histogramSteps {
		return time.Duration(i) * time.Microsecond
	}
	return time.Duration(i%histogramSteps+histogramSteps) << (i/histogramSteps - 1) * time.Microsecond
}
