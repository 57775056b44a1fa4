package proxy

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/proxy/syntax"
	"github.com/salgue441/velocity/proxy/upstream"
)

// spliceFrom is the body size, in bytes, from which the kernel moves a body
// between the sockets without copying it to user space. Below, the system
// calls that splice needs cost more than the copy.
const spliceFrom = 512 << 10

// beginResponse turns the reply whose header was read into the response. Small
// bodies are read whole, so that a body cut short can still become a 502;
// others stream.
func (x *Exchange) beginResponse() {
	resp := &x.Ctx.Response
	x.dropHopByHop(&resp.Header)
	if x.reply.Status == 101 {
		x.acceptUpgrade()
		return
	}
	switch x.reply.Framing {
	case upstream.NoBody:
		x.endReply(nil)
		return
	case upstream.Fixed:
		if x.reply.Length <= maxBuffered {
			if int64(x.conn.Buffered()) < x.reply.Length {
				x.extendReplyDeadline(time.Now())
			}
			x.endReply(x.conn.ReadFixed(resp))
			return
		}
	case upstream.Chunked:
		if size, whole := x.conn.BufferedBody(); whole && size <= maxBuffered {
			x.endReply(x.conn.ReadBuffered(resp))
			return
		}
		// With some of the body here already, the header waits for the first
		// chunk; if that is none, the answer can still be a 502.
		if x.conn.Buffered() > 0 {
			x.extendReplyDeadline(time.Now())
			if err := x.conn.BeginChunks(); err != nil {
				x.endReply(err)
				return
			}
		}
	}
	x.stream.begin(x)
}

// endReply gives the connection back after a body that was read whole.
func (x *Exchange) endReply(err error) {
	x.endAttempt(err == nil && x.reply.KeepAlive)
	if err != nil {
		x.Err = x.bodyFailure(err)
		x.gone = x.Err == ErrClientClosed
	}
}

func (x *Exchange) bodyFailure(err error) *Error {
	x.blame(x.endpoint, err)
	switch {
	case errors.Is(err, upstream.ErrAbandoned):
		return ErrClientClosed
	case errors.Is(err, upstream.ErrTimeout):
		if _, left := x.timeLeft(time.Now()); !left {
			return ErrDeadline
		}
		return ErrReplyStalled
	case errors.Is(err, upstream.ErrMalformed):
		return ErrBadReply
	}
	return ErrTruncated
}

// dropHopByHop removes the fields that concern the endpoint's connection, and
// those that its Connection field names.
func (x *Exchange) dropHopByHop(h *fasthttp.ResponseHeader) {
	set := x.reply.HopByHop
	if set == 0 {
		return
	}
	if x.reply.Nominating != nil {
		dropNominated(h, x.reply.Nominating)
	}
	if set&upstream.HasConnection != 0 {
		h.Del("Connection")
		h.ResetConnectionClose()
	}
	if set&upstream.HasKeepAlive != 0 {
		h.Del("Keep-Alive")
	}
	if set&upstream.HasProxyConnection != 0 {
		h.Del("Proxy-Connection")
	}
	if set&upstream.HasUpgrade != 0 {
		h.Del("Upgrade")
	}
	if set&upstream.HasTE != 0 {
		h.Del("TE")
	}
	if set&upstream.HasTrailer != 0 && (x.reply.Framing != upstream.Chunked || x.http10) {
		h.Del("Trailer") // also forgets the names, which would force chunking
	}
}

// passTrailer has fasthttp write the trailer fields of a chunked reply behind its
// last chunk.
func (x *Exchange) passTrailer() {
	h := &x.Ctx.Response.Header
	rest := x.conn.Trailer()
	for line, rest, ok := syntax.CutLine(rest); ok; line, rest, ok = syntax.CutLine(rest) {
		name, value, _ := bytes.Cut(line, []byte(": "))
		if h.AddTrailerBytes(name) == nil { // refused names were left out already
			h.AddBytesKV(name, value)
		}
	}
}

// dropNominated removes the fields that the Connection fields of a reply's
// header block name. The framing cannot be removed that way.
func dropNominated(h *fasthttp.ResponseHeader, block []byte) {
	for line, rest, ok := syntax.CutLine(block); ok; line, rest, ok = syntax.CutLine(rest) {
		name, list, _ := bytes.Cut(line, []byte(":"))
		if !syntax.EqualFold(name, "connection") {
			continue
		}
		for len(list) > 0 {
			var item []byte
			item, list = syntax.CutItem(list)
			if !syntax.EqualFold(item, "close") && !syntax.EqualFold(item, "content-length") &&
				!syntax.EqualFold(item, "transfer-encoding") {
				h.DelBytes(item)
			}
		}
	}
}

// stream is a response body on its way from the endpoint to the client. It is
// the response's body stream: fasthttp calls WriteTo or Read after the handler
// has returned and then Close, which is where the exchange ends.
type stream struct {
	x       *Exchange
	active  bool
	raw     bool // written by writeRaw and not by fasthttp
	flushed bool // the header is out, and fasthttp's buffer empty
	failed  *Error
	pace    pace // of the client, while the kernel moves the body
}

func (s *stream) reset() { *s = stream{} }

func (s *stream) begin(x *Exchange) {
	*s = stream{x: x, active: true}
	resp := &x.Ctx.Response
	if d := cmp.Or(x.snap.WriteTimeout, x.snap.SendRate.Window); d > 0 {
		// Told so, fasthttp clears the deadlines of this body after it, also
		// if the server has no time limit of its own (before a reload).
		_ = x.Ctx.SetWriteDeadline(time.Now().Add(d)) // fails only when closed, as the write will
	}
	if x.http10 && x.reply.Framing != upstream.Fixed {
		s.raw = true
		return
	}
	size := -1
	if x.reply.Framing == upstream.Fixed {
		size = int(x.reply.Length)
		// With the header out and fasthttp's buffer empty, the body can go
		// straight to the socket.
		resp.ImmediateHeaderFlush = true
	} else {
		// The header waits for the first bytes only if they are here already.
		s.flushed = x.conn.Buffered() == 0
		resp.ImmediateHeaderFlush = s.flushed
	}
	resp.SetBodyStream(s, size)
}

// SupportsBodyWriteTo tells fasthttp to use WriteTo (fasthttp.BodyWriterTo) for
// a body whose length was announced, and Read for one that it sends in chunks:
// its own writer of chunks would be allocated for each body.
func (s *stream) SupportsBodyWriteTo() bool { return s.x.reply.Framing == upstream.Fixed }

// Read returns the first part of a body that is sent in chunks, so that it
// leaves in one write with the header. Called again, with the header flushed, it
// sends all other parts itself, as they come and without copies through
// fasthttp's small buffers; fasthttp adds the last chunk.
func (s *stream) Read(p []byte) (int, error) {
	if !s.flushed {
		s.flushed = true
		s.x.extendReplyDeadline(time.Now())
		n, err := s.x.conn.ReadBody(p)
		s.x.bytesOut += int64(n)
		switch err {
		case nil:
		case io.EOF:
			s.x.passTrailer()
		default:
			err = s.fail(err)
		}
		return n, err
	}
	if err := s.pump(s.x.Ctx.Conn(), true); err != nil {
		return 0, err
	}
	s.x.passTrailer()
	return 0, io.EOF
}

// WriteTo sends a body of announced length straight to the client's socket.
func (s *stream) WriteTo(io.Writer) (int64, error) {
	x := s.x
	client := x.Ctx.Conn()
	if tcp := tcpOf(client); tcp != nil && x.reply.Length >= spliceFrom && x.conn.TCP() != nil {
		if err := s.splice(tcp); err != nil {
			return x.bytesOut, err
		}
	}
	err := s.pump(client, false)
	return x.bytesOut, err
}

// tcpOf is the TCP connection that a client's connection writes to, nil for
// another kind.
func tcpOf(c net.Conn) *net.TCPConn {
	for {
		switch v := c.(type) {
		case *net.TCPConn:
			return v
		case interface{ Unwrap() net.Conn }:
			c = v.Unwrap()
		default:
			return nil
		}
	}
}

// splice moves the body by the kernel, a part at a time so that the time
// limits see progress. What is buffered already goes first.
func (s *stream) splice(client *net.TCPConn) error {
	x := s.x
	for x.conn.Left() > 0 {
		if n := min(int64(x.conn.Buffered()), x.conn.Left()); n > 0 {
			if err := s.pumpUpTo(client, n, false); err != nil {
				return err
			}
			continue
		}
		began := time.Now()
		x.extendReplyDeadline(began)
		until := s.awaitClient(began, int(min(splicePart, x.conn.Left())))
		n, err := x.conn.Splice(client, splicePart, until)
		x.bytesOut += n
		switch {
		case err == nil && (n > 0 || x.conn.Buffered() > 0):
		case err == nil:
			return s.fail(upstream.ErrTruncated)
		case errors.Is(err, os.ErrDeadlineExceeded) && !until.IsZero() && !time.Now().Before(until):
			return s.giveUp(err) // with what the kernel had taken for the client
		case n > 0 && errors.Is(err, os.ErrDeadlineExceeded):
			// Slow, but moving: the time limit is on the next bytes. It may
			// not run past the route's.
			if _, left := x.timeLeft(time.Now()); !left {
				return s.fail(upstream.ErrTimeout)
			}
			if data, _ := x.conn.Unread(); data && s.lags(n, time.Since(began)) {
				return s.giveUp(err)
			}
		default:
			return s.spliceFailed(err)
		}
	}
	return nil
}

// splicePart is the most that one call moves, in bytes. The client has its time limit for
// all of it, so it is not larger than a slow client can take meanwhile.
const splicePart = 64 << 10

// pump copies the body through a pooled buffer, each part as a chunk if asked.
func (s *stream) pump(client net.Conn, chunked bool) error { return s.pumpUpTo(client, -1, chunked) }

// pumpUpTo copies limit bytes, or all of the body if limit is negative.
func (s *stream) pumpUpTo(client net.Conn, limit int64, chunked bool) error {
	x := s.x
	pump := pumps.Get().(*[]byte)
	defer pumps.Put(pump)
	for limit != 0 {
		buf := (*pump)[chunkRoom : pumpSize-2]
		if limit > 0 && limit < int64(len(buf)) {
			buf = buf[:limit]
		}
		x.extendReplyDeadline(time.Now())
		n, err := x.conn.ReadBody(buf)
		if n > 0 {
			if limit > 0 {
				limit -= int64(n)
			}
			part := buf[:n]
			if chunked {
				part = asChunk((*pump)[:chunkRoom+n])
			}
			s.awaitClient(time.Now(), len(part))
			if _, werr := client.Write(part); werr != nil {
				return s.giveUp(werr)
			}
			x.bytesOut += int64(n)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return s.fail(err)
		}
	}
	return nil
}

// fail notes why the body ends early. Returning an error makes fasthttp close
// the client's connection without ending the message, so that it cannot be
// taken for complete.
func (s *stream) fail(err error) error {
	if errors.Is(err, upstream.ErrAbandoned) {
		s.x.gone = true
	} else {
		s.failed = s.x.bodyFailure(err)
	}
	return err
}

// spliceFailed finds out which side an error of the kernel's is of, which does
// not tell: an endpoint that has more to send or is merely idle is not the one
// that failed, unless what failed was the wait for it.
func (s *stream) spliceFailed(err error) error {
	data, ended := s.x.conn.Unread()
	late := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case data, errors.Is(err, syscall.EPIPE), errors.Is(err, upstream.ErrAbandoned), !ended && !late:
		return s.giveUp(err)
	case ended:
		return s.fail(upstream.ErrTruncated)
	}
	return s.fail(upstream.ErrTimeout)
}

// giveUp notes that the client left, or takes the answer too slowly.
func (s *stream) giveUp(err error) error {
	s.x.gone = true
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.x.Err = ErrSendRate
	}
	return err
}

// awaitClient gives the client its time to take the next n bytes, and returns its end: the
// write timeout, less if that many bytes take less at the least rate; zero for no limit.
func (s *stream) awaitClient(now time.Time, n int) (until time.Time) {
	snap := s.x.snap
	limit := snap.WriteTimeout
	if rate := snap.SendRate; rate.Bytes > 0 {
		if d := rate.forBytes(n); limit <= 0 || d < limit {
			limit = d
		}
	}
	if limit > 0 {
		until = now.Add(limit)
		_ = s.x.Ctx.Conn().SetWriteDeadline(until) // a closed connection fails the write
	}
	return until
}

// lags notes that the client took n bytes while the endpoint had more, and
// reports whether that is below the least rate.
func (s *stream) lags(n int64, waited time.Duration) bool {
	rate := s.x.snap.SendRate
	if rate.Bytes <= 0 {
		return false
	}
	s.pace.add(rate, n, waited)
	return s.pace.waited >= rate.Window
}

// extendReplyDeadline gives the endpoint its time for the next bytes.
func (x *Exchange) extendReplyDeadline(now time.Time) {
	x.conn.Await(now, x.waitUntil(now), (*watcher)(x))
}

// Close ends the exchange. fasthttp calls it once the body was written or
// given up.
func (s *stream) Close() error {
	x := s.x
	if x == nil {
		return nil
	}
	s.x = nil // a second Close does nothing
	complete := x.conn.Complete()
	if !complete && s.failed == nil {
		x.gone = true // not even the header went out
	}
	x.endAttempt(complete && x.reply.KeepAlive && s.failed == nil && !x.gone)
	if s.failed != nil {
		x.Err = s.failed
	} else if x.gone && x.Err == nil {
		x.Err = ErrClientClosed
	}
	x.server.close(x)
	return nil
}

// takeOver answers an HTTP/1.0 client, which knows no chunks, with a body that
// ends when the connection closes. fasthttp has no such framing, so the
// connection is taken from it: once it has flushed what came before, it calls
// writeRaw on a goroutine of its own.
func (s *stream) takeOver() {
	x := s.x
	x.server.hijack(x, s.writeRaw, func() {
		x.gone = true
		_ = s.Close()
	})
}

func (s *stream) writeRaw(client net.Conn) {
	x := s.x
	defer x.server.recoverPanic(x)
	h := &x.Ctx.Response.Header
	h.Del("Transfer-Encoding")
	h.Del("Connection") // fasthttp has answered the client's keep-alive
	h.SetConnectionClose()
	s.awaitClient(time.Now(), len(h.Header()))
	if _, err := client.Write(h.Header()); err != nil {
		x.gone = true
	} else {
		_ = s.pump(client, false) // kept in s.failed and x.gone, for Close
	}
	_ = s.Close()
}
