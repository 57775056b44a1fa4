package breaker

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// settled is the limit that an endpoint with so many workers ends up with.
func settled(buffer float64, workers int) float64 {
	n := (1 + buffer/100) * float64(workers)
	return n + math.Sqrt(n)
}

// TestLimitConverges: under threefold load the limit settles where its comment
// says.
func TestLimitConverges(t *testing.T) {
	for _, buffer := range []float64{25, 10} {
		for _, workers := range []int{4, 16, 64, 256} {
			s := newSimulation(NewLimit(LimitSettings{Buffer: buffer, MeasureInterval: 5 * time.Second}), workers, 10*time.Millisecond, 3)
			s.run(15 * time.Second)
			s.run(15 * time.Second)
			want, used := settled(buffer, workers), s.utilization(15*time.Second)
			t.Logf("buffer %2g %%, %3d workers: limit %3d = %.2f times the workers, want about %3.0f, base %v, %.1f %% used",
				buffer, workers, s.typical(), float64(s.typical())/float64(workers), want,
				s.limit.Status().Base.Round(time.Microsecond), 100*used)
			if got := float64(s.typical()); got < want*0.85-1 || got > want*1.1+1 {
				t.Errorf("limit %v, want about %.0f", got, want)
			}
			if used < 0.95 {
				t.Errorf("%.2f of the workers are used, want 0.95", used)
			}
			// The quick ones of many end first, and must not stand for all.
			if base := s.limit.Status().Base; workers >= 256 && base < 9600*time.Microsecond {
				t.Errorf("base %v, want 10ms", base)
			}
		}
	}
}

// TestLimitBoundsLatency: what is admitted in an overload that lasts is served in
// time; without a limit it is not.
func TestLimitBoundsLatency(t *testing.T) {
	const workers, service = 32, 10 * time.Millisecond
	for _, load := range []float64{0.5, 0.9, 1.2, 2, 5, 20} {
		free := newSimulation(nil, workers, service, load)
		free.run(10 * time.Second)
		s := newSimulation(NewLimit(LimitSettings{}), workers, service, load)
		s.run(10 * time.Second)
		s.run(20 * time.Second)
		p99, shed := s.percentile(99), float64(s.rejected)/float64(s.rejected+len(s.served))
		t.Logf("load %4.1f: p50 %6v p99 %6v, %4.1f %% turned away, %5.1f %% used; without a limit p99 %v after 10 s",
			load, s.percentile(50).Round(100*time.Microsecond), p99.Round(100*time.Microsecond), 100*shed,
			100*s.utilization(20*time.Second), free.percentile(99).Round(100*time.Microsecond))
		if p99 > 2*service {
			t.Errorf("load %v: p99 %v, want at most %v", load, p99, 2*service)
		}
		if load <= 0.5 && shed > 0.001 {
			t.Errorf("load %v: %.3f turned away though the endpoint has time", load, shed)
		}
		if load >= 1.2 && s.utilization(20*time.Second) < 0.95 {
			t.Errorf("load %v: %.2f used", load, s.utilization(20*time.Second))
		}
		if load >= 2 && free.percentile(99) < 100*service {
			t.Errorf("load %v: the endpoint is not overloaded", load)
		}
	}
}

// TestLimitFollows: when the endpoint changes, its limit does, long before the next
// measurement is due.
func TestLimitFollows(t *testing.T) {
	const workers, service = 64, 10 * time.Millisecond
	for _, test := range []struct {
		name    string
		workers int
		service time.Duration
	}{
		{"slower", workers, 3 * service},
		{"much slower", workers, 20 * service},
		{"faster", workers, service / 4},
		{"fewer workers", workers / 8, service},
		{"more workers", 4 * workers, service},
	} {
		s := newSimulation(NewLimit(LimitSettings{MeasureInterval: time.Hour}), workers, service, 3)
		s.run(10 * time.Second)
		before, measured := s.typical(), s.limit.Status().Measured
		s.workers, s.service = test.workers, test.service
		s.offer(3)
		s.run(20 * time.Second)
		s.run(10 * time.Second)
		want := settled(DefaultBuffer, test.workers)
		t.Logf("%s: limit %d -> %d, want about %.0f, %.1f %% used, measured %d times", test.name, before, s.typical(),
			want, 100*s.utilization(10*time.Second), s.limit.Status().Measured)
		if got := float64(s.typical()); got < want*0.85-1 || got > want*1.1+1 {
			t.Errorf("%s: limit %v, want about %.0f", test.name, got, want)
		}
		if s.limit.Status().Measured == measured {
			t.Errorf("%s: the base latency was not measured anew", test.name)
		}
		if used := s.utilization(10 * time.Second); used < 0.95 {
			t.Errorf("%s: %.2f used", test.name, used)
		}
	}
}

// TestLimitOutgrowsWrongBase: a first measurement amid a queue is forgotten.
func TestLimitOutgrowsWrongBase(t *testing.T) {
	const workers, service = 8, 10 * time.Millisecond
	s := newSimulation(NewLimit(LimitSettings{Initial: 400, MeasureInterval: 10 * time.Second}), workers, service, 4)
	s.run(5 * time.Second)
	wrong := s.limit.Status().Base
	if wrong < 2*service {
		t.Fatalf("base %v, want one that is wrong", wrong)
	}
	s.run(5 * time.Minute)
	if base := s.limit.Status().Base; base > service*5/4 {
		t.Errorf("base went from %v to %v, want %v", wrong, base, service)
	}
}

// TestLimitDoesNotGrowIdle: little traffic, however quick, proves nothing.
func TestLimitDoesNotGrowIdle(t *testing.T) {
	s := newSimulation(NewLimit(LimitSettings{}), 64, 10*time.Millisecond, 0.1)
	s.run(5 * time.Minute)
	if limit := s.limit.Current(); limit > 60 {
		t.Errorf("limit %d with 6 in flight in the mean and 30 at the most", limit)
	}
}

func TestLimitBounds(t *testing.T) {
	settings := LimitSettings{Min: 5, Max: 30, MeasureInterval: time.Second}
	s := newSimulation(NewLimit(settings), 100, 5*time.Millisecond, 3)
	for _, service := range []time.Duration{time.Millisecond, time.Second, 5 * time.Millisecond, 300 * time.Millisecond} {
		s.service = service
		s.offer(3)
		s.run(10 * time.Second)
		for _, limit := range s.limits {
			if limit < 5 || limit > 30 {
				t.Fatalf("limit %d outside 5 to 30", limit)
			}
		}
	}
	s.limit.Set(LimitSettings{Min: 50, Max: 60})
	if n := s.limit.Current(); n != 50 {
		t.Errorf("limit %d after Set, want 50", n)
	}
	s.run(10 * time.Second)
	for _, limit := range s.limits {
		if limit < 50 || limit > 60 {
			t.Fatalf("limit %d outside 50 to 60", limit)
		}
	}
}

func TestLimitOutcomes(t *testing.T) {
	const base = 10 * time.Millisecond
	l := NewLimit(LimitSettings{MeasureInterval: time.Hour})
	now := int64(0)
	request := func(n int, latency time.Duration, outcome Outcome) {
		for range n {
			if !l.Acquire() {
				t.Fatal("refused")
			}
			now += int64(latency)
			l.Release(now, latency, outcome)
		}
	}
	request(100, time.Microsecond, Failure)
	request(100, time.Microsecond, Ignored)
	if base := l.Status().Base; base != 0 {
		t.Fatalf("base %v of failures", base)
	}
	request(49, base, Success)
	if l.Status().Measured != 0 {
		t.Fatal("measured with 49 requests")
	}
	if request(1, base, Success); l.Status().Measured != 1 {
		t.Fatal("not measured with 50 requests")
	}
	if got := l.Status().Base; got < base*15/16 || got > base*17/16 {
		t.Fatalf("base %v, want %v", got, base)
	}
	request(1000, time.Millisecond, Failure)
	if l.Status().Latency != 0 {
		t.Error("quick failures are sampled")
	}
	request(20, 10*base, Failure)
	if l.Status().Latency < 9*base {
		t.Errorf("latency %v after timeouts, want %v", l.Status().Latency, 10*base)
	}
	if l.Current() >= DefaultLimitInitial {
		t.Errorf("limit %d after timeouts", l.Current())
	}
}

// TestLimitJudgesItsOwn: a request that began under another limit does not count.
func TestLimitJudgesItsOwn(t *testing.T) {
	l := NewLimit(LimitSettings{MeasureInterval: time.Hour})
	now := int64(time.Hour)
	for range 60 {
		l.Acquire()
		l.Release(now, 10*time.Millisecond, Success)
	}
	now += int64(DefaultUpdateInterval)
	for range 50 {
		l.Acquire()
		l.Release(now, time.Minute, Success)
	}
	if l.Status().Latency != 0 {
		t.Errorf("latency %v of requests that began before the measurement ended", l.Status().Latency)
	}
	for range leastSamples {
		l.Acquire()
		l.Release(now, 20*time.Millisecond, Success)
	}
	if l.Status().Latency == 0 {
		t.Error("requests that began since do not count")
	}
}

// TestLimitIsExact: never more in flight than the limit, and never fewer when
// there is demand.
func TestLimitIsExact(t *testing.T) {
	const limit = 4
	l := NewLimit(LimitSettings{Min: limit, Max: limit})
	var wg sync.WaitGroup
	var inFlight, admitted atomic.Int64
	for range 8 {
		wg.Go(func() {
			for i := range 20_000 {
				if !l.Acquire() {
					continue
				}
				admitted.Add(1)
				if n := inFlight.Add(1); n > limit {
					t.Errorf("%d in flight", n)
				}
				inFlight.Add(-1)
				l.Release(int64(i)*1e6, time.Millisecond, Outcome(i%3))
			}
		})
	}
	wg.Wait()
	status := l.Status()
	if status.InFlight != 0 {
		t.Errorf("%d in flight at the end", status.InFlight)
	}
	if got := uint64(admitted.Load()) + status.Rejected; got != 160_000 {
		t.Errorf("%d admitted and rejected, want 160000", got)
	}
	for range limit {
		if !l.Acquire() {
			t.Fatal("refused below the limit")
		}
	}
	if l.Acquire() {
		t.Error("admitted beyond the limit")
	}
}

func TestHistogram(t *testing.T) {
	for _, d := range []time.Duration{
		-1, 0, 1, time.Microsecond, 15 * time.Microsecond, 16 * time.Microsecond, 31 * time.Microsecond,
		32 * time.Microsecond, time.Millisecond, 1234567, time.Second, time.Minute, 2 * time.Minute,
	} {
		i := histogramBucket(d)
		if from, to := histogramBound(i), histogramBound(i+1); max(d, 0) < from || d >= to {
			t.Errorf("%v is in the bucket from %v to %v", d, from, to)
		}
	}
	if i := histogramBucket(time.Hour); i != histogramBuckets-1 {
		t.Errorf("an hour is in bucket %d of %d", i, histogramBuckets)
	}
	for i := range histogramBuckets {
		from, to := histogramBound(i), histogramBound(i+1)
		if to <= from || from >= 16*time.Microsecond && to-from > from/16 {
			t.Fatalf("bucket %d is from %v to %v", i, from, to)
		}
	}
	var h histogram
	var counts [histogramBuckets]uint32
	for i := range 1000 {
		h.add(time.Duration(i+1) * 100 * time.Microsecond)
	}
	total := h.take(&counts)
	if total != 1000 || h.take(new([histogramBuckets]uint32)) != 0 {
		t.Fatalf("took %d, want 1000 and then none", total)
	}
	for _, p := range []float64{1, 10, 50, 90, 99, 99.9, 100} {
		want := time.Duration(p * 1000 * float64(100*time.Microsecond) / 100)
		if got := quantile(&counts, total, p); got < want*15/16 || got > want*17/16 {
			t.Errorf("quantile %v is %v, want %v", p, got, want)
		}
	}
}
