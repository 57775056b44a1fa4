package upstream

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/proxy/chunked"
)

// body is where the reader stands in a reply's body.
type body struct {
	framing Framing
	left    int64 // of a Fixed body
	done    bool
	chunks  chunked.Reader
}

// beginBody stands the reader before a body.
func (c *Conn) beginBody(framing Framing, length int64) {
	c.body.framing, c.body.left, c.body.done = framing, length, false
	if framing == Chunked {
		c.body.chunks.Reset(c.br)
	}
}

// ReadBody reads decoded body bytes into p. It returns io.EOF once the body is
// complete, ErrTruncated when the endpoint closed inside it, ErrTimeout past
// the read deadline, or an error that wraps ErrMalformed for bad chunking.
func (c *Conn) ReadBody(p []byte) (int, error) {
	b := &c.body
	if b.done {
		return 0, io.EOF
	}
	switch b.framing {
	case Fixed:
		return c.readFixed(p)
	case Chunked:
		n, err := b.chunks.Read(p)
		return n, c.chunkError(err)
	case UntilClose:
		n, err := c.br.Read(p)
		if err == io.EOF {
			b.done = true
			return n, io.EOF
		}
		if err != nil {
			err = c.readError(err, ErrTruncated)
		}
		return n, err
	default:
		b.done = true
		return 0, io.EOF
	}
}

// readFixed reads at most what is left of a Fixed body, and reports io.EOF
// together with the last bytes.
func (c *Conn) readFixed(p []byte) (int, error) {
	b := &c.body
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := c.br.Read(p)
	b.left -= int64(n)
	if err != nil && n == 0 { // with data, as TLS has it, the error comes again
		return 0, c.readError(err, ErrTruncated)
	}
	if b.left == 0 {
		b.done = true
		return n, io.EOF
	}
	return n, nil
}

// BeginChunks reads up to the data of a chunked body's first chunk, or to the
// end of an empty body. Errors are those of ReadBody but io.EOF.
func (c *Conn) BeginChunks() error {
	if err := c.chunkError(c.body.chunks.Next()); err != io.EOF {
		return err
	}
	return nil
}

// chunkError turns an error of the chunk reader into one of this package, and
// notes the end of the body.
func (c *Conn) chunkError(err error) error {
	switch {
	case err == nil:
		return nil
	case err == io.EOF:
		c.body.done = true
		return io.EOF
	case errors.Is(err, chunked.ErrMalformed):
		return malformed(err.Error())
	}
	return c.readError(err, ErrTruncated)
}

// Trailer returns the trailer fields of a chunked body that was read to its
// end, those that may be passed on, as lines that end in CRLF. It is valid
// until the connection is released.
func (c *Conn) Trailer() []byte { return c.body.chunks.Trailer() }

// BufferedBody tells whether the whole chunked body has already arrived, with
// no trailer fields and nothing behind it, and how many bytes it has at the
// most, so that a small reply can be sent in one write.
func (c *Conn) BufferedBody() (size int, whole bool) {
	if c.body.framing != Chunked {
		return 0, false
	}
	ahead, whole := c.body.chunks.Buffered()
	return ahead.Size, whole && !ahead.Trailers && ahead.Length == c.br.Buffered()
}

// Buffered returns how many bytes have arrived and are not read yet.
func (c *Conn) Buffered() int { return c.br.Buffered() }

// ReadFixed reads a Fixed body whole into resp, which holds the reply's header.
// The read deadline is the caller's.
func (c *Conn) ReadFixed(resp *fasthttp.Response) error {
	if err := resp.ReadBody(c.br, int(c.body.left)); err != nil {
		return c.readError(err, ErrTruncated)
	}
	c.body.done = true
	return nil
}

// ReadBuffered moves a body that BufferedBody found whole into resp.
func (c *Conn) ReadBuffered(resp *fasthttp.Response) error {
	resp.ResetBody()
	chunks := &c.body.chunks
	for {
		switch err := c.chunkError(chunks.Next()); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
		b, err := c.br.Peek(int(chunks.Left()))
		if err != nil {
			return c.readError(err, ErrTruncated)
		}
		resp.AppendBody(b)
		if err := chunks.Skip(); err != nil {
			return c.readError(err, ErrTruncated)
		}
	}
}

// Splice moves up to n bytes of a Fixed body to dst without copying them
// through user space where the system can, and returns how many it moved. Both
// ends must be plain TCP and nothing may be buffered. until is dst's write
// deadline, zero for none: once it is over, what was taken for dst is lost, and the
// body cannot go on. If the endpoint has nothing for a while, Splice waits for it and leaves
// what comes buffered, so that dst is not held to that time.
func (c *Conn) Splice(dst *net.TCPConn, n int64, until time.Time) (int64, error) {
	c.spliced = io.LimitedReader{R: c.Conn, N: min(n, c.body.left)}
	moved, err := dst.ReadFrom(&c.spliced)
	if err != nil && moved == 0 && (until.IsZero() || time.Now().Before(until)) {
		if err = c.putOff(err); err == nil {
			if _, err = c.br.Peek(1); err != nil {
				err = c.readError(err, ErrTruncated)
			}
		}
	}
	c.body.left -= moved
	if c.body.left == 0 {
		c.body.done = true
	}
	return moved, err
}

// Left returns how many bytes of a Fixed body are still to be read.
func (c *Conn) Left() int64 { return c.body.left }

// Complete reports whether the body was read to its end.
func (c *Conn) Complete() bool { return c.body.done || c.body.framing == NoBody }
