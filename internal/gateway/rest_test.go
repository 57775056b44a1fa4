package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/telemetry"
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

// TestRestWithoutSocket has a connection without a descriptor wait on.
func TestRestWithoutSocket(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	d := newDoor(telemetry.NewRegistry("").Gateway())
	d.rest.Store(int64(time.Hour))
	c := newRestingConn(server, netip.Addr{}, d)
	defer c.Close()
	c.note(true)
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil { // what the server has set is over
		t.Fatal(err)
	}
	go client.Write([]byte("x"))
	var b [1]byte
	if n, err := c.Read(b[:]); n != 1 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	c.note(false)
	if _, err := c.Read(b[:]); !os.IsTimeout(err) {
		t.Errorf("within a request: %v", err)
	}
}

// TestLimitsChangeInPlace holds requests up while reloads change how many there
// may be.
func TestLimitsChangeInPlace(t *testing.T) {
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	defer backend.Close()
	document := func(server, route, upstream string) string {
		return strings.Replace(settings, "server: {", "server: {"+server, 1) + `
upstreams: [{name: u, targets: [{url: "` + backend.URL + `"}]` + upstream + `}]
routes: [{name: r, path: /*, upstream: u` + route + "}]\n"
	}
	g := run(t, document("max_in_flight: 1, ", "", ""))
	var held []*testkit.Conn
	hold := func() {
		t.Helper()
		c := testkit.Dial(t, g.addr)
		c.Send(t, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		<-arrived
		held = append(held, c)
	}
	refused := func(code string) {
		t.Helper()
		if r := testkit.Get(t, g.addr, "/"); r.Status != 503 || !strings.Contains(r.Body, code) {
			t.Errorf("%d %s, want %s", r.Status, r.Body, code)
		}
	}
	hold()
	refused("overloaded")
	g.reload(t, document("max_in_flight: 2, ", ", max_in_flight: 1", ""))
	hold()
	refused("overloaded")
	// The route counts since it has a limit: one request.
	g.reload(t, document("", ", max_in_flight: 2", ", max_in_flight: 1"))
	hold()
	refused("route_in_flight")
	g.reload(t, document("", ", max_in_flight: 3", ", max_in_flight: 1"))
	refused("upstream_in_flight")
	g.reload(t, document("", ", max_in_flight: 3", ", max_in_flight: 2"))
	hold()
	close(release)
	for _, c := range held {
		if r := c.Receive(t, "GET"); r.Status != 200 {
			t.Errorf("held up: %d", r.Status)
		}
	}
	testkit.Eventually(t, testkit.Patience, "all counts to go down", func() bool {
		p := g.running.Load().plan
		return g.proxy.InFlight() == 0 && p.routes[0].InFlight.Now() == 0 && p.upstreams[0].upstream.Entered() == 0
	})
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
