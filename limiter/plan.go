package limiter

import (
	"math"
	"sync/atomic"
)

// plan is the rules of a limiter, compiled. It is immutable.
type plan struct {
	rules      []Rule
	counters   []counter
	logSize    int  // times per key
	concurrent bool // all rules are Concurrency, or none is
	calendars  bool
	base       *atomic.Int64 // Unix time at monotonic 0: see SetClock
}

func compile(rules []Rule, start Instant) (*plan, error) {
	p := &plan{rules: rules, counters: make([]counter, len(rules)), base: new(atomic.Int64)}
	p.base.Store(start.Wall - max(start.Mono, 0))
	for i, r := range rules {
		c, err := newCounter(r, p.base)
		if err != nil {
			return nil, err
		}
		if c.kind == kindLog {
			c.logFrom = p.logSize
			p.logSize += int(r.Limit)
			c.logTo = p.logSize
		}
		p.concurrent = p.concurrent || c.kind == kindConcurrency
		p.calendars = p.calendars || c.kind == kindCalendar
		p.counters[i] = c
	}
	return p, nil
}

// account is all that is remembered about one key: a cell per rule, and the logs of
// those that have one.
type account struct {
	cells []cell
	log   []int64
}

func newAccount(p *plan) account {
	return account{cells: make([]cell, len(p.counters)), log: make([]int64, p.logSize)}
}

// part is the log of one rule, nil if it has none.
func (a account) part(c *counter) []int64 {
	if c.kind != kindLog {
		return nil
	}
	return a.log[c.logFrom:c.logTo]
}

// set is a set of rules, by index.
type set uint32

func (s set) has(i int) bool { return s>>i&1 != 0 }

// advance brings an account to the present. outstanding is how many of the units that
// were charged nobody has used yet: a bucket with them would be full below its
// capacity.
func (p *plan) advance(a account, at Instant, outstanding int64, w *shares) {
	for i := range p.counters {
		r := &p.counters[i]
		floor := int64(0)
		if outstanding > 0 {
			floor = min(r.parts(w.price(r, i, outstanding)), a.cells[i].level)
		}
		r.advance(&a.cells[i], a.part(r), at, floor)
	}
}

// short is the rules of which fewer than n units are left, and those among them
// that only observe.
func (p *plan) short(a account, at Instant, n int64, w *shares) (short, observed set) {
	if w != nil && (w.deny || w.allow) {
		return p.shortOfAll(w), 0
	}
	for i := range p.counters {
		if r := &p.counters[i]; r.available(&a.cells[i], at) < w.need(r, i, n) {
			short |= 1 << i
			if r.observe {
				observed |= 1 << i
			}
		}
	}
	return short, observed
}

// shortOfAll is all enforced rules if everything is to be refused, and else none.
func (p *plan) shortOfAll(w *shares) (short set) {
	for i := range p.counters {
		if w.deny && !p.counters[i].observe {
			short |= 1 << i
		}
	}
	return short
}

// charge takes n units of every rule but those in the set.
func (p *plan) charge(a account, at Instant, n int64, but set, w *shares) {
	for i := range p.counters {
		if r := &p.counters[i]; !but.has(i) {
			r.charge(&a.cells[i], a.part(r), at, n, w.price(r, i, n))
		}
	}
}

// giveBack returns n units of every rule that were charged and not used.
func (p *plan) giveBack(a account, n int64, w *shares) {
	for i := range p.counters {
		r := &p.counters[i]
		r.giveBack(&a.cells[i], n, w.price(r, i, n))
	}
}

// refund undoes as much of a charge of n units of every rule but those in the set
// as has not come back by itself.
func (p *plan) refund(a account, since, at Instant, n int64, but set, w *shares) {
	for i := range p.counters {
		if r := &p.counters[i]; !but.has(i) {
			r.refund(&a.cells[i], a.part(r), since, at, n, w.price(r, i, n))
		}
	}
}

// describe fills in a decision about a request that takes n units at least, after
// what it takes has been charged. short is the enforced rules that refuse it.
func (p *plan) describe(a account, at Instant, n int64, short set, d *Decision, w *shares) {
	d.Allowed, d.RetryAfter = short == 0, 0
	best, retry := -1, int64(math.MinInt64)
	for i := range p.counters {
		r, c := &p.counters[i], &a.cells[i]
		if short == 0 {
			if left := w.worth(r, i, r.available(c, at)); best < 0 || left < d.Remaining {
				best, d.Remaining = i, left
			}
		} else if short.has(i) {
			if t := w.retryAt(r, i, c, a.part(r), at, n); best < 0 || t > retry {
				best, retry = i, t
			}
		}
	}
	r, c := &p.counters[best], &a.cells[best]
	d.Rule, d.Limit = best, r.limit
	if short != 0 {
		d.RetryAfter, d.Remaining = until(at.Mono, retry), w.worth(r, best, r.available(c, at))
	}
	d.Reset = 0
	if !p.concurrent {
		d.Reset = until(at.Mono, r.resetAt(c, a.part(r), at))
	}
}

// idleAt is the monotonic time from which the account is as good as none.
func (p *plan) idleAt(a account, at Instant) int64 {
	idle := int64(math.MinInt64)
	for i := range p.counters {
		r, c := &p.counters[i], &a.cells[i]
		if c.level > 0 || c.prev > 0 {
			idle = max(idle, r.resetAt(c, a.part(r), at))
		}
	}
	return idle
}
