package breaker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// rampFailures in a row open a ramping breaker again, so that a ramp with few
// requests, which MinRequests would protect, is not walked to its end.
const rampFailures = 3

// mostInARow keeps the count of a breaker that never opens from overflow.
const mostInARow = 1 << 30

// Breaker is a circuit breaker. It lives across reloads. All methods are safe for
// concurrent use and none allocates but Set and Status. Allow and Record take
// no lock unless the state changes or a probe begins or ends. Make one with New;
// a Breaker must not be copied. It takes less than 700 bytes, its window included.
type Breaker struct {
	// word is generation and phase.
	word atomic.Uint64
	// due is when the phase ends by itself: an open breaker half-opens, a ramping
	// one closes. A probing breaker has it only while all its probes are under way:
	// then it gives them up. Before due, nothing but probes needs the lock. It is
	// stored before word, and loaded after it.
	due      atomic.Int64
	rampFrom atomic.Int64
	live     atomic.Pointer[live]
	row      atomic.Int32 // failures in a row
	_        [28]byte     // what follows is written more often
	turn     atomic.Uint64

	mu        sync.Mutex
	random    func() float64
	onChange  func(from, to State)
	watch     *Watch
	changes   []change
	telling   bool // one goroutine calls onChange
	since     int64
	cause     cause
	streak    int // openings since the breaker was closed
	opened    uint64
	begun     int   // probes under way
	begunAt   int64 // the last of them
	succeeded int   // probes
}

// live is what Record needs, in one load.
type live struct {
	settings Settings
	window   *window
}

// New returns a closed breaker. onChange, if not nil, is called after each change
// of state, without any lock and by one goroutine at a time, in order. It may call
// the breaker. It runs on the goroutine that caused the change or, if another is
// just calling onChange, on that one.
func New(s Settings, onChange func(from, to State)) *Breaker {
	s = s.withDefaults()
	b := &Breaker{
		random:   rand.Float64,
		onChange: onChange,
		changes:  make([]change, 0, 4),
	}
	b.live.Store(&live{s, newWindow(s.Window)})
	b.word.Store(firstGeneration)
	return b
}

// Allow reports whether a request may be sent now. If so its outcome must be
// given to Record, with the permit.
func (b *Breaker) Allow(now int64) (Permit, bool) {
	word := b.word.Load()
	if phaseOf(word) == closed {
		return Permit(word), true
	}
	return b.allow(now, word)
}

func (b *Breaker) allow(now int64, word uint64) (Permit, bool) {
	if due := b.due.Load(); now < due {
		if phaseOf(word) == ramping && b.draw(now, due) {
			return Permit(word), true
		}
		return 0, false
	}
	b.mu.Lock()
	b.settleLocked(now)
	permit, ok := b.admitLocked(now)
	b.unlockAndTell()
	return permit, ok
}

// Record counts the outcome of a request that was allowed. latency is how long the
// endpoint took; a failure may be slow as well.
func (b *Breaker) Record(now int64, permit Permit, outcome Outcome, latency time.Duration) {
	word := b.word.Load()
	if generationOf(word) != generationOf(uint64(permit)) {
		return
	}
	if phaseOf(word) == probing {
		b.recordProbe(now, permit, outcome, latency)
		return
	}
	if outcome == Ignored {
		return
	}
	live := b.live.Load()
	if b.count(now, live, outcome == Failure, live.settings.slow(latency)) {
		b.judge(now, word, live)
	}
}

// count reports whether it counted something bad.
func (b *Breaker) count(now int64, live *live, failed, slow bool) bool {
	number := live.window.number(now)
	live.window.total.add(number)
	if failed {
		live.window.failed.add(number)
		if b.row.Load() < mostInARow {
			b.row.Add(1)
		}
	} else if b.row.Load() != 0 {
		b.row.Store(0)
	}
	if slow {
		live.window.slow.add(number)
	}
	return failed || slow
}

// judge opens the breaker if a condition is met. Only failed and slow requests
// come here: a breaker that opens upon a success would surprise, and if it has
// reason to open the next failure will do.
func (b *Breaker) judge(now int64, word uint64, live *live) {
	sums, row := live.window.sums(now), int(b.row.Load())
	kind := live.settings.judge(sums, row)
	if kind == noCause && phaseOf(word) == ramping && row >= rampFailures {
		kind = tooManyInARow
	}
	if kind != noCause {
		b.condemn(now, word, live, kind, sums, row)
	}
}

// condemn opens the breaker unless it has changed since word was loaded.
func (b *Breaker) condemn(now int64, word uint64, live *live, kind causeKind, n sums, row int) {
	b.mu.Lock()
	b.settleLocked(now)
	if current := b.word.Load(); generationOf(current) == generationOf(word) {
		s := &live.settings
		b.openLocked(now, cause{kind: kind, sums: n, row: row, window: s.Window, limit: s.LatencyLimit, quantile: s.LatencyQuantile})
	}
	b.unlockAndTell()
}

// slow is the very question whether a latency is beyond the limit: that a quantile
// is beyond it is the same as that more than the rest of the requests are, and so
// it takes one exact count and no histogram.
func (s *Settings) slow(latency time.Duration) bool {
	return s.LatencyLimit > 0 && latency > s.LatencyLimit
}

// judge returns the condition that is met.
func (s *Settings) judge(n sums, row int) causeKind {
	requests := float64(n.requests)
	switch enough := n.requests >= s.MinRequests; {
	case s.ConsecutiveFailures > 0 && row >= s.ConsecutiveFailures:
		return tooManyInARow
	case enough && s.ErrorRatio > 0 && float64(n.failed)*100 >= s.ErrorRatio*requests:
		return tooManyFailed
	case enough && s.LatencyLimit > 0 && float64(n.slow)*100 > (100-s.LatencyQuantile)*requests:
		return tooManySlow
	}
	return noCause
}

// Set changes the settings. State, counts and a running OpenFor or Ramp live on.
// What was counted as slow stays so if LatencyLimit changes, until it has left the
// window; if Window changes, each count is moved by up to a tenth of the old one.
func (b *Breaker) Set(s Settings) {
	s = s.withDefaults()
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.live.Load()
	if s == old.settings {
		return
	}
	window := old.window
	if s.Window != old.settings.Window {
		window = window.resized(s.Window)
	}
	b.live.Store(&live{s, window})
}

// Settings returns what New or Set was given, with defaults in place of zeros, and
// in range.
func (b *Breaker) Settings() Settings { return b.live.Load().settings }
