package upstream

import (
	"bufio"
	"io"
	"net"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/proxy/syntax"
)

// maxChunkLine bounds a chunk-size line and a trailer line, in bytes.
const maxChunkLine = 4 << 10

// maxTrailers bounds the trailer section, in lines.
const maxTrailers = 64

// body is where the reader stands in a reply's body.
type body struct {
	framing Framing
	left    int64 // of a Fixed body, or of the current chunk
	inChunk bool  // a chunk's data was begun, so its CRLF is still to come
	done    bool
}

// ReadBody reads decoded body bytes into p. It returns io.EOF once the body is
// complete, ErrTruncated when the endpoint closed inside it, ErrTimeout past
// the read deadline, or an error that wraps ErrMalformed for bad chunking.
// Trailer fields are dropped, as RFC 9110 section 6.5.1 allows.
func (c *Conn) ReadBody(p []byte) (int, error) {
	b := &c.body
	if b.done {
		return 0, io.EOF
	}
	switch b.framing {
	case Fixed:
		return c.readCounted(p, true)
	case Chunked:
		if b.left == 0 {
			if err := c.nextChunk(); err != nil {
				return 0, err
			}
		}
		return c.readCounted(p, false)
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

// readCounted reads at most what is left; at the end of a Fixed body it
// reports io.EOF together with the last bytes.
func (c *Conn) readCounted(p []byte, last bool) (int, error) {
	b := &c.body
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := c.br.Read(p)
	b.left -= int64(n)
	if err != nil && n == 0 { // with data, as TLS has it, the error comes again
		return 0, c.readError(err, ErrTruncated)
	}
	if last && b.left == 0 {
		b.done = true
		return n, io.EOF
	}
	return n, nil
}

// BeginChunks reads up to the data of a chunked body's first chunk, or to the
// end of an empty body. Errors are those of ReadBody but io.EOF.
func (c *Conn) BeginChunks() error {
	if err := c.nextChunk(); err != io.EOF {
		return err
	}
	return nil
}

// nextChunk reads up to the data of the next chunk, or to the end of the body,
// which it reports as io.EOF.
func (c *Conn) nextChunk() error {
	b := &c.body
	if b.inChunk {
		line, err := c.readLine()
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return malformed("chunk longer than its size")
		}
		b.inChunk = false
	}
	line, err := c.readLine()
	if err != nil {
		return err
	}
	size, ok := parseChunkSize(line)
	if !ok {
		return malformed("chunk size")
	}
	if size > 0 {
		b.left, b.inChunk = size, true
		return nil
	}
	for range maxTrailers {
		line, err := c.readLine()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			b.done = true
			return io.EOF
		}
	}
	return malformed("too many trailer fields")
}

// readLine consumes a line and returns it without its CRLF; it is valid until
// the next read.
func (c *Conn) readLine() ([]byte, error) {
	line, err := c.br.ReadSlice('\n')
	if err != nil {
		if err == bufio.ErrBufferFull {
			return nil, malformed("chunk line too long")
		}
		return nil, c.readError(err, ErrTruncated)
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, malformed("chunk line not ended by CRLF")
	}
	if len(line) > maxChunkLine {
		return nil, malformed("chunk line too long")
	}
	return line[:len(line)-2], nil
}

// parseChunkSize parses chunk-size [ chunk-ext ] (RFC 9112 section 7.1).
// Extensions are ignored but may hold no control characters.
func parseChunkSize(line []byte) (int64, bool) {
	var n int64
	i := 0
	for ; i < len(line); i++ {
		var d byte
		switch ch := line[i]; {
		case '0' <= ch && ch <= '9':
			d = ch - '0'
		case 'a' <= ch && ch <= 'f':
			d = ch - 'a' + 10
		case 'A' <= ch && ch <= 'F':
			d = ch - 'A' + 10
		default:
			ext := syntax.TrimSpace(line[i:])
			return n, i > 0 && len(ext) > 0 && ext[0] == ';' && syntax.IsText(ext)
		}
		if i >= 15 {
			return 0, false
		}
		n = n<<4 | int64(d)
	}
	return n, i > 0
}

// BufferedBody tells whether the whole chunked body has already arrived and
// how many bytes its framing takes at the most, so that a small reply can be
// sent in one write. It looks only at what is buffered.
func (c *Conn) BufferedBody() (size int, whole bool) {
	n := c.br.Buffered()
	if c.body.framing != Chunked || n < 5 {
		return 0, false
	}
	b, _ := c.br.Peek(n)
	for at := 0; ; {
		i := indexCRLF(b, at)
		if i < 0 {
			return 0, false
		}
		chunk, ok := parseChunkSize(b[at:i])
		if !ok {
			return 0, false
		}
		at = i + 2
		if chunk == 0 {
			// Only a body without trailer fields, and nothing behind it.
			return size, at+2 == n && b[at] == '\r' && b[at+1] == '\n'
		}
		if chunk > int64(n-at-2) {
			return 0, false
		}
		size += int(chunk)
		at += int(chunk) + 2
	}
}

// Buffered returns how many bytes have arrived and are not read yet.
func (c *Conn) Buffered() int { return c.br.Buffered() }

func indexCRLF(b []byte, from int) int {
	for i := from; i+1 < len(b); i++ {
		if b[i] == '\r' && b[i+1] == '\n' {
			return i
		}
	}
	return -1
}

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
	for {
		if c.body.left == 0 {
			switch err := c.nextChunk(); err {
			case nil:
			case io.EOF:
				return nil
			default:
				return err
			}
		}
		b, err := c.br.Peek(int(c.body.left))
		if err != nil {
			return c.readError(err, ErrTruncated)
		}
		resp.AppendBody(b)
		c.body.left = 0
		if _, err := c.br.Discard(len(b)); err != nil {
			return c.readError(err, ErrTruncated)
		}
	}
}

// Splice moves up to n bytes of a Fixed body to dst without copying them
// through user space where the system can, and returns how many it moved. Both
// ends must be plain TCP and nothing may be buffered.
func (c *Conn) Splice(dst *net.TCPConn, n int64) (int64, error) {
	c.spliced = io.LimitedReader{R: c.Conn, N: min(n, c.body.left)}
	moved, err := dst.ReadFrom(&c.spliced)
	for err != nil && moved == 0 {
		if err = c.putOff(err); err != nil {
			break
		}
		moved, err = dst.ReadFrom(&c.spliced)
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
