package proxy

import (
	"errors"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/salgue441/velocity/proxy/upstream"
)

// HedgePolicy says when a second attempt is made because the first has not been
// answered yet. Its zero value never makes one.
//
// Only requests without a streamed body are hedged, each at most once, over all
// its attempts.
type HedgePolicy struct {
	// After is how long the first attempt has before the second is made. Zero
	// goes by Percentile.
	After time.Duration
	// Percentile of the times that the upstream's recent replies took. With
	// After zero as well there are no hedges.
	Percentile int
	// Methods are the methods of requests that are hedged. They must be
	// idempotent (RFC 9110 section 9.2.2).
	Methods []string
	// BudgetPercent is the share of the upstream's attempts in flight that
	// may be hedges; BudgetFloor of them are always allowed.
	BudgetPercent, BudgetFloor int
}

// minHedgeAfter is the shortest time after which a hedge by percentile is made:
// below, what is measured is the scheduler.
const minHedgeAfter = time.Millisecond

// enabled tells whether the policy makes hedges at all.
func (p *HedgePolicy) enabled() bool { return p.After > 0 || p.Percentile > 0 }

// stage is how far the race between an attempt and its hedge has come.
type stage uint8

const (
	racing      stage = iota
	hedgeWon          // its reply is the answer; the exchange takes its connection
	hedgeFailed       // it ended without a reply; the first attempt goes on
	hedgeLost         // the first attempt was answered, or the client left; nobody waits for the hedge
)

// hedge is the second attempt of a request. It runs on a goroutine of its own
// with a copy of the request, because a hedge that loses outlives the exchange,
// whose memory serves another request by then. It is pooled: by the exchange
// or, once lost, by its own goroutine.
type hedge struct {
	mu    sync.Mutex
	stage stage
	first *upstream.Conn // of the first attempt, leased until the race is decided
	conn  *upstream.Conn // nil until there is one

	upstream *upstream.Upstream
	endpoint *upstream.Endpoint
	trial    trial
	server   *Server
	shard    uint32
	sent     time.Time
	deadline time.Time // zero for none
	isHead   bool
	client   netip.AddrPort // and local are for an endpoint that Introduces
	local    netip.AddrPort
	begun    bool   // something was written
	reused   bool   // conn served a request before
	request  []byte // head and body
	err      error  // why it failed
	ended    chan struct{}
}

var hedges = sync.Pool{New: func() any { return &hedge{ended: make(chan struct{}, 1)} }}

// put gives the hedge back to the pool.
func (h *hedge) put() {
	h.stage, h.begun, h.reused = racing, false, false
	h.first, h.conn, h.upstream, h.endpoint, h.server, h.err = nil, nil, nil, nil, nil, nil
	h.trial = trial{}
	if cap(h.request) > 2*maxKept {
		h.request = nil
	}
	hedges.Put(h)
}

// mayHedge tells whether the request is one to hedge.
func (x *Exchange) mayHedge() bool {
	p := &x.Route.Hedge
	if x.hedged || x.body.stream != nil || x.upgrade.protocol != "" || len(x.state.Endpoints) < 2 {
		return false
	}
	for _, m := range p.Methods {
		if m == string(x.Method()) {
			return true
		}
	}
	return false
}

// awaitReply gives the reply its time and makes a second attempt if it is late.
// On success what is in x.conn is the header of the attempt that was answered
// first or, if only one was made, perhaps still to come until deadline.
func (x *Exchange) awaitReply(deadline time.Time) error {
	p := &x.Route.Hedge
	after := p.After
	if after == 0 {
		measured, ok := x.dest.Upstream.Latency.Percentile(p.Percentile)
		if !ok {
			return nil
		}
		after = max(measured, minHedgeAfter)
	}
	at := x.awaited.Add(after)
	if !deadline.IsZero() && !at.Before(deadline) {
		return nil
	}
	x.conn.Await(x.awaited, at, (*watcher)(x))
	err := x.conn.AwaitHead(x.Ctx.IsHead())
	x.conn.Await(time.Now(), deadline, (*watcher)(x))
	if !errors.Is(err, upstream.ErrTimeout) {
		return err
	}
	h := x.beginHedge()
	if h == nil {
		return nil
	}
	return x.race(h)
}

// beginHedge starts the second attempt, at another endpoint. It returns nil if
// there is none or the budget has no room.
func (x *Exchange) beginHedge() *hedge {
	p, u := &x.Route.Hedge, x.dest.Upstream
	x.hedged = true
	now := time.Now()
	left, ok := x.timeLeft(now)
	if !ok || !u.BeginHedge(p.BudgetPercent, p.BudgetFloor) {
		return nil
	}
	ep := x.state.Pick(&x.pick)
	if ep == nil {
		u.EndHedge()
		return nil
	}
	h := hedges.Get().(*hedge)
	if !h.trial.begin(ep, x.server.nanos(now)) {
		h.put()
		u.EndHedge()
		return nil
	}
	x.passDeadline(left)
	h.first, h.upstream, h.endpoint, h.server = x.conn, u, ep, x.server
	h.shard, h.sent, h.isHead = x.shard(), now, x.Ctx.IsHead()
	h.deadline = x.replyDeadline(now)
	if ep.Introduces() {
		h.client, h.local = x.ends()
	}
	x.writeHead(ep) // over the first attempt's, which was sent
	h.request = x.appendBody(append(h.request[:0], x.head...))
	x.attempts++
	x.Route.Metrics.Hedged()
	ep.Live.Begin()
	ep.Metrics.Begin(h.shard)
	go h.run()
	return h
}

// race waits until one of the two attempts is answered, or both have failed, or
// the client has left. The race is settled when it returns.
func (x *Exchange) race(h *hedge) error {
	err := x.conn.AwaitHead(h.isHead)
	alone := !h.decided() // the first attempt was not woken
	switch {
	case err == nil, errors.Is(err, upstream.ErrAbandoned):
		if h.lose() {
			return err
		}
		<-h.ended
	case !x.waitFor(math.MaxInt64, h.ended):
		if h.lose() {
			return upstream.ErrAbandoned
		}
		<-h.ended
	}
	if h.stage == hedgeFailed {
		x.blame(h.endpoint, h.err)
		h.put()
		return err
	}
	if alone && err != nil {
		_ = x.countFailure(err) // the hedge answers
	}
	x.takeHedge(h)
	return nil
}

// decided tells whether the race is over.
func (h *hedge) decided() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stage != racing
}

// lose ends a hedge that is not wanted any more, unless it has ended itself.
// From then on it is its goroutine's.
func (h *hedge) lose() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stage != racing {
		return false
	}
	h.stage = hedgeLost
	if h.conn != nil {
		h.conn.Interrupt() // so that it closes the connection
	}
	return true
}

// takeHedge puts the hedge, which has won, in the place of the first attempt,
// whose connection is closed.
func (x *Exchange) takeHedge(h *hedge) {
	// It took longer than this. Left out, slow replies would vanish from the
	// percentile, and hedges come ever earlier.
	now := time.Now()
	took := now.Sub(x.awaited)
	x.endpoint.Live.Observe(took, x.server.nanos(now))
	x.trial.dropped(x.server.nanos(now))
	if x.Route.Hedge.Percentile > 0 {
		x.dest.Upstream.Latency.Observe(took)
	}
	x.conn.Release(false)
	x.endpoint.Live.End()
	x.endpoint.Metrics.End(h.shard)
	x.conn, x.endpoint, x.connReused, x.awaited, x.trial = h.conn, h.endpoint, h.reused, h.sent, h.trial
	x.conn.SetRelay(x)
	x.conn.Await(now, h.deadline, (*watcher)(x))
	x.Route.Metrics.HedgeWon()
	h.upstream.EndHedge()
	h.put()
}

// run makes the attempt and ends the race, unless that is over.
func (h *hedge) run() {
	err := h.ask()
	h.mu.Lock()
	lost := h.stage == hedgeLost
	switch {
	case lost:
	case err == nil:
		h.stage = hedgeWon
		h.first.Interrupt() // wakes the exchange
	default:
		h.stage, h.err = hedgeFailed, err
	}
	h.mu.Unlock()
	if h.stage == hedgeWon {
		h.ended <- struct{}{}
		return
	}
	h.giveUp(err, lost)
	if lost {
		h.put()
		return
	}
	h.ended <- struct{}{}
}

// errLost ends an attempt that is not wanted any more.
var errLost = errors.New("hedge request: not wanted any more")

// ask sends the request and waits for the header of the reply. A panic would
// end the process here, outside of any request's recovery, so it becomes a
// failed attempt.
func (h *hedge) ask() (err error) {
	defer func() {
		if r := recover(); r != nil {
			h.server.metrics.Panicked()
			if h.server.onPanic != nil {
				h.server.onPanic(r, "")
			}
			err = upstream.ErrClosed
		}
	}()
	var limit time.Duration
	if !h.deadline.IsZero() {
		if limit = time.Until(h.deadline); limit <= 0 {
			return upstream.ErrTimeout
		}
	}
	conn, err := h.endpoint.Acquire(limit)
	if err != nil {
		return err
	}
	if h.endpoint.Introduces() {
		if err := conn.Introduce(h.client, h.local, h.deadline); err != nil {
			conn.Release(false)
			return err
		}
	}
	h.endpoint.Metrics.Connected(h.shard, conn.Reused())
	if err := h.connected(conn); err != nil {
		return err
	}
	h.begun = true
	if _, err := conn.Write(h.request); err != nil {
		return upstream.ErrClosed
	}
	return conn.AwaitHead(h.isHead)
}

// connected makes the connection known, so that losing can interrupt it. The
// deadline is set in the same step: set later it might undo that.
func (h *hedge) connected(conn *upstream.Conn) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn, h.reused = conn, conn.Reused()
	if h.stage == hedgeLost {
		return errLost
	}
	if conn.SetDeadline(h.deadline) != nil {
		return upstream.ErrClosed
	}
	return nil
}

// giveUp balances what the attempt began. Its connection is closed, which tells
// the endpoint, unless it was not used.
func (h *hedge) giveUp(err error, lost bool) {
	if h.conn != nil {
		h.conn.Release(!h.begun && errors.Is(err, errLost))
	}
	now := time.Now()
	if lost {
		h.trial.dropped(h.server.nanos(now))
	} else {
		e, failure := classifyFailure(err, h.reused)
		if failure != noFailure {
			h.endpoint.Metrics.Failed(h.shard, failure)
		}
		h.trial.failed(e, failure, now.Sub(h.sent), h.server.nanos(now))
	}
	h.endpoint.Live.End()
	h.endpoint.Metrics.End(h.shard)
	h.upstream.EndHedge()
}
