package proxy

import (
	"errors"
	"io"
	"net"
	"time"
)

// maxBuffered is the largest body, in bytes, that is read whole before it is
// sent on: its request can be repeated, and its backend is not held up by a
// slow client. Larger and unbounded ones stream.
const maxBuffered = 64 << 10

// requestBody is the body of the request: none, buffered whole, or a stream.
type requestBody struct {
	length int64 // as announced; -1 for chunked
	buf    []byte
	stream io.Reader // what is left to read; nil when buf is all
	read   int64     // decoded bytes that came from the client
	pace   pace
	begun  bool // part of the stream was sent, so it cannot be sent again
}

func (b *requestBody) reset() {
	if cap(b.buf) > maxBuffered {
		b.buf = nil
	}
	*b = requestBody{buf: b.buf[:0]}
}

// readBody makes the body ready to be sent: it reads a small one whole and
// leaves a large one to stream.
func (x *Exchange) readBody() bool {
	b := &x.body
	stream := x.Ctx.RequestBodyStream()
	if stream == nil {
		return true
	}
	b.length = int64(x.Ctx.Request.Header.ContentLength())
	if b.length == 0 {
		return true
	}
	b.stream = stream
	if b.length > maxBuffered {
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
		n, err := x.readPart(b.buf[len(b.buf):want])
		b.buf = b.buf[:len(b.buf)+n]
		if err == io.EOF {
			if b.length > 0 && b.read < b.length {
				return x.refuse(ErrBodyRead)
			}
			b.length, b.stream = int64(len(b.buf)), nil
			return true
		}
		if err != nil {
			return x.refuse(x.bodyError(err))
		}
	}
	if b.length > 0 {
		b.stream = nil
	}
	return true
}

// readMore reads the next part of a streamed body into p.
func (x *Exchange) readMore(p []byte) (n int, done bool, e *Error) {
	b := &x.body
	n, err := x.readPart(p)
	switch {
	case err == io.EOF && b.length > 0 && b.read < b.length:
		return n, false, ErrBodyRead
	case err == io.EOF:
		return n, true, nil
	case err != nil:
		return n, false, x.bodyError(err)
	}
	return n, b.length > 0 && b.read == b.length, nil
}

func (x *Exchange) bodyError(err error) *Error {
	if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
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
	_ = x.Ctx.Conn().SetReadDeadline(deadline) // a closed connection fails the read
	n, err := b.stream.Read(p)
	b.read += int64(n)
	if rate.Bytes > 0 {
		b.pace.add(rate, int64(n), time.Since(began))
	}
	return n, err
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
