package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// draining are settings with a delay and a timeout of their own.
func draining(delay, timeout string) string {
	return strings.Replace(settings, "delay: 0s, timeout: 5s", "delay: "+delay+", timeout: "+timeout, 1)
}

func TestHealthAndReady(t *testing.T) {
	t.Parallel()
	g, _ := start(t, settings+"routes: [{path: /ready, respond: {body: mine}}]\n")
	if r := testkit.Get(t, g.Addr, "/health"); r.Status != 200 || r.Body != "ok\n" {
		t.Errorf("/health: status %d, body %q", r.Status, r.Body)
	}
	if r := testkit.Get(t, g.Addr, "/ready"); r.Body != "mine" {
		t.Errorf("a route for /ready did not win: %q", r.Body)
	}
	for _, path := range []string{"/health", "/ready"} {
		if r := testkit.Get(t, g.Admin, path); r.Status != 200 {
			t.Errorf("management %s: status %d", path, r.Status)
		}
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	up := testkit.NewUpstream(t, "up")
	g, _ := start(t, draining("1s", "10s")+`routes: [{path: "/*", targets: [{url: "`+up.URL()+`"}]}]`+"\n")

	if r := testkit.Get(t, g.Addr, "/ready"); r.Status != 200 {
		t.Fatalf("/ready: status %d", r.Status)
	}
	slow, idle := testkit.Dial(t, g.Addr), testkit.Dial(t, g.Addr)
	idle.Do(t, "GET", "/a")
	slow.Send(t, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
	testkit.Eventually(t, testkit.Patience, "the slow request to arrive", func() bool { return up.Requests() == 2 })

	// First only readiness changes.
	g.Signal(t, syscall.SIGTERM)
	testkit.Eventually(t, testkit.Patience, "readiness to fail", func() bool {
		return testkit.Get(t, g.Addr, "/ready").Status == 503
	})
	if r := testkit.Get(t, g.Admin, "/ready"); r.Status != 503 {
		t.Errorf("management /ready: status %d", r.Status)
	}
	if s := statusOf(t, g); s.Ready || !s.Draining {
		t.Errorf("status %+v", s)
	}
	if r := testkit.Get(t, g.Addr, "/a"); r.Status != 200 || r.Close {
		t.Errorf("a new connection within the delay: status %d, close %v", r.Status, r.Close)
	}
	if r := idle.Do(t, "GET", "/a"); r.Close {
		t.Error("a connection was closed within the delay")
	}

	// Then answers ask the clients to go.
	g.WaitLog(t, "draining: waiting for requests under way")
	if r := idle.Do(t, "GET", "/a"); r.Status != 200 || !r.Close {
		t.Errorf("after the delay: status %d, close %v", r.Status, r.Close)
	}
	if !idle.Ended(testkit.Patience) {
		t.Error("the connection stays open after Connection: close")
	}
	if c, err := testkit.NewConn(g.Addr); err == nil {
		c.Close()
		t.Error("a connection was accepted after the delay")
	}

	// What is under way finishes, and then the process is gone.
	up.Release()
	if r := slow.Receive(t, "GET"); r.Status != 200 || r.Body != "up\n" {
		t.Errorf("the slow request: status %d, body %q", r.Status, r.Body)
	}
	if code := g.Wait(t, testkit.Patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if lines := g.Log("drain: time is up, closing what is under way"); len(lines) != 0 {
		t.Errorf("it says that something was cut: %+v", lines)
	}
}

// An idle gateway stops at once, whatever time it may take.
func TestStopWithoutTraffic(t *testing.T) {
	t.Parallel()
	for _, timeout := range []string{"500ms", "30s"} {
		t.Run(timeout, func(t *testing.T) {
			t.Parallel()
			g, _ := start(t, draining("0s", timeout)+answering("one"))
			waitAnswer(t, g, "one")
			g.Signal(t, syscall.SIGINT)
			if code := g.Wait(t, testkit.Patience); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			if lines := g.Log("drain: time is up, closing what is under way"); len(lines) != 0 {
				t.Errorf("it says that something was cut: %+v", lines)
			}
		})
	}
}

func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	up := testkit.NewUpstream(t, "up")
	f := func(timeout string, atLeast, atMost time.Duration) {
		t.Helper()
		g, _ := start(t, draining("0s", timeout)+`routes: [{path: "/*", targets: [{url: "`+up.URL()+`"}]}]`+"\n")
		c := testkit.Dial(t, g.Addr)
		seen := up.Requests()
		c.Send(t, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
		testkit.Eventually(t, testkit.Patience, "the request to arrive", func() bool { return up.Requests() > seen })
		g.Signal(t, syscall.SIGTERM)
		began := time.Now()
		code := g.Wait(t, testkit.Patience)
		if took := time.Since(began); code != 0 || took < atLeast || took > atMost {
			t.Errorf("timeout %s: exit code %d after %v, want 0 after %v to %v", timeout, code, took, atLeast, atMost)
		}
		g.WaitLog(t, "drain: time is up, closing what is under way")
	}
	f("300ms", 250*time.Millisecond, 3*time.Second)
	f("1500ms", 1400*time.Millisecond, 5*time.Second)
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	up := testkit.NewUpstream(t, "up")
	f := func(delay, until string) {
		t.Helper()
		g, _ := start(t, draining(delay, "60s")+`routes: [{path: "/*", targets: [{url: "`+up.URL()+`"}]}]`+"\n")
		c := testkit.Dial(t, g.Addr)
		seen := up.Requests()
		c.Send(t, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
		testkit.Eventually(t, testkit.Patience, "the request to arrive", func() bool { return up.Requests() > seen })
		g.Signal(t, syscall.SIGTERM)
		g.WaitLog(t, until)
		g.Signal(t, syscall.SIGHUP) // is no second order to stop
		g.Signal(t, syscall.SIGINT)
		began := time.Now()
		if code := g.Wait(t, testkit.Patience); code != 4 {
			t.Errorf("delay %s: exit code %d, want 4", delay, code)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("delay %s: it took %v", delay, took)
		}
		if !strings.Contains(g.Stderr(), "velocity: stop gateway: ended by a second signal") {
			t.Errorf("delay %s: stderr %q", delay, g.Stderr())
		}
	}
	f("60s", "draining: not ready, still accepting")
	f("0s", "draining: waiting for requests under way")
}
