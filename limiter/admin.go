package limiter

// Read returns the state of a key, one Decision per rule, as if a request for one
// unit came now; nothing is taken or counted. It returns false, and full rules, for a
// key that the table does not remember. Reading the zero Key brings the units of its
// shards together, which costs the next requests a visit each.
func (l *Limiter) Read(k Key, now Instant) ([]Decision, bool) { return l.AppendRead(nil, k, now) }

// AppendRead is Read that appends to dst, and allocates only if there is no room.
func (l *Limiter) AppendRead(dst []Decision, k Key, now Instant) ([]Decision, bool) {
	if k == (Key{}) {
		h := l.store.hot(&l.store.whole, l.plan)
		h.change(l.plan, now, func() { dst = l.plan.appendRead(dst, h.account, now, h.shares) })
		return dst, true
	}
	p := l.store.table.part(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.findLocked(k)
	if !ok {
		a := newAccount(l.plan)
		l.plan.advance(a, now, 0, nil)
		return l.plan.appendRead(dst, a, now, nil), false
	}
	a := p.account(i)
	l.plan.advance(a, now, 0, p.shares)
	return l.plan.appendRead(dst, a, now, p.shares), true
}

// appendRead describes each rule by itself.
func (p *plan) appendRead(dst []Decision, a account, now Instant, w *shares) []Decision {
	for i := range p.counters {
		r, c := &p.counters[i], &a.cells[i]
		d := Decision{Rule: i, Limit: r.limit, Remaining: w.worth(r, i, r.available(c, now)), Allowed: true}
		if d.Remaining < 1 {
			d.Allowed, d.RetryAfter = false, until(now.Mono, w.retryAt(r, i, c, a.part(r), now, 1))
		}
		if !p.concurrent {
			d.Reset = until(now.Mono, r.resetAt(c, a.part(r), now))
		}
		dst = append(dst, d)
	}
	return dst
}

// Reset forgets what a key took, for the zero Key the whole route's. What requests
// in flight hold of Concurrency is kept, because they will release it. It reports
// whether there was anything to forget.
func (l *Limiter) Reset(k Key, now Instant) bool {
	if l.plan.concurrent {
		return false
	}
	if k == (Key{}) {
		h := l.store.whole.Load()
		if h != nil {
			h.reset(l.plan, now)
		}
		return h != nil
	}
	p := l.store.table.part(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.findLocked(k)
	if ok {
		p.removeLocked(i)
		p.nextIdle = 0
	}
	return ok
}
