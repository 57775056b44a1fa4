//go:build !race

package proxy

import "testing"

// TestAllocLimits sends requests, with and without a body, through a site with
// every limit on, and counts the allocations of all that takes part.
func TestAllocLimits(t *testing.T) {
	reply := []byte("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok")
	f := func(name, request string, own float64) {
		t.Helper()
		b := newBackend(t, func(p *peer) {
			buf := make([]byte, 64<<10)
			for {
				if n, err := p.Read(buf); n == 0 || err != nil {
					return
				}
				if _, err := p.Write(reply); err != nil {
					return
				}
			}
		})
		s := prepareSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
		s.limitAll()
		s.snapshot.Sinks = nil
		s.serve()
		c := s.dial()
		buf, message := make([]byte, 4096), []byte(request)
		round := func() {
			if _, err := c.Write(message); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Read(buf); err != nil || string(buf[n-2:n]) != "ok" {
				t.Fatalf("%s: %q, %v", name, buf[:n], err)
			}
		}
		for range 100 {
			round()
		}
		if n := testing.AllocsPerRun(500, round); n > own {
			t.Errorf("%s: %v allocations", name, n)
		}
		_ = c.Close()
		s.settle(1)
		s.checkNothingHeld()
	}
	f("GET", "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", 0)
	f("GET with a deadline", "GET /a HTTP/1.1\r\nHost: h\r\nX-Request-Timeout: 1.5\r\n\r\n", 0)
	f("POST", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", 1) // fasthttp's own, for any body
}
