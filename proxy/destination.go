package proxy

import (
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/salgue441/velocity/balancer/breaker"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/transform"
	"github.com/salgue441/velocity/proxy/upstream"
)

// Destination is an upstream with what holds for the requests that go there.
type Destination struct {
	// Upstream is where requests go; nil for a route that answers itself.
	Upstream *upstream.Upstream
	// ReplyTimeout bounds the wait for the reply's header, and then each wait
	// for more of its body. Zero means no limit.
	ReplyTimeout time.Duration
	// FirstByteTimeout bounds the wait for the reply's header instead of
	// ReplyTimeout. Zero means ReplyTimeout.
	FirstByteTimeout time.Duration
	// HashOn is what consistent hashing keeps at one endpoint. Empty keeps
	// nothing: any endpoint will do.
	HashOn transform.Template
	// Sticky binds clients to endpoints by a cookie; nil does not.
	Sticky *Sticky
}

// Sticky is the cookie that binds a client to the endpoint that it was given
// first. Its value is the endpoint's tag in the upstream's state.
type Sticky struct {
	// Name is the cookie's.
	Name string
	// Attributes follow the value: "; Path=/; HttpOnly".
	Attributes string
}

// Fallback answers requests that their destination could not.
type Fallback struct {
	// On are the errors that are answered so.
	On []*Error
	// Destination gets the request, unless its Upstream is nil.
	Destination Destination
	// Answer answers in its place.
	Answer Answer
}

// admission is a request's place at an upstream: what its circuit breaker
// granted, and its place among those in flight.
type admission struct {
	breaker *breaker.Breaker // nil for none
	permit  breaker.Permit
	entry   upstream.Entry
	begun   int64         // nanoseconds, as the server has them
	took    time.Duration // until the upstream had answered, or had not
	outcome breaker.Outcome
}

// judge notes how the upstream did, for its circuit breaker at once and for the
// limit that follows the latency once the request leaves.
func (a *admission) judge(outcome breaker.Outcome, now int64) {
	a.took, a.outcome = time.Duration(now-a.begun), outcome
	if a.breaker != nil {
		a.breaker.Record(now, a.permit, outcome, a.took)
		a.breaker = nil
	}
}

// leave gives the place back. A second call does nothing.
func (a *admission) leave(now int64) {
	if a.breaker != nil { // nobody judged
		a.breaker.Record(now, a.permit, breaker.Ignored, 0)
	}
	a.entry.Leave(now, a.took, a.outcome)
	*a = admission{outcome: breaker.Ignored}
}

// enterUpstream asks the upstream's circuit breaker and waits for a place among
// the requests in flight. The request keeps it over all its attempts and until
// the end of the answer.
func (x *Exchange) enterUpstream() bool {
	u := x.dest.Upstream
	now := time.Now()
	patience, ok := x.timeLeft(now)
	if !ok {
		return x.refuse(ErrDeadline)
	}
	a := &x.held.upstream
	*a = admission{outcome: breaker.Ignored, begun: x.server.nanos(now)}
	if b := u.Breaker.Load(); b != nil {
		if a.permit, ok = b.Allow(a.begun); !ok {
			return x.refuse(ErrCircuitOpen)
		}
		a.breaker = b
	}
	entry, err := u.Enter(patience)
	if err != nil {
		a.leave(x.server.nanos(time.Now()))
		return x.refuse(x.entryError(err))
	}
	if a.entry = entry; entry != (upstream.Entry{}) {
		a.begun = x.server.nanos(time.Now()) // what it waited is not the upstream's latency
	}
	return true
}

func (x *Exchange) entryError(err error) *Error {
	if err == upstream.ErrFull {
		return ErrUpstreamInFlight
	}
	if _, ok := x.timeLeft(time.Now()); !ok {
		return ErrDeadline
	}
	return ErrQueueTimeout
}

// judgeUpstream tells the upstream's circuit breaker how the request went there,
// all attempts together.
func (x *Exchange) judgeUpstream() {
	outcome := breaker.Success
	switch {
	case x.Err == nil && x.reply.Status >= 500:
		outcome = breaker.Failure
	case x.Err == nil:
	case x.Err.Source != FromUpstream && (x.Err != ErrDeadline || x.asked):
		outcome = breaker.Ignored
	default:
		outcome = breaker.Failure
	}
	x.held.upstream.judge(outcome, x.pick.Now)
}

// chooseFirst picks the endpoint of the first attempt: the one that the client is
// bound to, or what the balancer says.
func (x *Exchange) chooseFirst() *upstream.Endpoint {
	d := x.dest
	if d.Sticky != nil {
		if tag, ok := x.fields.cookieValue(d.Sticky.Name); ok {
			if x.bound = x.state.Bound(tag, &x.pick); x.bound != nil {
				return x.bound
			}
		}
	}
	if !d.HashOn.Empty() {
		start := len(x.arena)
		x.arena = d.HashOn.AppendTo(x.arena, x)
		x.pick.Key, x.pick.HasKey = xxh3.Hash(x.arena[start:]), len(x.arena) > start
		x.arena = x.arena[:start]
	}
	return x.state.Pick(&x.pick)
}

// bind gives the client the cookie of the endpoint that has answered, unless it
// has it.
func (x *Exchange) bind() {
	s := x.dest.Sticky
	if s == nil || x.endpoint == x.bound {
		return
	}
	tag := x.state.Tag(x.endpoint)
	if tag == "" {
		return
	}
	start := len(x.arena)
	x.arena = append(append(append(append(x.arena, s.Name...), '='), tag...), s.Attributes...)
	x.Ctx.Response.Header.AddBytesV("Set-Cookie", x.arena[start:])
}

// fallBack answers a request whose destination could not, if the route says how.
// It reports whether the response is there already.
func (x *Exchange) fallBack() (answered bool) {
	f := x.Route.Fallback
	if f == nil || !slices.Contains(f.On, x.Err) {
		return false
	}
	if f.Answer == nil {
		if sent := x.Err.Source == FromUpstream && x.Err.Retry != Unsent; x.body.begun || sent && !x.mayRepeat() {
			return false
		}
	}
	x.Route.Metrics.FellBack(x.shard())
	if x.Err.Limit != telemetry.NoLimit {
		x.server.metrics.Limited(x.Err.Limit) // the error is about to be forgotten
	}
	x.held.upstream.leave(x.server.nanos(time.Now()))
	x.Err, x.endpoint, x.bound = nil, nil, nil
	x.reply = upstream.Reply{}
	x.pick.Reset()
	if f.Answer != nil {
		f.Answer.Answer(x)
		return true
	}
	x.sendTo(&f.Destination)
	return false
}
