package limiter

// Level is how much all nodes together took of a rule, by a store that counts for
// them.
type Level struct {
	// Start is when the window began, as in Taken.
	Start int64
	// Units since then, or in a bucket.
	Units float64
	// Before is the units of the window before, for SlidingWindow.
	Before float64
}

// AppendStarts appends, for every rule, when the window began in which a request of
// this moment counts: see Taken.Start.
func (l *Limiter) AppendStarts(dst []int64, at Instant) []int64 {
	for i := range l.plan.counters {
		switch r := &l.plan.counters[i]; r.kind {
		case kindSliding, kindFixed:
			dst = append(dst, r.startOf(at.Mono))
		case kindCalendar:
			dst = append(dst, r.calendar.at(at.Wall).start)
		default:
			dst = append(dst, 0)
		}
	}
	return dst
}

// Settle takes over what a store that counts for all nodes decided about a request,
// with the level of each rule after it, and describes it in d. The counts here follow,
// so that requests can be decided here when the store cannot be asked. Nothing of it is
// told by AppendTaken, because the store knows. It allocates.
func (l *Limiter) Settle(r *Request, levels []Level, allowed bool, d *Decision) {
	r.origin, r.spared = fromKey, 0
	*d = Decision{}
	if r.Key == (Key{}) {
		h := l.store.hot(&l.store.whole, l.plan)
		h.change(l.plan, r.At, func() {
			l.plan.settle(h.account, levels, r.At)
			l.plan.verdict(h.account, r, allowed, d)
			h.counts.settle(allowed, d.Rule)
		})
		return
	}
	p := l.store.table.part(r.Key)
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.findLocked(r.Key)
	if !ok {
		i, ok = p.insertLocked(l.store.table, l.plan, r.Key, r.At)
	}
	a := newAccount(l.plan)
	if ok {
		*p.used(i) = r.At.Mono
		a = p.account(i)
	}
	l.plan.settle(a, levels, r.At)
	l.plan.verdict(a, r, allowed, d)
	p.counts.settle(allowed, d.Rule)
	if !allowed && ok {
		p.top.add(r.Key, r.Label)
	}
}

func (c *counts) settle(allowed bool, rule int) {
	if allowed {
		c.admit(0)
	} else {
		c.refuse(rule)
	}
}

// settle sets the cells to what the store says, and what it has not been told on top.
func (p *plan) settle(a account, levels []Level, at Instant) {
	p.advance(a, at, 0, nil)
	for i := range p.counters {
		r, c := &p.counters[i], &a.cells[i]
		switch {
		case r.limit == 0 || !r.exchanged():
		case r.kind == kindBucket:
			c.level = add(saturate(levels[i].Units*float64(r.unit)), max(c.spent, 0))
		case c.at == levels[i].Start:
			c.level = add(saturate(levels[i].Units), max(c.spent, 0))
			if r.kind == kindSliding {
				c.prev = saturate(levels[i].Before)
			}
		}
	}
}

// verdict describes a decision that was made elsewhere. If by now there is nothing to
// show for a refusal, it is that of the rule with the fewest units left.
func (p *plan) verdict(a account, r *Request, allowed bool, d *Decision) {
	n := max(r.Cost, 1)
	short, observed := p.short(a, r.At, n, nil)
	short &^= observed
	if allowed {
		short = 0
	}
	p.describe(a, r.At, n, short, d, nil)
	if d.Allowed && !allowed {
		d.Allowed, d.RetryAfter = false, retryRaced
	}
}

// retryRaced is after which time to ask again if what refused has just come back.
const retryRaced = 1e6
