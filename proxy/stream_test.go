package proxy

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// TestStreamPartByPart sends the next part only when the client has the one
// before: a gateway that gathered parts would wait forever.
func TestStreamPartByPart(t *testing.T) {
	f := func(name, proto, head, before, after, end, want string) {
		t.Helper()
		arrived := make(chan struct{})
		b := newBackend(t, func(p *peer) {
			p.request()
			p.write("HTTP/1.1 200 OK\r\n" + head + "\r\n\r\n")
			for i := range 3 {
				<-arrived
				p.write(before + fmt.Sprintf("part%d", i) + after)
			}
			<-arrived
			p.write(end)
			if end != "" {
				p.request()
			}
		})
		s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
		c := s.dial()
		c.send("GET / HTTP/" + proto + "\r\nHost: h\r\n\r\n")
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 200 OK\r\n") {
			t.Fatalf("%s: %s", name, h)
		}
		for i := range 3 {
			arrived <- struct{}{}
			c.expect(strings.ReplaceAll(want, "#", fmt.Sprintf("part%d", i)))
		}
		arrived <- struct{}{}
		if strings.HasPrefix(want, "5") {
			c.expect("0\r\n\r\n")
		}
		_ = c.Close()
		s.settle(1)
		if e := s.last(); e.BytesOut != 15 || e.Reason != "" {
			t.Errorf("%s: recorded %d bytes, reason %q", name, e.BytesOut, e.Reason)
		}
	}
	f("chunked", "1.1", "Transfer-Encoding: chunked", "5\r\n", "\r\n", "0\r\n\r\n", "5\r\n#\r\n")
	f("until close", "1.1", "Content-Type: text/event-stream", "", "", "", "5\r\n#\r\n")
	f("chunked to HTTP/1.0", "1.0", "Transfer-Encoding: chunked", "5\r\n", "\r\n", "0\r\n\r\n", "#")
	f("until close to HTTP/1.0", "1.0", "Content-Type: text/event-stream", "", "", "", "#")
}

// TestStreamFixed does the same for a large body with a length.
func TestStreamFixed(t *testing.T) {
	for _, length := range []int{maxBuffered + 1, spliceFrom} {
		arrived := make(chan struct{})
		b := newBackend(t, func(p *peer) {
			p.request()
			p.write(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", length))
			<-arrived
			p.write("first")
			<-arrived
			p.write(strings.Repeat("x", length-5))
			answering("next")(p)
		})
		s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
		c := s.dial()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c.head()
		arrived <- struct{}{}
		c.expect("first")
		arrived <- struct{}{}
		c.expect(strings.Repeat("x", length-5))
		c.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if status, _, body := c.response(); status != 200 || body != "next" {
			t.Errorf("%d: the next got %d %s", length, status, body)
		}
		s.settle(1)
		if n := b.connections(); n != 1 {
			t.Errorf("%d: the connection was not used again: %d", length, n)
		}
		if e := s.taken()[0]; e.BytesOut != int64(length) || e.Reason != "" {
			t.Errorf("%d: recorded %d bytes, reason %q", length, e.BytesOut, e.Reason)
		}
	}
}

// TestClientLeaves closes the client's side in the middle of a body.
func TestClientLeaves(t *testing.T) {
	f := func(name, head, first, more string) {
		t.Helper()
		left := make(chan struct{})
		b := newBackend(t, func(p *peer) {
			p.request()
			p.write("HTTP/1.1 200 OK\r\n" + head + "\r\n\r\n" + first)
			<-left
			for range 200 { // until the gateway notices
				if _, err := io.WriteString(p, more); err != nil {
					return
				}
			}
			p.request()
		})
		s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
		c := s.dial()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c.head()
		if err := c.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		close(left)
		s.settle(1)
		if e := s.last(); e.Reason != "client_closed" || e.Source != "client" {
			t.Errorf("%s: recorded reason %q, source %q", name, e.Reason, e.Source)
		}
		if open, _ := s.upstreams["u"].State().Endpoints[0].Connections(); open != 0 {
			t.Errorf("%s: the connection to the upstream is kept inside a body", name)
		}
	}
	part := strings.Repeat("x", 100<<10)
	f("chunked", "Transfer-Encoding: chunked", "1\r\nx\r\n", fmt.Sprintf("%x\r\n%s\r\n", len(part), part))
	f("large", "Content-Length: 400000", "x", part[:1990])
	f("spliced", "Content-Length: 40000000", "x", part)
	f("until close", "Content-Type: a/b", "x", part)
}

// TestUpload sends bodies that stream, and checks what the upstream got.
func TestUpload(t *testing.T) {
	type upload struct {
		head string
		body []byte
	}
	uploads := make(chan upload, 1)
	b := newBackend(t, func(p *peer) {
		for {
			var req fasthttp.Request
			if err := req.Read(p.br); err != nil {
				return
			}
			uploads <- upload{string(req.Header.RawHeaders()), req.Body()}
			p.reply("ok")
		}
	})
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	f := func(size, chunk int, wantFraming string) {
		t.Helper()
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(i * 7 / 3)
		}
		c := s.dial()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			var w bytes.Buffer
			if chunk == 0 {
				fmt.Fprintf(&w, "PUT / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", size, body)
			} else {
				fmt.Fprintf(&w, "PUT / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
				for rest := body; len(rest) > 0; {
					n := min(chunk, len(rest))
					fmt.Fprintf(&w, "%x\r\n%s\r\n", n, rest[:n])
					rest = rest[n:]
				}
				w.WriteString("0\r\nX-Trailer: 1\r\n\r\n")
			}
			_, _ = c.ReadFrom(&w)
		}()
		status, _, _ := c.response()
		<-sent
		s.settle(1)
		got := <-uploads
		if status != 200 || !bytes.Equal(got.body, body) || !strings.Contains(got.head, wantFraming) {
			t.Errorf("%d in chunks of %d: got %d, the upstream %d bytes, %q", size, chunk, status, len(got.body), got.head)
		}
		if e := s.last(); e.BytesIn != int64(size) {
			t.Errorf("%d in chunks of %d: recorded %d bytes", size, chunk, e.BytesIn)
		}
	}
	const fixed, chunked = "\r\nContent-Length: %d\r\n", "\r\nTransfer-Encoding: chunked\r\n"
	for _, size := range []int{1, 8 << 10, joinLimit, joinLimit + 1, maxBuffered, maxBuffered + 1, 1 << 20} {
		f(size, 0, fmt.Sprintf(fixed, size))
	}
	for _, size := range []int{1, 8 << 10, maxBuffered - 1} {
		f(size, 1000, fmt.Sprintf(fixed, size))
	}
	for _, size := range []int{maxBuffered, maxBuffered + 1, 1 << 20} {
		f(size, 777, chunked)
		f(size, 200<<10, chunked)
	}
}

// TestEarlyAnswer has the upstream answer inside an upload, with and without
// closing. The client gets that answer, and nobody reuses the connection.
func TestEarlyAnswer(t *testing.T) {
	const reply = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"
	f := func(name, framing string, size int, script func(*peer)) {
		t.Helper()
		b := newBackend(t, func(p *peer) {
			if p.number > 1 {
				answering("ok")(p)
				return
			}
			var head bytes.Buffer
			for !bytes.HasSuffix(head.Bytes(), []byte("\r\n\r\n")) {
				part, err := p.br.ReadSlice('\n')
				if err != nil {
					return
				}
				head.Write(part)
			}
			script(p)
		})
		s := newSite(t, "upstream u $1\nroute r /* upstream=u reply=10s", b.url)
		c := s.dial()
		c.send("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + framing + "\r\n\r\n")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			part := strings.Repeat("x", 16<<10)
			if size < 0 {
				part = fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
			}
			for range 1000 { // the answer ends it
				if _, err := io.WriteString(c, part); err != nil {
					return
				}
			}
		}()
		if status, _, body := c.response(); status != 413 || body != "big" {
			t.Errorf("%s: got %d %s", name, status, body)
		}
		_ = c.Close()
		<-sent
		s.settle(1)
		if status, answer := s.ask("GET", "/", ""); status != 200 || answer != "ok" {
			t.Errorf("%s: the next got %d %s", name, status, answer)
		}
		if b.connections() != 2 {
			t.Errorf("%s: the connection was used again", name)
		}
	}
	stays := func(p *peer) { p.write(reply); _, _ = io.Copy(io.Discard, p.br) }
	closes := func(p *peer) {
		p.write(reply)
		_ = p.Conn.(interface{ CloseWrite() error }).CloseWrite()
		_, _ = io.Copy(io.Discard, p.br)
	} //nolint:errcheck // a TCP connection
	f("with a length, stays", "Content-Length: 100000000", 1, stays)
	f("with a length, closes", "Content-Length: 100000000", 1, closes)
	f("chunked, stays", "Transfer-Encoding: chunked", -1, stays)
	f("chunked, closes", "Transfer-Encoding: chunked", -1, closes)
}

// TestSlowUpload stops in the middle of a body.
func TestSlowUpload(t *testing.T) {
	f := func(name, config, head, part string, wantStatus int, wantReason string) {
		t.Helper()
		b := newBackend(t, func(p *peer) { p.request() })
		s := newSite(t, "upstream u $1\nroute r /* upstream=u "+config, b.url)
		c := s.dial()
		c.send("POST / HTTP/1.1\r\nHost: h\r\n" + head + "\r\n\r\n" + part)
		status, h, _ := c.response()
		if !h.ConnectionClose() {
			t.Errorf("%s: the connection stays open", name)
		}
		_ = c.Close()
		s.settle(1)
		if e := s.last(); status != wantStatus || e.Reason != wantReason {
			t.Errorf("%s: got %d, reason %q; want %d, %q", name, status, e.Reason, wantStatus, wantReason)
		}
	}
	part := strings.Repeat("x", 10<<10)
	large := strings.Repeat("x", 70<<10)
	f("buffered", "\nlimits read=30ms", "Content-Length: 20000", part, 408, "request_timeout")
	f("streamed", "\nlimits read=30ms", "Content-Length: 200000", large, 408, "request_timeout")
	f("chunked", "\nlimits read=30ms", "Transfer-Encoding: chunked", "5\r\nhe", 408, "request_timeout")
	f("buffered, in all the time", "timeout=30ms", "Content-Length: 20000", part, 504, "request_deadline")
	f("streamed, in all the time", "timeout=30ms", "Content-Length: 200000", large, 504, "request_deadline")
	f("chunked, in all the time", "timeout=30ms\nlimits read=10s", "Transfer-Encoding: chunked", "5\r\nhe", 504, "request_deadline")
}

// TestUploadToSilence has the upstream take nothing of a large body.
func TestUploadToSilence(t *testing.T) {
	stop := make(chan struct{})
	b := newBackend(t, func(*peer) { <-stop })
	s := newSite(t, "upstream u $1\nroute r /* upstream=u reply=50ms", b.url)
	defer close(stop)
	c := s.dial()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
	go func() {
		part := make([]byte, 1<<20)
		for {
			if _, err := c.Write(part); err != nil {
				return
			}
		}
	}()
	if status, _, body := c.response(); status != 504 || !strings.Contains(body, "upstream_timeout") {
		t.Errorf("got %d %s", status, body)
	}
	_ = c.Close()
	s.settle(1)
}

// TestTimeLimitsDoNotStick sends requests with a total limit over a connection
// that itself has none.
func TestTimeLimitsDoNotStick(t *testing.T) {
	b := newBackend(t, answering("ok"))
	s := prepareSite(t, "upstream u $1\nroute r /limited upstream=u timeout=50ms\nroute f /free upstream=u", b.url)
	s.noServerLimits = true
	s.serve()
	c := s.dial()
	body := strings.Repeat("x", 20<<10)
	c.send(fmt.Sprintf("POST /limited HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	if status, _, _ := c.response(); status != 200 {
		t.Fatalf("got %d", status)
	}
	waitUntil(t, "the limit of the first request has passed", func() bool { return time.Since(s.last().Start) > 60*time.Millisecond })
	c.send("GET /free HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	if status, _, _ := c.response(); status != 200 {
		t.Errorf("got %d", status)
	}
	s.settle(1)
}
