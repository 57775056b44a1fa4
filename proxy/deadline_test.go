package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/telemetry"
)

func TestPace(t *testing.T) {
	r := Rate{Bytes: 1000, Window: 10 * time.Second}
	var p pace
	f := func(n int64, waited, left time.Duration) {
		t.Helper()
		p.add(r, n, waited)
		if got := p.left(r); got != left {
			t.Errorf("after %d bytes in %v: %v left, want %v", n, waited, got, left)
		}
	}
	f(0, 0, 10*time.Second)
	f(999, 4*time.Second, 6*time.Second)
	f(1, 5*time.Second, 10*time.Second) // the window's bytes came: a new one
	f(5000, time.Second, 10*time.Second)
	f(1, 10*time.Second, 1)
	f(1, time.Second, 1)
}

func TestRateForBytes(t *testing.T) {
	r := Rate{Bytes: 1000, Window: 10 * time.Second}
	f := func(n int, want time.Duration) {
		t.Helper()
		if got := r.forBytes(n); got != want {
			t.Errorf("%d bytes: %v, want %v", n, got, want)
		}
	}
	f(0, 10*time.Second)
	f(1000, 10*time.Second)
	f(32<<10, 327680*time.Millisecond)
}

func TestParseTimeout(t *testing.T) {
	f := func(text string, want time.Duration, inSeconds, ok bool) {
		t.Helper()
		d, s, is := parseTimeout([]byte(text))
		if is != ok || ok && (d != want || s != inSeconds) {
			t.Errorf("%q: %v, %v, %v", text, d, s, is)
		}
	}
	f("2", 2*time.Second, true, true)
	f("0.25", 250*time.Millisecond, true, true)
	f("0", 0, true, true)
	f("86400", 24*time.Hour, true, true)
	f("1m30s", 90*time.Second, false, true)
	f("24h", 24*time.Hour, false, true)
	f("0s", 0, false, true)
	for _, bad := range []string{"", "-1", "86400.5", "Inf", "1e99", "1e3", ".", "1.2.3", "NaN", "0x1p3", "25h", "-1s", "5 s", "s", strings.Repeat("0", 33)} {
		f(bad, 0, false, false)
	}
}

// slowSite has a server with short time limits.
func slowSite(t *testing.T, text string, set func(s *site), targets ...string) *site {
	t.Helper()
	s := prepareSite(t, text, targets...)
	s.snapshot.ReadTimeout, s.snapshot.WriteTimeout = time.Minute, time.Minute
	set(s)
	ln := listen(t)
	s.address = ln.Addr().String()
	server := s.newServer()
	server.ReadTimeout = 50 * time.Millisecond
	server.HeaderReceived = s.proxy.HeaderReceived
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln) // ends with the listener
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return s
}

// answers reads all that the gateway says until it closes.
func (c *client) answers() string {
	c.t.Helper()
	b, err := io.ReadAll(c.br)
	if err != nil && !isReset(err) {
		c.t.Fatal(err)
	}
	return string(b)
}

func TestHeaderTimeout(t *testing.T) {
	f := func(sent string) {
		t.Helper()
		s := slowSite(t, "route r /*\nrespond r 200 text/plain ok", func(*site) {})
		c := s.dial()
		c.send(sent)
		got := c.answers()
		if !strings.HasPrefix(got, "HTTP/1.1 408 ") || !strings.Contains(got, `"code":"header_timeout"`) {
			t.Errorf("after %q: %q", sent, got)
		}
		s.wantLimited(telemetry.LimitHeaderTime, 1)
	}
	f("")
	f("G")
	f("GET / HTTP/1.1\r\nHost: h\r\n")
	f("GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r")
}

func (s *site) wantLimited(l telemetry.Limit, n int) {
	s.t.Helper()
	want := `velocity_requests_limited_total{limit="` + l.String() + `"} `
	s.await(want, func() bool { return strings.Contains(s.metrics(), want+string(rune('0'+n))+"\n") })
}

// TestHeaderTimeoutEndsWithHeader sends a body that comes after the header's
// time is up, in the part that the server reads itself and in the rest.
func TestHeaderTimeoutEndsWithHeader(t *testing.T) {
	for _, size := range []string{"10", "100000"} {
		b := newBackend(t, answering("ok"))
		s := slowSite(t, "upstream u $1\nroute r /* upstream=u", func(*site) {}, b.url)
		c := s.dial()
		c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + size + "\r\n\r\n")
		<-time.After(100 * time.Millisecond)
		c.send(expand("<" + size + "*a>\\"))
		if status, _, body := c.response(); status != 200 {
			t.Errorf("%d %s", status, body)
		}
	}
}

func TestBodyTooSlow(t *testing.T) {
	f := func(code string, l telemetry.Limit, set func(s *Snapshot)) {
		t.Helper()
		b := newBackend(t, answering("ok"))
		s := slowSite(t, "upstream u $1\nroute r /* upstream=u", func(s *site) { set(s.snapshot) }, b.url)
		c := s.dial()
		c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 9000))
		stop := make(chan struct{})
		go trickle(c.TCPConn, stop)
		got := c.answers()
		close(stop)
		if !strings.HasPrefix(got, "HTTP/1.1 408 ") || !strings.Contains(got, `"code":"`+code+`"`) {
			t.Errorf("%s: %q", code, got)
		}
		if l != telemetry.NoLimit {
			s.wantLimited(l, 1)
		}
		_ = c.Close()
		s.settle(1)
	}
	f("body_too_slow", telemetry.LimitBodyRate, func(s *Snapshot) { s.BodyRate = Rate{Bytes: 1000, Window: 100 * time.Millisecond} })
	f("request_timeout", telemetry.NoLimit, func(s *Snapshot) { s.ReadTimeout = time.Millisecond })
}

// trickle sends a byte now and then.
func trickle(c net.Conn, stop <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
		}
	}
}

func TestUpstreamTimeLimits(t *testing.T) {
	f := func(code string, set func(r *Route), reply string) {
		t.Helper()
		b := newBackend(t, func(p *peer) {
			p.request()
			p.write(reply)
			p.request()
		})
		s := prepareSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
		set(s.routes["r"])
		s.serve()
		c := s.dial()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if status, _, body := c.response(); status != 504 || !strings.Contains(body, code) {
			t.Errorf("%d %s, want %s", status, body, code)
		}
	}
	const long, short = time.Minute, 10 * time.Millisecond
	f("upstream_timeout", func(r *Route) { r.ReplyTimeout = short }, "")
	f("upstream_timeout", func(r *Route) { r.FirstByteTimeout, r.ReplyTimeout = short, long }, "")
	f("request_deadline", func(r *Route) { r.FirstByteTimeout, r.Timeout = long, short }, "")
}

// TestReplyStalls has a time limit on the body that the header's does not
// lengthen.
func TestReplyStalls(t *testing.T) {
	b := newBackend(t, func(p *peer) {
		p.request()
		p.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx")
		p.request()
	})
	s := prepareSite(t, "upstream u $1\nroute r /* upstream=u reply=10ms", b.url)
	s.routes["r"].FirstByteTimeout = time.Minute
	s.serve()
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	c.answers()
	_ = c.Close()
	s.settle(1)
	events := s.taken()
	if e := events[len(events)-1]; e.Reason != "upstream_stalled" {
		t.Errorf("reason %q", e.Reason)
	}
}

// TestClientTooSlow streams to a client that does not read, through user space
// and by the kernel.
func TestClientTooSlow(t *testing.T) {
	f := func(name, header string, set func(s *Snapshot)) {
		t.Helper()
		b := newBackend(t, func(p *peer) {
			p.request()
			p.write("HTTP/1.1 200 OK\r\n" + header + "\r\n\r\n")
			part := strings.Repeat("x", 1<<16)
			for range 1000 {
				if strings.HasPrefix(header, "T") {
					p.write("10000\r\n")
				}
				if _, err := io.WriteString(p, part+strings.Repeat("\r\n", strings.Count(header, "T"))); err != nil {
					return
				}
			}
		})
		s := slowSite(t, "upstream u $1\nroute r /* upstream=u", func(s *site) { set(s.snapshot) }, b.url)
		c := s.dial()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		s.settle(1)
		events := s.taken()
		if e := events[len(events)-1]; e.Reason != "client_too_slow" || e.Source != telemetry.SourceClient {
			t.Errorf("%s: reason %q of %v", name, e.Reason, e.Source)
		}
		s.wantLimited(telemetry.LimitSendRate, 1)
	}
	const fixed, chunked = "Content-Length: 65536000", "Transfer-Encoding: chunked"
	idle := func(s *Snapshot) { s.WriteTimeout = 50 * time.Millisecond }
	rate := func(s *Snapshot) { s.SendRate = Rate{Bytes: 1 << 20, Window: 50 * time.Millisecond} }
	onlyRate := func(s *Snapshot) { rate(s); s.WriteTimeout = 0 }
	f("nothing taken, kernel", fixed, idle)
	f("nothing taken", chunked, idle)
	f("rate, kernel", fixed, onlyRate)
	f("rate", chunked, rate)
}
