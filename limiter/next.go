package limiter

import "fmt"

// Next returns the limiter that takes over after a reload. If all rules are the Same
// and in the same order and the table keeps its size, both share everything that
// is remembered, whatever became of Observe and Full, and may be used side by side.
// Otherwise the new one starts with copies of the counts of those rules that it has
// too; what the old one counts from then on is not in them, which matters for
// requests that came between Next and the swap. Start is kept.
//
// Holders of Concurrency release at the limiter that admitted them, so unless
// everything is shared its counts begin anew.
func (l *Limiter) Next(rules []Rule, opts Options, now Instant) (*Limiter, error) {
	opts.Start = l.opts.Start
	next, err := New(rules, opts)
	if err != nil {
		return nil, fmt.Errorf("reload: %w", err)
	}
	next.plan.useClock(l.plan)
	from := make([]int, len(rules)) // index among the old rules, or -1
	common := 0
	shared := len(rules) == len(l.plan.rules) && next.opts.MaxKeys == l.opts.MaxKeys && next.opts.Shards == l.opts.Shards && next.opts.Shared == l.opts.Shared
	for i, r := range next.plan.rules {
		from[i] = -1
		for j, old := range l.plan.rules {
			if r.Same(old) {
				from[i] = j
				common++
				next.plan.counters[i].calendar = l.plan.counters[j].calendar
			}
		}
		shared = shared && from[i] == i
	}
	if shared {
		next.store = l.store
	} else if common > 0 && !l.plan.concurrent && !next.plan.concurrent {
		next.inherit(l, from, now)
	}
	if !shared {
		next.SetShare(l.store.share(), now)
	}
	return next, nil
}

// inherit copies the counts of the rules that both have.
func (l *Limiter) inherit(old *Limiter, from []int, now Instant) {
	for i := range old.store.table.parts {
		p := &old.store.table.parts[i]
		p.mu.Lock()
		for e := range int(p.slots) {
			if k := p.key(e); k != (Key{}) && p.idleAtLocked(old.plan, e, now) > now.Mono {
				l.inheritKey(k, old.plan, p.account(e), from, *p.used(e), now)
			}
		}
		p.mu.Unlock()
	}
	if h := old.store.whole.Load(); h != nil {
		to := l.store.hot(&l.store.whole, l.plan)
		h.change(old.plan, now, func() { l.plan.copy(to.account, old.plan, h.account, from) })
	}
	if h := old.store.overflow.Load(); h != nil {
		to := l.store.hot(&l.store.overflow, l.plan)
		h.change(old.plan, now, func() { l.plan.copy(to.account, old.plan, h.account, from) })
	}
}

// inheritKey makes a record with the counts of an old one.
func (l *Limiter) inheritKey(k Key, old *plan, a account, from []int, used int64, now Instant) {
	p := l.store.table.part(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	if i, ok := p.insertLocked(l.store.table, l.plan, k, now); ok {
		*p.used(i) = used
		l.plan.copy(p.account(i), old, a, from)
		p.dirty.set(i)
	}
}

// copy takes over the cells of the rules that both plans have.
func (p *plan) copy(to account, old *plan, a account, from []int) {
	for i, j := range from {
		if j >= 0 {
			to.cells[i] = a.cells[j]
			a.cells[j].spent = 0 // the new one tells it
			copy(to.part(&p.counters[i]), a.part(&old.counters[j]))
		}
	}
}
