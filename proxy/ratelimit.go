package proxy

import (
	"math"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/proxy/transform"
)

// RateLimit limits the requests of a route, or of several that share it. It is a
// RequestPhase; what it says in the response and what it learns from that come
// when the line ends.
type RateLimit struct {
	// Key is what is counted separately. Empty counts all requests together.
	Key transform.Template
	// HideKey shows a part of the hash in place of what Key made: it may be a
	// credential.
	HideKey bool
	// NetBits is how much of an IPv6 address ${client_net} keeps in Key.
	NetBits int
	// Seed is the secret of the hash of keys. Gateways that share counts share it.
	Seed uint64
	// Default holds for requests of which Plan is the name of none of Plans.
	Default LimitPlan
	Plan    transform.Template
	Plans   []LimitPlan
	// Cost is how many units a request takes, and CostFrom, unless it is empty, a
	// template for another number.
	Cost     int64
	CostFrom transform.Template
	// CostField is a field of the upstream's response, in canonical form, that says
	// what the request has really cost. Empty asks for none.
	CostField []byte
	// Refunds are the statuses of responses whose request is given back what it took.
	Refunds StatusSet
	// Refusal is the error of a request that is refused.
	Refusal *Error
	// Standard sends RateLimit and RateLimit-Policy, Legacy X-RateLimit-*.
	Standard, Legacy bool
	// MaxWait is how long a request that would be refused may be delayed instead,
	// and MaxWaiting how many may be at one time. Zero delays none.
	MaxWait    time.Duration
	MaxWaiting int
	// Counts outlives the snapshot.
	Counts *LimitCounts
	// Unavailable reports whether requests are refused only because limits cannot be
	// kept at present. It is asked about those that are refused. Nil never is.
	Unavailable func() bool
	// Ask decides in place of the limiter, for limits that another process keeps.
	// Nil decides here. It may set Exchange.Err instead of deciding.
	Ask func(x *Exchange, l *limiter.Limiter, r *limiter.Request, d *limiter.Decision) bool
}

// LimitPlan is one set of limits.
type LimitPlan struct {
	// Name is the plan's; empty for the default.
	Name string
	// Rate limits how often requests come, and Held how many there are at one
	// time. Nil limits nothing.
	Rate, Held *limiter.Limiter
	// Policy is the value of RateLimit-Policy, and Names those of Rate's rules as
	// they stand there.
	Policy []byte
	Names  []string
}

// LimitCounts are the numbers of a RateLimit that its limiters do not keep.
type LimitCounts struct {
	// Waiting are the requests that are delayed at present, and Delayed those that
	// were, and then admitted.
	Waiting atomic.Int64
	Delayed atomic.Uint64
}

// quota is what one RateLimit has decided about a request.
type quota struct {
	limit    *RateLimit
	plan     *LimitPlan
	request  limiter.Request
	decision limiter.Decision
	decided  bool // by plan.Rate
	held     bool // a place of plan.Held
	taken    bool // the cost of plan.Rate
}

// NewRateLimitPhase returns the phase of a limit.
func NewRateLimitPhase(name string, l *RateLimit) Phase {
	return Phase{Slot: Admit, Name: name, Request: l}
}

// Instant is a time as limiters take it.
func (s *Server) Instant(t time.Time) limiter.Instant { return limiter.InstantOf(t, s.epoch) }

// Enter implements RequestPhase. A place among those held is taken first: unlike
// units it can be given back as if nothing had been.
func (l *RateLimit) Enter(x *Exchange) Verdict {
	x.quotas = append(x.quotas, quota{limit: l})
	q := &x.quotas[len(x.quotas)-1]
	start := len(x.arena)
	q.plan = l.choosePlan(x)
	q.request = limiter.Request{Cost: l.cost(x), At: x.server.Instant(x.start), Shard: x.shard()}
	if !l.Key.Empty() {
		x.netBits = l.NetBits
		x.arena = l.Key.AppendTo(x.arena[:start], x)
		x.netBits = 0
		q.request.Label = x.arena[start:len(x.arena):len(x.arena)]
		q.request.Key = l.HashKey(q.request.Label)
		if l.HideKey {
			x.arena = strconv.AppendUint(append(x.arena[:start], '#'), q.request.Key.Hi, 16)
			q.request.Label = x.arena[start:len(x.arena):len(x.arena)]
		}
	}
	if q.plan.Held != nil {
		var d limiter.Decision
		if q.held = q.plan.Held.Allow(&q.request, &d); !q.held {
			return l.refuse(x, q)
		}
	}
	if q.plan.Rate == nil {
		return Continue
	}
	if q.decided = true; !l.take(x, q) && !l.delay(x, q) {
		return l.refuse(x, q)
	}
	q.taken = true
	return Continue
}

// HashKey names the bucket of what a key template made.
func (l *RateLimit) HashKey(text []byte) limiter.Key {
	h := xxh3.Hash128Seed(text, l.Seed)
	if h.Hi|h.Lo == 0 {
		h.Lo = 1 // zero is all requests together
	}
	return limiter.Key{Hi: h.Hi, Lo: h.Lo}
}

func (l *RateLimit) choosePlan(x *Exchange) *LimitPlan {
	if len(l.Plans) == 0 {
		return &l.Default
	}
	start := len(x.arena)
	x.arena = l.Plan.AppendTo(x.arena, x)
	name := stringOf(x.arena[start:])
	x.arena = x.arena[:start]
	for i := range l.Plans {
		if l.Plans[i].Name == name {
			return &l.Plans[i]
		}
	}
	return &l.Default
}

func (l *RateLimit) cost(x *Exchange) int64 {
	if l.CostFrom.Empty() {
		return l.Cost
	}
	start := len(x.arena)
	x.arena = l.CostFrom.AppendTo(x.arena, x)
	n, ok := parseUnits(x.arena[start:])
	x.arena = x.arena[:start]
	if !ok {
		return l.Cost
	}
	return n
}

// parseUnits reads a number of units, 0 to MaxLimit.
func parseUnits(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 15 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return min(n, limiter.MaxLimit), true
}

func (l *RateLimit) take(x *Exchange, q *quota) bool {
	if l.Ask != nil {
		return l.Ask(x, q.plan.Rate, &q.request, &q.decision)
	}
	return q.plan.Rate.Allow(&q.request, &q.decision)
}

// refuse ends a request, and gives back what it took of this limit and of those
// before it: refused requests cost nothing.
func (l *RateLimit) refuse(x *Exchange, q *quota) Verdict {
	if x.Err == nil {
		x.Err = l.Refusal
		if l.Unavailable != nil && l.Unavailable() {
			x.Err = ErrLimitStore
		}
	}
	now := x.server.Instant(time.Now())
	for i := range x.quotas {
		if o := &x.quotas[i]; o != q && o.taken {
			o.plan.Rate.Charge(&o.request, -o.request.Cost, now)
			o.taken = false
		}
	}
	x.releasePlaces()
	return Respond
}

// delay waits until a request that was refused is admitted, if that is soon and
// few enough wait.
func (l *RateLimit) delay(x *Exchange, q *quota) bool {
	if l.MaxWait <= 0 || x.Err != nil {
		return false
	}
	defer l.Counts.Waiting.Add(-1)
	if l.Counts.Waiting.Add(1) > int64(l.MaxWaiting) {
		return false
	}
	now := time.Now()
	for end := now.Add(l.MaxWait); ; now = time.Now() {
		wait := q.decision.RetryAfter
		left, ok := x.timeLeft(now)
		if wait <= 0 || wait > end.Sub(now) || !ok || left > 0 && wait > left {
			return false
		}
		if !x.waitFor(wait, x.server.drains) {
			x.Err, x.gone = ErrClientClosed, true
			return false
		}
		if x.server.draining.Load() { // a gateway that stops does not wait
			return false
		}
		q.request.At = x.server.Instant(time.Now())
		if l.take(x, q) {
			l.Counts.Delayed.Add(1)
			return true
		}
		if x.Err != nil {
			return false
		}
	}
}

// releasePlaces gives back the places among those held.
func (x *Exchange) releasePlaces() {
	for i := range x.quotas {
		if q := &x.quotas[i]; q.held {
			q.held = false
			q.plan.Held.Release(&q.request)
		}
	}
}

// leaveLimits settles what the request has cost, and says in the response what is
// left.
func (x *Exchange) leaveLimits() {
	for i := range x.quotas {
		q := &x.quotas[i]
		if q.taken {
			x.settle(q)
		}
		switch {
		case q.decided:
			x.tellLimit(q, i == 0)
		case x.Err == q.limit.Refusal: // only the end of another request helps
			x.Ctx.Response.Header.SetCanonical(headerRetryAfter, valueOne)
		}
	}
}

// settle charges the difference between what was taken and what the response says.
func (x *Exchange) settle(q *quota) {
	l, h := q.limit, &x.Ctx.Response.Header
	actual := q.request.Cost
	if len(l.CostField) > 0 && x.endpoint != nil && x.Err == nil {
		if value := h.PeekBytes(l.CostField); value != nil {
			if n, ok := parseUnits(value); ok {
				actual = n
			}
			h.DelBytes(l.CostField)
		}
	}
	if l.Refunds.Has(h.StatusCode()) {
		actual = 0
	}
	if delta := actual - q.request.Cost; delta != 0 {
		q.plan.Rate.Charge(&q.request, delta, x.server.Instant(time.Now()))
		q.decision.Remaining -= delta
	}
}

var (
	// In the form that header programs look for.
	headerRateLimit       = []byte("Ratelimit")
	headerRateLimitPolicy = []byte("Ratelimit-Policy")
	headerLegacyLimit     = []byte("X-Ratelimit-Limit")
	headerLegacyRemaining = []byte("X-Ratelimit-Remaining")
	headerLegacyReset     = []byte("X-Ratelimit-Reset")
)

// tellLimit adds the fields that tell a client about its quota, or adds to those
// of another limit.
func (x *Exchange) tellLimit(q *quota, first bool) {
	l, h, d := q.limit, &x.Ctx.Response.Header, &q.decision
	if x.Err == l.Refusal && !q.taken && !d.Allowed && d.RetryAfter != limiter.Never && d.RetryAfter > 0 {
		h.SetCanonical(headerRetryAfter, x.appendInt(seconds(d.RetryAfter)))
	}
	if d.Rule < 0 {
		return // no rule was looked at
	}
	if l.Standard {
		set := h.SetCanonical
		if !first {
			set = h.AddBytesKV
		}
		set(headerRateLimitPolicy, q.plan.Policy)
		start := len(x.arena)
		if len(q.plan.Names) == 1 {
			x.arena = appendRemaining(x.arena, q.plan.Names[0], d)
		} else {
			x.quotaRules, _ = q.plan.Rate.AppendRead(x.quotaRules[:0], q.request.Key, q.request.At)
			for i := range x.quotaRules {
				if i > 0 {
					x.arena = append(x.arena, ", "...)
				}
				x.arena = appendRemaining(x.arena, q.plan.Names[i], &x.quotaRules[i])
			}
		}
		set(headerRateLimit, x.arena[start:])
	}
	if l.Legacy {
		h.SetCanonical(headerLegacyLimit, x.appendInt(d.Limit))
		h.SetCanonical(headerLegacyRemaining, x.appendInt(max(d.Remaining, 0)))
		h.SetCanonical(headerLegacyReset, x.appendInt(seconds(d.Reset)))
	}
}

// appendRemaining appends an item of RateLimit: "name";r=30;t=12.
func appendRemaining(b []byte, name string, d *limiter.Decision) []byte {
	b = append(append(append(b, '"'), name...), `";r=`...)
	b = strconv.AppendInt(b, max(d.Remaining, 0), 10)
	return strconv.AppendInt(append(b, ";t="...), seconds(d.Reset), 10)
}

// appendInt makes the text of a number that lasts as long as the request.
func (x *Exchange) appendInt(n int64) []byte {
	start := len(x.arena)
	x.arena = strconv.AppendInt(x.arena, n, 10)
	return x.arena[start:]
}

// seconds rounds up, so that who waits for so long does not come too early.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// defaultNetBits is how much of an IPv6 address ${client_net} keeps.
const defaultNetBits = 64

// appendClientNet appends an IPv4 address, or the network of an IPv6 one.
func appendClientNet(b []byte, addr netip.Addr, bits int) []byte {
	addr = addr.Unmap()
	if !addr.Is6() || bits >= addr.BitLen() {
		return addr.AppendTo(b)
	}
	p, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return addr.AppendTo(b)
	}
	return p.AppendTo(b)
}
