package proxy

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ask sends one request over a connection of its own and waits until the
// gateway is done with it.
func (s *site) ask(method, path, body string) (status int, answer string) {
	s.t.Helper()
	c := s.dial()
	head := method + " " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
	if body != "" {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	c.send(head + "\r\n" + body)
	status, _, answer = c.response()
	s.settle(1)
	return status, answer
}

// last returns the event that was recorded last.
func (s *site) last() event {
	s.t.Helper()
	events := s.taken()
	if len(events) == 0 {
		s.t.Fatal("nothing was recorded")
	}
	return events[len(events)-1]
}

// TestRetry has the first of two endpoints refuse connections.
func TestRetry(t *testing.T) {
	good := newBackend(t, answering("good"))
	f := func(policy, method, body string, wantStatus, wantAttempts int, wantReason string) {
		t.Helper()
		// The weights make the refusing endpoint the first choice.
		s := newSite(t, "upstream u $1 $2 weights=65535,1\nroute r /* upstream=u "+policy, refusing(t), good.url)
		status, answer := s.ask(method, "/", body)
		e := s.last()
		if status != wantStatus || e.Attempts != wantAttempts || e.Reason != wantReason || e.Endpoint == "" {
			t.Errorf("%s with %q: got %d %q after %d attempts, reason %q; want %d after %d, %q",
				method, policy, status, answer, e.Attempts, e.Reason, wantStatus, wantAttempts, wantReason)
		}
	}
	const refused = "upstream_connect_failed"
	f("retries=2 floor=3", "GET", "", 200, 2, "")
	f("retries=2 floor=3", "PUT", "x", 200, 2, "")
	f("retries=2 floor=3", "DELETE", "", 200, 2, "")
	f("retries=2 floor=3", "POST", "x", 200, 2, "") // nothing was sent, so nothing is repeated
	f("retries=2 floor=3", "PATCH", "x", 200, 2, "")
	f("retries=2 floor=3", "get", "", 200, 2, "")
	f("retries=0 floor=3", "GET", "", 502, 1, refused)
	f("retries=2 floor=0", "GET", "", 502, 1, refused) // nothing in flight to have a share of
	f("retries=2 percent=100", "GET", "", 502, 1, refused)
}

// TestRetryTried wants every endpoint asked once, however many attempts there
// may be.
func TestRetryTried(t *testing.T) {
	s := newSite(t, "upstream u $1 $2 $3\nroute r /* upstream=u retries=10 floor=1", refusing(t), refusing(t), refusing(t))
	if status, _ := s.ask("GET", "/", ""); status != 502 || s.last().Attempts != 3 {
		t.Errorf("got %d after %d attempts, want 502 after 3", status, s.last().Attempts)
	}
	for _, e := range s.upstreams["u"].State().Endpoints {
		e.Live.Retire()
	}
	if status, answer := s.ask("GET", "/", ""); status != 503 || s.last().Reason != "no_healthy_endpoint" || s.last().Attempts != 0 {
		t.Errorf("without endpoints: got %d %s, %+v", status, answer, s.last())
	}
}

// TestRetryBudget has other retries use up the budget.
func TestRetryBudget(t *testing.T) {
	good := newBackend(t, answering("good"))
	s := newSite(t, "upstream u $1 $2 weights=65535,1\nroute r /* upstream=u retries=1 floor=1", refusing(t), good.url)
	u := s.upstreams["u"]
	if !u.BeginRetry(0, 1) {
		t.Fatal("no budget to begin with")
	}
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	if status, _, _ := c.response(); status != 502 {
		t.Errorf("beyond the budget: got %d", status)
	}
	u.EndRetry()
	s.settle(1)
	if status, _ := s.ask("GET", "/", ""); status != 200 {
		t.Errorf("with the budget back: got %d", status)
	}
}

// TestNoRetryAfterReply: what an endpoint has begun to answer is not asked for
// again, nor what it closed a fresh connection on.
func TestNoRetryAfterReply(t *testing.T) {
	f := func(name, reply string, end func(*peer), wantStatus int, wantReason string) {
		t.Helper()
		b := newBackend(t, func(p *peer) {
			if _, ok := p.request(); ok {
				p.write(reply)
				end(p)
			}
		})
		s := newSite(t, "upstream u $1 $2\nroute r /* upstream=u retries=3 floor=3", b.url, b.url)
		status, answer := s.ask("GET", "/", "")
		if e := s.last(); status != wantStatus || e.Attempts != 1 || e.Reason != wantReason {
			t.Errorf("%s: got %d %s after %d attempts, reason %q", name, status, answer, e.Attempts, e.Reason)
		}
	}
	closes := func(*peer) {}
	f("closed at once", "", closes, 502, "upstream_reset")
	f("reset at once", "", (*peer).reset, 502, "upstream_reset")
	f("5xx", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", closes, 503, "")
	f("header cut short", "HTTP/1.1 200 OK\r\nContent-", closes, 502, "upstream_bad_reply")
	f("body cut short", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", closes, 502, "upstream_truncated")
}

// TestStale has the endpoint close a kept connection between requests, seen
// and unseen by the gateway.
func TestStale(t *testing.T) {
	// Closed while idle: the gateway may see that before it writes, or meet
	// it afterwards when it is quick. Both must go well for every method but
	// that which cannot be repeated, when the connection looked alive.
	for _, method := range []string{"GET", "POST"} {
		closed := make(chan struct{})
		b := newBackend(t, func(p *peer) {
			if p.number > 1 {
				answering("second")(p)
				return
			}
			if _, ok := p.request(); ok {
				p.reply("first")
				_ = p.Close()
				close(closed)
			}
		})
		s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
		if status, answer := s.ask("GET", "/", ""); status != 200 || answer != "first" {
			t.Fatalf("got %d %s", status, answer)
		}
		<-closed
		waitUntil(t, "the connection was idle for long enough to be looked at", func() bool {
			return time.Since(s.last().Start) > 10*time.Millisecond
		})
		status, answer := s.ask(method, "/", "")
		if status != 200 || answer != "second" || s.last().Attempts != 1 {
			t.Errorf("%s after an idle close: got %d %s after %d attempts", method, status, answer, s.last().Attempts)
		}
	}
}

// TestStaleUnseen has the endpoint close after the request is on its way, as
// if its close had crossed it.
func TestStaleUnseen(t *testing.T) {
	f := func(method, body string, end func(*peer), wantStatus, wantAttempts, wantRequests int) {
		t.Helper()
		requests := make(chan struct{}, 16)
		b := newBackend(t, func(p *peer) {
			for n := 0; ; n++ {
				if _, ok := p.request(); !ok {
					return
				}
				requests <- struct{}{}
				if p.number == 1 && n == 1 {
					end(p)
					return
				}
				p.reply("ok")
			}
		})
		s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
		s.ask("GET", "/", "")
		status, answer := s.ask(method, "/", body)
		if e := s.last(); status != wantStatus || e.Attempts != wantAttempts || len(requests) != wantRequests {
			t.Errorf("%s: got %d %s after %d attempts and %d requests, want %d after %d and %d",
				method, status, answer, e.Attempts, len(requests), wantStatus, wantAttempts, wantRequests)
		}
	}
	closes := func(*peer) {}
	f("GET", "", closes, 200, 2, 3)
	f("GET", "", (*peer).reset, 200, 2, 3)
	f("PUT", "x", closes, 200, 2, 3)
	f("PUT", strings.Repeat("x", 20<<10), closes, 200, 2, 3)
	f("POST", "x", closes, 502, 1, 2)
	// Part of a reply is a reply: the endpoint was alive.
	part := func(p *peer) { p.write("HTTP/1.1 20"); p.reset() }
	f("GET", "", part, 502, 1, 2)
	interim := func(p *peer) { p.write("HTTP/1.1 103 Early Hints\r\n\r\n") }
	f("GET", "", interim, 502, 1, 2)
}

// TestStaleOften gives up replacing connections after some.
func TestStaleOften(t *testing.T) {
	b := newBackend(t, func(p *peer) {
		if _, ok := p.request(); ok {
			p.reply("ok")
			p.request() // and closes
		}
	})
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	// Several connections are opened at once and kept.
	var clients []*client
	for range 5 {
		clients = append(clients, s.dial())
	}
	hold := make(chan struct{})
	s.routes["r"].SetPhases([]Phase{{Name: "hold", Request: enter(func(*Exchange) Verdict { <-hold; return Continue })}})
	for _, c := range clients {
		c.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	}
	close(hold)
	for _, c := range clients {
		c.response()
	}
	s.settle(len(clients))
	status, _ := s.ask("GET", "/", "")
	if e := s.last(); status == 200 && e.Attempts > 1+maxStale || status != 200 && e.Attempts != 1+maxStale {
		t.Errorf("got %d after %d attempts", status, e.Attempts)
	}
}

type enter func(*Exchange) Verdict

func (f enter) Enter(x *Exchange) Verdict { return f(x) }

type leaveFunc func(*Exchange)

func (f leaveFunc) Leave(x *Exchange) { f(x) }

// TestTimeouts: who is late, and where.
func TestTimeouts(t *testing.T) {
	silence := func(p *peer) { p.request(); p.request() }
	f := func(name, route string, script func(*peer), wantStatus int, wantReason string) {
		t.Helper()
		b := newBackend(t, script)
		s := newSite(t, "upstream u $1\nroute r /* upstream=u retries=3 floor=3 "+route, b.url)
		status, answer := s.ask("GET", "/", "")
		if e := s.last(); status != wantStatus || e.Reason != wantReason || e.Attempts != 1 {
			t.Errorf("%s: got %d %s after %d attempts, reason %q", name, status, answer, e.Attempts, e.Reason)
		}
	}
	f("no reply", "reply=30ms", silence, 504, "upstream_timeout")
	f("no reply in all the time", "timeout=30ms", silence, 504, "request_deadline")
	f("no reply in all the time, which is shorter", "reply=10s timeout=30ms", silence, 504, "request_deadline")
	f("part of a header", "reply=30ms", func(p *peer) { p.request(); p.write("HTTP/1.1 200"); p.request() }, 504, "upstream_timeout")
	body := func(p *peer) { p.request(); p.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"); p.request() }
	f("part of a small body", "reply=30ms", body, 504, "upstream_stalled")
	f("part of a small body in all the time", "timeout=30ms", body, 504, "request_deadline")
}

// TestTimeoutInStream ends a body that is under way when its endpoint makes no
// progress. The client must see that it is not whole.
func TestTimeoutInStream(t *testing.T) {
	f := func(name, route, head, sent, want, wantReason string) {
		t.Helper()
		b := newBackend(t, func(p *peer) {
			p.request()
			p.write("HTTP/1.1 200 OK\r\n" + head + "\r\n\r\n" + sent)
			p.request()
		})
		s := newSite(t, "upstream u $1\nroute r /* upstream=u "+route, b.url)
		c := s.dial()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		b2, err := io.ReadAll(c.br)
		if _, got, _ := strings.Cut(string(b2), "\r\n\r\n"); err != nil || got != want {
			t.Errorf("%s: the client got %d bytes, %v; want %d", name, len(got), err, len(want))
		}
		s.settle(1)
		if e := s.last(); e.Reason != wantReason {
			t.Errorf("%s: reason %q, want %q", name, e.Reason, wantReason)
		}
	}
	large := strings.Repeat("x", 70<<10)
	huge := strings.Repeat("x", 600<<10)
	f("chunked", "reply=50ms", "Transfer-Encoding: chunked", "1\r\nx\r\n", "1\r\nx\r\n", "upstream_stalled")
	f("large", "reply=50ms", "Content-Length: 100000", large, large, "upstream_stalled")
	f("large, in all the time", "timeout=100ms", "Content-Length: 100000", large, large, "request_deadline")
	f("spliced", "reply=50ms", "Content-Length: 1000000", huge, huge, "upstream_stalled")
	f("spliced, in all the time", "timeout=100ms", "Content-Length: 1000000", huge, huge, "request_deadline")
}

// TestProgress: time limits are for each wait, not for a body as a whole.
func TestProgress(t *testing.T) {
	f := func(head string, parts int, part string) {
		t.Helper()
		b := newBackend(t, func(p *peer) {
			p.request()
			pause := time.NewTicker(100 * time.Millisecond)
			defer pause.Stop()
			<-pause.C
			p.write("HTTP/1.1 200 OK\r\n" + head + "\r\n\r\n")
			for range parts {
				<-pause.C
				p.write(part)
			}
		})
		s := newSite(t, "upstream u $1\nroute r /* upstream=u reply=150ms", b.url)
		if status, answer := s.ask("GET", "/", ""); status != 200 {
			t.Errorf("%s: got %d %s", head, status, answer)
		}
	}
	f("Content-Length: 1", 1, "x")
	f("Content-Length: 80000", 4, strings.Repeat("x", 20000))
	f("Connection: close", 4, "x")
}

// TestExhausted has all connections of the pool in use.
func TestExhausted(t *testing.T) {
	for _, wait := range []string{"", "wait=20ms"} {
		arrived, release := make(chan struct{}), make(chan struct{})
		b := newBackend(t, func(p *peer) {
			p.request()
			close(arrived)
			<-release
			p.reply("ok")
		})
		s := newSite(t, "upstream u $1 max=1 "+wait+"\nroute r /* upstream=u retries=2 floor=2", b.url)
		first := s.dial()
		first.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		<-arrived
		second := s.dial()
		second.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		status, h, _ := second.response()
		if e := s.last(); status != 503 || e.Reason != "upstream_exhausted" || string(h.Peek("Retry-After")) != "1" {
			t.Errorf("%q: got %d, reason %q", wait, status, e.Reason)
		}
		close(release)
		if status, _, _ := first.response(); status != 200 {
			t.Errorf("%q: the first got %d", wait, status)
		}
		s.settle(2)
	}
}

// TestConnectTimeout dials an address that never answers.
func TestConnectTimeout(t *testing.T) {
	ln := newFullListener(t)
	s := newSite(t, "upstream u $1 connect=30ms\nroute r /* upstream=u", "http://"+ln)
	if status, _ := s.ask("GET", "/", ""); status != 504 || s.last().Reason != "upstream_connect_timeout" {
		t.Errorf("got %d, reason %q", status, s.last().Reason)
	}
	s = newSite(t, "upstream u $1 connect=10s\nroute r /* upstream=u timeout=30ms", "http://"+ln)
	if status, _ := s.ask("GET", "/", ""); status != 504 {
		t.Errorf("within the route's time: got %d, reason %q", status, s.last().Reason)
	}
}

// TestDraining: a draining endpoint takes no requests, and its connections are
// not kept when their requests end.
func TestDraining(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	b := newBackend(t, func(p *peer) {
		p.request()
		close(arrived)
		<-release
		p.reply("ok")
		p.request()
	})
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	e := s.upstreams["u"].State().Endpoints[0]
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	<-arrived
	e.Live.Retire()
	if status, _ := s.during("GET", "/"); status != 503 {
		t.Errorf("a draining endpoint was picked: %d", status)
	}
	close(release)
	if status, _, _ := c.response(); status != 200 {
		t.Errorf("a request under way got %d", status)
	}
	s.settle(2)
	if open, _ := e.Connections(); open != 0 {
		t.Errorf("%d connections are kept", open)
	}
}

// during asks like ask, while other requests are under way.
func (s *site) during(method, path string) (status int, answer string) {
	s.t.Helper()
	c := s.dial()
	c.send(method + " " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	status, _, answer = c.response()
	return status, answer
}

// newFullListener returns an address whose backlog is full, so that connecting
// to it takes forever.
func newFullListener(t testing.TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in4, ok := name.(*unix.SockaddrInet4)
	if !ok {
		t.Fatalf("the socket is %T", name)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(in4.Port))
	for range 4 { // until one is not taken
		c, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the backlog never fills")
	return ""
}

// waitUntil polls a condition that only time brings about.
func waitUntil(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
