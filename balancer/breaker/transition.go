package breaker

import (
	"math"
	"time"
)

// change is a change of state that onChange has not been told yet.
type change struct{ from, to State }

// settleLocked makes the changes that the passing of time has brought about.
func (b *Breaker) settleLocked(now int64) {
	if now < b.due.Load() {
		return
	}
	switch word := b.word.Load(); phaseOf(word) {
	case open:
		b.forgetLocked()
		b.enterLocked(probing, now, 0)
	case probing:
		if b.due.Load() == 0 {
			return
		}
		// Lost probes that do report later must not count as those that follow.
		b.begun = 0
		b.due.Store(0)
		b.word.Store(word + firstGeneration)
	case ramping:
		b.streak = 0
		b.enterLocked(closed, now, 0)
	}
}

// admitLocked is Allow once all that is due has happened.
func (b *Breaker) admitLocked(now int64) (Permit, bool) {
	word := b.word.Load()
	switch phaseOf(word) {
	case closed:
		return Permit(word), true
	case ramping:
		if b.draw(now, b.due.Load()) {
			return Permit(word), true
		}
	case probing:
		if b.probeLocked(now) {
			return Permit(word), true
		}
	}
	return 0, false
}

// probeLocked gives out a probe if one is left. That there may be more than
// Probes of them, or that they are complete without the last one's word, is the
// doing of Set.
func (b *Breaker) probeLocked(now int64) bool {
	settings := &b.live.Load().settings
	if b.succeeded >= settings.Probes {
		b.rampLocked(now, settings.Ramp)
		return false
	}
	ok := b.begun+b.succeeded < settings.Probes
	if ok {
		b.begun++
		b.begunAt = now
	}
	b.awaitProbesLocked(settings)
	return ok
}

// awaitProbesLocked sets when the probes under way are given up, if there is no
// place for another.
func (b *Breaker) awaitProbesLocked(settings *Settings) {
	if b.begun > 0 && b.begun+b.succeeded >= settings.Probes {
		b.due.Store(b.begunAt + int64(settings.ProbeTimeout))
	} else {
		b.due.Store(0)
	}
}

// draw lets the share of requests through that the ramp has reached. Multiples of
// the golden ratio, modulo 1, are spread so evenly that any few in a row come
// close to the share: there is no run of bad luck at either end.
func (b *Breaker) draw(now, due int64) bool {
	const golden = 0x9e3779b97f4a7c15
	point := b.turn.Add(1) * golden >> 11 // 53 bits, as many as a float64 holds
	return float64(point) < b.share(now, due)*(1<<53)
}

// share is the part of requests, 0 to 1, that a ramping breaker lets through.
func (b *Breaker) share(now, due int64) float64 {
	from := b.rampFrom.Load()
	if now >= due || due <= from {
		return 1
	}
	return max(0, float64(now-from)/float64(due-from))
}

func (b *Breaker) recordProbe(now int64, permit Permit, outcome Outcome, latency time.Duration) {
	b.mu.Lock()
	defer b.unlockAndTell()
	word := b.word.Load()
	if generationOf(word) != generationOf(uint64(permit)) || phaseOf(word) != probing || b.begun == 0 {
		return
	}
	live := b.live.Load()
	b.begun--
	if outcome == Ignored {
		b.awaitProbesLocked(&live.settings)
		return
	}
	failed, slow := outcome == Failure, live.settings.slow(latency)
	b.count(now, live, failed, slow)
	switch {
	case failed:
		b.openLocked(now, cause{kind: probeFailed})
	case slow:
		b.openLocked(now, cause{kind: probeSlow, latency: latency, limit: live.settings.LatencyLimit})
	default:
		b.succeeded++
		if b.succeeded >= live.settings.Probes {
			b.rampLocked(now, live.settings.Ramp)
		} else {
			b.awaitProbesLocked(&live.settings)
		}
	}
}

func (b *Breaker) rampLocked(now int64, ramp time.Duration) {
	b.rampFrom.Store(now)
	b.enterLocked(ramping, now, now+int64(max(ramp, 0)))
	b.settleLocked(now)
}

func (b *Breaker) openLocked(now int64, c cause) {
	b.streak++
	settings := &b.live.Load().settings
	b.openUntilLocked(now, now+int64(settings.openFor(b.streak, b.random())), c)
}

func (b *Breaker) openUntilLocked(now, until int64, c cause) {
	b.cause = c
	b.opened++
	b.enterLocked(open, now, until)
}

// enterLocked changes the phase. Requests of the probing phase stay valid while
// ramping and those of a ramp once closed; otherwise a new generation begins.
func (b *Breaker) enterLocked(to phase, now, due int64) {
	word := b.word.Load()
	from := phaseOf(word)
	generation := generationOf(word)
	if goesOn := from == probing && to == ramping || from == ramping && to == closed; !goesOn {
		generation++
	}
	if from.state() != to.state() {
		b.since = now
	}
	b.due.Store(due)
	b.word.Store(generation<<phaseBits | uint64(to))
	b.changes = append(b.changes, change{from.state(), to.state()})
}

// forgetLocked begins to count anew.
func (b *Breaker) forgetLocked() {
	b.begun, b.succeeded = 0, 0
	b.row.Store(0)
	b.live.Load().window.reset()
}

// unlockAndTell unlocks mu, and calls onChange for the changes since it was locked
// unless another goroutine is at it, which then does so.
func (b *Breaker) unlockAndTell() {
	defer b.mu.Unlock()
	if b.telling || len(b.changes) == 0 {
		return
	}
	b.telling = true
	defer func() { b.telling = false }() // even if onChange panics
	for len(b.changes) > 0 {
		next := b.changes[0]
		b.changes = append(b.changes[:0], b.changes[1:]...)
		b.tell(next)
	}
}

// tell is called with mu locked, and has it unlocked in between.
func (b *Breaker) tell(c change) {
	watch := b.watch
	b.mu.Unlock()
	defer b.mu.Lock()
	watch.wakeUp()
	if b.onChange != nil && c.from != c.to {
		b.onChange(c.from, c.to)
	}
}

// Trip opens the breaker by order of the operator, whatever its settings: for d,
// after which it half-opens as usual, or until Reset if d is 0 or less.
func (b *Breaker) Trip(now int64, d time.Duration) {
	until := int64(math.MaxInt64)
	if d > 0 {
		until = now + int64(min(d, maxDuration))
	}
	b.mu.Lock()
	b.openUntilLocked(now, until, cause{kind: tripped})
	b.unlockAndTell()
}

// Reset closes the breaker by order of the operator and forgets what was counted.
func (b *Breaker) Reset(now int64) {
	b.mu.Lock()
	b.forgetLocked()
	b.streak = 0
	b.enterLocked(closed, now, 0)
	b.unlockAndTell()
}

// Poll makes the changes that are due and returns when to call it again so that
// the next one is in time: 0 if none will come by the passing of time alone. A
// Watch does this for its breakers.
func (b *Breaker) Poll(now int64) (next int64) {
	if phaseOf(b.word.Load()) == closed {
		return 0
	}
	if due := b.due.Load(); now < due {
		return finite(due)
	}
	b.mu.Lock()
	b.settleLocked(now)
	next = b.due.Load()
	b.unlockAndTell()
	return finite(next)
}

// RetryAt is when an open breaker half-opens, and 0 if it is not open or stays
// open until Reset.
func (b *Breaker) RetryAt() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if phaseOf(b.word.Load()) != open {
		return 0
	}
	return finite(b.due.Load())
}

func finite(due int64) int64 {
	if due == math.MaxInt64 {
		return 0
	}
	return due
}
