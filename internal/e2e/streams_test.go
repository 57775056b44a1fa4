package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// wire is an upstream of bare sockets: serve has each connection to itself, which
// is closed when serve returns.
type wire struct {
	addr string
	mu   sync.Mutex
	open map[*net.TCPConn]bool
}

func newWire(t *testing.T, serve func(c *net.TCPConn, r *bufio.Reader)) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: ln.Addr().String(), open: map[*net.TCPConn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			c := conn.(*net.TCPConn)
			w.mu.Lock()
			w.open[c] = true
			w.mu.Unlock()
			running.Go(func() {
				serve(c, bufio.NewReaderSize(c, 64<<10))
				w.mu.Lock()
				delete(w.open, c)
				w.mu.Unlock()
				_ = c.Close() // serve may have done so
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		w.mu.Lock()
		for c := range w.open {
			_ = c.Close()
		}
		w.mu.Unlock()
		running.Wait()
	})
	return w
}

// front is a gateway with one route, named all, to the upstream. It does not keep idle
// connections for long, so that a test can see the last one go.
func (w *wire) front(t *testing.T, server, upstream string) *testkit.Process {
	t.Helper()
	g, _ := start(t, strings.Replace(settings, "server: {", "server: {"+server, 1)+
		"upstreams: [{name: up, "+upstream+"pool: {idle_timeout: 250ms}, targets: [{url: \"http://"+w.addr+"\"}]}]\n"+
		"routes: [{name: all, path: /*, upstream: up}]\n")
	return g
}

// block is what large bodies repeat.
func block(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 1<<20)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// expectBlocks reads a body of n blocks and nothing more.
func expectBlocks(body io.Reader, want []byte, n int) error {
	got := make([]byte, len(want))
	for i := range n {
		if _, err := io.ReadFull(body, got); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("block %d is another", i)
		}
	}
	if n, err := io.ReadFull(body, got[:1]); err != io.EOF {
		return fmt.Errorf("%d bytes behind the end, %w", n, err)
	}
	return nil
}

const (
	gigabyte     = 1 << 10 // in blocks
	streamMemory = 64 << 20
)

// TestLargeStreams sends 4 GiB either way through one gateway: every byte arrives, and
// none of it stays.
func TestLargeStreams(t *testing.T) {
	b := block(t)
	const refused = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
	up := newWire(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			var blocks int
			if _, err := fmt.Sscanf(request.URL.Path, "/%d", &blocks); err != nil {
				t.Error(err)
				return
			}
			if request.Method == http.MethodPost {
				answer := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
				if err := expectBlocks(request.Body, b, blocks); err != nil {
					t.Errorf("upload of %d MiB: %v", blocks, err)
					answer = refused
				}
				if _, err := io.WriteString(c, answer); err != nil {
					return
				}
				continue
			}
			if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", blocks*len(b)); err != nil {
				return
			}
			for range blocks {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}
	})
	g := up.front(t, "", "")
	for _, f := range []struct {
		name    string
		blocks  int
		upload  bool
		chunked bool
	}{
		{"download", 4 * gigabyte, false, false},
		{"upload", 4 * gigabyte, true, false},
		{"chunked upload", gigabyte, true, true},
	} {
		began := time.Now()
		if err := transfer(g.Addr, b, f.blocks, f.upload, f.chunked); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		took := time.Since(began)
		t.Logf("%s of %d MiB: %.2fs, %.2f GiB/s, at most %.1f MiB resident so far", f.name, f.blocks, took.Seconds(),
			float64(f.blocks)/gigabyte/took.Seconds(), float64(testkit.PeakRSS(t, g.PID()))/(1<<20))
	}
	if peak := testkit.PeakRSS(t, g.PID()); peak >= streamMemory {
		t.Errorf("up to %d MiB resident, want less than 64 MiB", peak>>20)
	}
}

// transfer does one request with a body of blocks, in it or in its answer.
func transfer(addr string, b []byte, blocks int, upload, chunked bool) error {
	c, err := net.DialTimeout("tcp", addr, testkit.Patience)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	method, framing, before, after, end := "GET", "", "", "", ""
	switch {
	case upload && chunked:
		method, framing, end = "POST", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"
		before, after = fmt.Sprintf("%x\r\n", len(b)), "\r\n"
	case upload:
		method, framing = "POST", fmt.Sprintf("Content-Length: %d\r\n", blocks*len(b))
	}
	if _, err := fmt.Fprintf(c, "%s /%d HTTP/1.1\r\nHost: h\r\n%s\r\n", method, blocks, framing); err != nil {
		return err
	}
	want := blocks
	if upload {
		want = 0
		part := []byte(before + string(b) + after)
		for range blocks {
			if _, err := c.Write(part); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(c, end); err != nil {
			return err
		}
	}
	answer, err := http.ReadResponse(bufio.NewReaderSize(c, 64<<10), &http.Request{Method: method})
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it is read to its end
	if answer.StatusCode != 200 {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return expectBlocks(answer.Body, b, want)
}

// events is a client of a stream of events, and the upstream's end of it.
type events struct {
	t        *testing.T
	c        *testkit.Conn
	r        *bufio.Reader
	accepted chan *net.TCPConn // gets the upstream's connection with each request
	body     io.Reader
	up       *net.TCPConn
	chunked  bool
}

// open sends a request and returns how long the header took that was answered at once.
func (e *events) open(path string) time.Duration {
	e.t.Helper()
	began := time.Now()
	e.c.Send(e.t, request(path))
	answer, err := http.ReadResponse(e.r, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	took := time.Since(began)
	e.body, e.up, e.chunked = answer.Body, <-e.accepted, path == "/chunked"
	return took
}

// emit sends an event from the upstream and returns how long the client waited for it.
func (e *events) emit(event string) time.Duration {
	e.t.Helper()
	sent := event
	if e.chunked {
		sent = fmt.Sprintf("%x\r\n%s\r\n", len(event), event)
	}
	began := time.Now()
	if _, err := io.WriteString(e.up, sent); err != nil {
		e.t.Fatal(err)
	}
	got := make([]byte, len(event))
	if _, err := io.ReadFull(e.body, got); err != nil || string(got) != event {
		e.t.Fatalf("event %q came as %q, %v", event, got, err)
	}
	return time.Since(began)
}

// end ends the stream and sees that the client's does.
func (e *events) end() {
	e.t.Helper()
	if e.chunked {
		if _, err := io.WriteString(e.up, "0\r\n\r\n"); err != nil {
			e.t.Fatal(err)
		}
	} else if err := e.up.CloseWrite(); err != nil {
		e.t.Fatal(err)
	}
	if n, err := e.body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		e.t.Fatalf("at the end of the stream the client got %d bytes, %v", n, err)
	}
}

// TestServerSentEvents has events pass one by one, and compares what the
// gateway adds to the header and to each event with a client that is
// connected to the upstream itself.
func TestServerSentEvents(t *testing.T) {
	accepted := make(chan *net.TCPConn, 1)
	up := newWire(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			framing := ""
			if request.URL.Path == "/chunked" {
				framing = "Transfer-Encoding: chunked\r\n"
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"+framing+"\r\n"); err != nil {
				return
			}
			accepted <- c
		}
	})
	g := up.front(t, "", "")
	client := func(addr string) *events {
		c := testkit.Dial(t, addr)
		return &events{t: t, c: c, r: bufio.NewReader(c), accepted: accepted}
	}

	// An unknown length, that is, until the connection closes.
	closing := client(g.Addr)
	closing.open("/close")
	for i := range 100 {
		closing.emit(fmt.Sprintf("data: %d\n\n", i))
	}
	closing.end()

	direct, through := client(up.addr), client(g.Addr)
	var header, event [2][]time.Duration
	for i := range 300 {
		for side, e := range []*events{direct, through} {
			header[side] = append(header[side], e.open("/chunked"))
			for range 3 {
				event[side] = append(event[side], e.emit(fmt.Sprintf("data: %d\n\n", i)))
			}
			e.end()
		}
	}
	for _, f := range []struct {
		what  string
		times [2][]time.Duration
	}{{"header", header}, {"event", event}} {
		with, without := median(f.times[1]), median(f.times[0])
		t.Logf("%s: median %v through the gateway, %v direct, %v more", f.what, with, without, with-without)
		if with-without >= time.Millisecond {
			t.Errorf("the gateway delays each %s by %v, want less than 1 ms", f.what, with-without)
		}
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// TestBackPressure has clients that stop reading, and upstreams that do: whoever sends
// to them is held up once the buffers of the sockets between are full, and the gateway
// keeps no more than its own small buffer. Read again, all of it arrives.
func TestBackPressure(t *testing.T) {
	const streams, blocks = 8, 64
	b := block(t)
	var sent atomic.Int64 // bytes that the kernel took from whoever sends
	flood := func(c net.Conn, format string) error {
		for range blocks {
			for part := range slices.Chunk(b, 64<<10) {
				if _, err := fmt.Fprintf(c, format, part); err != nil {
					return err
				}
				sent.Add(int64(len(part)))
			}
		}
		return nil
	}
	paths := []string{"/length", "/chunked", "/upload"}
	drains := map[string]chan struct{}{} // closed when it is time to read
	for _, path := range paths {
		drains[path] = make(chan struct{})
	}
	up := newWire(t, func(c *net.TCPConn, r *bufio.Reader) {
		request, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		switch request.URL.Path {
		case "/upload":
			<-drains["/upload"]
			if err := expectBlocks(request.Body, b, blocks); err != nil {
				t.Errorf("upload: %v", err)
			}
			_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		case "/chunked":
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") // a broken connection shows below
			if err = flood(c, "10000\r\n%s\r\n"); err == nil {
				_, err = io.WriteString(c, "0\r\n\r\n")
			}
		default:
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", blocks*len(b)) // as above
			err = flood(c, "%s")
		}
		if err != nil {
			t.Errorf("%s: the upstream got %v", request.URL.Path, err)
		}
	})
	g := up.front(t, "", "")
	idle := testkit.RSS(t, g.PID())
	most := kernelBuffer(t, "tcp_rmem") + kernelBuffer(t, "tcp_wmem") + 1<<20 // the test's own are small
	for _, path := range paths {
		drain := drains[path]
		sent.Store(0)
		var clients, running sync.WaitGroup
		for range streams {
			clients.Add(1)
			running.Go(func() {
				if err := heldUp(g.Addr, path, b, blocks, drain, flood, clients.Done); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			})
		}
		clients.Wait()
		stable(t, &sent)
		held, rss := sent.Load()/streams, testkit.RSS(t, g.PID())
		t.Logf("%s: each of %d senders was held up after %.2f MiB; the gateway has %.1f MiB resident, %.1f MiB when idle",
			path, streams, float64(held)/(1<<20), float64(rss)/(1<<20), float64(idle)/(1<<20))
		if held > most {
			t.Errorf("%s: %d bytes were sent to each peer that does not read, want at most %d", path, held, most)
		}
		close(drain)
		running.Wait()
	}
	if peak := testkit.PeakRSS(t, g.PID()); peak >= streamMemory {
		t.Errorf("up to %d MiB resident, want less than 64 MiB", peak>>20)
	}
}

// heldUp is a client that sends its request, says so, and for an answer reads nothing until drain is closed.
func heldUp(addr, path string, b []byte, blocks int, drain <-chan struct{}, flood func(net.Conn, string) error, begun func()) error {
	c, err := net.DialTimeout("tcp", addr, testkit.Patience)
	if err == nil {
		defer func() { _ = c.Close() }()
		_ = c.(*net.TCPConn).SetReadBuffer(64 << 10) // the bound is generous without it
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if path == "/upload" {
			_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", path, blocks*len(b))
		} else {
			_, err = io.WriteString(c, request(path))
		}
	}
	begun()
	if err != nil {
		return err
	}
	want := blocks
	if path == "/upload" {
		want = 0
		if err := flood(c, "%s"); err != nil {
			return err
		}
	}
	<-drain
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it is read to its end
	return expectBlocks(answer.Body, b, want)
}

// stable waits until a number that has grown has stopped to.
func stable(t *testing.T, n *atomic.Int64) {
	t.Helper()
	last, since := int64(0), time.Now()
	testkit.Eventually(t, testkit.Patience, "the senders to be held up", func() bool {
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
		return last > 0 && time.Since(since) > 300*time.Millisecond
	})
}

// kernelBuffer is the most that a socket's buffer grows to by itself, in bytes.
func kernelBuffer(t *testing.T, name string) int64 {
	t.Helper()
	var least, first, most int64
	if _, err := fmt.Sscan(testkit.ReadFile(t, "/proc/sys/net/ipv4/"+name), &least, &first, &most); err != nil {
		t.Fatal(err)
	}
	return most
}
