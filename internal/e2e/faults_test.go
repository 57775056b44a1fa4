package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// baseLine is what a gateway at rest holds, after it has served once.
type baseLine struct {
	g                 *testkit.Process
	upstream          *wire
	files, goroutines int
}

// rest warms a gateway up and takes its base line.
func rest(t *testing.T, g *testkit.Process, up *wire) *baseLine {
	t.Helper()
	if r := testkit.Get(t, g.Addr, "/"); r.Status != 200 {
		t.Fatalf("the first request got %d", r.Status)
	}
	l := &baseLine{g: g, upstream: up}
	testkit.Eventually(t, testkit.Patience, "the first connection to end", func() bool {
		m := testkit.Scrape(t, g.Admin)
		l.files, l.goroutines = testkit.FDs(t, g.PID()), int(m.Value(t, "go_goroutines"))
		return m.Value(t, "velocity_connections_open") == 0
	})
	return l
}

// regained waits until nothing is under way, and everything that was taken is given back. One
// connection to the upstream may stay for the next request.
func (l *baseLine) regained(t *testing.T) {
	t.Helper()
	// The server keeps a goroutine for ten seconds in case another connection comes.
	const within = 3 * testkit.Patience
	labels := fmt.Sprintf(`{upstream="up",endpoint="http://%s"}`, l.upstream.addr)
	var now string
	began, look := time.Now(), time.NewTicker(20*time.Millisecond)
	defer look.Stop()
	for ; ; <-look.C {
		m := testkit.Scrape(t, l.g.Admin)
		requests := m.Value(t, `velocity_requests_in_flight{route="all"}`)
		attempts := m.Value(t, "velocity_upstream_requests_in_flight"+labels)
		idle := m.Value(t, "velocity_upstream_connections_open"+labels)
		clients := m.Value(t, "velocity_connections_open")
		files, goroutines := testkit.FDs(t, l.g.PID()), int(m.Value(t, "go_goroutines"))
		now = fmt.Sprintf("%v requests, %v attempts, %v upstream and %v client connections, %d files (%d before), %d goroutines (%d before)",
			requests, attempts, idle, clients, files, l.files, goroutines, l.goroutines)
		if requests == 0 && attempts == 0 && idle <= 1 && clients == 0 && files <= l.files && goroutines <= l.goroutines {
			break
		}
		if time.Since(began) > within {
			t.Fatalf("the base line is not regained after %v: %s", within, now)
		}
	}
	t.Logf("%.1fs later: %s", time.Since(began).Seconds(), now)
	if panics := testkit.Scrape(t, l.g.Admin).Value(t, "velocity_panics_total"); panics != 0 {
		t.Errorf("%v panics", panics)
	}
	if r := testkit.Get(t, l.g.Addr, "/"); r.Status != 200 {
		t.Errorf("afterwards a request gets %d", r.Status)
	}
}

// leave ends a connection: with a reset, or cleanly.
func leave(c net.Conn, reset bool) error {
	if reset {
		if err := c.(*net.TCPConn).SetLinger(0); err != nil {
			return err
		}
	}
	return c.Close()
}

// serveAll is an upstream's connection that answers every request once it has all of it, with
// its path, and counts them.
func serveAll(whole *atomic.Int64) func(*net.TCPConn, *bufio.Reader) {
	return func(c *net.TCPConn, r *bufio.Reader) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, request.Body); err != nil {
				return
			}
			if whole.Add(1); request.URL.Path == "/hang" {
				_, _ = r.ReadByte() // returns when the gateway gives up
				return
			}
			if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(request.URL.Path), request.URL.Path); err != nil {
				return
			}
		}
	}
}

// TestClientLeaves ends a client's connection, or its side of it, behind every byte of a request but
// the last, and while it waits for the answer. No upstream ever takes a part for the whole.
func TestClientLeaves(t *testing.T) {
	var whole atomic.Int64
	up := newWire(t, serveAll(&whole))
	g := up.front(t, "")
	l := rest(t, g, up)
	body := strings.Repeat("0123456789", 12)
	large := strings.Repeat("0123456789", 15_000) // streams
	for _, f := range []struct {
		name, request string
		step          int // between the places beyond the header
	}{
		{"GET", "GET /a HTTP/1.1\r\nHost: gateway\r\nAccept: */*\r\n\r\n", 1},
		{"Content-Length", fmt.Sprintf("POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n%s", len(body), body), 1},
		{"chunked", fmt.Sprintf("POST /a HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", len(body), body), 1},
		{"large Content-Length", fmt.Sprintf("POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n%s", len(large), large), 1999},
		{"large chunked", fmt.Sprintf("POST /a HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n", strings.Repeat("a\r\n0123456789\r\n", 10_000)), 1999},
	} {
		before, places := whole.Load(), 0
		cut := func(n int) {
			places++
			for _, how := range []string{"reset", "close", "half"} {
				c := testkit.Dial(t, g.Addr)
				c.Send(t, f.request[:n])
				if how == "half" {
					_ = c.Conn.(*net.TCPConn).CloseWrite() // fails when the gateway has refused already
					if got, err := io.ReadAll(c.Conn); err != nil || strings.HasPrefix(string(got), "HTTP/1.1 2") {
						t.Errorf("%s: ended after %d bytes, the client got %q, %v", f.name, n, got, err)
					}
				}
				if err := leave(c.Conn, how == "reset"); err != nil {
					t.Fatal(err)
				}
			}
		}
		head := strings.Index(f.request, "\r\n\r\n") + 4
		for n := 0; n < len(f.request); n++ {
			if n > head {
				n = min(n+f.step-1, len(f.request)-1)
			}
			cut(n)
		}
		l.regained(t)
		t.Logf("%s: left at %d places of %d bytes", f.name, places, len(f.request))
		if n := whole.Load() - before - 1; n != 0 { // one asks whether all is well
			t.Errorf("%s: %d requests were taken for whole", f.name, n)
		}
	}

	// While the upstream works, the client's end is the upstream's.
	for i := range 100 {
		c, before := testkit.Dial(t, g.Addr), whole.Load()
		c.Send(t, request("/hang"))
		testkit.Eventually(t, testkit.Patience, "the upstream to have the request", func() bool { return whole.Load() > before })
		if err := leave(c.Conn, i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	l.regained(t)
}

// TestUpstreamLeaves ends an upstream's connection behind every byte of a reply. The client gets
// a 502 or a broken message, and never one that looks complete.
func TestUpstreamLeaves(t *testing.T) {
	body := strings.Repeat("0123456789", 12)
	large := strings.Repeat("0123456789", 7_000)   // streams
	larger := strings.Repeat("0123456789", 60_000) // is moved by the kernel
	replies := []struct {
		name, reply string
		step        int // between the places beyond the header
	}{
		{"Content-Length", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body), 1},
		{"chunked", fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", len(body), body), 1},
		{"until close", "HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n" + body, 1},
		{"interim", fmt.Sprintf("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body), 1},
		{"large Content-Length", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(large), large), 997},
		{"larger Content-Length", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(larger), larger), 9973},
		{"large chunked", fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n", strings.Repeat("a\r\n0123456789\r\n", 10_000)), 1999},
		{"large until close", "HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n" + large, 997},
	}
	up := newWire(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			var which, n int
			var how string
			if _, err := fmt.Sscanf(request.URL.Path, "/%d/%d/%s", &which, &n, &how); err != nil {
				if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
					return
				}
				continue
			}
			_, _ = io.WriteString(c, replies[which].reply[:n]) // the gateway may have given up
			_ = leave(c, how == "reset")
			return
		}
	})
	g := up.front(t, "")
	l := rest(t, g, up)
	for which, f := range replies {
		places, refused, broken := 0, 0, 0
		head := strings.Index(f.reply, "\r\n\r\n") + 4
		cut := func(n int) {
			places++
			for _, how := range []string{"reset", "close"} {
				r, err := answerOf(g.Addr, fmt.Sprintf("/%d/%d/%s", which, n, how))
				switch {
				case errors.Is(err, os.ErrDeadlineExceeded):
					t.Fatalf("%s: %s after %d bytes: the client waits in vain", f.name, how, n)
				case err == nil && r == 502:
					refused++
				case err != nil && r == 200:
					broken++
				case err == nil && how == "close" && strings.HasSuffix(f.name, "until close") && n >= head:
					// It cannot be told from the whole.
				default:
					t.Errorf("%s: %s after %d of %d bytes: the client got %d, %v", f.name, how, n, len(f.reply), r, err)
				}
			}
		}
		for n := 0; n < len(f.reply); n++ {
			if n > head {
				n = min(n+f.step-1, len(f.reply)-1)
			}
			cut(n)
		}
		l.regained(t)
		t.Logf("%s: ended at %d places of %d bytes: %d times 502, %d messages broken", f.name, places, len(f.reply), refused, broken)
	}
}

// answerOf reads the answer to a GET to its end, past interim ones.
func answerOf(addr, path string) (status int, err error) {
	c, err := net.DialTimeout("tcp", addr, testkit.Patience)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(c, request(path)); err != nil {
		return 0, err
	}
	r := bufio.NewReader(c)
	for {
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close() // it is read to its end
		if answer.StatusCode >= 200 || err != nil {
			return answer.StatusCode, err
		}
	}
}
