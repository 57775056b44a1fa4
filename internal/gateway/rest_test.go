package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// ask sends a request and returns the status of the answer and whether the
// connection goes on.
func ask(t *testing.T, c net.Conn, br *bufio.Reader) (status int, goesOn bool) {
	t.Helper()
	if _, err := io.WriteString(c, "GET /ok HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	_ = r.Body.Close()
	return r.StatusCode, !r.Close
}

// TestConnectionsRest has connections that wait longer than the server keeps
// its buffers for them, and go on, end or are ended after that.
func TestConnectionsRest(t *testing.T) {
	document := strings.Replace(settings, "server: {", "server: {idle_timeout: 3s, max_requests_per_connection: 3, ", 1)
	g := run(t, document+"\nroutes: [{path: /ok, respond: {body: ok}}]\n")
	dial := func() (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", g.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		br := bufio.NewReader(c)
		if status, goesOn := ask(t, c, br); status != 200 || !goesOn {
			t.Fatalf("%d, goes on %v", status, goesOn)
		}
		return c, br
	}
	eventually := func(what string, resting int, open int64) {
		t.Helper()
		testkit.Eventually(t, testkit.Patience, what, func() bool {
			return g.door.atRest() == resting && g.door.open.Load() == open
		})
	}
	active, activeReader := dial()
	leaver, _ := dial()
	resetter, _ := dial()
	_, forgotten := dial()
	_, forgottenToo := dial()
	eventually("all to rest", 5, 5)

	if status, goesOn := ask(t, active, activeReader); status != 200 || !goesOn {
		t.Errorf("after a rest: %d, goes on %v", status, goesOn)
	}
	if n := g.door.atRest(); n != 4 {
		t.Errorf("%d rest", n)
	}
	leaver.Close()
	_ = resetter.(*net.TCPConn).SetLinger(0)
	resetter.Close()
	eventually("those that left to be gone", 2, 3)
	eventually("the first to rest again", 3, 3)
	// Requests are counted over all rests.
	if status, goesOn := ask(t, active, activeReader); status != 200 || goesOn {
		t.Errorf("the last request: %d, goes on %v", status, goesOn)
	}
	eventually("it to end", 2, 2)
	if _, err := forgotten.ReadByte(); err != io.EOF {
		t.Errorf("idle for too long: %v", err)
	}
	if _, err := forgottenToo.ReadByte(); err != io.EOF {
		t.Errorf("idle for too long: %v", err)
	}
	eventually("all to end", 0, 0)
	if n := g.door.clients.size(); n != 0 {
		t.Errorf("%d clients are counted", n)
	}

	last, lastReader := dial()
	eventually("it to rest", 1, 1)
	if err := g.stop(); err != nil {
		t.Error(err)
	}
	if _, err := lastReader.ReadByte(); err != io.EOF {
		t.Errorf("at the stop: %v", err)
	}
	last.Close()
}

// TestNoRestWithShortIdleTime closes a connection when its time is up, whoever
// it is with.
func TestNoRestWithShortIdleTime(t *testing.T) {
	f := func(idle time.Duration, stay, rest time.Duration) {
		t.Helper()
		s := serverSettings{idle: idle}
		if s.stay() != stay || s.rest() != rest {
			t.Errorf("%v: %v and %v", idle, s.stay(), s.rest())
		}
	}
	f(2*linger-1, 2*linger-1, 0)
	f(75*time.Second, linger, 75*time.Second-linger)
	f(forever, linger, forever-linger)
}
