package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/salgue441/velocity/internal/testkit"
	"github.com/salgue441/velocity/limiter"
)

// carried are limits of two kinds, by key and of the whole route.
const carried = `routes:
  - {name: a, path: /a, respond: {body: a}, rate_limit: {key: "${client_ip}", rules: [{name: hour, requests: 5, window: 1h}, {name: day, requests: 100, period: day}]}}
  - {name: b, path: /b, respond: {body: b}, rate_limit: {requests: 10, window: 1h, algorithm: sliding_log, max_concurrent: 4}}
  - {name: c, path: /c, respond: {body: c}}
`

// carrying is settings for processes that take over from one another.
func carrying(path string) string {
	return strings.Replace(settings, "watch: false", "watch: false, takeover_socket: "+path, 1)
}

func waitForSocket(t *testing.T, path string) {
	t.Helper()
	testkit.Eventually(t, testkit.Patience, "the take-over socket", func() bool {
		_, err := os.Lstat(path)
		return err == nil
	})
}

// successorOf starts a gateway that takes over from the one at path.
func successorOf(t *testing.T, document string) *gatewayIn {
	t.Helper()
	path := testkit.WriteFile(t, t.TempDir(), "gateway.yaml", document)
	g, err := New(Options{ConfigPath: path, Takeover: true, Log: zapcore.AddSync(io.Discard)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &gatewayIn{Gateway: g, path: path, addr: g.Addr().String()}
}

func (g *gatewayIn) remaining(t *testing.T, limit, key string) int64 {
	t.Helper()
	s, err := g.RateLimitKey(limit, "", key)
	if err != nil {
		t.Fatal(err)
	}
	return s.Rules[0].Remaining
}

// What was taken of a quota stays taken when another process takes over, and so
// does what the old process admits after that.
func TestTakeoverCarriesLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "takeover.sock")
	old := run(t, carrying(path)+carried)
	waitForSocket(t, path)
	if got := old.statuses(t, "/a", 2) + ", " + old.statuses(t, "/b", 8); got != "200 200, 200 200 200 200 200 200 200 200" {
		t.Fatal(got)
	}
	drained, quiet := testkit.Dial(t, old.addr), testkit.Dial(t, old.addr)
	for _, c := range []*testkit.Conn{drained, quiet} {
		if r := c.Do(t, "GET", "/c"); r.Status != 200 {
			t.Fatalf("status %d", r.Status)
		}
	}

	next := successorOf(t, carrying(path)+carried)
	testkit.Eventually(t, testkit.Patience, "the old process to drain", old.handover.isDone)
	testkit.Eventually(t, testkit.Patience, "the old process to close its sockets", func() bool {
		old.applying.Lock()
		defer old.applying.Unlock()
		return old.closed
	})
	if r := drained.Do(t, "GET", "/a"); r.Status != 200 || !r.Close {
		t.Errorf("at the old process: status %d, close %v", r.Status, r.Close)
	}
	testkit.Eventually(t, testkit.Patience, "the new process to hear of it", func() bool {
		return next.remaining(t, "route:a", "127.0.0.1") == 2
	})
	if got := next.statuses(t, "/a", 3) + ", " + next.statuses(t, "/b", 3); got != "200 200 429, 200 200 429" {
		t.Errorf("after the take-over: %s", got)
	}
	if r := quiet.Do(t, "GET", "/c"); r.Status != 200 {
		t.Errorf("status %d", r.Status)
	}
	if err := old.stop(); err != nil {
		t.Errorf("the old process: %v", err)
	}

	// And once more, by another configuration.
	waitForSocket(t, path)
	changed := strings.Replace(carried, "{name: day, requests: 100, period: day}", "{name: day, requests: 90, period: day}", 1)
	third := successorOf(t, carrying(path)+changed)
	testkit.Eventually(t, testkit.Patience, "the second process to drain", next.handover.isDone)
	if got := third.statuses(t, "/a", 1) + ", " + third.statuses(t, "/b", 1); got != "429, 429" {
		t.Errorf("after the second take-over: %s", got)
	}
}

// The old process does not hear what the new one admits: of the quota that was left, a
// connection that it still has can get one more unit. The new process charges that.
func TestTakeoverAdmitsWhatIsUnderWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "takeover.sock")
	old := run(t, carrying(path)+carried)
	waitForSocket(t, path)
	if got := old.statuses(t, "/a", 3); got != "200 200 200" {
		t.Fatal(got)
	}
	var conns []*testkit.Conn
	for range 3 {
		c := testkit.Dial(t, old.addr)
		c.Do(t, "GET", "/c")
		conns = append(conns, c)
	}
	next := successorOf(t, carrying(path)+carried)
	testkit.Eventually(t, testkit.Patience, "the old process to close its sockets", func() bool {
		old.applying.Lock()
		defer old.applying.Unlock()
		return old.closed
	})
	if got := next.statuses(t, "/a", 3); got != "200 200 429" {
		t.Errorf("at the new process: %s", got)
	}
	for i, want := range []int{200, 200, 429} { // what the old one knows to be left
		if r := conns[i].Do(t, "GET", "/a"); r.Status != want || !r.Close {
			t.Errorf("connection %d at the old process: status %d, close %v", i, r.Status, r.Close)
		}
	}
	testkit.Eventually(t, testkit.Patience, "the new process to hear of it", func() bool {
		return next.remaining(t, "route:a", "127.0.0.1") == -2
	})
}

// talk is a conversation that a test has with a process in place of another.
type talk struct {
	t    *testing.T
	conn *net.UnixConn
}

func (k talk) say(m message, data ...byte) {
	k.t.Helper()
	if err := send(k.conn, m); err != nil {
		k.t.Error(err)
	}
	if len(data) > 0 {
		if _, err := k.conn.Write(data); err != nil {
			k.t.Error(err)
		}
	}
}

func (k talk) hear(step string) message {
	k.t.Helper()
	m, err := receive(k.conn, step)
	if err != nil {
		k.t.Errorf("expected %s: %v", step, err)
	}
	return m
}

// A new process that knows nothing of limits is told nothing of them.
func TestSuccessorWithoutLimits(t *testing.T) {
	g, path := handing(t)
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	k := talk{t, conn}
	k.say(message{Step: stepHello, Version: takeoverVersion})
	m := k.hear(stepSockets)
	if m.Limits != 0 || m.Seed != 0 {
		t.Errorf("it was told of limits: %+v", m)
	}
	for range m.Sockets {
		fd, err := receiveFD(conn)
		if err != nil {
			t.Fatal(err)
		}
		if ln, err := listenerOf(fd, ""); err == nil {
			ln.Close()
		}
	}
	k.say(message{Step: stepReady})
	k.hear(stepDone)
	if m, err := receive(conn, stepLimits); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %+v, %v", m, err)
	}
	if err := g.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestPredecessors has a gateway take over from processes that know nothing of limits or
// tell nonsense about them: it begins with full quotas.
func TestPredecessors(t *testing.T) {
	f := func(what string, limits int, answer func(k talk)) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "takeover.sock")
		ln, err := listenTakeover(path, false)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		traffic, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer traffic.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			conn, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			defer conn.Close()
			k := talk{t, conn}
			if m := k.hear(stepHello); m.Version != takeoverVersion || m.Limits != limitsVersion {
				t.Errorf("%s: hello %+v", what, m)
			}
			k.say(message{Step: stepSockets, Limits: limits, Seed: 7, Sockets: []passed{{Key: tcpKey("127.0.0.1:0")}}})
			if err := rawFD(traffic, func(fd int) error { return sendFD(conn, fd) }); err != nil {
				t.Error(err)
			}
			answer(k)
			k.hear(stepReady)
			k.say(message{Step: stepDone})
		}()
		g := successorOf(t, carrying(path)+carried)
		<-ended
		if seed := g.living.seed; (seed == 7) != (limits == limitsVersion) {
			t.Errorf("%s: seed %d", what, seed)
		}
		if got := g.statuses(t, "/a", 1) + " " + g.statuses(t, "/b", 1); got != "200 200" {
			t.Errorf("%s: %s", what, got)
		}
	}
	says := func(m message, state string) func(k talk) {
		return func(k talk) {
			k.hear(stepLimits)
			m.Step, m.Bytes = stepLimits, len(state)
			k.say(m, []byte(state)...)
		}
	}
	f("an old version", 0, func(talk) {})
	f("a later version", limitsVersion+1, func(talk) {})
	f("nothing", limitsVersion, says(message{Seed: 7}, ""))
	f("another secret", limitsVersion, says(message{Seed: 8}, "\x07route:a\x00\x00\x00\x00\x00"))
	f("nonsense", limitsVersion, says(message{Seed: 7}, "GET / HTTP/1.1\r\n\r\n"))
	f("a state that is none", limitsVersion, says(message{Seed: 7}, "\x07route:a\x00\x00\x00\x00\x05hello"))
	f("one that is cut", limitsVersion, says(message{Seed: 7}, "\x07route:a\x00\x00\xff\x00\x05hello"))
	f("a length below 0", limitsVersion, func(k talk) {
		k.hear(stepLimits)
		k.say(message{Step: stepLimits, Bytes: -1})
	})
	f("too much", limitsVersion, func(k talk) {
		k.hear(stepLimits)
		k.say(message{Step: stepLimits, Bytes: maxLimits + 1}, make([]byte, maxLimits+1)...)
	})
}

func TestClockAhead(t *testing.T) {
	const second, wall = int64(time.Second), int64(1_700_000_000_000_000_000)
	asked := limiter.Instant{Mono: 5 * second, Wall: wall}
	came := limiter.Instant{Mono: 6 * second, Wall: wall + second}
	f := func(what string, saved, want int64) {
		t.Helper()
		// What was saved at 100 s is as old as the wall clocks say, as far as that can be.
		if got := clockAhead(message{Mono: 100 * second, Wall: saved}, asked, came); got != want-100*second {
			t.Errorf("%s: it was saved at %v, want %v", what, time.Duration(got+100*second), time.Duration(want))
		}
	}
	f("just now", came.Wall, came.Mono)
	f("a while ago", came.Wall-second/4, came.Mono-second/4)
	f("when asked", asked.Wall, asked.Mono)
	f("before that: the clock was set forward", asked.Wall-1, came.Mono)
	f("an hour ago", wall-3600*second, came.Mono)
	f("later: the clock was set back", came.Wall+1, came.Mono)
}

// FuzzRestoreLimits gives a gateway counts that another process never wrote.
func FuzzRestoreLimits(f *testing.F) {
	path := testkit.WriteFile(f, f.TempDir(), "gateway.yaml", settings+carried)
	g, err := New(Options{ConfigPath: path, Log: zapcore.AddSync(io.Discard)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := g.Run(expired()); err != nil { // it only stops
			f.Error(err)
		}
	})
	_, state := g.limitsState(g.living.limiters, (*limiter.Limiter).Save)
	f.Add(state)
	f.Add(state[:len(state)-5])
	f.Fuzz(func(_ *testing.T, state []byte) {
		_ = g.restoreLimits(message{Seed: g.living.seed}, state, 0, false) // it must not panic
	})
}
