package proxy

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp/fasthttputil"
)

// quiet is the script of a backend that begins an answer and then says nothing
// until the gateway closes, which it reports.
func quiet(beginning string, closed chan<- time.Time) func(*peer) {
	return func(p *peer) {
		if _, ok := p.request(); !ok {
			return
		}
		p.write(beginning)
		_, _ = io.Copy(io.Discard, p.br)
		closed <- time.Now()
	}
}

// A client that leaves ends its request at the endpoint, wherever that is.
func TestClientLeavesQuietEndpoint(t *testing.T) {
	f := func(name, request, beginning string, leave func(c *client), status int) {
		t.Helper()
		closed := make(chan time.Time, 1)
		b := newBackend(t, quiet(beginning, closed))
		s := newSite(t, "upstream u $1\nroute r /* upstream=u reply=20s", b.url)
		c := s.dial()
		c.send(request)
		if status != 499 {
			c.head()
		}
		left := time.Now()
		leave(c)
		select {
		case at := <-closed:
			if took := at.Sub(left); took > 5*time.Second {
				t.Errorf("%s: the endpoint was let go after %v", name, took)
			}
		case <-time.After(patience):
			t.Fatalf("%s: the endpoint was not let go", name)
		}
		s.settle(1)
		e := s.taken()[0]
		if e.Status != status || e.Reason != "client_closed" || e.Source != "client" || e.Attempts != 1 {
			t.Errorf("%s: status %d, reason %q, source %q, %d attempts", name, e.Status, e.Reason, e.Source, e.Attempts)
		}
		if m := s.metrics(); strings.Contains(m, "velocity_upstream_failures_total{") {
			t.Errorf("%s: it is held against the endpoint", name)
		}
	}
	const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	post := fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", 200<<10, strings.Repeat("x", 200<<10))
	ends := func(c *client) { _ = c.Close() }
	resets := func(c *client) {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	f("before the reply", get, "", ends, 499)
	f("before the reply, by reset", get, "", resets, 499)
	f("after an upload", post, "", ends, 499)
	f("after an interim reply", get, "HTTP/1.1 103 Early Hints\r\n\r\n", ends, 499)
	f("in a stream", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", ends, 200)
	f("in a stream, by reset", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", resets, 200)
	f("inside a chunk line", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n1", ends, 200)
	f("in a stream to the end of the connection", get, "HTTP/1.1 200 OK\r\n\r\nx", ends, 200)
	f("in a large body", get, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx", ends, 200)
	f("in a spliced body", get, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 600<<10), func(c *client) {
		if _, err := io.ReadFull(c.br, make([]byte, 600<<10)); err != nil {
			t.Error(err)
		}
		ends(c)
	}, 200)
}

// A client that is there is not taken for one that has left: one that waits,
// one that has sent its next requests, one without a file descriptor. Replies
// that come in pieces with pauses between them arrive whole.
func TestClientStays(t *testing.T) {
	const pause = 120 * time.Millisecond // so that looks fall inside every part of a reply
	slow := func(p *peer) {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			if _, ok := p.request(); !ok {
				return
			}
			for _, part := range []string{"HTTP/1.1 200 O", "K\r\nTransfer-Encoding: chu", "nked\r\n\r\n1", "\r", "\nx\r\n0", "\r\n", "\r\n"} {
				<-tick.C
				p.write(part)
			}
		}
	}
	b := newBackend(t, slow)
	const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	s := newSite(t, "upstream u $1\nroute r /* upstream=u reply=20s", b.url)
	c := s.dial()
	c.send(get)
	if status, _, body := c.response(); status != 200 || body != "x" {
		t.Errorf("one that waits: status %d, body %q", status, body)
	}
	c.send(get + get)
	for range 2 {
		if status, _, body := c.response(); status != 200 || body != "x" {
			t.Errorf("one that pipelines: status %d, body %q", status, body)
		}
	}

	s = prepareSite(t, "upstream u $1\nroute r /* upstream=u reply=20s", b.url)
	ln := fasthttputil.NewInmemoryListener()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.newServer().Serve(ln) // ends with the listener
	}()
	mem, err := ln.Dial()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(mem, get); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 15)
	if _, err := io.ReadFull(mem, answer); err != nil || string(answer) != "HTTP/1.1 200 OK" {
		t.Errorf("one in memory: %q, %v", answer, err)
	}
	_ = mem.Close()
	_ = ln.Close()
	<-served
}

// The route's and the reply's time limits hold while the client is looked at.
func TestLimitsWhileWatching(t *testing.T) {
	f := func(limits, want string, atLeast time.Duration) {
		t.Helper()
		b := newBackend(t, quiet("", make(chan time.Time, 1)))
		s := newSite(t, "upstream u $1\nroute r /* upstream=u "+limits, b.url)
		c := s.dial()
		began := time.Now()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		status, _, body := c.response()
		if took := time.Since(began); status != 504 || !strings.Contains(body, want) || took < atLeast || took > atLeast+5*time.Second {
			t.Errorf("%s: status %d, %s after %v", limits, status, body, took)
		}
	}
	f("reply=50ms", "upstream_timeout", 50*time.Millisecond)
	f("reply=400ms", "upstream_timeout", 400*time.Millisecond)
	f("reply=10s timeout=400ms", "request_deadline", 400*time.Millisecond)
}
