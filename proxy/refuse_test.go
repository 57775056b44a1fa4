package proxy

import (
	"io"
	"strings"
	"testing"
)

// TestRefusedRequests sends what must not reach an upstream. All but the last
// few leave the connection in doubt, so it is closed.
func TestRefusedRequests(t *testing.T) {
	backend := newBackend(t, answering("ok"))
	s := newSite(t, `
		upstream u $1
		route get /only-get upstream=u methods=GET
		route r /* upstream=u
		route quote /quote upstream=u template=/q/${query.q}`, backend.url)
	f := func(name, request, want string) {
		t.Helper()
		c := s.dial()
		c.send(expand(request))
		_ = c.CloseWrite() // fails when the gateway was faster
		b, err := io.ReadAll(c)
		if err != nil && !isReset(err) {
			t.Fatalf("%s: %v", name, err)
		}
		status, rest, _ := strings.Cut(strings.TrimPrefix(string(b), "HTTP/1.1 "), " ")
		got := status
		if _, code, ok := strings.Cut(rest, `"code":"`); ok {
			code, _, _ = strings.Cut(code, `"`)
			got += " " + code
		}
		if strings.Contains(rest, "\r\nConnection: close\r\n") {
			got += " closed"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		s.settle(1)
	}
	const badRequest, badHeader, badFraming = "400 bad_request closed", "400 bad_header closed", "400 bad_framing closed"
	const badHost, badPath, badVersion = "400 bad_host closed", "400 bad_path closed", "505 version_not_supported closed"

	get := func(name, lines, want string) {
		t.Helper()
		f(name, "GET /a HTTP/1.1\nHost: h\n"+lines+"\n\n", want)
	}
	get("bare LF after a field", `X-A: 1\nX-B: 2`, badHeader)
	get("empty line of bare LF", `X-A: 1\n\nX-B: 2`, badHeader)
	get("folded field", "X-A: 1\n 2", badHeader)
	get("space in a name", "X A: 1", badHeader)
	get("quotes in a name", `"X": 1`, badRequest)
	get("space before the colon", "X-A : 1", badRequest)
	get("tab before the colon", `X-A\t: 1`, badRequest)
	get("no name", ": 1", badRequest)
	get("no colon", "X-A", badRequest)
	get("NUL in a value", `X-A: a\x00b`, badRequest)
	get("bare CR in a value", `X-A: a\rb`, badRequest)
	get("bare CR before a line's end", `X-A: a\r`, badRequest)
	get("DEL in a value", `X-A: a\x7f`, badRequest)
	get("header too large", "X-A: <20000*a>", "431 header_too_large closed")
	f("first field folded", "GET /a HTTP/1.1\n Host: h\n\n", badRequest)

	post := func(name, lines, want string) {
		t.Helper()
		f(name, "POST /a HTTP/1.1\nHost: h\n"+lines, want)
	}
	post("both framings", "Content-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n", badFraming)
	post("both framings, the other way round", "Transfer-Encoding: chunked\nContent-Length: 5\n\n0\n\n", badFraming)
	post("identity", "Transfer-Encoding: identity\n\n", badFraming)
	post("identity and a length", "Content-Length: 2\nTransfer-Encoding: identity\n\nok\\\n", badFraming)
	post("unknown coding", "Transfer-Encoding: gzip, chunked\n\n0\n\n", badRequest)
	post("coding in quotes", "Transfer-Encoding: \"chunked\"\n\n0\n\n", badRequest)
	post("two codings", "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n", badRequest)
	post("two lengths that agree", "Content-Length: 2\nContent-Length: 2\n\nok\\\n", badRequest)
	post("two lengths that differ", "Content-Length: 2\nContent-Length: 3\n\nok\\\n", badRequest)
	post("list of lengths", "Content-Length: 2, 2\n\nok\\\n", badRequest)
	post("signed length", "Content-Length: +2\n\nok\\\n", badRequest)
	post("length too large", "Content-Length: 99999999999999999999\n\nok\\\n", badRequest)
	f("coding in HTTP/1.0", "POST /a HTTP/1.0\nHost: h\nTransfer-Encoding: chunked\n\n0\n\n", badRequest)
	chunked := func(name, body string) {
		t.Helper()
		post(name, "Transfer-Encoding: chunked\n\n"+body, "400 request_body closed")
	}
	chunked("chunk size that is none", "x\nhello\n0\n\n")
	chunked("chunk size with a sign", "+5\nhello\n0\n\n")
	chunked("empty chunk size", "\nhello\n0\n\n")
	chunked("bare LF after a chunk size", `5\nhello`+"\n0\n\n")
	chunked("chunk longer than its size", "3\nabcX\n0\n\n")
	chunked("chunk cut short", "5\nhe\\\n")
	chunked("no last chunk", "5\nhello\n")
	post("body cut short", "Content-Length: 5\n\nhe\\\n", badRequest)
	post("large body cut short", "Content-Length: 20000\n\n<10000*a>\\\n", "400 request_body closed")

	host := func(name, lines, want string) {
		t.Helper()
		f(name, "GET /a HTTP/1.1\n"+lines+"\n\n", want)
	}
	host("two Hosts", "Host: h\nHost: h", badRequest)
	host("no Host", "X-A: 1", badRequest)
	host("empty Host", "Host:", badRequest)
	host("Host with a path", "Host: h/x", badRequest)
	host("Host with user information", "Host: u:p@h", badHost)
	host("list of Hosts", "Host: a,b", badHost)
	host("Host with a port that is none", "Host: h:8x", badRequest)
	host("Host with two ports", "Host: h:80:80", badRequest)
	host("Host that is only a port", "Host: :80", badHost)
	host("Host with an open bracket", "Host: [::1", badRequest)

	target := func(target, want string) {
		t.Helper()
		f(target, "GET "+target+" HTTP/1.1\nHost: a.example\n\n", want)
	}
	target("http://b.example/", badHost)
	target("http://u:p@a.example/", badHost)
	target("http:///x", badHost)
	target("ftp://a.example/", badRequest)
	target("a", badRequest)
	target("*", badRequest)
	target("/a b", badRequest)
	target("/a?b c", badRequest)
	target(`/a\x00`, badRequest)
	target(`/a?b\x00`, badRequest)
	target(`/a?\rb`, badRequest)
	target(`/a\rb`, badRequest)
	target(`/a\tb`, badRequest)
	target("/a%4", badPath)
	target("/a%zz", badPath)
	target("/a%00", badPath)
	target("/a#b", badPath)
	target("/a?q#b", badPath)
	target("/a/../../b", badPath)
	target("/a/%2e%2e/..", badPath)
	target("/a/..%2fb", badPath)

	target("/quote?q=../../admin", "400 bad_path")
	target("/quote?q=a?b", "400 bad_path")
	target("/quote?q=a%2fb", "400 encoded_slash")

	f("CONNECT", "CONNECT h:443 HTTP/1.1\nHost: h:443\n\n", "501 method_not_implemented closed")
	f("control character in a method", `GE\x01T`+" /a HTTP/1.1\nHost: h\n\n", badRequest)
	f("HTTP/1.2", "GET /a HTTP/1.2\nHost: h\n\n", badVersion)
	f("HTTP/2.0", "GET /a HTTP/2.0\nHost: h\n\n", badVersion)
	f("no version", "GET /a\nHost: h\n\n", badRequest)
	f("preface of HTTP/2", "PRI * HTTP/2.0\n\nSM\n\n", badRequest)

	f("encoded slash", "GET /a%2fb HTTP/1.1\nHost: h\n\n", "400 encoded_slash")
	f("backslash", `GET /a\\b HTTP/1.1`+"\nHost: h\n\n", "400 encoded_slash")

	if n := backend.connections(); n != 0 {
		t.Errorf("the upstream saw %d connections", n)
	}
}

// TestMalformedReplies answers with what is not HTTP. The client gets a 502,
// and the next request another connection.
func TestMalformedReplies(t *testing.T) {
	f := func(name, reply string) {
		t.Helper()
		reply = expand(reply)
		backend := newBackend(t, func(p *peer) {
			if p.number > 1 {
				answering("fine")(p)
				return
			}
			if _, ok := p.request(); ok {
				p.write(reply)
				p.request() // until the gateway closes
			}
		})
		s := newSite(t, "upstream u $1\nroute r /* upstream=u", backend.url)
		c := s.dial()
		c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
		if status, _, body := c.response(); status != 502 || !strings.Contains(body, `"upstream_bad_reply"`) {
			t.Errorf("%s: got %d %s", name, status, body)
		}
		c.send("GET /b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if status, _, body := c.response(); status != 200 || body != "fine" {
			t.Errorf("%s: the next request got %d %s", name, status, body)
		}
		s.settle(1)
	}
	f("not HTTP", "SSH-2.0-x\n\n")
	f("body without a header", "hello world, hello world\n\n")
	f("HTTP/2.0", "HTTP/2.0 200 OK\nContent-Length: 0\n\n")
	f("HTTP/1.2", "HTTP/1.2 200 OK\nContent-Length: 0\n\n")
	f("lower-case version", "http/1.1 200 OK\nContent-Length: 0\n\n")
	f("header cut short", "HTTP/1.1 200 OK\nX-A: <40000*a>\n\n")

	status := func(name, line string) {
		t.Helper()
		f(name, "HTTP/1.1 "+line+"\nContent-Length: 0\n\n")
	}
	status("two digits", "20 OK")
	status("four digits", "2000 OK")
	status("below 100", "099 OK")
	status("letters", "2x0 OK")
	status("two spaces", " 200 OK")
	status("no space", "200OK")
	status("101 to a request that asked for nothing", "101 Switching Protocols")
	status("control character in the reason phrase", `200 O\x07K`)
	status("bare CR in the reason phrase", `200 O\rK`)
	status("bare LF after the status line", `200 OK\nX-A: 1`)

	field := func(name, line string) {
		t.Helper()
		f(name, "HTTP/1.1 200 OK\n"+line+"\n\n")
	}
	field("bare LF after a field", `X-A: 1\nContent-Length: 0`)
	field("folded field", "X-A: 1\n 2\nContent-Length: 0")
	field("space before the colon", "Content-Length : 0")
	field("space in a name", "X A: 1\nContent-Length: 0")
	field("no name", ": 1\nContent-Length: 0")
	field("no colon", "X-A\nContent-Length: 0")
	field("NUL in a value", `X-A: a\x00b`+"\nContent-Length: 0")
	field("bare CR in a value", `X-A: a\rb`+"\nContent-Length: 0")
	field("DEL in a value", `X-A: a\x7fb`+"\nContent-Length: 0")
	field("two lengths that differ", "Content-Length: 0\nContent-Length: 1")
	field("two lengths that agree", "Content-Length: 0\nContent-Length: 0")
	field("list of lengths", "Content-Length: 0, 0")
	field("signed length", "Content-Length: +0")
	field("empty length", "Content-Length:")
	field("length too large", "Content-Length: 99999999999999999999")
	field("both framings", "Content-Length: 5\nTransfer-Encoding: chunked\n\n0\n")
	field("unknown transfer coding", "Transfer-Encoding: gzip, chunked\n\n0\n")
	field("transfer coding identity", "Transfer-Encoding: identity")
	field("two transfer codings", "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n")
	f("malformed interim reply", "HTTP/1.1 103 Early\nX A: 1\n\nHTTP/1.1 200 OK\nContent-Length: 0\n\n")

	chunks := func(name, body string) {
		t.Helper()
		f(name, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"+body+"\n0\n\n")
	}
	chunks("chunk size that is none", "x\nhello")
	chunks("empty chunk size", "\nhello")
	chunks("chunk size with a sign", "+5\nhello")
	chunks("chunk size with 0x", "0x5\nhello")
	chunks("chunk size too large", "fffffffffffffffff\nhello")
	chunks("space before a chunk size", " 5\nhello")
	chunks("space after a chunk size", "5 \nhello")
	chunks("chunk line too long", "5;<5000*a>\nhello")
	chunks("bare LF after a chunk size", `5\nhello`)
	chunks("control character in a chunk extension", `5;\x00`+"\nhello")
}

// TestMalformedLater breaks the chunking behind a chunk that is passed on
// already. The body must not end as if it were complete.
func TestMalformedLater(t *testing.T) {
	f := func(name, rest string) {
		t.Helper()
		backend := newBackend(t, func(p *peer) {
			if _, ok := p.request(); ok {
				p.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello" + expand(rest))
				p.request()
			}
		})
		s := newSite(t, "upstream u $1\nroute r /* upstream=u", backend.url)
		c := s.dial()
		c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
		b, err := io.ReadAll(c.br)
		if _, body, _ := strings.Cut(string(b), "\r\n\r\n"); err != nil || body != "5\r\nhello\r\n" {
			t.Errorf("%s: the client got %q, %v", name, body, err)
		}
		s.settle(1)
		if e := s.taken(); len(e) != 1 || e[0].Reason != "upstream_bad_reply" {
			t.Errorf("%s: recorded %+v", name, e)
		}
	}
	f("chunk longer than its size", "X\n0\n\n")
	f("bare LF after a chunk", `\n0`+"\n\n")
	f("next size malformed", "\n5 \nhello\n0\n\n")
	f("bare LF after the last chunk", "\n0\\n\\n\\\n")
	f("too many trailer fields", "\n0\n"+strings.Repeat("X: 1\n", 70)+"\n")
	f("trailer too long", "\n0\nX: <5000*a>\n\n")
}
