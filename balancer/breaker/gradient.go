package breaker

import (
	"math"
	"time"
)

const (
	// leastSamples are worth a quantile.
	leastSamples = 10
	// impatience is after how many updates in a row that cast doubt on the base
	// latency it is measured before its time.
	impatience = 5

	leastGradient = 0.5
	mostGradient  = 2
)

// gradient is what one update of a Limit leaves to the next. Whoever has the
// limit's busy flag has it.
type gradient struct {
	random    func() float64
	limit     float64 // without the halving of a measurement
	anchor    float64 // limit at the last measurement
	measureAt int64
	doubts    int // updates in a row
	counts    [histogramBuckets]uint32
}

// update ends an interval, or a measurement, that has samples enough.
func (l *Limit) update(now int64) {
	if now < l.due.Load() || l.samples.Load() < l.wanted.Load() {
		return // another goroutine was just there
	}
	g, s := &l.gradient, l.settings.Load()
	l.samples.Store(0)
	peak := l.peak.Swap(0)
	total := l.latencies.take(&g.counts)
	if total == 0 {
		return
	}
	latency := max(quantile(&g.counts, total, s.SampleQuantile), time.Microsecond)
	if l.measuring.Load() {
		l.finishMeasuring(now, latency, s)
		return
	}
	l.adapt(latency, float64(peak), s)
	if now >= g.measureAt || g.doubts >= impatience {
		l.startMeasuring(now, s)
		return
	}
	l.startInterval(now, s)
}

// startInterval has the limit judged only by requests that begin under it, and by
// as many as are in flight now: an endpoint slower than the interval would
// otherwise have it changed again before the last change shows, and swing.
func (l *Limit) startInterval(now int64, s *LimitSettings) {
	l.epoch.Store(now)
	l.wanted.Store(int32(max(leastSamples, min(l.inFlight.Load(), maxMeasureRequests))))
	l.due.Store(now + int64(s.UpdateInterval))
}

func (l *Limit) adapt(latency time.Duration, peak float64, s *LimitSettings) {
	g, base := &l.gradient, float64(l.base.Load())
	buffer := 1 + max(s.Buffer, 0)/100
	next := g.limit * min(max(base*buffer/float64(latency), leastGradient), mostGradient)
	next += math.Sqrt(next)
	if next > g.limit && peak < g.limit/2 {
		next = g.limit
	}
	next = min(max(next, float64(s.Min)), float64(s.Max))
	g.limit = next
	l.limit.Store(int64(next))
	l.sampled.Store(int64(latency))
	if next <= float64(s.Min) || next <= g.anchor/2 || next >= g.anchor*2 {
		g.doubts++
	} else {
		g.doubts = 0
	}
}

// startMeasuring halves the limit. If that has grown a lot, half of it may still
// be too much, and what it was at the last measurement is the safer guide.
//
// Those of many concurrent requests that end first are the quick ones; hence the
// measurement takes at least twice as many samples as it lets run at a time. It
// ends with its last sample: due stays in the past.
func (l *Limit) startMeasuring(now int64, s *LimitSettings) {
	g := &l.gradient
	g.doubts = 0
	limit := max(s.Min, int(min(g.limit, g.anchor)/2))
	l.measuring.Store(true)
	l.limit.Store(int64(limit))
	l.epoch.Store(now)
	l.wanted.Store(int32(max(s.MeasureRequests, min(2*limit, maxMeasureRequests))))
}

func (l *Limit) finishMeasuring(now int64, latency time.Duration, s *LimitSettings) {
	g := &l.gradient
	g.limit = min(max(g.limit, float64(s.Min)), float64(s.Max))
	g.anchor = g.limit
	g.measureAt = now + int64(float64(s.MeasureInterval)*(1+max(s.MeasureJitter, 0)/100*g.random()))
	l.base.Store(int64(latency))
	l.measured.Add(1)
	l.measuring.Store(false)
	l.limit.Store(int64(g.limit))
	l.startInterval(now, s)
}
