package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/salgue441/velocity/proxy/router"
)

// FuzzRequest sends raw bytes through the line and has net/http, as a reader
// that is independent of it, say what the upstream saw. The upstream may see no
// request but those that net/http also finds in the client's bytes, in their
// order and equal in meaning; and nothing that is not a request.
func FuzzRequest(f *testing.F) {
	const host = "Host: h\r\n"
	for _, seed := range []string{
		"GET /a?b=c HTTP/1.1\r\n" + host + "X-A: 1\r\n\r\n",
		"GET http://h/%61/../b HTTP/1.1\r\n" + host + "\r\n",
		"GET /a HTTP/1.0\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\n" + host + "\r\n",
		"POST /a HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\n" + host + "\r\n",
		"POST /a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\nGET /b HTTP/1.1\r\n" + host + "\r\n",
		"POST /a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"POST /a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
		"POST /a HTTP/1.1\r\n" + host + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
		"POST /small HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nhello",
		"POST /get HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /b HTTP/1.1\r\n" + host + "\r\n",
		"GET /a HTTP/1.1\r\n" + host + "X-A: 1\nX-B: 2\r\n\r\n",
		"GET /a HTTP/1.1\r\n" + host + "X-A: 1\r\n 2\r\n\r\n",
		"GET /a HTTP/1.1\r\n" + host + "Connection: X-A, close\r\nX-A: 1\r\nX_B: 2\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
		"\r\nGET /a HTTP/1.1\n" + host + "\r\n",
		"GET /a#b HTTP/1.1\r\n" + host + "\r\n",
		"GET /a%2f%00 HTTP/1.1\r\n" + host + "\r\n",
	} {
		f.Add([]byte(seed))
	}
	var seen requestLog
	b := newBackend(f, seen.serve)
	s := prepareSite(f, `
		upstream u $1
		route all /* upstream=u
		route small /small upstream=u max-body=3
		route get /get methods=GET upstream=u
		route away /redirect
		redirect away 301 path=/x`, b.url)
	server := s.newServer()
	f.Fuzz(func(t *testing.T, sent []byte) {
		seen.reset()
		var conn memoryConn
		conn.Reset(sent)
		_ = server.ServeConn(&conn) // what ends it is the answer's business
		saw, bad := seen.taken()
		if bad != nil {
			t.Fatalf("the upstream saw what is no request: %v", bad)
		}
		want := readAll(sent)
		for _, got := range saw {
			i := slices.IndexFunc(want, got.means)
			if i < 0 {
				t.Fatalf("the upstream saw\n%+v\nwhich is none of\n%+v", got, want)
			}
			want = want[i+1:]
		}
	})
}

// meaning is a request as net/http understood it.
type meaning struct {
	method, host, path, query, body string
	fields                          http.Header
}

func meaningOf(req *http.Request) (meaning, error) {
	body, err := io.ReadAll(req.Body)
	m := meaning{method: req.Method, host: req.Host, path: req.RequestURI, body: string(body), fields: req.Header}
	if rest, ok := cutScheme([]byte(m.path)); ok {
		m.path = "/"
		if i := bytes.IndexAny(rest, "/?"); i >= 0 {
			m.path = "/" + strings.TrimPrefix(string(rest[i:]), "/")
		}
	}
	m.path, m.query, _ = strings.Cut(m.path, "?")
	if canonical, _, err := router.AppendCanonical(nil, []byte(m.path)); err == nil {
		m.path = string(canonical)
	}
	return m, err
}

// means reports whether a request that the client sent means what the upstream
// saw: all the same, but for fields that concern one connection and those that
// the gateway decides on.
func (saw meaning) means(sent meaning) bool {
	if sent.host == "" {
		sent.host = saw.host // the upstream's own, for HTTP/1.0
	}
	return saw.method == sent.method && saw.host == sent.host && saw.path == sent.path && saw.query == sent.query &&
		saw.body == sent.body && maps.EqualFunc(saw.endToEnd(), sent.endToEnd(), slices.Equal)
}

func (saw meaning) endToEnd() http.Header {
	h := saw.fields.Clone()
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.Trim(name, " \t"); !strings.EqualFold(name, "close") {
				h.Del(name)
			}
		}
	}
	for name := range h {
		if strings.Contains(name, "_") || strings.HasPrefix(name, "X-Forwarded-") {
			delete(h, name)
		}
	}
	for _, name := range []string{
		"Connection", "Content-Length", "Expect", "Forwarded", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Via", "X-Real-Ip", "X-Request-Id",
	} {
		delete(h, name)
	}
	return h
}

// readAll reads requests as far as net/http can.
func readAll(sent []byte) (list []meaning) {
	br := bufio.NewReaderSize(bytes.NewReader(sent), 64<<10)
	for {
		for b, err := br.Peek(1); err == nil && (b[0] == '\r' || b[0] == '\n'); b, err = br.Peek(1) {
			_, _ = br.Discard(1) // empty lines before a request are skipped; it was peeked
		}
		req, err := http.ReadRequest(br)
		if err != nil {
			return list
		}
		m, err := meaningOf(req)
		if err != nil {
			return list
		}
		list = append(list, m)
	}
}

// requestLog is an upstream that notes what it sees.
type requestLog struct {
	mu   sync.Mutex
	list []meaning
	bad  error
}

func (l *requestLog) serve(p *peer) {
	for {
		req, err := http.ReadRequest(p.br)
		var m meaning
		if err == nil {
			m, err = meaningOf(req)
		}
		var op *net.OpError
		switch {
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &op):
			return // given up by the gateway
		case err != nil:
			l.mu.Lock()
			l.bad = fmt.Errorf("%w", err)
			l.mu.Unlock()
			return
		}
		l.mu.Lock()
		l.list = append(l.list, m)
		l.mu.Unlock()
		p.reply("ok")
	}
}

func (l *requestLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list, l.bad = nil, nil
}

func (l *requestLog) taken() ([]meaning, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list, l.bad
}

// memoryConn is a client that sends its bytes, closes its side and reads nothing.
type memoryConn struct{ bytes.Reader }

func (*memoryConn) Write(p []byte) (int, error)      { return len(p), nil }
func (*memoryConn) WriteTo(io.Writer) (int64, error) { return 0, errors.ErrUnsupported }
func (*memoryConn) Close() error                     { return nil }
func (*memoryConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*memoryConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (*memoryConn) SetDeadline(time.Time) error      { return nil }
func (*memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (*memoryConn) SetWriteDeadline(time.Time) error { return nil }
