package upstream

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
	"unsafe" //nolint:depguard // measures the layout
)

func TestLatencyBucketsHoldTheirTimes(t *testing.T) {
	last := -1
	for d := time.Duration(0); d < 2*time.Minute; d += max(time.Microsecond, d/100) {
		i := latencyBucket(d)
		if i < last || i >= latencyBuckets {
			t.Fatalf("%v is in bucket %d, after %d", d, i, last)
		}
		last = i
		bound := latencyBound(i)
		if i < latencyBuckets-1 && (d >= bound || d > 8*time.Microsecond && bound > d+d/8+time.Microsecond) {
			t.Fatalf("%v is in bucket %d, which ends at %v", d, i, bound)
		}
	}
	if latencyBucket(-time.Second) != 0 || latencyBucket(math.MaxInt64) != latencyBuckets-1 {
		t.Error("a time out of range is not in the first or last bucket")
	}
	if size := unsafe.Sizeof(Latency{}); size > 800 {
		t.Errorf("%d bytes", size)
	}
}

func TestPercentile(t *testing.T) {
	var l Latency
	if _, ok := l.Percentile(50); ok {
		t.Error("a percentile of nothing")
	}
	for range minSamples - 1 {
		l.Observe(time.Millisecond)
	}
	if _, ok := l.Percentile(50); ok {
		t.Error("a percentile of too few")
	}
	random := rand.New(rand.NewPCG(1, 2))
	l = Latency{}
	for range 3000 { // uniform from 0 to 100 ms
		l.Observe(time.Duration(random.Int64N(int64(100 * time.Millisecond))))
	}
	for _, p := range []int{50, 90, 95, 99} {
		got, _ := l.Percentile(p)
		want := time.Duration(p) * time.Millisecond
		if got < want*95/100 || got > want*118/100 {
			t.Errorf("p%d is %v, want about %v", p, got, want)
		}
	}
}

// TestLatencyForgets: after a change the percentile follows within two fadings.
func TestLatencyForgets(t *testing.T) {
	var l Latency
	for range 2 * keptSamples {
		l.Observe(100 * time.Millisecond)
	}
	for range 2 * keptSamples {
		l.Observe(time.Millisecond)
	}
	if got, _ := l.Percentile(90); got > 2*time.Millisecond {
		t.Errorf("p90 is still %v", got)
	}
}

func TestLatencyUnderConcurrency(t *testing.T) {
	var l Latency
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for i := range 5000 {
				l.Observe(time.Duration(i) * time.Microsecond)
				l.Percentile(95)
			}
		})
	}
	workers.Wait()
	for range 10 {
		l.Observe(0) // what came during the last fading is faded now
	}
	var sum int32
	for i := range l.buckets {
		n := l.buckets[i].Load()
		if n < 0 {
			t.Errorf("bucket %d has %d", i, n)
		}
		sum += n
	}
	if n := l.count.Load(); n != sum || n > keptSamples {
		t.Errorf("count %d, in the buckets %d", n, sum)
	}
}
