package proxy

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/upstream"
)

// holding is the script of a backend that tells of each request and answers it
// when it is let go.
func holding(arrived chan<- string, release <-chan struct{}) func(*peer) {
	return func(p *peer) {
		for {
			r, ok := p.request()
			if !ok {
				return
			}
			arrived <- r
			<-release
			p.reply("ok")
		}
	}
}

// TestInFlightLimits holds one request up and sends another, which must be
// refused with the code, and let in once the first has ended.
func TestInFlightLimits(t *testing.T) {
	f := func(code string, limit telemetry.Limit, set func(s *site)) {
		t.Helper()
		arrived, release := make(chan string, 1), make(chan struct{})
		b := newBackend(t, holding(arrived, release))
		s := prepareSite(t, "upstream u $1\nroute r /* upstream=u\nroute other /other upstream=u", b.url)
		set(s)
		s.serve()

		first, second := s.dial(), s.dial()
		first.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		<-arrived
		second.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		status, h, body := second.response()
		if status != 503 || !strings.Contains(body, `"code":"`+code+`"`) || string(h.Peek("Retry-After")) != "1" {
			t.Errorf("%s: %d, Retry-After %q, %s", code, status, h.Peek("Retry-After"), body)
		}
		second.send("GET " + endPath + " HTTP/1.1\r\nHost: h\r\n\r\n")
		if status, _, _ := second.response(); status != 299 {
			t.Errorf("%s: the gateway's own answer became %d", code, status)
		}
		release <- struct{}{}
		if status, _, _ := first.response(); status != 200 {
			t.Errorf("%s: the first ended with %d", code, status)
		}
		for i := 0; ; i++ { // the first one's count ends just after its answer
			second.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			select {
			case <-arrived:
				release <- struct{}{}
				if status, _, _ := second.response(); status != 200 {
					t.Errorf("%s: afterwards %d", code, status)
				}
			case <-time.After(patience / 100):
				if second.response(); i < 100 {
					continue
				}
				t.Errorf("%s: still refused", code)
			}
			break
		}
		if want := `velocity_requests_limited_total{limit="` + limit.String() + `"} `; !strings.Contains(s.metrics(), want) || strings.Contains(s.metrics(), want+"0\n") {
			t.Errorf("%s is not counted", want)
		}
		_, _ = first.Close(), second.Close()
		s.settle(2)
		s.checkNothingHeld()
	}
	f("overloaded", telemetry.LimitInFlight, func(s *site) { s.snapshot.MaxInFlight = 1 })
	f("route_in_flight", telemetry.LimitRouteInFlight, func(s *site) {
		s.routes["r"].MaxInFlight, s.routes["r"].InFlight = 1, new(InFlight)
	})
	f("upstream_in_flight", telemetry.LimitUpstreamInFlight, func(s *site) {
		s.upstreams["u"].SetLimits(upstream.Limits{MaxInFlight: 1})
	})
	f("upstream_queue_timeout", telemetry.LimitUpstreamQueue, func(s *site) {
		s.upstreams["u"].SetLimits(upstream.Limits{MaxInFlight: 1, QueueSize: 1, QueueTimeout: time.Millisecond})
	})
}

// checkNothingHeld checks that everything that was entered was left.
func (s *site) checkNothingHeld() {
	s.t.Helper()
	if n := s.proxy.InFlight(); n != 0 {
		s.t.Errorf("%d requests in flight after the end", n)
	}
	for name, r := range s.routes {
		if r.InFlight != nil && r.InFlight.Now() != 0 {
			s.t.Errorf("route %s has %d requests in flight after the end", name, r.InFlight.Now())
		}
	}
	for name, u := range s.upstreams {
		if u.Entered() != 0 || u.Waiting() != 0 {
			s.t.Errorf("upstream %s has %d requests in flight and %d waiting after the end", name, u.Entered(), u.Waiting())
		}
	}
}

// limitAll puts every limit on, with room.
func (s *site) limitAll() {
	s.snapshot.MaxInFlight, s.snapshot.MaxRequests, s.snapshot.MaxAge = 1000, 1<<30, time.Hour
	s.snapshot.BodyRate = Rate{Bytes: 1000, Window: time.Minute}
	s.snapshot.SendRate = s.snapshot.BodyRate
	s.snapshot.ReadTimeout, s.snapshot.WriteTimeout = time.Minute, time.Minute
	for _, r := range s.routes {
		r.MaxInFlight, r.InFlight, r.DeadlineField = 1000, new(InFlight), "X-Request-Timeout"
		r.Timeout, r.FirstByteTimeout = time.Minute, time.Minute
	}
	for _, u := range s.upstreams {
		u.SetLimits(upstream.Limits{MaxInFlight: 1000, QueueSize: 10, QueueTimeout: time.Minute})
	}
}

func TestQueuedRequestIsServed(t *testing.T) {
	arrived, release := make(chan string, 1), make(chan struct{})
	b := newBackend(t, holding(arrived, release))
	s := prepareSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	u := s.upstreams["u"]
	u.SetLimits(upstream.Limits{MaxInFlight: 1, QueueSize: 1})
	s.serve()
	first, second := s.dial(), s.dial()
	first.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
	<-arrived
	second.send("GET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
	s.await("a request that waits", func() bool { return u.Waiting() == 1 })
	for _, c := range []*client{first, second} {
		release <- struct{}{}
		if status, _, _ := c.response(); status != 200 {
			t.Errorf("status %d", status)
		}
		if c == first {
			<-arrived
		}
		_ = c.Close()
	}
	s.settle(2)
	s.checkNothingHeld()
}

// await waits for a condition.
func (s *site) await(what string, done func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !done(); {
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// TestLimitsSurviveFailures ends requests in ways that must all give back what
// was entered.
func TestLimitsSurviveFailures(t *testing.T) {
	f := func(name, request string, script func(*peer)) {
		t.Helper()
		b := newBackend(t, script)
		s := prepareSite(t, "upstream u $1\nroute r /* upstream=u timeout=100ms", b.url)
		s.limitAll()
		s.routes["r"].Timeout = 100 * time.Millisecond
		s.routes["r"].SetPhases([]Phase{{Request: panicking{}}})
		s.serve()
		c := s.dial()
		c.send(request)
		_, _ = io.Copy(io.Discard, c) // until the gateway closes
		_ = c.Close()
		s.settle(1)
		if s.checkNothingHeld(); t.Failed() {
			t.Log(name)
		}
	}
	closing := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" }
	f("panic", closing("/panic"), answering("ok"))
	f("reset", closing("/"), func(p *peer) { p.request(); p.reset() })
	f("silence", closing("/"), func(p *peer) { p.request(); p.request() })
	f("cut short", closing("/"), func(p *peer) { p.request(); p.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx") })
	f("stalled", closing("/"), func(p *peer) {
		p.request()
		p.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx")
		p.request()
	})
	f("HTTP/1.0 stream", "GET / HTTP/1.0\r\n\r\n", func(p *peer) {
		p.request()
		p.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
	})
	f("unfinished body", "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 9000), answering("ok"))
}

type panicking struct{}

func (panicking) Enter(x *Exchange) Verdict {
	if string(x.Path) == "/panic" {
		panic("asked to")
	}
	return Continue
}

func TestShedding(t *testing.T) {
	b := newBackend(t, answering("ok"))
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	s.proxy.Shed(true)
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	status, h, body := c.response()
	if status != 503 || !strings.Contains(body, `"code":"memory_limit"`) || !h.ConnectionClose() {
		t.Errorf("%d, closes %v, %s", status, h.ConnectionClose(), body)
	}
	c = s.dial()
	c.send("GET " + endPath + " HTTP/1.1\r\nHost: h\r\n\r\n")
	if status, h, _ := c.response(); status != 299 || !h.ConnectionClose() {
		t.Errorf("the gateway's own answer: %d, closes %v", status, h.ConnectionClose())
	}
	s.proxy.Shed(false)
	c = s.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if status, h, _ := c.response(); status != 200 || h.ConnectionClose() {
		t.Errorf("afterwards: %d, closes %v", status, h.ConnectionClose())
	}
}

func TestConnectionIsSpent(t *testing.T) {
	f := func(name string, want int, set func(s *Snapshot)) {
		t.Helper()
		s := prepareSite(t, "route r /*\nrespond r 200 text/plain ok")
		set(s.snapshot)
		s.serve()
		c := s.dial()
		for i := 1; i <= 5; i++ {
			c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			_, h, _ := c.response()
			if h.ConnectionClose() != (i == want) {
				t.Errorf("%s: answer %d closes: %v, want %d", name, i, h.ConnectionClose(), want)
			}
			if h.ConnectionClose() {
				break
			}
		}
	}
	f("requests", 3, func(s *Snapshot) { s.MaxRequests = 3 })
	f("one request", 1, func(s *Snapshot) { s.MaxRequests = 1 })
	f("old", 1, func(s *Snapshot) { s.MaxAge = 1 })
	f("young", 0, func(s *Snapshot) { s.MaxAge, s.MaxRequests = time.Hour, 1000 })
}

func TestSpread(t *testing.T) {
	least, most := time.Hour, time.Duration(0)
	for i := range uint64(10000) {
		d := spread(time.Hour, i)
		least, most = min(least, d), max(most, d)
	}
	if least < 54*time.Minute || least > 54*time.Minute+10*time.Second || most > time.Hour || most < time.Hour-10*time.Second {
		t.Errorf("from %v to %v", least, most)
	}
	if d := spread(1<<63-1, 12345); d <= 0 {
		t.Errorf("longest age becomes %v", d)
	}
}

func TestDeadlineField(t *testing.T) {
	f := func(route, sent, want string) {
		t.Helper()
		got := ""
		b := newBackend(t, func(p *peer) {
			r, _ := p.request()
			_, rest, _ := strings.Cut(r, "X-Request-Timeout: ")
			got, _, _ = strings.Cut(rest, "\r\n")
			p.reply("ok")
		})
		s := prepareSite(t, "upstream u $1\nroute r /* upstream=u timeout="+route, b.url)
		s.routes["r"].DeadlineField = "X-Request-Timeout"
		s.serve()
		c := s.dial()
		c.send("GET / HTTP/1.1\r\nHost: h\r\nX-Request-Timeout: " + sent + "\r\n\r\n")
		if status, _, _ := c.response(); status != 200 {
			got = fmt.Sprint(status)
		}
		matched := strings.HasPrefix(got, strings.TrimSuffix(want, "*")) && (strings.HasSuffix(want, "*") || got == want)
		if !matched {
			t.Errorf("route %s, client %q: upstream saw %q, want %q", route, sent, got, want)
		}
	}
	f("1h", "100", "99.9*")
	f("0s", "100", "99.9*")
	f("50s", "100", "49.9*")
	f("0s", "100.5", "100.*")
	f("0s", "100500ms", "100*")
	f("50s", "2h", "49*")
	f("0s", "0", "504")
	f("0s", "0ms", "504")
	// What is no time limit is passed on and limits nothing.
	for _, sent := range []string{"-1", "1e9", "soon", "NaN", "25h", "90000", strings.Repeat("1", 40)} {
		f("0s", sent, sent)
	}
}

func TestDeadlineFieldEnds(t *testing.T) {
	b := newBackend(t, func(p *peer) { p.request(); p.request() })
	s := prepareSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	s.routes["r"].DeadlineField = "X-Request-Timeout"
	s.serve()
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\nX-Request-Timeout: 20ms\r\n\r\n")
	if status, _, body := c.response(); status != 504 || !strings.Contains(body, "request_deadline") {
		t.Errorf("%d %s", status, body)
	}
}
