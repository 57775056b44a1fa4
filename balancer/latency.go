package balancer

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// latencyDecay is the time in which what was observed loses all but 1/e of
	// its influence.
	latencyDecay = 10 * time.Second
	// latencyForgotten is the age beyond which an estimate says nothing.
	latencyForgotten = 4 * latencyDecay
	// shiftTick makes ticks of about 17 ms from nanoseconds: 32 bits of them
	// last for two years, and one is short against latencyDecay.
	shiftTick = 24

	// A failure counts as failureFactor times what the endpoint is known for,
	// so that one accident costs it a part of its share for some seconds and
	// a series of them nearly all of it. leastFailure is where that begins
	// and mostFailure where it ends.
	failureFactor = 4
	leastFailure  = 10 * time.Millisecond
	mostFailure   = 5 * time.Second
)

// latency estimates how long an endpoint takes to answer, as a moving average
// that is sensitive to peaks: a sample above the estimate replaces it at once,
// one below draws it down with latencyDecay. Without samples it decays towards
// nothing, so that an endpoint that was slow gets another chance, and after
// latencyForgotten it is none at all, so that this is one of equals and not of
// the fastest.
//
// The estimate, a float32 of nanoseconds, and the tick of its last change share
// a word, so that both change together. The zero value has no estimate.
type latency struct{ word atomic.Uint64 }

// at returns the estimate in nanoseconds at a time, 0 if there is none.
func (l *latency) at(now int64) float64 {
	word := l.word.Load()
	if word == 0 {
		return 0
	}
	return decayed(word, now)
}

func decayed(word uint64, now int64) float64 {
	estimate := float64(math.Float32frombits(uint32(word >> 32)))
	// The difference also holds when ticks have wrapped round. A caller whose
	// time is a little older than the last sample sees no decay.
	elapsed := int32(uint32(now>>shiftTick) - uint32(word))
	const forgotten = int32(latencyForgotten >> shiftTick)
	switch {
	case elapsed > forgotten || elapsed < -forgotten:
		return 0
	case elapsed <= 0:
		return estimate
	}
	return estimate * decay(float64(elapsed)*(1<<shiftTick)/float64(latencyDecay))
}

// decay is e^-x for x from 0 to 4, to within 0.4 %: the series for e^-(x/8), three
// times squared. It takes a third of the time of math.Exp, in every pick.
func decay(x float64) float64 {
	y := x / -8
	d := 1 + y*(1+y/2*(1+y/3*(1+y/4)))
	d *= d
	d *= d
	return d * d
}

// observe adds a sample. Below the estimate, the first sample of a tick draws it
// down and further ones change nothing: a word that all requests write to is
// written to seldom.
func (l *latency) observe(sample float64, now int64) {
	tick := uint32(now >> shiftTick)
	sample = max(sample, 1) // 0 is for no estimate
	for {
		old := l.word.Load()
		next := sample
		if estimate := decayed(old, now); old != 0 && sample < estimate {
			if int32(tick-uint32(old)) <= 0 {
				return
			}
			before := float64(math.Float32frombits(uint32(old >> 32)))
			next = estimate + sample*(1-estimate/before)
		}
		if l.word.CompareAndSwap(old, uint64(math.Float32bits(float32(next)))<<32|uint64(tick)) {
			return
		}
	}
}

// Observe tells how long the endpoint took to answer, or how long it was waited
// for in vain. now is as in Query.
func (e *Endpoint) Observe(took time.Duration, now int64) {
	e.latency.observe(float64(took), now)
}

// ObserveFailure tells that the endpoint failed a request after the time given.
// Failing quickly must not look like answering quickly and draw traffic, so it
// counts as slower than the endpoint is known for, the more the more often.
func (e *Endpoint) ObserveFailure(took time.Duration, now int64) {
	penalty := min(max(failureFactor*e.latency.at(now), float64(leastFailure)), float64(mostFailure))
	e.latency.observe(max(float64(took), penalty), now)
}

// Latency estimates how long the endpoint takes to answer, zero if too little is
// known. now is as in Query.
func (e *Endpoint) Latency(now int64) time.Duration { return time.Duration(e.latency.at(now)) }
