package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// sourceConn is a connection that reads from r.
type sourceConn struct {
	net.Conn
	r io.Reader
}

func (c *sourceConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func connOver(r io.Reader) *Conn {
	c := &Conn{Conn: &sourceConn{r: r}}
	c.br = bufio.NewReaderSize(c.Conn, maxReplyHead)
	return c
}

func TestReadReply(t *testing.T) {
	f := func(reply string, head bool, want Reply) {
		t.Helper()
		var h fasthttp.ResponseHeader
		got, err := connOver(strings.NewReader(reply)).ReadReply(&h, head)
		nominating := got.Nominating != nil
		got.Nominating = nil
		if err != nil || got.Status != want.Status || got.Framing != want.Framing || got.Length != want.Length ||
			got.KeepAlive != want.KeepAlive || got.HopByHop != want.HopByHop || got.HasDate != want.HasDate ||
			nominating != (want.Nominating != nil) || h.StatusCode() != want.Status {
			t.Errorf("%q: got %+v, nominating %v, %v; want %+v", reply, got, nominating, err, want)
		}
	}
	ok := "HTTP/1.1 200 OK\r\n"
	f(ok+"Content-Length: 5\r\n\r\n", false, Reply{Status: 200, Framing: Fixed, Length: 5, KeepAlive: true})
	f(ok+"content-LENGTH:005 \r\n\r\n", false, Reply{Status: 200, Framing: Fixed, Length: 5, KeepAlive: true})
	f(ok+"Content-Length: 5\r\n\r\n", true, Reply{Status: 200, Framing: NoBody, KeepAlive: true})
	f(ok+"Content-Length: 0\r\n\r\n", false, Reply{Status: 200, Framing: NoBody, KeepAlive: true})
	f(ok+"Transfer-Encoding: Chunked\r\n\r\n", false, Reply{Status: 200, Framing: Chunked, KeepAlive: true})
	f(ok+"\r\n", false, Reply{Status: 200, Framing: UntilClose})
	f(ok+"\r\n", true, Reply{Status: 200, Framing: NoBody, KeepAlive: true})
	f("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false, Reply{Status: 204, Framing: NoBody, KeepAlive: true})
	f("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, Reply{Status: 304, Framing: NoBody, KeepAlive: true})
	f("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"+ok+"Content-Length: 0\r\n\r\n", false, Reply{Status: 200, KeepAlive: true})
	f("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false, Reply{Status: 200})
	f("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", false, Reply{Status: 200, KeepAlive: true, HopByHop: HasConnection})
	f(ok+"Content-Length: 0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", false, Reply{Status: 200, HopByHop: HasConnection})
	f(ok+"Content-Length: 0\r\nConnection: X-A\r\n\r\n", false, Reply{Status: 200, KeepAlive: true, HopByHop: HasConnection, Nominating: []byte{}})
	f(ok+"Content-Length: 0\r\nDate: x\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nUpgrade: x\r\nTrailer: X-T\r\nTE: x\r\n\r\n", false, Reply{
		Status: 200, KeepAlive: true, HasDate: true, HopByHop: HasKeepAlive | HasProxyConnection | HasUpgrade | HasTrailer | HasTE,
	})
}

// TestReadReplyEnds: what the end of a connection means depends on what came
// before it.
func TestReadReplyEnds(t *testing.T) {
	f := func(reply string, end, want error) {
		t.Helper()
		var h fasthttp.ResponseHeader
		_, err := connOver(io.MultiReader(strings.NewReader(reply), failing{end})).ReadReply(&h, false)
		if !errors.Is(err, want) {
			t.Errorf("%q, then %v: got %v, want %v", reply, end, err, want)
		}
	}
	reset := errors.New("reset")
	for _, end := range []error{io.EOF, reset} {
		f("", end, ErrClosed)
		f("HTTP/1.1 200 OK\r\nContent-", end, ErrMalformed)
		f("HTTP/1.1 100 Continue\r\n\r\n", end, ErrMalformed)
	}
	f("", timeoutError{}, ErrTimeout)
	f("HTTP/1.1 200", timeoutError{}, ErrTimeout)
	f("HTTP/1.1 100 Continue\r\n\r\n", timeoutError{}, ErrTimeout)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type timeoutError struct{}

func (timeoutError) Error() string   { return "late" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// endingReader returns its last bytes together with io.EOF, as a TLS connection
// does when the closing alert came with them.
type endingReader struct{ b []byte }

func (r *endingReader) Read(p []byte) (int, error) {
	n := copy(p, r.b)
	if r.b = r.b[n:]; len(r.b) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// TestReadBodyEndsWithData: data that comes together with the end of the
// connection is data.
func TestReadBodyEndsWithData(t *testing.T) {
	f := func(sent, length int, want error) {
		t.Helper()
		c := connOver(&endingReader{bytes.Repeat([]byte("x"), sent)})
		c.body = body{framing: Fixed, left: int64(length)}
		total, p := 0, make([]byte, maxReplyHead)
		for {
			n, err := c.ReadBody(p)
			total += n
			if err != nil {
				if total != min(sent, length) || err != want || c.Complete() != (want == io.EOF) {
					t.Errorf("%d of %d: got %d bytes, %v", sent, length, total, err)
				}
				return
			}
		}
	}
	f(100_000, 100_000, io.EOF)
	f(100_000, 100_001, ErrTruncated)
	f(1, 1, io.EOF)
}

// FuzzJudge judges header blocks. What is accepted must be what it is taken
// for: by a stricter reading of the same bytes, and by net/http.
func FuzzJudge(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 404 Not Found\r\nContent-Length: 5\r\nConnection: keep-alive, X\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n", "HTTP/1.1 204 \r\nDate: x\r\n\r\n", "HTTP/1.1 200\r\nA:\tb\t\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 \x00\r\n\r\n", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, block []byte, head bool) {
		i := bytes.Index(block, crlfcrlf)
		if i < 0 {
			return
		}
		block = block[:i+len(crlfcrlf)]
		r, err := judge(block, head)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v", err)
			}
			return
		}
		text := string(block)
		if strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n\x00") {
			t.Fatalf("accepted a bare CR, LF or NUL: %q", text)
		}
		if strings.Contains(text, "\r\n ") || strings.Contains(text, "\r\n\t") {
			t.Fatalf("accepted a folded line: %q", text)
		}
		lower := strings.ToLower(text)
		if strings.Contains(lower, "\r\ncontent-length:") && strings.Contains(lower, "\r\ntransfer-encoding:") {
			t.Fatalf("accepted both framings: %q", text)
		}
		if r.Framing == Fixed != (r.Length > 0) || r.Framing == UntilClose && r.KeepAlive {
			t.Fatalf("%q is %+v", text, r)
		}
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		if resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(block)), &http.Request{Method: method}); err == nil {
			if resp.StatusCode != r.Status || r.Framing == Chunked != (len(resp.TransferEncoding) > 0 && !head && r.Status >= 200 && r.Status != 204 && r.Status != 304) {
				t.Fatalf("%q is %+v here, %d %v to net/http", text, r, resp.StatusCode, resp.TransferEncoding)
			}
			if r.Framing == Fixed && resp.ContentLength != r.Length {
				t.Fatalf("%q has length %d here, %d to net/http", text, r.Length, resp.ContentLength)
			}
			_ = resp.Body.Close()
		}
		var h fasthttp.ResponseHeader
		_, _ = connOver(bytes.NewReader(block)).ReadReply(&h, head) // must not panic
	})
}

// FuzzChunked decodes bodies in reads of all sizes and compares with a decoder
// that has the whole input before it.
func FuzzChunked(f *testing.F) {
	for _, seed := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n000\r\nX: y\r\n\r\nrest", "A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\nHTTP/1.1",
		"5\r\nhelloX\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "5 ;x\r\nhello\r\n0\r\n\r\n", "-1\r\n\r\n", "ffffffffffffffff\r\n", "5\r\nhel", "0\r\n\n",
	} {
		f.Add([]byte(seed), uint8(3))
		f.Add([]byte(seed), uint8(200))
	}
	f.Fuzz(func(t *testing.T, input []byte, size uint8) {
		want, used, wantErr := decodeChunked(input)
		c := connOver(bytes.NewReader(input))
		c.body.framing = Chunked
		var got []byte
		var err error
		for p := make([]byte, int(size)+1); err == nil; {
			var n int
			n, err = c.ReadBody(p)
			got = append(got, p[:n]...)
		}
		if !bytes.Equal(got, want) || !errors.Is(err, wantErr) {
			t.Fatalf("%q: got %q, %v; want %q, %v", input, got, err, want, wantErr)
		}
		if c.Complete() != (wantErr == io.EOF) {
			t.Fatalf("%q: complete %v after %v", input, c.Complete(), err)
		}
		if rest := c.br.Buffered(); err == io.EOF && len(input) < maxReplyHead && len(input)-rest != used {
			t.Fatalf("%q: took %d bytes, want %d", input, len(input)-rest, used)
		}

		// A body that has arrived whole is moved in one go, to the same end.
		c = connOver(bytes.NewReader(input))
		c.body.framing = Chunked
		_, _ = c.br.Peek(1)
		if room, whole := c.BufferedBody(); whole {
			var resp fasthttp.Response
			if room < len(want) {
				t.Fatalf("%q: room for %d of %d", input, room, len(want))
			}
			if err := c.ReadBuffered(&resp); wantErr == io.EOF != (err == nil) || err == nil && !bytes.Equal(resp.Body(), want) {
				t.Fatalf("%q: whole, got %q, %v; want %q, %v", input, resp.Body(), err, want, wantErr)
			}
		}
	})
}

// decodeChunked decodes by the grammar of RFC 9112 section 7.1.
func decodeChunked(in []byte) (out []byte, used int, err error) {
	line := func() (string, error) {
		i := bytes.IndexByte(in[used:], '\n')
		if i < 0 {
			if len(in)-used >= maxReplyHead {
				return "", ErrMalformed
			}
			return "", ErrTruncated
		}
		l := string(in[used : used+i+1])
		used += i + 1
		if len(l) > maxChunkLine || !strings.HasSuffix(l, "\r\n") {
			return "", ErrMalformed
		}
		return l[:len(l)-2], nil
	}
	for {
		l, err := line()
		if err != nil {
			return out, used, err
		}
		digits := len(l) - len(strings.TrimLeft(l, "0123456789abcdefABCDEF"))
		ext := strings.TrimRight(strings.TrimLeft(l[digits:], " \t"), " \t")
		if digits == 0 || digits > 15 || l != l[:digits] && !strings.HasPrefix(ext, ";") ||
			strings.ContainsFunc(ext, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return out, used, ErrMalformed
		}
		size := int64(0)
		for _, d := range strings.ToLower(l[:digits]) {
			size = size<<4 + int64(strings.IndexRune("0123456789abcdef", d))
		}
		if size == 0 {
			break
		}
		if int64(len(in)-used) < size {
			return append(out, in[used:]...), len(in), ErrTruncated
		}
		out = append(out, in[used:used+int(size)]...)
		used += int(size)
		if l, err = line(); err != nil {
			return out, used, err
		}
		if l != "" {
			return out, used, ErrMalformed
		}
	}
	for range maxTrailers {
		l, err := line()
		if err != nil || l == "" {
			if err == nil {
				err = io.EOF
			}
			return out, used, err
		}
	}
	return out, used, ErrMalformed
}
