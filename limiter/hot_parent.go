package limiter

import (
	"sync/atomic"
	"time"
)

// visit decides with the parent.
func (h *hot) visit(p *plan, s *hotShard, r *Request, d *Decision) bool {
	h.at(stepLock)
	h.mu.Lock()
	h.settleLocked(p, r.At)
	n := max(r.Cost, 1)
	short, observed := p.short(h.account, r.At, n, h.shares)
	if short != 0 && h.mayHoldLocked(p) {
		h.collectLocked(p, r.At)
		short, observed = p.short(h.account, r.At, n, h.shares)
	}
	r.spared = observed
	refusing := short &^ observed
	if refusing == 0 {
		p.charge(h.account, r.At, max(r.Cost, 0), observed, h.shares)
		h.counts.admit(observed)
	}
	p.describe(h.account, r.At, n, refusing, d, h.shares)
	if refusing != 0 {
		h.counts.refuse(d.Rule)
	}
	h.publishLocked(p, r.At, d, n)
	if short == 0 {
		h.grantLocked(p, s, r.At)
	}
	h.at(stepUnlock)
	h.mu.Unlock()
	return refusing == 0
}

// mayHoldLocked reports whether shards may hold units.
func (h *hot) mayHoldLocked(p *plan) bool { return h.outstanding > 0 || p.concurrent }

// settleLocked brings the parent to the present.
func (h *hot) settleLocked(p *plan, at Instant) {
	if h.outstanding > 0 && h.expiredLocked(p, at) {
		// Nothing was taken from a shard at or after the horizon: up to there the
		// units count as outstanding, and after it those that are left have come home.
		before := min(at.Mono, h.view.horizon.Load()-1)
		for i := range p.counters {
			if c := &p.counters[i]; c.kind == kindBucket {
				level := h.account.cells[i].level
				c.advanceBucket(&h.account.cells[i], before, min(c.parts(h.shares.price(c, i, h.outstanding)), level))
			}
		}
		h.collectLocked(p, at)
	}
	p.advance(h.account, at, h.outstanding, h.shares)
}

// expiredLocked reports whether a window ends or the shards have reached the horizon.
func (h *hot) expiredLocked(p *plan, at Instant) bool {
	if at.Mono >= h.view.horizon.Load() || at.Wall >= h.view.horizonWall.Load() {
		return true
	}
	for i := range p.counters {
		if c := &p.counters[i]; c.kind == kindCalendar && c.calendar.at(at.Wall).start > h.account.cells[i].at {
			return true
		}
	}
	return false
}

// collectLocked brings the units of all shards back to the parent.
func (h *hot) collectLocked(p *plan, at Instant) {
	for {
		for i := range h.shards {
			s := &h.shards[i]
			h.at(stepCollect)
			for {
				word := s.word.Load()
				s.seen = (word + version) &^ unitsMask
				if word&unitsMask == 0 {
					s.seen = word
					break
				}
				if s.word.CompareAndSwap(word, s.seen) {
					p.giveBack(h.account, int64(word&unitsMask), h.shares)
					break
				}
			}
		}
		if !p.concurrent || h.unchangedLocked() {
			break
		}
	}
	h.outstanding, h.began = 0, at.Mono
}

// unchangedLocked reports whether no unit was released since the shards were
// emptied. Release puts units into shards without the lock, so to have found each
// shard empty once does not mean that all were at one moment; if none has changed
// between its visit and a second one, all were at the moment between the rounds.
func (h *hot) unchangedLocked() bool {
	for i := range h.shards {
		h.at(stepVerify)
		if s := &h.shards[i]; s.word.Load() != s.seen {
			return false
		}
	}
	return true
}

// grantLocked puts a batch into the shard. Half of what is left stays with the
// parent, so that the batches shrink as the end comes near and few have to be
// collected.
func (h *hot) grantLocked(p *plan, s *hotShard, at Instant) {
	if p.logSize > 0 || h.shares.failing() {
		return // a log knows when each unit was used, and without a limit there is nothing to grant
	}
	// Visits that take nothing from the shard must not fill it up.
	n := maxBatch - int64(s.word.Load()&unitsMask)
	for i := range p.counters {
		r := &p.counters[i]
		n = min(n, h.shares.worth(r, i, r.available(&h.account.cells[i], at))/int64(2*len(h.shards)))
	}
	if n <= 0 {
		return
	}
	h.horizonLocked(p, at)
	p.charge(h.account, at, n, 0, h.shares)
	h.outstanding += n
	h.view.remaining.Add(-n)
	h.at(stepPut)
	s.word.Add(version + uint64(n))
}

// horizonLocked finds how long units in shards are good.
func (h *hot) horizonLocked(p *plan, at Instant) {
	if h.outstanding == 0 {
		h.began = at.Mono
	}
	mono, wall := int64(never), int64(never)
	for i := range p.counters {
		r, c := &p.counters[i], &h.account.cells[i]
		switch r.kind {
		case kindBucket:
			t := r.drainedAt(c, r.parts(h.shares.price(r, i, h.outstanding)))
			if r.slack {
				t = max(t, h.began+slack)
			}
			mono = min(mono, t)
		case kindSliding, kindFixed:
			mono = min(mono, r.windowEnd(c))
		case kindCalendar:
			wall = min(wall, r.calendar.at(at.Wall).end)
		case kindLog, kindConcurrency:
		}
	}
	h.view.horizon.Store(mono)
	h.view.horizonWall.Store(wall)
}

// publishLocked leaves word for requests that do not visit.
func (h *hot) publishLocked(p *plan, at Instant, d *Decision, n int64) {
	publish(&h.view.rule, int64(d.Rule))
	publish(&h.view.remaining, d.Remaining)
	publish(&h.view.resetAt, after(at.Mono, d.Reset))
	empty := int64(0)
	if !d.Allowed && !p.concurrent && (n == 1 || d.Remaining < 1) {
		empty = h.emptyUntilLocked(p, at)
	}
	publish(&h.view.empty, empty)
}

// emptyUntilLocked is when the enforced rules have a unit left again.
func (h *hot) emptyUntilLocked(p *plan, at Instant) int64 {
	empty := int64(0)
	for i := range p.counters {
		r, c := &p.counters[i], &h.account.cells[i]
		if !r.observe && r.available(c, at) < h.shares.need(r, i, 1) {
			empty = max(empty, h.shares.retryAt(r, i, c, h.account.part(r), at, 1))
		}
	}
	if p.calendars {
		wall := int64(never)
		for i := range p.counters {
			if r := &p.counters[i]; r.kind == kindCalendar {
				wall = min(wall, r.calendar.at(at.Wall).end)
			}
		}
		h.view.horizonWall.Store(wall)
	}
	return empty
}

func after(now int64, d time.Duration) int64 {
	if d == Never {
		return never
	}
	return now + int64(d)
}

// publish spares readers on other cores a cache miss if nothing changes.
func publish(to *atomic.Int64, v int64) {
	if to.Load() != v {
		to.Store(v)
	}
}

// charge takes n units whether they are left or not.
func (h *hot) charge(p *plan, r *Request, n int64, now Instant) {
	if _, ok := h.take(h.shard(r.Shard), n, now); ok {
		return
	}
	h.change(p, now, func() { p.charge(h.account, now, n, 0, h.shares) })
}

// refund gives back what is still worth something of n units.
func (h *hot) refund(p *plan, r *Request, n int64, now Instant) {
	h.change(p, now, func() { p.refund(h.account, r.At, now, n, r.spared, h.shares) })
}

// release gives back n held units of Concurrency, where the next request on this
// core finds them. While only a part of the limit may be given out they must go to the
// parent, which knows whether it has more than that.
func (h *hot) release(p *plan, r *Request, n int64) {
	if h.view.divided.Load() {
		h.change(p, r.At, func() { p.giveBack(h.account, n, h.shares) })
		return
	}
	h.at(stepRelease)
	h.shard(r.Shard).word.Add(version + uint64(n))
}

// reset forgets everything.
func (h *hot) reset(p *plan, now Instant) {
	h.change(p, now, func() { clear(h.account.cells) })
}

// change brings all units to the parent, lets do change it, and publishes the result.
func (h *hot) change(p *plan, now Instant, do func()) {
	h.at(stepLock)
	h.mu.Lock()
	h.settleLocked(p, now)
	if h.mayHoldLocked(p) {
		h.collectLocked(p, now)
	}
	do()
	h.announceLocked(p, now)
	h.at(stepUnlock)
	h.mu.Unlock()
}

// announceLocked publishes the state of the parent, which has been changed.
func (h *hot) announceLocked(p *plan, now Instant) {
	var d Decision
	short, observed := p.short(h.account, now, 1, h.shares)
	p.describe(h.account, now, 1, short&^observed, &d, h.shares)
	h.publishLocked(p, now, &d, 1)
}

func (h *hot) addTo(s *Stats) {
	h.mu.Lock()
	h.counts.addTo(s)
	h.mu.Unlock()
	for i := range h.shards {
		s.Admitted += h.shards[i].admitted.Load()
		for n := range s.Rules {
			s.Rules[n].Refused += h.shards[i].refused[n].Load()
		}
	}
}
