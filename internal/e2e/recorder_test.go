package e2e

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// converse sends a case's bytes and the probe behind them, and returns all that
// came back.
func converse(t *testing.T, addr string, c *corpusCase) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	text := c.send
	if !c.halfClose {
		text += probe
	}
	_, _ = io.WriteString(conn, text) // refused early, it may fail
	if c.halfClose {
		_ = conn.(*net.TCPConn).CloseWrite() // as above
	}
	b, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("%s: read %v after %q", c.name, err, b)
	}
	return string(b)
}

// recorder is an upstream that keeps the bytes it sees. net/http, as a reader
// that is independent of the gateway, says where a request ends.
type recorder struct {
	addr string

	mu      sync.Mutex
	current *corpusCase
	bytes   strings.Builder // of the current case
	count   int             // requests of the current case, the next one apart
	inside  int             // connections inside a request
	first   int             // connection of the last request
	next    int             // and of the one after the case
	conns   map[net.Conn]bool
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{addr: ln.Addr().String(), conns: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for number := 1; ; number++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns[c] = true
			r.mu.Unlock()
			running.Go(func() {
				r.serve(c, number)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		r.mu.Lock()
		for c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		running.Wait()
	})
	return r
}

// begin forgets the case before.
func (r *recorder) begin(c *corpusCase) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current, r.count, r.first, r.next = c, 0, 0, 0
	r.bytes.Reset()
}

// Write records what a connection reads.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == 0 && !strings.HasPrefix(string(p), "GET /next ") {
		return r.bytes.Write(p)
	}
	return len(p), nil
}

func (r *recorder) serve(c net.Conn, number int) {
	br := bufio.NewReader(io.TeeReader(c, r))
	for {
		if _, err := br.Peek(1); err != nil {
			return
		}
		r.enter(1)
		req, err := http.ReadRequest(br)
		if err == nil {
			_, err = io.Copy(io.Discard, req.Body)
		}
		if err != nil {
			r.note("<incomplete>")
		}
		r.enter(-1)
		if err != nil {
			return
		}
		reply, closes := r.answer(req.URL.Path == "/next", number)
		if _, err := io.WriteString(c, reply); err != nil || closes {
			return
		}
	}
}

func (r *recorder) enter(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside += n
}

func (r *recorder) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes.WriteString(text)
}

// answer counts a request and tells what to answer it with.
func (r *recorder) answer(next bool, number int) (reply string, closes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	if next {
		r.next = number
		return ok, false
	}
	r.count++
	r.first = number
	if r.current.hasReply && r.count == 1 {
		return r.current.reply, r.current.closes
	}
	return ok, false
}

// late is how long the upstream may take to read what a client that has its
// answer already was not to wait for.
const late = 2 * time.Second

// seen returns what arrived, once no connection is inside a request and it is
// what was expected, or after a while whatever it is.
func (r *recorder) seen(t *testing.T, c *corpusCase, expected func(string) bool) string {
	t.Helper()
	patient := time.Now().Add(late)
	var seen string
	testkit.Eventually(t, testkit.Patience, c.name+": the end of the upstream's request", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		seen = r.bytes.String()
		return r.inside == 0 && (expected(seen) || time.Now().After(patient))
	})
	return seen
}

func (r *recorder) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// reused tells whether the request after the case came over the connection of
// the case's last one.
func (r *recorder) reused() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first == r.next
}
