package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/proxy/chunked"
)

// maxBuffered is the largest body, in bytes, that is read whole before it is
// sent on: its request can be repeated, and its backend is not held up by a
// slow client. Larger and unbounded ones stream.
const maxBuffered = 64 << 10

// maxPrefetch is the largest body, in bytes, that fasthttp may wait for before
// the line sees the header. What is larger may be refused for its size, which
// must not wait for the body.
const maxPrefetch = 8 << 10

// HeaderReceived is fasthttp's hook of that name: it has the line see the
// header of a large body before the body, and gives a body its own time for the
// part that fasthttp reads before it calls the handler. Until here the time
// limit was that of the header.
func (s *Server) HeaderReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	n := h.ContentLength()
	if n == 0 || n < -1 {
		return fasthttp.RequestConfig{} // no body
	}
	const noLimit = 24 * time.Hour // zero would keep the header's
	c := fasthttp.RequestConfig{ReadTimeout: noLimit}
	if snap := s.snapshot.Load(); snap != nil && snap.ReadTimeout > 0 {
		c.ReadTimeout = snap.ReadTimeout
	}
	if n > maxPrefetch {
		c.MaxRequestBodySize = 1 // the least that can be asked for; the rest streams
	}
	return c
}

// requestBody is the body of the request: none, buffered whole, or a stream.
type requestBody struct {
	length   int64 // as announced; -1 for chunked
	buf      []byte
	stream   io.Reader // what is left to read; nil when buf is all
	read     int64     // decoded bytes that came from the client
	pace     pace
	begun    bool // part of the stream was sent, so it cannot be sent again
	chunks   chunked.Reader
	reader   *bufio.Reader // of the client's connection, nil if it cannot be reached
	finished bool          // nothing of it is left on the connection, or the connection will close
}

func (b *requestBody) reset() {
	if cap(b.buf) > maxBuffered {
		b.buf = nil
	}
	b.chunks.Reset(nil)
	*b = requestBody{buf: b.buf[:0], chunks: b.chunks}
}

// chunkedOut tells that the body leaves in chunks: its length is not known, or
// it has trailer fields.
func (b *requestBody) chunkedOut() bool {
	return b.stream != nil && b.length < 0 || len(b.chunks.Trailer()) > 0
}

// admitBody refuses a body that is announced to be larger than the route takes.
func (x *Exchange) admitBody() bool {
	if limit := x.Route.MaxBodySize; limit > 0 && int64(x.Ctx.Request.Header.ContentLength()) > limit {
		return x.refuse(ErrBodyTooLarge)
	}
	return true
}

// openBody finds the body's stream and, if it is chunked, has it decoded here.
func (x *Exchange) openBody() {
	b := &x.body
	stream := x.Ctx.RequestBodyStream()
	if stream == nil || b.finished || b.stream != nil {
		return
	}
	b.length = int64(x.Ctx.Request.Header.ContentLength())
	if b.length == 0 {
		return
	}
	b.stream = stream
	w := &x.server.streams
	b.reader = w.readerOf(stream)
	if b.length < 0 && b.reader != nil {
		b.chunks.Reset(b.reader)
		b.stream = &b.chunks
		w.setEnded(stream, false)
	}
}

// readBody makes the body ready to be sent: it reads a small one whole and
// leaves a large one to stream.
func (x *Exchange) readBody() bool {
	x.openBody()
	b := &x.body
	if b.stream == nil || b.length > maxBuffered {
		return true
	}
	// A chunked body is buffered as far as it fits: most are small and end
	// here, and leave with a Content-Length.
	want := int(b.length)
	if want < 0 {
		want = maxBuffered
	}
	if cap(b.buf) < want {
		b.buf = make([]byte, 0, max(want, 4<<10))
	}
	for len(b.buf) < want {
		n, done, e := x.readMore(b.buf[len(b.buf):want])
		b.buf = b.buf[:len(b.buf)+n]
		if e != nil {
			return x.refuse(e)
		}
		if done {
			b.length, b.stream = int64(len(b.buf)), nil
			return true
		}
	}
	return true
}

// readMore reads the next part of a body into p.
func (x *Exchange) readMore(p []byte) (n int, done bool, e *Error) {
	b := &x.body
	n, err := x.readPart(p)
	if limit := x.Route.MaxBodySize; limit > 0 && b.read > limit {
		return 0, false, ErrBodyTooLarge
	}
	switch {
	case err == io.EOF && b.length > 0 && b.read < b.length:
		return n, false, ErrBodyRead
	case err == io.EOF:
		x.endChunks()
		return n, true, nil
	case err != nil:
		return n, false, x.bodyError(err)
	}
	return n, b.length > 0 && b.read == b.length, nil
}

// endChunks tells fasthttp that a chunked body was read to its end.
func (x *Exchange) endChunks() {
	if x.body.stream == &x.body.chunks {
		x.server.streams.setEnded(x.Ctx.RequestBodyStream(), true)
	}
	x.body.finished = true
}

// leaveBody is the end of the body for a request that did not want all of it.
// What is left of a chunked body is skipped here if it has arrived, as strictly
// as it would be read; otherwise the connection closes after the answer.
func (x *Exchange) leaveBody() {
	if x.Ctx.RequestBodyStream() == nil {
		return
	}
	x.openBody()
	b := &x.body
	if b.stream != &b.chunks || b.chunks.Done() {
		return
	}
	if _, whole := b.chunks.Buffered(); !whole {
		return
	}
	for {
		if err := b.chunks.Skip(); err != nil {
			return
		}
		if err := b.chunks.Next(); err == io.EOF {
			x.endChunks()
			return
		} else if err != nil {
			return
		}
	}
}

func (x *Exchange) bodyError(err error) *Error {
	if !isTimeout(err) {
		return ErrBodyRead
	}
	if _, left := x.timeLeft(time.Now()); !left {
		return ErrDeadline
	}
	if rate := x.snap.BodyRate; rate.Bytes > 0 && x.body.pace.waited >= rate.Window {
		return ErrBodyRate
	}
	return ErrRequestTimeout
}

// readPart reads the next bytes of the body. The client gets the read timeout
// for them, less if it keeps below the least rate: progress, not the size of
// the body, is what is bounded. All of it has what is left of the route's time.
func (x *Exchange) readPart(p []byte) (int, error) {
	b := &x.body
	began := time.Now()
	limit, rate := x.snap.ReadTimeout, x.snap.BodyRate
	if rate.Bytes > 0 {
		if left := b.pace.left(rate); limit <= 0 || left < limit {
			limit = left
		}
	}
	deadline := earlier(limit, began, x.timeout, x.start)
	n, err := x.readBy(p, began, deadline)
	if n == 1 && b.read == 0 && err == nil && b.reader != nil && b.length > maxPrefetch && b.reader.Buffered() > 0 {
		// The one byte that fasthttp waited for; the rest is behind it.
		var more int
		more, err = b.stream.Read(p[1:])
		n += more
	}
	b.read += int64(n)
	if rate.Bytes > 0 {
		b.pace.add(rate, int64(n), time.Since(began))
	}
	return n, err
}

// readBy reads from the body's stream within its time. While an endpoint is sent
// what is read it may answer, or end, before it has everything: it is looked at
// whenever the client has paused for a while, and nothing is returned without an
// error once there is a reason to look closer.
func (x *Exchange) readBy(p []byte, now, deadline time.Time) (n int, err error) {
	b, client := &x.body, x.Ctx.Conn()
	if !b.begun || b.reader == nil {
		_ = client.SetReadDeadline(deadline) // a closed connection fails the read
		return b.stream.Read(p)
	}
	for pause := firstLook; ; pause = min(2*pause, maxLook) {
		look := now.Add(pause)
		if !deadline.IsZero() && deadline.Before(look) {
			look = deadline
		}
		_ = client.SetReadDeadline(look)
		if b.stream == &b.chunks {
			err = b.chunks.Await()
		}
		if err == nil {
			n, err = b.stream.Read(p)
		}
		if n > 0 || err == nil || !isTimeout(err) {
			return n, err
		}
		if now = time.Now(); !deadline.IsZero() && !now.Before(deadline) {
			return 0, err
		}
		if err = nil; x.conn.Answered() {
			return 0, nil
		}
		if b.stream != &b.chunks {
			x.server.streams.resume(b.stream)
		}
	}
}

// How long a client pauses inside its body before the endpoint is looked at: a
// client that is just slow costs nothing, one that waits for an answer seldom
// waits for a look.
const (
	firstLook = 100 * time.Millisecond
	maxLook   = 500 * time.Millisecond
)

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// clearReadDeadline ends what readPart set, lest the time of this
// request's route bound the wait for the next request. With a read timeout the
// server sets the deadline anew by itself.
func (x *Exchange) clearReadDeadline() {
	if x.body.read > 0 && x.snap.ReadTimeout <= 0 {
		_ = x.Ctx.Conn().SetReadDeadline(time.Time{}) // a closed connection has no next request
	}
}

// earlier returns the end of the time limit that ends first; a limit of zero
// does not end, and neither does the zero time that stands for both.
func earlier(limit time.Duration, from time.Time, total time.Duration, start time.Time) (deadline time.Time) {
	if limit > 0 {
		deadline = from.Add(limit)
	}
	if total > 0 {
		if end := start.Add(total); deadline.IsZero() || end.Before(deadline) {
			return end
		}
	}
	return deadline
}
