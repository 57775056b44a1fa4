package limiter

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Full is what becomes of a new key when the table has no room and no entry in it
// is idle. An entry is idle when nothing in it counts any more, so that to forget it
// gives nobody an extra unit; others are never evicted.
type Full string

const (
	// FullShare lets all such keys share one more bucket with the same rules. It is
	// the default: whoever makes up keys to fill the table gains one key's limit in
	// all, keys that are known keep their own counts, and newcomers are slowed
	// down but not locked out.
	FullShare Full = "share"
	// FullDeny refuses them.
	FullDeny Full = "deny"
	// FullAllow lets them through without a limit.
	FullAllow Full = "allow"
)

// DefaultMaxKeys is the default of Options.MaxKeys.
const DefaultMaxKeys = 65536

// mostKeys keeps an entry's index below 32 bits and a table below all memory.
const mostKeys = 1 << 28

// Options are the settings of a limiter that no rule has. The zero value is good
// but for Start, which calendar and fixed windows need.
type Options struct {
	// MaxKeys is how many keys the table has room for at least; 0 is
	// DefaultMaxKeys. Memory is taken as keys come, up to Bytes.
	MaxKeys int
	// Full defaults to FullShare.
	Full Full
	// Shards is over how many parts the tokens of the zero Key are spread; 0 is the
	// number of cores. It is rounded up to a power of two, at most 256.
	Shards int
	// Start is the time of New. It ties monotonic to Unix time, so that fixed
	// windows begin at the same moments on all nodes.
	Start Instant
	// Shared makes the limiter remember which keys have something to tell to other
	// nodes, for AppendTaken. It costs a bit per key.
	Shared bool
}

// Limiter applies its rules to keys. All methods are safe for concurrent use, and
// those of a request's life neither block for long nor allocate (but for memory
// that a part of the table or the zero Key needs when it is first used).
type Limiter struct {
	plan  *plan
	opts  Options
	store *store
}

// store is what a limiter remembers, which may outlive it: see Next.
type store struct {
	table *table
	// whole is for the zero Key, overflow for all keys that found the table full.
	whole, overflow atomic.Pointer[hot]
	shards          int

	mu     sync.Mutex // held by SetShare, and to make a hot account
	shares *shares
	shared Share
}

// New returns a limiter. Rules are 1 to MaxRules of different names, and either all
// or none of Concurrency: limits on what is held and on what is taken for good are
// two limiters, of which the caller asks the first and then the other, and releases
// the first if the other refuses. All problems are reported at once.
func New(rules []Rule, opts Options) (*Limiter, error) {
	if err := validate(rules, opts); err != nil {
		return nil, fmt.Errorf("build limiter: %w", err)
	}
	opts.MaxKeys = cmp.Or(opts.MaxKeys, DefaultMaxKeys)
	opts.Full = cmp.Or(opts.Full, FullShare)
	opts.Shards = cmp.Or(opts.Shards, runtime.GOMAXPROCS(0))
	p, err := compile(slices.Clone(rules), opts.Start)
	if err != nil {
		return nil, fmt.Errorf("build limiter: %w", err)
	}
	return &Limiter{plan: p, opts: opts, store: &store{table: newTable(p, opts.MaxKeys, opts.Shared), shards: opts.Shards}}, nil
}

func validate(rules []Rule, opts Options) error {
	var problems []error
	if len(rules) == 0 || len(rules) > MaxRules {
		problems = append(problems, fmt.Errorf("want 1 to %d rules, not %d", MaxRules, len(rules)))
	}
	names := make(map[string]bool, len(rules))
	concurrent := 0
	for _, r := range rules {
		problems = append(problems, r.Validate())
		if names[r.Name] {
			problems = append(problems, fmt.Errorf("rule %q: the name is taken", r.Name))
		}
		names[r.Name] = true
		if r.Algorithm == Concurrency {
			concurrent++
		}
	}
	if concurrent != 0 && concurrent != len(rules) {
		problems = append(problems, errors.New("concurrency and rates need a limiter each"))
	}
	if opts.MaxKeys < 0 || opts.MaxKeys > mostKeys {
		problems = append(problems, fmt.Errorf("max keys must be 0 to %d", mostKeys))
	}
	if opts.Shards < 0 {
		problems = append(problems, errors.New("shards must not be negative"))
	}
	switch opts.Full {
	case "", FullShare, FullDeny, FullAllow:
	default:
		problems = append(problems, fmt.Errorf("unknown behaviour %q when full, want %s, %s or %s", opts.Full, FullShare, FullDeny, FullAllow))
	}
	return errors.Join(problems...)
}

// Rules returns a copy of the rules; Decision.Rule is an index into it.
func (l *Limiter) Rules() []Rule { return slices.Clone(l.plan.rules) }

// Concurrent reports whether requests hold what they take until Release.
func (l *Limiter) Concurrent() bool { return l.plan.concurrent }

// Bytes is the most memory that the table of keys takes.
func (l *Limiter) Bytes() int { return l.store.table.bytes() }

// Allow asks whether the request may go ahead, and if so takes its cost from every
// rule. Rules are charged all or none, in one step that no other request sees the
// middle of: a request is refused only if at one moment some rule had too little
// left, and one that is refused takes nothing anywhere.
func (l *Limiter) Allow(r *Request, d *Decision) bool {
	r.origin, r.spared, d.Overflow = fromKey, 0, false
	if r.Key == (Key{}) {
		return l.store.hot(&l.store.whole, l.plan).allow(l.plan, r, d)
	}
	p := l.store.table.part(r.Key)
	p.mu.Lock()
	i, ok := p.findLocked(r.Key)
	if !ok {
		if i, ok = p.insertLocked(l.store.table, l.plan, r.Key, r.At); !ok {
			return l.overflowUnlock(p, r, d)
		}
	}
	allowed := p.allowLocked(l.plan, i, r, d)
	p.mu.Unlock()
	return allowed
}

// overflowUnlock decides about a request whose key found no room.
func (l *Limiter) overflowUnlock(p *part, r *Request, d *Decision) bool {
	p.counts.overflow++
	idle := p.nextIdle
	p.mu.Unlock()
	if l.opts.Full == FullShare {
		r.origin, d.Overflow = fromOverflow, true
		return l.store.hot(&l.store.overflow, l.plan).allow(l.plan, r, d)
	}
	r.origin = fromNowhere
	*d = Decision{Allowed: l.opts.Full == FullAllow, Overflow: true, Rule: -1}
	if !d.Allowed && idle != never {
		d.RetryAfter = until(r.At.Mono, idle)
	}
	return d.Allowed
}

// Charge changes what an allowed request took, of every rule: delta units more,
// which may leave less than none, so that later requests wait until the debt is
// paid; or, below 0, as many fewer. A fixed window forgets a debt at its end. What
// has come back by itself since the request is not given back again: the units
// of a window that has ended, those that flowed into a bucket meanwhile.
func (l *Limiter) Charge(r *Request, delta int64, now Instant) {
	switch {
	case r.origin == fromNowhere || delta == 0:
	case r.origin == fromOverflow:
		l.chargeHot(l.store.hot(&l.store.overflow, l.plan), r, delta, now)
	case r.Key == (Key{}):
		l.chargeHot(l.store.hot(&l.store.whole, l.plan), r, delta, now)
	default:
		l.chargeKey(r, delta, now)
	}
}

// Release gives back what a request took of Concurrency rules, its Cost. It must be
// called once for each allowed request, and only then.
func (l *Limiter) Release(r *Request) { l.Charge(r, -max(r.Cost, 0), r.At) }

func (l *Limiter) chargeHot(h *hot, r *Request, delta int64, now Instant) {
	switch {
	case delta > 0:
		h.charge(l.plan, r, delta, now)
	case l.plan.concurrent:
		h.release(l.plan, r, magnitude(delta))
	default:
		h.refund(l.plan, r, magnitude(delta), now)
	}
}

func (l *Limiter) chargeKey(r *Request, delta int64, now Instant) {
	p := l.store.table.part(r.Key)
	p.mu.Lock()
	i, ok := p.findLocked(r.Key)
	if !ok && delta > 0 {
		// It was idle and had to go. A debt brings it back if there is room.
		i, ok = p.insertLocked(l.store.table, l.plan, r.Key, now)
	}
	if ok {
		p.chargeLocked(l.plan, i, r, delta, now)
	}
	p.mu.Unlock()
	if !ok && delta > 0 && l.opts.Full == FullShare {
		l.chargeHot(l.store.hot(&l.store.overflow, l.plan), r, delta, now)
	}
}

// magnitude of a number below 0.
func magnitude(n int64) int64 { return -max(n, -math.MaxInt64) }

// hot returns one of the two hot accounts, which most limiters need neither of.
func (s *store) hot(where *atomic.Pointer[hot], p *plan) *hot {
	if h := where.Load(); h != nil {
		return h
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	where.CompareAndSwap(nil, newHot(p, s.shards, s.shares))
	return where.Load()
}

// share is what SetShare was last told.
func (s *store) share() Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shared
}

// hots are those that have been used.
func (s *store) hots() []*hot {
	var hots []*hot
	for _, p := range []*atomic.Pointer[hot]{&s.whole, &s.overflow} {
		if h := p.Load(); h != nil {
			hots = append(hots, h)
		}
	}
	return hots
}
