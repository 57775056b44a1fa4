package proxy

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/proxy/syntax"
)

// FuzzFields reads request heads as the gateway does. What it accepts and would
// send to an upstream must be one request to everyone: no stray line ends, one
// Host, one framing, nothing hop-by-hop, and the same to net/http.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a?b HTTP/1.0\r\n\r\n", "GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-A, close\r\nX-A: b\r\nTE: x\r\n\r\n",
		"GET / HTTP/1.1\nHost: h\r\nX: a\r\n b\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nX-Forwarded-For: 1.2.3.4, ::1\r\nForwarded: for=x\r\nVia: y\r\n\r\n",
		"GET /\x7f%00 HTTP/1.1\r\nHost: h\r\nA: \x00\r\n\r\n", "GET /a\\b/%2e%2E/c HTTP/1.1\r\nHost: H.\r\nx-request-id: a b\r\n\r\n", "GET /?a b HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	s := prepareSite(f, `
		trust 0.0.0.0/0
		forward x-forwarded forwarded via
		keep-id
		upstream u $1
		route r /* upstream=u slashes=keep`, "http://127.0.0.1:1")
	ep := s.upstreams["u"].State().Endpoints[0]
	f.Fuzz(func(t *testing.T, head []byte) {
		ctx := new(fasthttp.RequestCtx)
		ctx.Init2(fakeConn{addr: s.snapshot.Trusted[0].Addr()}, nil, false)
		if err := ctx.Request.Header.Read(bufio.NewReaderSize(bytes.NewReader(head), len(head)+16)); err != nil {
			return
		}
		x := s.proxy.acquire(ctx)
		if !x.readRequest() || !x.findRoute() {
			if x.Err == nil {
				t.Fatalf("%q: refused without an error", head)
			}
			return
		}
		x.body.length = max(0, int64(ctx.Request.Header.ContentLength()))
		x.writeHead(ep)
		checkHead(t, head, x.head)
	})
}

// checkHead checks a serialised request head.
func checkHead(t *testing.T, from, head []byte) {
	t.Helper()
	line, rest, ok := syntax.CutLine(head)
	parts := strings.Split(string(line), " ")
	if !ok || len(parts) != 3 || !syntax.IsToken([]byte(parts[0])) || parts[1] == "" || parts[2] != "HTTP/1.1" ||
		strings.ContainsFunc(parts[1], func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' }) {
		t.Fatalf("%q: request line %q", from, line)
	}
	count := map[string]int{}
	for {
		if line, rest, ok = syntax.CutLine(rest); !ok {
			t.Fatalf("%q: stray line end in %q", from, head)
		}
		if len(line) == 0 {
			break
		}
		name, value, found := bytes.Cut(line, []byte(": "))
		if !found || !syntax.IsToken(name) || !syntax.IsText(value) {
			t.Fatalf("%q: field %q", from, line)
		}
		if kind := classify(name); kind == te && string(value) != "trailers" || kind == connection && string(value) != "TE" {
			t.Fatalf("%q: %s is forwarded", from, line)
		}
		count[strings.ToLower(string(name))]++
	}
	if len(rest) > 0 {
		t.Fatalf("%q: %q behind the header", from, rest)
	}
	if count["host"] != 1 || count["content-length"]+count["transfer-encoding"] > 1 {
		t.Fatalf("%q: fields %v", from, count)
	}
	for _, name := range []string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "via"} {
		if count[name] > 1 && name != "x-forwarded-proto" && name != "x-forwarded-host" {
			t.Fatalf("%q: %d times %s", from, count[name], name)
		}
	}
	for _, name := range []string{"keep-alive", "proxy-connection", "proxy-authorization", "trailer", "upgrade", "expect"} {
		if count[name] > 0 {
			t.Fatalf("%q: %s is forwarded", from, name)
		}
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return // net/http refuses some hosts and escapes that only concern it
	}
	if req.Method != parts[0] || req.RequestURI != parts[1] {
		t.Fatalf("%q: net/http sees %s %s", from, req.Method, req.RequestURI)
	}
}
