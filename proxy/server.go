package proxy

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/auth"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/upstream"
)

// Server runs the request line over the current snapshot.
type Server struct {
	epoch     time.Time // when the server was made
	snapshot  atomic.Pointer[Snapshot]
	draining  atomic.Bool
	drains    chan struct{} // closed when draining begins
	shedding  atomic.Bool
	inFlight  InFlight
	pool      sync.Pool
	metrics   *telemetry.GatewayMetrics
	onPanic   func(recovered any, requestID string)
	streams   bodyStreams
	onBad     func(target, requestID string, cause error)
	onRefused func(x *Exchange, why *auth.Error)
	hijacks   hijacks
	tunnels   tunnels
}

// NewServer returns a server without a snapshot: until the first Swap every
// request is answered 503. onPanic is told of each panic that a request met;
// it may be nil.
func NewServer(m *telemetry.GatewayMetrics, onPanic func(recovered any, requestID string)) *Server {
	s := &Server{epoch: time.Now(), metrics: m, onPanic: onPanic, drains: make(chan struct{}), streams: newBodyStreams()}
	s.pool.New = func() any { return new(Exchange) }
	return s
}

// Now is the present time as circuit breakers and the balancer take it.
func (s *Server) Now() int64 { return s.nanos(time.Now()) }

// nanos is a time as the balancer takes it: monotonic, since the epoch.
func (s *Server) nanos(t time.Time) int64 { return int64(t.Sub(s.epoch)) }

// NotifyBadReply has f told why a reply was not well-formed: from which endpoint
// it came, to which request, and what is wrong, without the reply's bytes. It is
// called before the first request.
func (s *Server) NotifyBadReply(f func(target, requestID string, cause error)) { s.onBad = f }

// blame tells of a reply that is not well-formed.
func (x *Exchange) blame(ep *upstream.Endpoint, err error) {
	if f := x.server.onBad; f != nil && errors.Is(err, upstream.ErrMalformed) {
		f(ep.Target, string(x.RequestID), err)
	}
}

// NotifyRefused has f told of each request that authentication refused, and why. It
// is called before the first request, and f on the request's goroutine.
func (s *Server) NotifyRefused(f func(x *Exchange, why *auth.Error)) { s.onRefused = f }

// Swap makes next the snapshot of the requests that come from now on, and
// returns the one before, which requests under way may still use.
func (s *Server) Swap(next *Snapshot) *Snapshot { return s.snapshot.Swap(next) }

// Snapshot returns the current snapshot, nil before the first Swap.
func (s *Server) Snapshot() *Snapshot { return s.snapshot.Load() }

// Drain answers every further request with Connection: close, so that clients
// and load balancers go elsewhere before the listener does.
func (s *Server) Drain() {
	if !s.draining.Swap(true) {
		close(s.drains)
	}
}

// Handle serves one request: it is the fasthttp handler.
func (s *Server) Handle(ctx *fasthttp.RequestCtx) {
	x := takeWaiting(ctx)
	admitted := x != nil
	if x == nil {
		x = s.acquire(ctx)
	}
	if x == nil {
		writeError(ctx, ErrNotReady, nil, nil)
		return
	}
	defer s.recoverPanic(x)
	if admitted || x.admit() {
		x.answer()
	}
	x.finish()
	if x.upgrade.accepted {
		s.openTunnel(x)
		return
	}
	x.leaveBody()
	x.endMessage()
	x.flushResponse()
	if s.spent(ctx, x.snap) || x.upgrade.protocol != "" {
		ctx.SetConnectionClose() // bytes behind a refused upgrade are no request
	}
	switch {
	case x.stream.raw:
		x.stream.takeOver()
	case x.lingers():
		s.linger(x)
		s.close(x)
	case !x.stream.active:
		s.close(x)
	}
}

func (s *Server) acquire(ctx *fasthttp.RequestCtx) *Exchange {
	snap := s.snapshot.Load()
	if snap == nil {
		return nil
	}
	x := s.pool.Get().(*Exchange)
	x.Ctx, x.server, x.snap = ctx, s, snap
	x.start = ctx.Time()
	return x
}

func (s *Server) release(x *Exchange) {
	x.reset()
	s.pool.Put(x)
}

// recoverPanic turns a panic of one request into a 500 and keeps the process
// alive. The exchange is not pooled again: its state is unknown.
func (s *Server) recoverPanic(x *Exchange) {
	r := recover()
	if r == nil {
		return
	}
	s.metrics.Panicked()
	if s.onPanic != nil {
		s.onPanic(r, string(x.RequestID))
	}
	if x.snap == nil { // a tunnel's
		x.snap = s.snapshot.Load()
	}
	x.endAttempt(false)
	x.endRetry()
	x.held.leave(x.pick.Now)
	x.releasePlaces()
	x.stream.reset() // lest emptying the response ends the exchange once more
	writeError(x.Ctx, ErrPanic, x.fields.value(accept), x.RequestID)
	x.finishResponse()
	x.Ctx.SetConnectionClose()
	if !x.closing { // a sink that panicked is not asked again
		x.Err = ErrPanic
		s.record(x)
	}
}

// flushResponse has fasthttp send the response before it serves the next
// request of a client that pipelines: that may take long, and interim replies
// to it must not overtake this response. A write deadline of the handler's own
// has that effect; it is the one that fasthttp would set.
func (x *Exchange) flushResponse() {
	var deadline time.Time
	if d := x.snap.WriteTimeout; d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = x.Ctx.SetWriteDeadline(deadline) // fails only when closed, as the write will
}

// HandleReadError answers a request whose header fasthttp could not read: it is
// fasthttp's ErrorHandler. The connection is closed afterwards.
func (s *Server) HandleReadError(ctx *fasthttp.RequestCtx, err error) {
	e := ErrBadRequest
	var small *fasthttp.ErrSmallBuffer
	var ne net.Error
	switch {
	case errors.As(err, &small):
		e = ErrHeaderTooLarge
	case errors.As(err, &ne) && ne.Timeout():
		e = ErrRequestTimeout
		if len(ctx.Request.Header.RawHeaders()) == 0 {
			e = ErrHeaderTimeout
		}
	}
	x := s.acquire(ctx)
	if x == nil {
		writeError(ctx, e, nil, nil)
		return
	}
	x.start = time.Now() // fasthttp has set no time yet
	x.identify()
	x.Err = e
	x.answerError()
	x.finishResponse()
	s.close(x)
}

// close is the end of every request: it tells the sinks and releases the
// exchange. For a streamed response it runs when the last byte was written.
func (s *Server) close(x *Exchange) {
	x.held.leave(x.pick.Now)
	x.releasePlaces()
	s.record(x)
	s.release(x)
}

// record tells metrics and sinks what became of the request.
func (s *Server) record(x *Exchange) {
	x.closing = true
	ctx := x.Ctx
	e := &x.event
	e.Start = x.start
	e.Duration = time.Since(x.start)
	e.UpstreamDuration = x.upstreamTime
	e.Shard = x.shard()
	e.Status = ctx.Response.StatusCode()
	e.BytesIn = x.body.read
	e.BytesOut = x.bytesOut
	if !x.stream.active && !x.upgrade.accepted && !ctx.IsHead() {
		e.BytesOut = int64(len(ctx.Response.Body()))
	}
	e.Method = ctx.Method()
	e.Scheme = bytesOf(x.scheme())
	e.Host, e.Path, e.Query = x.hostField, x.Path, x.query
	e.Protocol = ctx.Request.Header.Protocol()
	e.RequestID = x.RequestID
	e.UserAgent = x.fields.value(userAgent)
	e.Referer = x.fields.value(referer)
	e.ClientIP, e.Peer = x.client, x.peer
	e.Attempts = x.attempts
	e.ConnReused = x.connReused
	e.Source = telemetry.SourceUpstream
	if x.reply.Status == 0 || x.Err != nil {
		e.Source = telemetry.SourceGateway
	}
	if x.endpoint != nil {
		e.Upstream, e.Endpoint = x.dest.Upstream.Name(), x.endpoint.Target
	}
	if x.gone {
		if x.Err != ErrSendRate {
			x.Err = ErrClientClosed
		}
		e.Source = telemetry.SourceClient
	}
	if x.Err != nil {
		e.Reason = x.Err.Code
		if x.Err.Limit != telemetry.NoLimit {
			s.metrics.Limited(x.Err.Limit)
		}
	}
	metrics := x.snap.NoRoute
	if x.Route != nil {
		e.Route = x.Route.Name
		metrics = x.Route.Metrics
	} else {
		metrics.Begin(e.Shard)
	}
	e.RequestHeaders = &x.fields
	e.ResponseHeaders = (*responseFields)(x)
	metrics.Record(e)
	for _, sink := range x.snap.Sinks {
		sink.Record(e)
	}
}

// responseFields is the response as the access log sees it.
type responseFields Exchange

func (r *responseFields) Header(name string) ([]byte, bool) {
	v := r.Ctx.Response.Header.Peek(name)
	return v, v != nil
}
