package limiter

import "math"

// Account says which of a limiter's accounts something is about.
type Account uint8

// The accounts.
const (
	// Keyed is a key's own.
	Keyed Account = iota
	// Whole is the zero Key's.
	Whole
	// Overflow is shared by the keys that found the table full: see FullShare.
	Overflow
)

// Taken is what was taken here of one rule and key since it was last told, and what a
// syncer needs to reconcile it with what other nodes took.
type Taken struct {
	Key     Key
	Account Account
	Rule    int
	// Start is when the window began, in Unix time by the clock of SetClock, in ns. All
	// nodes name a window by it. 0 for buckets.
	Start int64
	// Units were taken here for good since the last time, below 0 if more were given
	// back. Those that shards hold ready are not among them.
	Units float64
	// Level is how many are taken as far as this node knows, by all nodes and
	// since the start of the window; what has flowed back into a bucket is not in it.
	Level float64
	// Left is how many this node can still admit.
	Left float64
}

// AppendTaken appends what every key took since the last call, for rules of all
// algorithms but SlidingLog and Concurrency, and returns dst. A key that was not
// charged here since then is not among it. It takes the lock of each part of the table for
// some microseconds, and sends the units of the shards of the zero Key home. Nothing is
// returned unless Options.Shared.
func (l *Limiter) AppendTaken(dst []Taken, now Instant) []Taken {
	for i := range l.store.table.parts {
		p := &l.store.table.parts[i]
		p.mu.Lock()
		for n := p.dirty.next(0); n >= 0; n = p.dirty.next(n + 1) {
			a := p.account(n)
			l.plan.advance(a, now, 0, p.shares)
			dst = l.plan.appendTaken(dst, Taken{Key: p.key(n)}, a, p.told(n), now, p.shares)
		}
		clear(p.dirty)
		p.mu.Unlock()
	}
	if !l.opts.Shared {
		return dst
	}
	for _, what := range []Account{Whole, Overflow} {
		if h := l.store.loaded(what); h != nil {
			dst = h.appendTaken(dst, l.plan, what, now)
		}
	}
	return dst
}

// told is the monotonic time of the record's last AppendTaken.
func (p *part) told(i int) *int64 { return &p.cells[i*int(p.stride)].spent }

func (h *hot) appendTaken(dst []Taken, p *plan, what Account, now Instant) []Taken {
	h.mu.Lock()
	quiet := h.outstanding == 0
	for i := range h.account.cells {
		quiet = quiet && h.account.cells[i].spent == 0
	}
	h.mu.Unlock()
	if quiet {
		return dst
	}
	h.change(p, now, func() { dst = p.appendTaken(dst, Taken{Account: what}, h.account, &h.told, now, h.shares) })
	return dst
}

// appendTaken empties the account's counts of what has not been told.
func (p *plan) appendTaken(dst []Taken, t Taken, a account, told *int64, now Instant, w *shares) []Taken {
	last := *told
	*told = max(last, now.Mono)
	for i := range p.counters {
		r, c := &p.counters[i], &a.cells[i]
		if !r.exchanged() {
			continue
		}
		t.Rule, t.Start, t.Left = i, 0, float64(w.worth(r, i, r.available(c, now)))
		spent := c.spent
		c.spent = 0
		switch r.kind {
		case kindBucket:
			t.Units, t.Level = float64(spent)/float64(r.unit), float64(c.level)/float64(r.unit)
			dst = append(dst, t)
			continue
		case kindSliding:
			// A clock that stands still may have reached the window before now.
			*told = max(*told, c.at-r.base.Load())
			if r.elapsed(c.at, last) < 0 {
				// The first time in this window: all of its level was taken here, and the
				// rest in the window before.
				own := min(spent, c.level/w.price(r, i, 1))
				if before := spent - own; before > 0 && c.prev > 0 {
					t.Start, t.Units, t.Level = c.at-r.window, float64(before), float64(c.prev)
					dst = append(dst, t)
				}
				spent = own
			}
		}
		t.Start, t.Units, t.Level = c.at, float64(spent), float64(c.level)
		dst = append(dst, t)
	}
	return dst
}

// Apply takes over the level that all nodes together have reached, in units, from
// whoever was told what AppendTaken returned. What this node took since then comes on
// top. A bucket is raised to that level, which may leave a debt, and never lowered: it
// recovers by itself. A window's level is replaced if it is still the
// same window, or the one before of a SlidingWindow.
func (l *Limiter) Apply(t Taken, level float64, now Instant) {
	if t.Account != Keyed {
		if h := l.store.loaded(t.Account); h != nil {
			h.change(l.plan, now, func() { l.plan.apply(h.account, t, level, h.shares) })
		}
		return
	}
	p := l.store.table.part(t.Key)
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.findLocked(t.Key)
	if !ok {
		return // it was idle and had to go
	}
	a := p.account(i)
	l.plan.advance(a, now, 0, p.shares)
	l.plan.apply(a, t, level, p.shares)
	p.nextIdle = 0
}

func (p *plan) apply(a account, t Taken, level float64, w *shares) {
	r, c := &p.counters[t.Rule], &a.cells[t.Rule]
	switch {
	case r.limit == 0:
	case r.kind == kindBucket:
		since := min(w.price(r, t.Rule, max(c.spent, 0)), c.level)
		c.level = max(c.level, add(saturate(level*float64(r.unit)), since))
	case c.at == t.Start:
		c.level = add(saturate(level), w.price(r, t.Rule, max(c.spent, 0)))
	case r.kind == kindSliding && c.at-r.window == t.Start:
		c.prev = max(c.prev, saturate(level))
	}
}

// saturate is a number of units or parts that can be owed.
func saturate(n float64) int64 {
	if n >= maxLevel {
		return maxLevel
	}
	return int64(math.Ceil(max(n, 0)))
}

// loaded is a hot account that has been used, or nil.
func (s *store) loaded(what Account) *hot {
	if what == Whole {
		return s.whole.Load()
	}
	return s.overflow.Load()
}

// SetClock ties monotonic time to Unix time anew: wall is the Unix time of a clock that
// all nodes ask, in ns, at the monotonic time mono. Windows of a duration begin by it
// from then on. As with any clock that is set, a window that has begun does not begin
// again, and one may end early, once. Calendar quotas keep to Instant.Wall.
func (l *Limiter) SetClock(wall, mono int64, now Instant) {
	l.plan.base.Store(wall - mono)
	for _, h := range l.store.hots() {
		h.change(l.plan, now, func() {})
	}
}

// Clock is the Unix time, in ns, by which windows of a duration begin at a monotonic time.
func (l *Limiter) Clock(mono int64) int64 { return mono + l.plan.base.Load() }

// useClock makes the plan go by another's clock.
func (p *plan) useClock(of *plan) {
	p.base = of.base
	for i := range p.counters {
		p.counters[i].base = of.base
	}
}
