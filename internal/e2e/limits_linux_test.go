package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// metric returns the value of a metric without labels.
func metric(t *testing.T, g *testkit.Process, name string) float64 {
	t.Helper()
	page := testkit.Get(t, g.Admin, "/metrics").Body
	for line := range strings.Lines(page) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// stalled starts an upstream that takes requests and never answers, until
// hangUp ends all its connections.
func stalled(t *testing.T) (url string, hangUp func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
			go func() { _, _ = io.Copy(io.Discard, c) }() // ends when c is closed
		}
	}()
	hangUp = sync.OnceFunc(func() {
		ln.Close()
		<-done
		for _, c := range conns {
			c.Close()
		}
	})
	t.Cleanup(hangUp)
	return "http://" + ln.Addr().String(), hangUp
}

// TestMemoryShedding fills a small memory with request bodies whose upstream
// never answers, until requests are refused, and lets go.
func TestMemoryShedding(t *testing.T) {
	upstream, hangUp := stalled(t)
	document := strings.Replace(settings, "server: {", "server: {memory_limit: 48MiB, ", 1)
	g, _ := start(t, document+`
routes:
  - path: /stalled
    upstream: stalled
  - path: /ok
    respond: {body: ok}
upstreams:
  - name: stalled
    targets: [{url: "`+upstream+`"}]
    pool: {max_connections: 10000}
`)
	body := strings.Repeat("x", 60<<10)
	request := fmt.Sprintf("POST /stalled HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	var held []*testkit.Conn
	for range 2000 {
		c := testkit.Dial(t, g.Addr)
		c.Send(t, request)
		held = append(held, c)
		if metric(t, g, "velocity_memory_shedding") == 1 {
			break
		}
	}
	g.WaitLog(t, "memory: near the limit, refusing requests")
	r := testkit.Get(t, g.Addr, "/ok")
	if r.Status != 503 || !strings.Contains(r.Body, "memory_limit") || r.Header.Get("Retry-After") == "" || !r.Close {
		t.Errorf("got %d %s, Retry-After %q, closes %v", r.Status, r.Body, r.Header.Get("Retry-After"), r.Close)
	}
	for _, path := range []string{"/health", "/ready"} {
		if r := testkit.Get(t, g.Addr, path); r.Status != 200 {
			t.Errorf("%s is %d", path, r.Status)
		}
	}
	for _, c := range held {
		c.Close()
	}
	hangUp()
	g.WaitLog(t, "memory: taking requests again")
	if r := testkit.Get(t, g.Addr, "/ok"); r.Status != 200 {
		t.Errorf("afterwards %d %s", r.Status, r.Body)
	}
	if !g.Running() {
		t.Error("the process has ended")
	}
}

// TestDescriptorsRunOut gives the process few file descriptors and opens more
// connections: those that are served go on, and accepting resumes.
func TestDescriptorsRunOut(t *testing.T) {
	g, _ := start(t, settings+"\nroutes: [{path: /ok, respond: {body: ok}}]\n")
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.PID()))
	if err != nil {
		t.Fatal(err)
	}
	testkit.LimitFiles(t, g.PID(), uint64(len(fds)+20))

	served := testkit.Dial(t, g.Addr)
	if r := served.Do(t, "GET", "/ok"); r.Status != 200 {
		t.Fatalf("got %d", r.Status)
	}
	var rest []*testkit.Conn
	for range 40 {
		rest = append(rest, testkit.Dial(t, g.Addr))
	}
	g.WaitLog(t, "accept connection: pausing")
	for range 10 {
		if r := served.Do(t, "GET", "/ok"); r.Status != 200 {
			t.Fatalf("while descriptors are out: %d", r.Status)
		}
	}
	for _, c := range rest {
		c.Close()
	}
	c := testkit.Dial(t, g.Addr)
	if r := c.Do(t, "GET", "/ok"); r.Status != 200 {
		t.Errorf("afterwards %d", r.Status)
	}
}

func TestConnectionsPerClient(t *testing.T) {
	document := strings.Replace(settings, "server: {", "server: {max_connections_per_client: 3, ", 1)
	g, _ := start(t, document+"\nroutes: [{path: /ok, respond: {body: ok}}]\n")
	var conns []*testkit.Conn
	for range 3 {
		c := testkit.Dial(t, g.Addr)
		c.Do(t, "GET", "/ok")
		conns = append(conns, c)
	}
	over := testkit.Dial(t, g.Addr)
	if _, err := over.Try("GET", "/ok"); err == nil {
		t.Error("a fourth connection was served")
	}
	if n := metric(t, g, "velocity_connections_refused_total"); n != 1 {
		t.Errorf("%v connections refused", n)
	}
	conns[0].Close()
	testkit.Eventually(t, testkit.Patience, "room for a connection", func() bool {
		c, err := testkit.NewConn(g.Addr)
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Try("GET", "/ok")
		return err == nil
	})
}

// TestSlowloris opens connections that send a header byte by byte. They cost no
// processor time to speak of, hold up nobody, and are closed when the header's
// time is up.
func TestSlowloris(t *testing.T) {
	const connections, limit = 500, 2 * time.Second
	document := strings.Replace(settings, "server: {", "server: {header_timeout: 2s, ", 1)
	g, _ := start(t, document+"\nroutes: [{path: /ok, respond: {body: ok}}]\n")
	before := cpuTime(t, g.PID())
	began := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var longest time.Duration
	for range connections {
		wg.Go(func() {
			c, err := testkit.NewConn(g.Addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			opened := time.Now()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, c) // until the gateway closes
			}()
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			_, _ = io.WriteString(c, "GET /ok HTTP/1.1\r\nX-A: ") // what fails shows by the end
			for open := true; open; {
				select {
				case <-ended:
					open = false
				case <-tick.C:
					_, _ = io.WriteString(c, "a")
				}
			}
			mu.Lock()
			defer mu.Unlock()
			longest = max(longest, time.Since(opened))
		})
	}
	testkit.Eventually(t, testkit.Patience, "the connections", func() bool {
		return metric(t, g, "velocity_connections_open") >= connections
	})
	if r := testkit.Get(t, g.Addr, "/ok"); r.Status != 200 {
		t.Errorf("meanwhile %d", r.Status)
	}
	wg.Wait()
	used := cpuTime(t, g.PID()) - before
	t.Logf("%d connections, the longest for %v, in %v with %v of processor time", connections, longest, time.Since(began), used)
	if longest > 2*limit {
		t.Errorf("a connection lasted %v at a limit of %v", longest, limit)
	}
	if used > time.Second {
		t.Errorf("they took %v of processor time", used)
	}
	page := testkit.Get(t, g.Admin, "/metrics").Body
	if want := fmt.Sprintf("velocity_requests_limited_total{limit=\"header_time\"} %d\n", connections); !strings.Contains(page, want) {
		t.Errorf("no %s", want)
	}
}

// cpuTime is the processor time that a process has used.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	fields := strings.Fields(testkit.ReadFile(t, fmt.Sprintf("/proc/%d/stat", pid)))
	var ticks int64
	for _, f := range fields[13:15] { // utime and stime; the name has no space
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	const perSecond = 100 // USER_HZ
	return time.Duration(ticks) * time.Second / perSecond
}
