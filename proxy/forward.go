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

// RetryPolicy says when a failed attempt is followed by another: when no
// connection could be had, so that nothing was sent, or when a connection that
// was in use before turns out to be closed and the request is idempotent.
type RetryPolicy struct {
	// Attempts is how many attempts may follow the first. Zero means none.
	Attempts int
	// BudgetPercent is the share of the upstream's attempts in flight that
	// may be retries; BudgetFloor of them are always allowed.
	BudgetPercent, BudgetFloor int
}

// maxStale is how many connections that turn out to be closed a request may
// meet; replacing them is not counted as a retry.
const maxStale = 2

// forward sends the request to an endpoint of the route's upstream, another
// one if need be, and begins the response.
func (x *Exchange) forward() {
	r := x.Route
	if !r.Rewrite.Empty() && !x.rewritePath() {
		return
	}
	if !x.readUpgrade() || !x.readBody() || !x.enterUpstream() {
		return
	}
	state := r.Upstream.State()
	ep := state.Pick(uint64(x.shard()), &x.tried)
	if ep == nil {
		state, ep = x.pickAfterReload(state)
	}
	if ep == nil {
		x.refuse(ErrNoHealthy)
		return
	}
	stale := 0
	for left := r.Retry.Attempts; ; {
		x.Err = x.attempt(ep)
		if x.Err == nil || !x.repeatable() {
			break
		}
		switch x.Err.Retry {
		case Stale:
			if stale++; stale <= maxStale {
				continue // the same endpoint, over another connection
			}
		case Never:
			left = 0
		}
		if left == 0 {
			break
		}
		left--
		next := state.Pick(uint64(x.shard()), &x.tried)
		if next == nil {
			break
		}
		if !x.retrying && !r.Upstream.BeginRetry(r.Retry.BudgetPercent, r.Retry.BudgetFloor) {
			break
		}
		x.retrying, ep = true, next
	}
	x.endRetry()
	x.clearReadDeadline()
	if x.Err == nil {
		x.beginResponse()
	}
}

// pickAfterReload chooses for a request that began before a reload and holds
// endpoints which that has retired: one of those that took their place or, if
// its whole upstream is gone, a retired one. The request was here first.
func (x *Exchange) pickAfterReload(state *upstream.State) (*upstream.State, *upstream.Endpoint) {
	if x.server.Snapshot() == x.snap {
		return state, nil
	}
	if now := x.Route.Upstream.State(); now != state {
		x.tried.Reset()
		return now, now.Pick(uint64(x.shard()), &x.tried)
	}
	return state, state.PickRetired()
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

// endRetry gives back what the request took of the retry budget.
func (x *Exchange) endRetry() {
	if x.retrying {
		x.retrying = false
		x.Route.Upstream.EndRetry()
	}
}

// repeatable tells whether the request may be sent again: its body is still
// whole, and nothing of it was sent yet or its method is idempotent (RFC 9110
// section 9.2.2).
func (x *Exchange) repeatable() bool {
	if x.body.begun {
		return false
	}
	if x.Err.Retry == Unsent {
		return true
	}
	switch string(x.Method()) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE":
		return true
	}
	return false
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
	x.passDeadline(limit)
	x.attempts++
	x.endpoint, x.sent, x.connReused, x.attempting = ep, now, false, true
	ep.Live.Begin()
	ep.Metrics.Begin(shard)

	x.attempting = true
	conn, err := x.connect(ep, limit)
	if err != nil {
		return x.failAttempt(err)
	}
	x.conn, x.connReused = conn, conn.Reused()
	ep.Metrics.Connected(shard, x.connReused)
	if err := x.exchangeHeads(conn, now); err != nil {
		return x.failAttempt(err)
	}
	ep.Metrics.Answered(shard, x.reply.Status, time.Since(now))
	return nil
}

// connect leases a connection for an attempt. One that may switch protocols is
// not the pool's.
func (x *Exchange) connect(ep *upstream.Endpoint, limit time.Duration) (*upstream.Conn, error) {
	if x.upgrade.protocol != "" {
		return ep.Dial(limit)
	}
	return ep.Acquire(limit)
}

// exchangeHeads sends the request and reads the reply's header.
func (x *Exchange) exchangeHeads(conn *upstream.Conn, now time.Time) error {
	wait := cmp.Or(x.Route.FirstByteTimeout, x.Route.ReplyTimeout)
	deadline := earlier(wait, now, x.timeout, x.start)
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
		conn.Await(now, earlier(wait, now, x.timeout, x.start), (*watcher)(x))
	}
	if ce, ok := errors.AsType[*Error](err); ok {
		return ce // the client's fault: do not wait for an answer
	}
	// After a failed write there may still be an answer: 413 and a close.
	reply, rerr := conn.ReadReply(&x.Ctx.Response.Header, x.Ctx.IsHead())
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
	if trailer := b.chunks.Trailer(); b.stream == nil && len(trailer) > 0 {
		return x.sendWithTrailer(conn, trailer)
	}
	if len(b.buf) == 0 || b.stream != nil {
		_, err := conn.Write(x.head)
		return err
	}
	if len(b.buf) <= joinLimit {
		x.head = append(x.head, b.buf...)
		_, err := conn.Write(x.head)
		return err
	}
	if _, err := conn.Write(x.head); err != nil {
		return err
	}
	_, err := conn.Write(b.buf)
	return err
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

// sendWithTrailer writes the head together with a buffered body that has trailer
// fields, as a chunk.
func (x *Exchange) sendWithTrailer(conn *upstream.Conn, trailer []byte) error {
	if n := len(x.body.buf); n > 0 {
		x.head = append(strconv.AppendInt(x.head, int64(n), 16), "\r\n"...)
		x.head = append(append(x.head, x.body.buf...), "\r\n"...)
	}
	x.head = appendLastChunk(x.head, trailer)
	_, err := conn.Write(x.head)
	return err
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
	return earlier(x.Route.ReplyTimeout, now, x.timeout, x.start)
}

// failAttempt ends an attempt that brought no reply and classifies why.
func (x *Exchange) failAttempt(err error) *Error {
	x.blame(err)
	e, failure := classifyFailure(err, x.connReused)
	x.gone = e == ErrClientClosed
	if failure != noFailure {
		x.endpoint.Metrics.Failed(x.shard(), failure)
	}
	x.endAttempt(false)
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
