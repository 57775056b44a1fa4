package echo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// line is repeated to make a body of any size: 63 characters and a newline, so
// that the byte at offset i is line[i%64] wherever a body was cut.
const line = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-\n"

// block is the largest body that is answered without copying. It is only read.
var block = []byte(strings.Repeat(line, 64<<10/len(line)))

// sized answers with n bytes of the pattern.
func sized(ctx *fasthttp.RequestCtx, n int64) {
	ctx.SetContentType(textPlain)
	if n <= int64(len(block)) {
		ctx.Response.SetBodyRaw(block[:n])
		return
	}
	ctx.SetBodyStream(&pattern{end: n}, int(n))
}

// pattern reads the bytes from offset to end of an endless repetition of line.
type pattern struct{ offset, end int64 }

func (p *pattern) Read(dst []byte) (int, error) {
	if p.offset == p.end {
		return 0, io.EOF
	}
	dst = dst[:min(int64(len(dst)), p.end-p.offset)]
	n := copy(dst, block[p.offset%int64(len(line)):])
	p.offset += int64(n)
	return n, nil
}

// WriteTo writes straight from the block, which saves a copy of each byte.
func (p *pattern) WriteTo(w io.Writer) (int64, error) {
	start := p.offset
	for p.offset < p.end {
		from := p.offset % int64(len(line))
		n, err := w.Write(block[from:min(from+p.end-p.offset, int64(len(block)))])
		p.offset += int64(n)
		if err != nil {
			return p.offset - start, err
		}
	}
	return p.offset - start, nil
}

// SupportsBodyWriteTo tells fasthttp that WriteTo may stand in for Read.
func (p *pattern) SupportsBodyWriteTo() bool { return true }

// chunk returns what the i-th of c.chunks chunks carries.
func (c *controls) chunk(i int) io.Reader {
	if !c.hasSize {
		return strings.NewReader(fmt.Sprintf("chunk %d of %d\n", i+1, c.chunks))
	}
	n := int64(c.chunks)
	return &pattern{offset: c.size * int64(i) / n, end: c.size * int64(i+1) / n}
}

// event returns the i-th server-sent event.
func event(i int) io.Reader {
	return strings.NewReader(fmt.Sprintf("id: %d\nevent: tick\ndata: {\"n\":%d}\n\n", i+1, i+1))
}

// paced answers with a streamed body of n parts, interval apart. The header
// leaves at once.
func (s *Server) paced(ctx *fasthttp.RequestCtx, interval time.Duration, n int, part func(i int) io.Reader) {
	done := ctx.Done()
	ctx.Response.ImmediateHeaderFlush = true
	ctx.SetBodyStream(&pacedBody{
		part: part,
		left: n,
		pause: func() bool {
			return interval == 0 || s.wait(interval, done)
		},
	}, -1)
}

// pacedBody reads one part after another. fasthttp sends what each Read returns
// as a chunk of its own, at most 4 KiB long, and flushes it.
type pacedBody struct {
	part    func(i int) io.Reader
	pause   func() bool
	i, left int
	current io.Reader
}

func (b *pacedBody) Read(dst []byte) (int, error) {
	for {
		if b.current != nil {
			n, err := b.current.Read(dst)
			if n > 0 {
				return n, nil
			}
			if err != io.EOF {
				return 0, err
			}
			b.current = nil
		}
		if b.left == 0 {
			return 0, io.EOF
		}
		if b.i > 0 && !b.pause() {
			// The server is stopping: the client must see a body cut short.
			return 0, io.ErrUnexpectedEOF
		}
		b.current = b.part(b.i)
		b.i++
		b.left--
	}
}
