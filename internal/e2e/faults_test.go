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
	"sync"
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

// labels are those of the upstream's metrics.
func (l *baseLine) labels() string {
	return fmt.Sprintf(`{upstream="up",endpoint="http://%s"}`, l.upstream.addr)
}

// rest warms a gateway up and takes its base line.
func rest(t *testing.T, g *testkit.Process, up *wire) *baseLine {
	t.Helper()
	if r := testkit.Get(t, g.Addr, "/"); r.Status != 200 {
		t.Fatalf("the first request got %d", r.Status)
	}
	l := &baseLine{g: g, upstream: up}
	testkit.Eventually(t, testkit.Patience, "the first connections to end", func() bool {
		m := testkit.Scrape(t, g.Admin)
		l.files, l.goroutines = testkit.FDs(t, g.PID()), int(m.Value(t, "go_goroutines"))
		return m.Value(t, "velocity_connections_open") == 0 && m.Value(t, "velocity_upstream_connections_open"+l.labels()) == 0
	})
	return l
}

// regained waits until nothing is under way, and everything that was taken is given back.
func (l *baseLine) regained(t *testing.T) {
	t.Helper()
	// The server keeps a goroutine for ten seconds in case another connection comes.
	const within = 3 * testkit.Patience
	var now string
	began, look := time.Now(), time.NewTicker(20*time.Millisecond)
	defer look.Stop()
	for ; ; <-look.C {
		m := testkit.Scrape(t, l.g.Admin)
		requests := m.Value(t, `velocity_requests_in_flight{route="all"}`)
		attempts := m.Value(t, "velocity_upstream_requests_in_flight"+l.labels())
		idle := m.Value(t, "velocity_upstream_connections_open"+l.labels())
		clients := m.Value(t, "velocity_connections_open")
		files, goroutines := testkit.FDs(t, l.g.PID()), int(m.Value(t, "go_goroutines"))
		now = fmt.Sprintf("%v requests, %v attempts, %v upstream and %v client connections, %d files (%d before), %d goroutines (%d before)",
			requests, attempts, idle, clients, files, l.files, goroutines, l.goroutines)
		if requests == 0 && attempts == 0 && idle == 0 && clients == 0 && files <= l.files && goroutines <= l.goroutines {
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
	g := up.front(t, "", "")
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
	g := up.front(t, "", "")
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

// TestSilentPeers has clients and an upstream that say nothing, or half of what they should: all
// are let go when their time is over.
func TestSilentPeers(t *testing.T) {
	var whole atomic.Int64
	up := newWire(t, serveAll(&whole))
	g := up.front(t, "header_timeout: 500ms, read_timeout: 500ms, idle_timeout: 500ms, ", "response_timeout: 500ms, ")
	l := rest(t, g, up)
	for _, f := range []struct {
		name, sent, want string
	}{
		{"nothing", "", "HTTP/1.1 408 "},
		{"half a header", "GET /a HTTP/1.1\r\nHost: h\r\nX-A", "HTTP/1.1 408 "},
		{"half a body", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234", "HTTP/1.1 408 "},
		{"half a large body", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("a", 200_000), "HTTP/1.1 408 "},
		{"half a chunk", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\na\r\n01234", "HTTP/1.1 408 "},
		{"no second request", request("/a"), "HTTP/1.1 200 "},
		{"an upstream that does not answer", request("/hang"), "HTTP/1.1 504 "},
	} {
		before := whole.Load()
		var clients []*testkit.Conn
		for range 50 {
			c := testkit.Dial(t, g.Addr)
			c.Send(t, f.sent)
			clients = append(clients, c)
		}
		for _, c := range clients {
			got, err := io.ReadAll(c.Conn)
			if err != nil || !strings.HasPrefix(string(got), f.want) {
				t.Errorf("%s: got %q, %v, want %q", f.name, got, err, f.want)
			}
			_ = c.Close()
		}
		if n := whole.Load() - before; strings.HasPrefix(f.name, "half") && n != 0 {
			t.Errorf("%s: %d requests were taken for whole", f.name, n)
		}
		l.regained(t)
	}
}

// TestEarlyAnswers has an upstream that answers as soon as it has the header: the client, which
// still sends, gets the answer, and the rest of its body is not the next request.
func TestEarlyAnswers(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly"
	up := newWire(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
			if request.URL.Path == "/close" {
				_ = c.CloseWrite() // what is not read would reset the answer away
				_, _ = io.Copy(io.Discard, r)
				return
			}
			if _, err := io.Copy(io.Discard, request.Body); err != nil {
				return
			}
		}
	})
	g := up.front(t, "", "")
	l := rest(t, g, up)
	smuggled := strings.Repeat("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n", 1000)
	for _, path := range []string{"/read", "/close"} {
		for _, framing := range []string{
			"Content-Length: 1000000000\r\n\r\n",
			"Transfer-Encoding: chunked\r\n\r\n3b9aca00\r\n",
		} {
			for range 20 {
				c := testkit.Dial(t, g.Addr)
				c.Send(t, "POST "+path+" HTTP/1.1\r\nHost: h\r\n"+framing)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for {
						if _, err := io.WriteString(c, smuggled); err != nil {
							return // the connection has ended
						}
					}
				}()
				if r := c.Receive(t, "POST"); r.Status != 200 || r.Body != "early" {
					t.Fatalf("%s: the client got %d %q", path, r.Status, r.Body)
				}
				if !c.Ended(testkit.Patience) {
					t.Fatalf("%s: something follows the answer", path)
				}
				_ = c.Close()
				<-sent
			}
		}
		l.regained(t)
	}
}

// TestMoreThanAnnounced has an upstream that sends more than it announced, at once or
// later: no other request gets any of it.
func TestMoreThanAnnounced(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	replies := map[string]string{
		"/length":  "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
		"/chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n",
		"/large":   "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("good", 25_000),
		"/spliced": "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("good", 250_000),
		"/none":    "HTTP/1.1 204 No Content\r\n\r\n",
		"/":        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext",
	}
	late := make(chan *net.TCPConn, 1)
	up := newWire(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			path, when, _ := strings.Cut(request.URL.Path, "-")
			text := replies[path]
			if when == "now" {
				text += evil
			}
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
			if when == "later" {
				late <- c
			}
		}
	})
	g := up.front(t, "", "")
	l := rest(t, g, up)
	for _, path := range []string{"/length", "/chunked", "/large", "/spliced", "/none"} {
		for range 20 {
			for _, when := range []string{"now", "later"} {
				c := testkit.Dial(t, g.Addr)
				want, err := http.ReadResponse(bufio.NewReader(strings.NewReader(replies[path])), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(want.Body)
				if err != nil {
					t.Fatal(err)
				}
				if r := c.Do(t, "GET", path+"-"+when); r.Status != want.StatusCode || r.Body != string(body) {
					t.Fatalf("%s and more %s: the client got %d and %d bytes", path, when, r.Status, len(r.Body))
				}
				if when == "later" {
					if _, err := io.WriteString(<-late, evil); err != nil {
						t.Fatal(err)
					}
				}
				for range 3 {
					if r := c.Do(t, "GET", "/"); r.Status != 200 || r.Body != "next" {
						t.Fatalf("%s and more %s: the next request got %d %q", path, when, r.Status, r.Body)
					}
				}
				_ = c.Close()
			}
		}
	}
	l.regained(t)
}

// TestPipelining sends 1,000 requests at once: all are answered, in order.
func TestPipelining(t *testing.T) {
	const requests = 1000
	var whole atomic.Int64
	up := newWire(t, serveAll(&whole))
	g := up.front(t, "", "")
	l := rest(t, g, up)
	var b strings.Builder
	for i := range requests {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&b, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
		case 1:
			fmt.Fprintf(&b, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 28\r\n\r\nGET /bad HTTP/1.1\r\nHost: h\r\n", i)
		case 2:
			fmt.Fprintf(&b, "POST /%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n", i)
		}
	}
	c, before := testkit.Dial(t, g.Addr), whole.Load()
	began := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, b.String())
		sent <- err
	}()
	for i := range requests {
		if r := c.Receive(t, "GET"); r.Status != 200 || r.Body != fmt.Sprintf("/%d", i) {
			t.Fatalf("answer %d is %d %q", i, r.Status, r.Body)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	t.Logf("%d requests in %v", requests, time.Since(began).Round(time.Millisecond))
	if n := whole.Load() - before; n != requests {
		t.Errorf("the upstream had %d requests, want %d", n, requests)
	}
	_ = c.Close()
	l.regained(t)
}

// TestClientNeverReads has clients that ask for much and read nothing: their connections end
// while they hold on to them, and meanwhile the gateway keeps little of what they asked for.
func TestClientNeverReads(t *testing.T) {
	const clients = 64
	up := newWire(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			var size int
			if _, err := fmt.Sscanf(request.URL.Path, "/%d", &size); err != nil {
				size = 1
			}
			framing, end := fmt.Sprintf("Content-Length: %d\r\n\r\n", size), ""
			if request.URL.RawQuery == "chunked" {
				framing, end = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", size), "\r\n0\r\n\r\n"
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n"+framing+strings.Repeat("a", size)+end); err != nil {
				return
			}
		}
	})
	for limit, paths := range map[string][]string{
		"write_timeout: 500ms, ":                    {"/4000", "/60000", "/60000?chunked", "/2000000", "/2000000?chunked"},
		"min_send_rate: 1MiB, rate_window: 500ms, ": {"/2000000", "/2000000?chunked"}, // it is for streams
	} {
		g := up.front(t, limit, "")
		l := rest(t, g, up)
		for _, path := range paths {
			var held []*testkit.Conn
			for range clients {
				c := testkit.Dial(t, g.Addr)
				if err := c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
					t.Fatal(err)
				}
				held = append(held, c)
			}
			var sending sync.WaitGroup
			for _, c := range held {
				sending.Go(func() {
					for { // until nobody reads any more, or the connection ends
						if err := c.SetWriteDeadline(time.Now().Add(testkit.Patience)); err != nil {
							return
						}
						if _, err := io.WriteString(c, strings.Repeat(request(path), 100)); err != nil {
							return
						}
					}
				})
			}
			l.regained(t)
			for _, c := range held {
				_ = c.Close()
			}
			sending.Wait()
		}
		peak := testkit.PeakRSS(t, g.PID())
		t.Logf("%s%d clients at a time: up to %.1f MiB resident", limit, clients, float64(peak)/(1<<20))
		if peak >= streamMemory {
			t.Errorf("up to %d MiB resident, want less than 64 MiB", peak>>20)
		}
	}
}

// TestSlowEndpoint has an endpoint pause inside a large body for longer than a client may: the
// client is not to blame, and gets all of it.
func TestSlowEndpoint(t *testing.T) {
	b := block(t)
	up := newWire(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 3*len(b)); err != nil {
				return
			}
			for range 3 {
				<-time.After(700 * time.Millisecond)
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}
	})
	g := up.front(t, "write_timeout: 300ms, ", "")
	l := rest(t, g, up)
	if r := testkit.Get(t, g.Addr, "/"); r.Status != 200 || r.Body != strings.Repeat(string(b), 3) {
		t.Errorf("the client got %d and %d bytes, not those that were sent", r.Status, len(r.Body))
	}
	l.regained(t)
}
