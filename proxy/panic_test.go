package proxy

import (
	"strings"
	"testing"

	"github.com/salgue441/velocity/internal/telemetry"
)

// sinkFunc is a telemetry.Sink.
type sinkFunc func(*telemetry.Event)

func (f sinkFunc) Record(e *telemetry.Event) { f(e) }

// TestPanic has every part of the line panic that runs code of others. The
// request ends with 500, is counted and recorded, and nothing stays in flight.
func TestPanic(t *testing.T) {
	b := newBackend(t, func(p *peer) {
		for {
			request, ok := p.request()
			if !ok {
				return
			}
			switch {
			case strings.Contains(request, "/chunked "):
				p.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
			case strings.Contains(request, "/large "):
				p.write("HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + strings.Repeat("x", 900000))
			default:
				p.reply("small")
			}
		}
	})
	f := func(name string, prepare func(*site)) {
		t.Helper()
		for _, path := range []string{"/small", "/chunked", "/large", "/none"} {
			s := prepareSite(t, "upstream u $1\nroute r /{x} upstream=u methods=GET\nroute none /none\nrespond none 200 text/plain x", b.url)
			prepare(s)
			s.serve()
			c := s.dial()
			c.send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
			status, h, body := c.response()
			s.settle(1)
			if path == "/none" && s.routes["none"].Phases() == nil && status == 200 {
				continue // the route is not the one that panics
			}
			id := string(h.Peek("X-Request-Id"))
			if status != 500 || !strings.Contains(body, "internal_error") || !strings.Contains(body, id) || len(id) != 32 || !h.ConnectionClose() {
				t.Errorf("%s at %s: got %d %s, ID %q", name, path, status, body, id)
			}
			if len(s.panics) != 1 || s.panics[0] != "boom in "+id {
				t.Errorf("%s at %s: told of %q", name, path, s.panics)
			}
			if !strings.Contains(s.metrics(), "velocity_panics_total 1\n") {
				t.Errorf("%s at %s: not counted", name, path)
			}
			if e := s.taken(); len(e) != 1 || e[0].Status != 500 || e[0].Reason != "internal_error" || e[0].requestID != id {
				t.Errorf("%s at %s: recorded %+v", name, path, e)
			}
			if open, idle := s.upstreams["u"].State().Endpoints[0].Connections(); open != idle {
				t.Errorf("%s at %s: %d connections, %d of them idle", name, path, open, idle)
			}
		}
	}
	boom := func(*Exchange) { panic("boom") }
	phases := func(phases ...Phase) func(*site) {
		return func(s *site) {
			s.routes["r"].SetPhases(phases)
			s.routes["none"].SetPhases(phases)
		}
	}
	f("request phase", phases(Phase{Name: "p", Request: enter(func(*Exchange) Verdict { panic("boom") })}))
	f("response phase", phases(Phase{Name: "p", Response: leaveFunc(boom)}))
	f("response phase with others", phases(
		Phase{Name: "before", Response: leaveFunc(func(*Exchange) {})},
		Phase{Name: "p", Response: leaveFunc(boom)},
	))
	f("local answers", func(s *site) { s.snapshot.Local = func(*Exchange) bool { panic("boom") } })
}

// TestPanicOfSink: a sink that panics is not asked again for the same request,
// and the next is served.
func TestPanicOfSink(t *testing.T) {
	b := newBackend(t, answering("ok"))
	s := prepareSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	calls := 0
	s.snapshot.Sinks = append(s.snapshot.Sinks, sinkFunc(func(*telemetry.Event) {
		if calls++; calls == 1 {
			panic("boom")
		}
	}))
	s.serve()
	if status, _ := s.ask("GET", "/", ""); status != 500 {
		t.Errorf("got %d", status)
	}
	if status, _ := s.ask("GET", "/", ""); status != 200 || calls != 2 {
		t.Errorf("the next got %d after %d calls", status, calls)
	}
}

// TestNotReady asks a server that has no snapshot yet, and one that drains.
func TestNotReady(t *testing.T) {
	s := prepareSite(t, "route r /\nrespond r 200 text/plain ok")
	snapshot := s.proxy.Swap(nil)
	s.serve()
	if status, answer := s.ask("GET", "/", ""); status != 503 || !strings.Contains(answer, "not_ready") {
		t.Errorf("got %d %s", status, answer)
	}
	s.proxy.Swap(snapshot)
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if status, h, _ := c.response(); status != 200 || h.ConnectionClose() {
		t.Errorf("got %d, closed %v", status, h.ConnectionClose())
	}
	s.proxy.Drain()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if status, h, _ := c.response(); status != 200 || !h.ConnectionClose() {
		t.Errorf("while draining: got %d, closed %v", status, h.ConnectionClose())
	}
	s.settle(1)
}
