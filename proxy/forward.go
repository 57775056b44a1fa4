package proxy

import (
	"cmp"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/router"
	"github.com/salgue441/velocity/proxy/upstream"
)

// forward sends the request to an endpoint of the route's upstream, another
// one if need be, and begins the response.
func (x *Exchange) forward() {
	if r := x.Route; !r.Rewrite.Empty() && !x.rewritePath() {
		return
	}
	if !x.readUpgrade() || !x.readBody() {
		return
	}
	answered := false
	x.sendTo(&x.Route.Destination)
	if x.Err != nil {
		answered = x.fallBack()
	}
	x.clearReadDeadline()
	if x.Err == nil && !answered {
		x.bind()
		x.beginResponse()
	}
}

// sendTo makes attempts at a destination until one of them is good enough, or
// none may follow. It leaves x.Err, or the reply's header and its connection.
func (x *Exchange) sendTo(d *Destination) {
	r := x.Route
	x.dest = d
	if !x.enterUpstream() {
		return
	}
	x.state = d.Upstream.State()
	x.pick.Now = x.held.upstream.begun
	ep := x.chooseFirst()
	if ep == nil {
		ep = x.pickAfterReload()
	}
	if ep == nil {
		x.Err = ErrNoHealthy
		if x.state.Broken() {
			x.Err = ErrCircuitOpen
		}
		x.judgeUpstream()
		return
	}
	if r.Retry.judgesReplies() {
		x.Ctx.Response.Header.CopyTo(&x.pristine)
	}
	for retries, stale := 0, 0; ; {
		before := x.Err
		x.Err = x.attempt(ep)
		if x.Err == errBroken {
			if ep = x.state.Pick(&x.pick); ep != nil {
				x.Err = before
				continue // to another endpoint: this one was asked for nothing
			}
			if x.Err = before; before == nil {
				x.Err = ErrCircuitOpen
			}
			break
		}
		if x.Err == ErrStale && stale < maxStale && !x.body.begun && x.mayRepeat() {
			stale++
			r.Metrics.Retried(telemetry.RetryStale)
			continue // the same endpoint, over another connection
		}
		cause := x.retryCause()
		if cause == noCause {
			break
		}
		next, wait := x.prepareRetry(cause, retries)
		if next == nil {
			break
		}
		if x.Err == nil {
			x.discardReply()
		}
		if !x.waitFor(wait, x.server.drains) { // a gateway that stops does not wait
			x.Err, x.gone = ErrClientClosed, true
			break
		}
		r.Metrics.Retried(cause)
		ep, retries = next, retries+1
	}
	x.endRetry()
	x.judgeUpstream()
}

// pickAfterReload chooses for a request that began before a reload and holds
// endpoints which that has retired: one of those that took their place or, if
// its whole upstream is gone, a retired one. The request was here first.
func (x *Exchange) pickAfterReload() *upstream.Endpoint {
	if x.server.Snapshot() == x.snap {
		return nil
	}
	if now := x.dest.Upstream.State(); now != x.state {
		x.state = now
		x.pick.Tried.Reset()
		return now.Pick(&x.pick)
	}
	return x.state.PickRetired()
}

// rewritePath makes the path that the upstream sees. It may have parts that the
// client chose, from a query parameter or a header field, so it is brought into
// canonical form like the path that they were not checked with.
func (x *Exchange) rewritePath() bool {
	r := x.Route
	x.target, x.arena = r.Rewrite.Apply(x.Path, x, x.arena)
	canonical, flags, err := router.AppendCanonical(x.arena, x.target)
	if err != nil {
		return x.refuse(ErrBadPath)
	}
	if flags&router.EncodedSlash != 0 && !r.KeepEncodedSlashes {
		return x.refuse(ErrEncodedSlash)
	}
	if &canonical[0] != &x.target[0] {
		x.arena = append(x.arena, canonical...) // where it is already, if there was room
		x.target = canonical
	}
	return true
}

// attempt sends the request to ep and reads the header of its reply. On
// success the connection is left in x.conn for the body; otherwise the error
// is returned and the attempt is over.
func (x *Exchange) attempt(ep *upstream.Endpoint) *Error {
	shard := x.shard()
	now := time.Now()
	limit, ok := x.timeLeft(now)
	if !ok {
		return ErrDeadline
	}
	x.pick.Now = x.server.nanos(now)
	if !x.trial.begin(ep, x.pick.Now) {
		return errBroken
	}
	x.passDeadline(limit)
	limit = shorter(limit, x.attemptLimit())
	x.attempts++
	x.endpoint, x.sent, x.awaited, x.connReused, x.attempting = ep, now, now, false, true
	ep.Live.Begin()
	ep.Metrics.Begin(shard)

	conn, err := x.connect(ep, limit)
	if err != nil {
		return x.failAttempt(err)
	}
	x.conn, x.connReused = conn, conn.Reused()
	ep.Metrics.Connected(shard, x.connReused)
	if err := x.exchangeHeads(conn, now); err != nil {
		return x.failAttempt(err)
	}
	now = time.Now()
	took := now.Sub(x.awaited)
	x.endpoint.Metrics.Answered(shard, x.reply.Status, took) // the hedge's, if that won
	x.pick.Now = x.server.nanos(now)
	x.trial.answered(x.reply.Status, took, x.pick.Now)
	if x.Route.Hedge.Percentile > 0 {
		x.dest.Upstream.Latency.Observe(took)
	}
	return nil
}

// connect leases a connection for an attempt. One that may switch protocols is
// not the pool's.
func (x *Exchange) connect(ep *upstream.Endpoint, limit time.Duration) (conn *upstream.Conn, err error) {
	if x.upgrade.protocol != "" {
		conn, err = ep.Dial(limit)
	} else {
		conn, err = ep.Acquire(limit)
	}
	if err != nil || !ep.Introduces() {
		return conn, err
	}
	var by time.Time
	if limit > 0 {
		by = x.sent.Add(limit)
	}
	client, local := x.ends()
	if err := conn.Introduce(client, local, by); err != nil {
		conn.Release(false)
		return nil, err
	}
	return conn, nil
}

// exchangeHeads sends the request and reads the reply's header.
func (x *Exchange) exchangeHeads(conn *upstream.Conn, now time.Time) error {
	deadline := x.replyDeadline(now)
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return upstream.ErrClosed
	}
	conn.SetRelay(x)
	conn.Await(now, deadline, (*watcher)(x))
	x.writeHead(x.endpoint)
	incomplete := false
	err := x.send(conn)
	if err == nil && x.body.stream != nil {
		incomplete, err = x.sendStream(conn)
		now = time.Now()
		conn.Await(now, x.replyDeadline(now), (*watcher)(x))
	}
	if ce, ok := errors.AsType[*Error](err); ok {
		return ce // the client's fault: do not wait for an answer
	}
	// After a failed write there may still be an answer: 413 and a close.
	var rerr error
	if x.Route.Hedge.enabled() && err == nil && x.mayHedge() {
		rerr = x.awaitReply(deadline)
		conn = x.conn
	}
	var reply upstream.Reply
	if rerr == nil {
		reply, rerr = conn.ReadReply(&x.Ctx.Response.Header, x.Ctx.IsHead())
	}
	if rerr != nil {
		if errors.Is(rerr, upstream.ErrTimeout) {
			if _, left := x.timeLeft(time.Now()); !left {
				return ErrDeadline
			}
		}
		return rerr
	}
	if reply.Status == 101 {
		if err := x.checkSwitch(); err != nil {
			return err
		}
	}
	x.reply = reply
	if incomplete || err != nil {
		x.reply.KeepAlive = false
	}
	return nil
}

// send writes the head together with a buffered body.
func (x *Exchange) send(conn *upstream.Conn) error {
	b := &x.body
	if b.stream == nil && (len(b.buf) <= joinLimit || len(b.chunks.Trailer()) > 0) {
		x.head = x.appendBody(x.head)
		_, err := conn.Write(x.head)
		return err
	}
	_, err := conn.Write(x.head)
	if err == nil && b.stream == nil {
		_, err = conn.Write(b.buf)
	}
	return err
}

// appendBody appends a buffered body, as a chunk if it has trailer fields.
func (x *Exchange) appendBody(dst []byte) []byte {
	b := &x.body
	trailer := b.chunks.Trailer()
	if len(trailer) == 0 {
		return append(dst, b.buf...)
	}
	if n := len(b.buf); n > 0 {
		dst = append(strconv.AppendInt(dst, int64(n), 16), "\r\n"...)
		dst = append(append(dst, b.buf...), "\r\n"...)
	}
	return appendLastChunk(dst, trailer)
}

// joinLimit is the largest body, in bytes, that is copied behind the head to
// save a system call.
const joinLimit = 16 << 10

// pumpSize is the size of the buffers that carry streamed bodies, in bytes.
const pumpSize = 32 << 10

var pumps = sync.Pool{New: func() any { b := make([]byte, pumpSize); return &b }}

// sendStream passes the body on as it comes. It stops early when the endpoint
// answers before it has everything, and reports that. Client faults come back
// as *Error.
func (x *Exchange) sendStream(conn *upstream.Conn) (incomplete bool, err error) {
	b := &x.body
	b.begun = true
	pump := pumps.Get().(*[]byte)
	defer pumps.Put(pump)
	buf := *pump
	chunked := b.length < 0
	if len(b.buf) > 0 { // what readBody had read of a chunked body
		if err := x.sendPart(conn, append(buf[:chunkRoom], b.buf[:min(len(b.buf), pumpSize-chunkRoom-2)]...), chunked); err != nil {
			return true, err
		}
		if rest := b.buf[min(len(b.buf), pumpSize-chunkRoom-2):]; len(rest) > 0 {
			if err := x.sendRest(conn, buf, rest); err != nil {
				return true, err
			}
		}
	}
	for {
		if conn.Answered() {
			return true, nil
		}
		n, done, e := x.readMore(buf[chunkRoom : pumpSize-2])
		if e != nil {
			return true, e
		}
		if n > 0 {
			if err := x.sendPart(conn, buf[:chunkRoom+n], chunked); err != nil {
				return true, err
			}
		}
		if !done {
			continue
		}
		if chunked {
			_, err = conn.Write(appendLastChunk(buf[:0], b.chunks.Trailer()))
		}
		return false, err
	}
}

// sendRest sends what does not fit one part.
func (x *Exchange) sendRest(conn *upstream.Conn, buf, rest []byte) error {
	for len(rest) > 0 {
		n := min(len(rest), pumpSize-chunkRoom-2)
		if err := x.sendPart(conn, append(buf[:chunkRoom], rest[:n]...), true); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// chunkRoom is the space before a part for its chunk-size line.
const chunkRoom = 10

// appendLastChunk ends a chunked body.
func appendLastChunk(dst, trailer []byte) []byte {
	return append(append(append(dst, "0\r\n"...), trailer...), "\r\n"...)
}

// sendPart writes part[chunkRoom:] in one system call, as a chunk if asked.
func (x *Exchange) sendPart(conn *upstream.Conn, part []byte, chunked bool) error {
	if err := conn.SetWriteDeadline(x.waitUntil(time.Now())); err != nil {
		return err
	}
	data := part[chunkRoom:]
	if chunked {
		data = asChunk(part)
	}
	_, err := conn.Write(data)
	return err
}

// asChunk makes part[chunkRoom:] a chunk. The part needs room for two bytes
// behind it.
func asChunk(part []byte) []byte {
	var size [chunkRoom]byte
	line := append(strconv.AppendInt(size[:0], int64(len(part)-chunkRoom), 16), "\r\n"...)
	start := chunkRoom - len(line)
	copy(part[start:], line)
	return append(part[start:], "\r\n"...)
}

// timeLeft returns what the route's time limit leaves, zero for no limit, and
// false when nothing is left.
func (x *Exchange) timeLeft(now time.Time) (time.Duration, bool) {
	if x.timeout <= 0 {
		return 0, true
	}
	left := x.timeout - now.Sub(x.start)
	return left, left > 0
}

// waitUntil is when the wait for the endpoint's next bytes ends: the reply
// timeout, or the end of the request's time limit if that comes first. The zero
// time means never.
func (x *Exchange) waitUntil(now time.Time) time.Time {
	return earlier(x.dest.ReplyTimeout, now, x.timeout, x.start)
}

// replyDeadline is when the wait for the header of a reply ends to an attempt
// that began, or has sent its streamed body, at the given time. The zero time
// means never.
func (x *Exchange) replyDeadline(begun time.Time) time.Time {
	wait := cmp.Or(x.dest.FirstByteTimeout, x.dest.ReplyTimeout)
	return earlier(shorter(wait, x.attemptLimit()), begun, x.timeout, x.start)
}

// attemptLimit is how long an attempt may take to be answered, zero for no
// limit. A streamed body takes as long as it takes.
func (x *Exchange) attemptLimit() time.Duration {
	if x.body.stream != nil {
		return 0
	}
	return x.Route.Retry.PerAttempt
}

// shorter returns the shorter of two time limits, of which zero is none.
func shorter(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

// failAttempt ends an attempt that brought no reply and classifies why.
func (x *Exchange) failAttempt(err error) *Error {
	e := x.countFailure(err)
	x.gone = e == ErrClientClosed
	x.endAttempt(false)
	return e
}

// countFailure classifies why there was no reply, and holds it against the
// endpoint if that is to blame.
func (x *Exchange) countFailure(err error) *Error {
	x.blame(x.endpoint, err)
	e, failure := classifyFailure(err, x.connReused)
	if failure != noFailure {
		x.endpoint.Metrics.Failed(x.shard(), failure)
	}
	if e == ErrDeadline && x.asked {
		failure = noFailure // the client was in a hurry
	}
	now := time.Now()
	x.pick.Now = x.server.nanos(now)
	x.trial.failed(e, failure, now.Sub(x.awaited), x.pick.Now)
	return e
}

// endAttempt balances what attempt began, if it began, and gives the connection
// back, to be reused or not.
func (x *Exchange) endAttempt(reuse bool) {
	if !x.attempting {
		return
	}
	x.attempting = false
	if x.conn != nil {
		x.conn.Release(reuse)
		x.conn = nil
	}
	x.endpoint.Live.End()
	x.endpoint.Metrics.End(x.shard())
	x.upstreamTime += time.Since(x.sent)
}

const noFailure = telemetry.FailureKind(255)

func classifyFailure(err error, reused bool) (*Error, telemetry.FailureKind) {
	if e, ok := errors.AsType[*Error](err); ok {
		if e == ErrDeadline {
			return e, telemetry.FailureTimeout
		}
		return e, noFailure // the client's
	}
	switch {
	case errors.Is(err, upstream.ErrAbandoned):
		return ErrClientClosed, noFailure
	case errors.Is(err, upstream.ErrConnectTimeout):
		return ErrConnectTimeout, telemetry.FailureConnect
	case errors.Is(err, upstream.ErrConnect):
		return ErrConnect, telemetry.FailureConnect
	case errors.Is(err, upstream.ErrExhausted):
		return ErrExhausted, telemetry.FailureOverflow
	case errors.Is(err, upstream.ErrTimeout):
		return ErrReplyTimeout, telemetry.FailureTimeout
	case errors.Is(err, upstream.ErrMalformed):
		return ErrBadReply, telemetry.FailureProtocol
	case reused:
		return ErrStale, telemetry.FailureReset
	default:
		return ErrReset, telemetry.FailureReset
	}
}
