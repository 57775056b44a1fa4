package limiter

// Share is how much of each limit this process may give out. The zero value is all of
// it.
type Share struct {
	// Nodes is among how many a limit is divided; below 2 it is not. Each has at
	// least one unit of every limit, so that nobody is locked out; what a bucket gives
	// out is divided exactly even then, because it goes into debt for the unit.
	Nodes int
	// Exchanged keeps the limits whole that Taken and Apply exchange between nodes, and
	// divides only the others, which are those of SlidingLog and Concurrency.
	Exchanged bool
	// Deny refuses everything, and Allow nothing. Both are for a store that counts for
	// all nodes and cannot be asked.
	Deny, Allow bool
}

// shares are what a unit costs of each rule, compiled from a Share; nil is one unit. A
// rate's share is a price: of n nodes each charges n units for one that is taken, as
// if the others took as many, so that a count which goes on through a change of Share
// needs no rescaling. What is held of Concurrency is given back one day and must
// not change its price: there a part of the limit is set aside.
type shares struct {
	of          [MaxRules]int64
	deny, allow bool
}

// retryDenied is after which time it is worth to ask again a store that cannot be asked.
const retryDenied = 1e9

func newShares(s Share, p *plan) *shares {
	if s == (Share{}) {
		return nil
	}
	w := &shares{deny: s.Deny, allow: s.Allow && !s.Deny}
	whole := !w.deny && !w.allow
	for i := range p.counters {
		w.of[i] = 1
		if r := &p.counters[i]; s.Nodes > 1 && (!s.Exchanged || !r.exchanged()) {
			w.of[i], whole = int64(s.Nodes), false
		}
	}
	if whole {
		return nil
	}
	return w
}

// exchanged reports whether the cells of the rule are exchanged between nodes.
func (r *counter) exchanged() bool { return r.kind != kindLog && r.kind != kindConcurrency }

// need is how many units have to be left so that n may be taken.
func (w *shares) need(r *counter, i int, n int64) int64 {
	switch {
	case w == nil:
		return n
	case r.kind == kindConcurrency:
		return add(n, r.limit-max(1, r.limit/w.of[i]))
	case n > r.limit:
		return n
	}
	return min(times(n, w.of[i]), r.limit)
}

// price is how many units are charged for n.
func (w *shares) price(r *counter, i int, n int64) int64 {
	if w == nil || r.kind == kindConcurrency {
		return n
	}
	return times(n, w.of[i])
}

// worth is how many may be taken while so many units are left.
func (w *shares) worth(r *counter, i int, left int64) int64 {
	switch {
	case w == nil || w.of[i] == 1:
		return left
	case r.kind == kindConcurrency:
		return left - (r.limit - max(1, r.limit/w.of[i]))
	case left <= 0:
		return left
	}
	return max(left/w.of[i], left/r.limit)
}

// times is a product that stops at maxLevel; n is at least 0.
func times(n, by int64) int64 {
	if by == 1 {
		return n
	}
	if n > maxLevel/by {
		return maxLevel
	}
	return n * by
}

// SetShare changes how much of each limit this process gives out. It holds for all
// limiters that share counts with this one (see Next), and takes each lock for a moment,
// one after the other. What was taken before keeps the price that it had, and a
// request that is refunded later gets back what it would cost then.
func (l *Limiter) SetShare(s Share, now Instant) {
	w := newShares(s, l.plan)
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	l.store.shared, l.store.shares = s, w
	for i := range l.store.table.parts {
		p := &l.store.table.parts[i]
		p.mu.Lock()
		p.shares = w
		p.nextIdle = 0
		p.mu.Unlock()
	}
	for _, h := range l.store.hots() {
		h.setShares(l.plan, w, now)
	}
}

// setShares brings all units home at the price at which they left.
func (h *hot) setShares(p *plan, w *shares, now Instant) {
	h.mu.Lock()
	h.settleLocked(p, now)
	if h.mayHoldLocked(p) {
		h.collectLocked(p, now)
	}
	h.shares = w
	h.view.divided.Store(w != nil)
	h.announceLocked(p, now)
	h.mu.Unlock()
}

// retryAt is counter.retryAt for n units at their price.
func (w *shares) retryAt(r *counter, i int, c *cell, log []int64, at Instant, n int64) int64 {
	if w != nil && w.deny {
		return at.Mono + retryDenied
	}
	return r.retryAt(c, log, at, w.need(r, i, n))
}

// failing reports whether decisions do not depend on counts.
func (w *shares) failing() bool { return w != nil && (w.deny || w.allow) }
