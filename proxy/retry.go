package proxy

import (
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/upstream"
)

// RetryPolicy says when an attempt is followed by another one. Its zero value
// never retries.
//
// A request is only sent again while all of its body is at hand, which is so
// for a body that was buffered and for one of which nothing was sent yet. What
// reached no server may be sent again whatever its method; anything else only
// with a method of Methods or, with IdempotencyKey, such a field.
type RetryPolicy struct {
	// Attempts is how many attempts may follow the first. Zero means none.
	Attempts int
	// On is the set of failures that are tried again.
	On Conditions
	// Statuses are the statuses of replies that are tried again.
	Statuses StatusSet
	// Headers are fields of replies that are tried again.
	Headers []RetriableHeader
	// Methods are the methods of requests that may reach a server twice.
	Methods []string
	// IdempotencyKey also lets a request with a field of that name reach a
	// server twice, whatever its method.
	IdempotencyKey bool
	// PerAttempt bounds an attempt from its beginning to the header of its
	// reply. Requests with a streamed body, which takes as long as it takes,
	// are exempt. Zero means no limit.
	PerAttempt time.Duration
	// BackOff and MaxBackOff bound the wait before a retry: it is random
	// between zero and BackOff, which doubles from retry to retry up to
	// MaxBackOff. Zero does not wait.
	BackOff, MaxBackOff time.Duration
	// MaxRetryAfter is the longest Retry-After of a reply that is waited for;
	// a reply that asks for more is passed on. Zero disregards the field.
	MaxRetryAfter time.Duration
	// RepeatEndpoints begins again with all endpoints once each was tried.
	// Otherwise a request without an untried endpoint has failed.
	RepeatEndpoints bool
	// BudgetPercent is the share of the upstream's attempts in flight that
	// may be retries; BudgetFloor of them are always allowed.
	BudgetPercent, BudgetFloor int
}

// Conditions is a set of ways in which an attempt fails.
type Conditions uint8

// The conditions.
const (
	// OnConnectFailure: no connection was had, so that nothing was sent.
	OnConnectFailure Conditions = 1 << iota
	// OnReset: the connection ended before the header of the reply.
	OnReset
	// OnTimeout: the header of the reply did not come in time, that of the
	// attempt or the upstream's. The route's own limit ends the request.
	OnTimeout
)

// StatusSet is a set of statuses from 100 to 599. The zero value is empty.
type StatusSet [8]uint64

// Add puts the statuses from first to last, both included, into the set.
func (s *StatusSet) Add(first, last int) {
	for status := max(first, 100); status <= min(last, 599); status++ {
		s[(status-100)/64] |= 1 << ((status - 100) % 64)
	}
}

// Has reports whether the set has a status.
func (s *StatusSet) Has(status int) bool {
	i := status - 100
	return 0 <= i && i < 500 && s[i/64]&(1<<(i%64)) != 0
}

// RetriableHeader is a field that makes a reply one to be tried again: with the
// given value or, if that is empty, with any.
type RetriableHeader struct{ Name, Value string }

// IdempotentMethods returns the methods that RFC 9110 section 9.2.2 calls
// idempotent.
func IdempotentMethods() []string {
	return []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"}
}

// judgesReplies tells whether a reply can be a reason to try again.
func (p *RetryPolicy) judgesReplies() bool {
	return p.Attempts > 0 && (p.Statuses != StatusSet{} || len(p.Headers) > 0)
}

// noCause: the attempt is the last, for better or worse.
const noCause = telemetry.RetryCause(255)

// maxStale is how many connections that turn out to be closed a request may
// meet; replacing them is not counted against attempts and budget.
const maxStale = 2

// retryCause says why the attempt that has just ended may be made again, or
// noCause.
func (x *Exchange) retryCause() telemetry.RetryCause {
	if x.body.begun {
		return noCause
	}
	p := &x.Route.Retry
	if x.Err == nil {
		if !p.judgesReplies() {
			return noCause
		}
		cause := x.replyCause()
		if cause != noCause && !x.mayRepeat() {
			return noCause
		}
		return cause
	}
	switch {
	case x.Err.Retry == Unsent:
		if p.On&OnConnectFailure != 0 {
			return telemetry.RetryConnect
		}
	case !x.mayRepeat():
	case x.Err == ErrStale:
		if p.On&(OnConnectFailure|OnReset) != 0 {
			return telemetry.RetryStale
		}
	case x.Err == ErrReset:
		if p.On&OnReset != 0 {
			return telemetry.RetryReset
		}
	case x.Err == ErrReplyTimeout:
		if p.On&OnTimeout != 0 {
			return telemetry.RetryTimeout
		}
	}
	return noCause
}

// replyCause says whether status or fields of the reply ask for a retry.
func (x *Exchange) replyCause() telemetry.RetryCause {
	p := &x.Route.Retry
	if p.Statuses.Has(x.reply.Status) {
		return telemetry.RetryStatus
	}
	for i := range p.Headers {
		value := x.Ctx.Response.Header.Peek(p.Headers[i].Name)
		if value != nil && (p.Headers[i].Value == "" || string(value) == p.Headers[i].Value) {
			return telemetry.RetryHeader
		}
	}
	return noCause
}

// mayRepeat tells whether the request may reach a server twice.
func (x *Exchange) mayRepeat() bool {
	p := &x.Route.Retry
	for _, m := range p.Methods {
		if m == string(x.Method()) {
			return true
		}
	}
	if !p.IdempotencyKey {
		return false
	}
	key, _ := x.fields.Header("Idempotency-Key")
	return len(key) > 0
}

// prepareRetry decides whether a retry for the given cause is made, and
// returns the endpoint and how long to wait before; nil leaves the request with
// what it has. retries is how many were made already.
func (x *Exchange) prepareRetry(cause telemetry.RetryCause, retries int) (*upstream.Endpoint, time.Duration) {
	p := &x.Route.Retry
	if retries >= p.Attempts {
		return nil, 0
	}
	wait, ok := x.retryWait(cause, retries)
	if !ok {
		return nil, 0
	}
	next := x.nextEndpoint()
	if next == nil {
		return nil, 0
	}
	if !x.retrying {
		if !x.dest.Upstream.BeginRetry(p.BudgetPercent, p.BudgetFloor) {
			return nil, 0
		}
		x.retrying = true
	}
	return next, wait
}

// endRetry gives back what the budget granted.
func (x *Exchange) endRetry() {
	if x.retrying {
		x.retrying = false
		x.dest.Upstream.EndRetry()
	}
}

// nextEndpoint picks one that was not tried. If none is left and the policy
// allows, it begins again with all, at another one than the last if there is.
func (x *Exchange) nextEndpoint() *upstream.Endpoint {
	next := x.state.Pick(&x.pick)
	if next != nil || !x.Route.Retry.RepeatEndpoints {
		return next
	}
	x.pick.Tried.Reset()
	next = x.state.Pick(&x.pick)
	if next == x.endpoint {
		if another := x.state.Pick(&x.pick); another != nil {
			return another
		}
	}
	return next
}

// retryWait is how long to wait before the next attempt, and false if that
// would be longer than the reply or the route's time limit allow. A refused
// connection says nothing of other servers, so the first retry after one goes
// out at once.
func (x *Exchange) retryWait(cause telemetry.RetryCause, retries int) (time.Duration, bool) {
	p := &x.Route.Retry
	var wait time.Duration
	if retries > 0 || cause != telemetry.RetryConnect && cause != telemetry.RetryStale {
		wait = jitter(backOff(p.BackOff, p.MaxBackOff, retries))
	}
	now := time.Now()
	if x.Err == nil && p.MaxRetryAfter > 0 {
		if after := retryAfter(x.Ctx.Response.Header.Peek("Retry-After"), now); after > p.MaxRetryAfter {
			return 0, false
		} else if after > wait {
			wait = after
		}
	}
	left, ok := x.timeLeft(now)
	return wait, ok && (left == 0 || wait < left)
}

// backOff is the longest wait before a retry that follows others: base, doubled
// each time, up to limit.
func backOff(base, limit time.Duration, retries int) time.Duration {
	for range retries {
		if base > limit/2 {
			return limit
		}
		base *= 2
	}
	return min(base, limit)
}

// jitter is a random time from zero to d, both included. Callers that failed
// together come back apart.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d + 1)
}

// retryAfter reads a Retry-After (RFC 9110 section 10.2.3), seconds or a date.
// What is neither is zero.
func retryAfter(value []byte, now time.Time) time.Duration {
	if len(value) == 0 {
		return 0
	}
	if '0' <= value[0] && value[0] <= '9' {
		seconds, err := strconv.ParseUint(stringOf(value), 10, 31)
		if err != nil {
			seconds = 1 << 31 // too long to wait for, or no number
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := fasthttp.ParseHTTPDate(value)
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}

// discardReply gives up a reply that is tried again. A body that is small and
// here, or all but here, is read to its end, so that the connection can be used
// again; opening another costs more.
func (x *Exchange) discardReply() {
	complete := x.reply.Framing == upstream.NoBody
	if !complete && x.reply.KeepAlive && x.reply.Length <= maxDiscarded {
		complete = x.drainReply()
	}
	x.endAttempt(complete && x.reply.KeepAlive)
	x.reply = upstream.Reply{}
	x.pristine.CopyTo(&x.Ctx.Response.Header)
}

const (
	// maxDiscarded is the largest body, in bytes, that is read to be thrown away.
	maxDiscarded = 64 << 10
	// discardWait is how long the rest of such a body may take to arrive.
	discardWait = 5 * time.Millisecond
)

// drainReply reads the body and reports whether it came to its end.
func (x *Exchange) drainReply() bool {
	now := time.Now()
	x.conn.Await(now, now.Add(discardWait), (*watcher)(x))
	pump := pumps.Get().(*[]byte)
	defer pumps.Put(pump)
	for left := maxDiscarded; left > 0; {
		n, err := x.conn.ReadBody((*pump)[:min(left, pumpSize)])
		if err != nil {
			return err == io.EOF
		}
		left -= n
	}
	return x.conn.Complete()
}

var timers = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}}

// lookEvery is how often a request that waits for no connection looks whether
// its client is still there.
const lookEvery = 250 * time.Millisecond

// waitFor waits for d, holding the request's goroutine, or until something comes
// from done. It reports false when the client has left meanwhile.
func (x *Exchange) waitFor(d time.Duration, done <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	t := timers.Get().(*time.Timer)
	defer timers.Put(t)
	defer t.Stop() // since Go 1.23 nothing of it can be received later
	for {
		part := min(d, lookEvery)
		t.Reset(part)
		select {
		case <-done:
			return true
		case <-t.C:
		}
		if d -= part; d <= 0 {
			return true
		}
		if upstream.Gone(x.Ctx.Conn()) {
			return false
		}
	}
}
