package breaker

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Limit adapts how many requests are in flight at a time to what the endpoint
// bears: as many as it works on at once, and some that wait. All methods are safe
// for concurrent use; Acquire and Release take no lock and do not
// allocate. Make one with NewLimit; a Limit must not be copied. It takes less
// than 4 KiB.
//
// # The gradient
//
// Latency is compared with the base latency, that of an endpoint at ease:
//
//	gradient = base · (1 + Buffer) / latency     between 0.5 and 2
//	limit    = gradient · limit + √(gradient · limit)
//
// as Envoy's gradient controller does. The alternative, Netflix's Gradient2,
// takes the mean of the latencies over a long time for the base and needs no
// measurement; but under an overload that lasts the queue becomes part of that
// mean, and the limit creeps up with it. A gateway must hold out against just that.
//
// Buffer and root let some requests wait: under overload the limit settles at
// n + √n, where n is 1 + Buffer times what the endpoint works on at once. For one
// that works on 64 that is 89, 1.4 times as many, with the default Buffer of 25 %,
// and 79, 1.2 times as many, with one of 10 %.
//
// # Measuring the base
//
// Envoy lowers the limit to Min meanwhile, which turns away nearly all requests
// to a busy endpoint each time, or else leaves it, which takes the queue for base
// and lets it grow from one measurement to the next. Here it is halved: the limit
// settles below twice what the endpoint works on at once, so that half of it waits
// in no queue. Should the base have been too long by any factor, each measurement
// lessens the error, by a fifth or more from a limit of 20 on, until that holds
// again. Nothing is turned away unless more than half of the limit is in use.
//
// A measurement also begins, before its time, when the limit has been at Min, or at
// most half or at least twice what it was at the last one, for 5 updates in a row:
// the endpoint has become slower, or faster.
//
// The limit only grows when at least half of it was in use: an endpoint that has
// nothing to do must not be thought able to do everything.
type Limit struct {
	limit    atomic.Int64
	base     atomic.Int64 // 0 before the first measurement
	epoch    atomic.Int64 // requests that began before do not count
	due      atomic.Int64 // the next update
	wanted   atomic.Int32 // samples that it takes
	settings atomic.Pointer[LimitSettings]
	_        [16]byte // what follows is written by every request

	inFlight atomic.Int64
	peak     atomic.Int64 // in flight, since the last update
	samples  atomic.Int32
	busy     atomic.Bool // one goroutine updates
	rejected atomic.Uint64
	_        [32]byte

	latencies histogram
	gradient  gradient // whoever has busy
	// For Status, which does not take busy.
	measuring atomic.Bool
	sampled   atomic.Int64
	measured  atomic.Uint64
}

// NewLimit returns a Limit that measures the base latency with its first requests.
func NewLimit(s LimitSettings) *Limit {
	s = s.withDefaults()
	l := new(Limit)
	l.settings.Store(&s)
	l.gradient.random = rand.Float64
	l.gradient.limit, l.gradient.anchor = float64(s.Initial), float64(s.Initial)
	l.startMeasuring(0, &s)
	return l
}

// Acquire reports whether a request may be sent now. If so Release must be called
// exactly once when it has ended. There are never more in flight than the limit
// was when the last of them began.
func (l *Limit) Acquire() bool {
	for {
		n := l.inFlight.Load()
		if n >= l.limit.Load() {
			l.rejected.Add(1)
			return false
		}
		if l.inFlight.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release ends a request that was acquired. latency is the time since Acquire, by
// the clock of now, which is in nanoseconds. A failure that comes sooner than the
// base latency counts as ignored: a refusal is quick and says nothing about load,
// while a timeout does.
func (l *Limit) Release(now int64, latency time.Duration, outcome Outcome) {
	n := l.inFlight.Add(-1) + 1
	if outcome == Ignored || now-int64(latency) < l.epoch.Load() {
		return
	}
	if outcome == Failure {
		if base := l.base.Load(); base == 0 || int64(latency) < base {
			return
		}
	}
	if n > l.peak.Load() {
		l.peak.Store(n) // of two at a time, either will do
	}
	l.latencies.add(latency)
	samples := l.samples.Add(1)
	if samples < l.wanted.Load() || now < l.due.Load() {
		return
	}
	if l.busy.CompareAndSwap(false, true) {
		l.update(now)
		l.busy.Store(false)
	}
}

// Set changes the settings. The limit and the base latency live on, within the new
// bounds.
func (l *Limit) Set(s LimitSettings) {
	s = s.withDefaults()
	l.settings.Store(&s)
	for {
		n := l.limit.Load()
		if l.limit.CompareAndSwap(n, min(max(n, int64(s.Min)), int64(s.Max))) {
			return
		}
	}
}

// Settings returns what NewLimit or Set was given, with defaults in place of zeros.
func (l *Limit) Settings() LimitSettings { return *l.settings.Load() }

// Current is how many requests may be in flight at present. While the base latency
// is measured it is half of what it is otherwise.
func (l *Limit) Current() int { return int(l.limit.Load()) }

// InFlight is the number of requests between Acquire and Release.
func (l *Limit) InFlight() int { return int(l.inFlight.Load()) }

// LimitStatus is what there is to know about a Limit.
type LimitStatus struct {
	Limit    int
	InFlight int
	// Base is the latency of an endpoint at ease, 0 before the first measurement.
	Base time.Duration
	// Latency is the sampled quantile at the last update.
	Latency time.Duration
	// Measuring says that the base latency is being measured, and the limit halved.
	Measuring bool
	// Measured is how often it has been.
	Measured uint64
	// Rejected is how many requests were refused.
	Rejected uint64
}

// Status returns the limit's numbers, each as of its own moment.
func (l *Limit) Status() LimitStatus {
	return LimitStatus{
		Limit:     l.Current(),
		InFlight:  l.InFlight(),
		Base:      time.Duration(l.base.Load()),
		Latency:   time.Duration(l.sampled.Load()),
		Measuring: l.measuring.Load(),
		Measured:  l.measured.Load(),
		Rejected:  l.rejected.Load(),
	}
}
