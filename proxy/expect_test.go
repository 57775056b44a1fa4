package proxy

import (
	"io"
	"strings"
	"testing"
	"time"
)

// TestExpect waits for 100 Continue before it sends the body, on a connection
// that is used again.
func TestExpect(t *testing.T) {
	b := newBackend(t, answering("ok"))
	s := newSite(t, "upstream u $1\nroute r /a upstream=u", b.url)
	c := s.dial()
	for range 3 {
		c.send("POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		c.expect("HTTP/1.1 100 Continue\r\n\r\n")
		c.send("hello")
		if status, _, body := c.response(); status != 200 || body != "ok" {
			t.Fatalf("got %d %q", status, body)
		}
	}
	_ = c.Close()
	s.settle(1)
	if n := len(s.taken()); n != 3 {
		t.Errorf("%d events of 3 requests", n)
	}
}

// TestExpectAbandoned leaves after 100 Continue: what the line entered is left.
func TestExpectAbandoned(t *testing.T) {
	b := newBackend(t, answering("ok"))
	s := newSite(t, "upstream u $1\nroute r /a upstream=u", b.url)
	c := s.dial()
	c.send("POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	c.expect("HTTP/1.1 100 Continue\r\n\r\n")
	_ = c.Close()
	s.settle(1)
	if b.connections() != 0 {
		t.Error("the upstream saw a request without a body")
	}
	if e := s.taken(); len(e) == 0 || e[0].Reason != "client_closed" {
		t.Errorf("recorded %+v", e)
	}
}

// TestTooLargeWhileStreaming sends more than the route takes, of which part is
// on its way already: the attempt is given up.
func TestTooLargeWhileStreaming(t *testing.T) {
	cut := make(chan bool, 1)
	b := newBackend(t, func(p *peer) {
		_, whole := p.request()
		cut <- !whole
	})
	s := newSite(t, "upstream u $1\nroute r /a upstream=u max-body=200000", b.url)
	c := s.dial()
	c.send("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range 300 {
			if _, err := io.WriteString(c, "400\r\n"+strings.Repeat("a", 1024)+"\r\n"); err != nil {
				return
			}
		}
	}()
	answer, err := io.ReadAll(c.br)
	if err != nil && !isReset(err) {
		t.Fatal(err)
	}
	if err == nil && !strings.HasPrefix(string(answer), "HTTP/1.1 413 ") {
		t.Errorf("got %q", answer)
	}
	_ = c.Close()
	<-sent
	s.settle(1)
	if !<-cut {
		t.Error("the upstream saw a whole request")
	}
	if e := s.taken(); len(e) != 1 || e[0].Reason != "body_too_large" || e[0].Status != 413 {
		t.Errorf("recorded %+v", e)
	}
}

// TestTooLargeIsAnswered has the client send all of a body that is refused
// before it reads the answer.
func TestTooLargeIsAnswered(t *testing.T) {
	b := newBackend(t, answering("ok"))
	s := newSite(t, "upstream u $1\nroute r /a upstream=u max-body=10", b.url)
	f := func(name, request string) {
		t.Helper()
		c := s.dial()
		c.send(request)
		if status, h, body := c.response(); status != 413 || !h.ConnectionClose() || !strings.Contains(body, "body_too_large") {
			t.Errorf("%s: got %d %q", name, status, body)
		}
		if rest, err := io.ReadAll(c.br); err != nil || len(rest) > 0 {
			t.Errorf("%s: then got %q, %v", name, rest, err)
		}
		_ = c.Close()
		s.settle(1)
	}
	f("announced", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n"+strings.Repeat("a", 20_000_000))
	f("in chunks", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.Repeat("a\r\n0123456789\r\n", 1_000_000)+"0\r\n\r\n")
	if b.connections() != 0 {
		t.Error("the upstream saw a body that is too large")
	}
}

// TestBadReplyIsExplained tells operators what clients are not told.
func TestBadReplyIsExplained(t *testing.T) {
	replies := []string{"HTTP/1.1 200 OK\r\nX A: secret\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n"}
	b := newBackend(t, func(p *peer) {
		p.request()
		p.write(replies[p.number-1])
	})
	s := newSite(t, "upstream u $1\nroute r /a upstream=u", b.url)
	s.proxy.NotifyBadReply(func(_, _ string, cause error) { s.causes <- cause })
	c := s.dial()
	for _, want := range []string{"malformed reply: field name", "malformed reply: malformed chunked body: chunk size"} {
		c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
		if status, _, _ := c.response(); status != 502 {
			t.Errorf("got %d", status)
		}
		if cause := <-s.causes; cause.Error() != want {
			t.Errorf("got %q, want %q", cause, want)
		}
	}
	_ = c.Close()
	s.settle(1)
}

// TestHintsComeAtOnce has the final reply wait for the client to have the hint,
// and for the response before it to have arrived.
func TestHintsComeAtOnce(t *testing.T) {
	seen := make(chan struct{})
	b := newBackend(t, func(p *peer) {
		for i := 0; ; i++ {
			if _, ok := p.request(); !ok {
				return
			}
			if i == 1 {
				p.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
				select {
				case <-seen:
				case <-time.After(patience):
				}
			}
			p.reply("ok")
		}
	})
	s := newSite(t, "upstream u $1\nroute r /a upstream=u", b.url)
	c := s.dial()
	c.send(strings.Repeat("GET /a HTTP/1.1\r\nHost: h\r\n\r\n", 2)) // pipelined
	if status, _, _ := c.response(); status != 200 {
		t.Fatalf("got %d", status)
	}
	c.expect("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
	close(seen)
	if status, _, body := c.response(); status != 200 || body != "ok" {
		t.Errorf("got %d %q", status, body)
	}
	_ = c.Close()
	s.settle(1)
}
