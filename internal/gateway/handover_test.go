package gateway

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/salgue441/velocity/internal/testkit"
)

// handing runs a gateway that can be asked for its sockets at path.
func handing(t *testing.T) (g *gatewayIn, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "takeover.sock")
	g = run(t, strings.Replace(settings, "watch: false", "watch: false, takeover_socket: "+path, 1)+
		"routes: [{path: /a, respond: {body: one}}]\n")
	testkit.Eventually(t, testkit.Patience, "the take-over socket", func() bool {
		_, err := os.Lstat(path)
		return err == nil
	})
	return g, path
}

func (g *gatewayIn) answers(t *testing.T) {
	t.Helper()
	if r := testkit.Get(t, g.addr, "/a"); r.Body != "one" || r.Close {
		t.Errorf("answer %q, close %v", r.Body, r.Close)
	}
}

// A new process may fail at every step, and the old one goes on.
func TestHandOverThatIsBrokenOff(t *testing.T) {
	g, path := handing(t)
	dial := func() *net.UnixConn {
		t.Helper()
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	dial().Close() // before the first word

	stranger := dial() // with another version
	if err := send(stranger, message{Step: stepHello, Version: takeoverVersion + 1}); err != nil {
		t.Fatal(err)
	}
	if m, err := receive(stranger, stepSockets); err == nil {
		t.Errorf("a process of another version was sent %+v", m)
	}
	stranger.Close()

	rambling := dial() // with something else
	if _, err := rambling.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if m, err := receive(rambling, stepSockets); err == nil {
		t.Errorf("HTTP was answered with %+v", m)
	}
	rambling.Close()

	for range 3 { // with the sockets, before it is ready
		next, in, err := askForSockets(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(in.byKey) != 2 {
			t.Errorf("sockets %v, want those for traffic and management", in.byKey)
		}
		in.drop(false)
		next.conn.Close()
	}
	g.answers(t)
	g.reload(t, testkit.ReadFile(t, g.path)+"# changed\n") // is not held up by what was broken off
	g.answers(t)
}

// A stop ends a hand-over that is not decided, and the new process learns it.
func TestStopEndsAHandOver(t *testing.T) {
	g, path := handing(t)
	next, in, err := askForSockets(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.drop(false)
	if err := g.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := next.ready(); err == nil {
		t.Error("the new process believes that it has taken over")
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the take-over socket is still there")
	}
}

// A process that waits for its turn to be done is not served twice.
func TestOneHandOverAtATime(t *testing.T) {
	g, path := handing(t)
	first, in, err := askForSockets(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.drop(false)
	second, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := send(second, message{Step: stepHello, Version: takeoverVersion}); err != nil {
		t.Fatal(err)
	}
	if _, err := first.ready(); err != nil {
		t.Fatal(err)
	}
	if err := second.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	if m, err := receive(second, stepSockets); err == nil {
		t.Errorf("a second process was sent %+v", m)
	}
	if err := g.stop(); err != nil { // it has stopped by itself
		t.Errorf("Run: %v", err)
	}
}

// ending is an old process that breaks off when the new one is ready: it goes
// on, or dies.
type ending struct {
	path    string
	traffic net.Listener
	left    chan error
}

func newEnding(t *testing.T, dies bool) *ending {
	t.Helper()
	e := &ending{path: filepath.Join(t.TempDir(), "takeover.sock"), left: make(chan error, 1)}
	ln, err := listenTakeover(e.path, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	if e.traffic, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.traffic.Close() })
	go func() {
		conn, err := ln.AcceptUnix()
		if err == nil {
			_, _, err = greet(conn)
		}
		if err == nil {
			err = handOver(conn, offer{sockets: []socket{{key: tcpKey("127.0.0.1:0"), ln: e.traffic}}, commit: func() error { return net.ErrClosed }})
			if dies {
				ln.Close()
			}
			conn.Close()
		}
		e.left <- err
	}()
	return e
}

// newcomer is a process that takes over.
func (e *ending) newcomer(t *testing.T) *Gateway {
	t.Helper()
	document := strings.Replace(settings, "watch: false", "watch: false, takeover_socket: "+e.path, 1)
	g, err := New(Options{
		ConfigPath: testkit.WriteFile(t, t.TempDir(), "gateway.yaml", document), Takeover: true, Log: zapcore.AddSync(io.Discard),
	})
	if err != nil {
		t.Fatal(err)
	}
	if g.Addr().String() != e.traffic.Addr().String() {
		t.Errorf("it listens on %v, not on %v", g.Addr(), e.traffic.Addr())
	}
	return g
}

// The new process hears no done: the old one goes on, so it must not.
func TestTakeoverThatIsDeclined(t *testing.T) {
	old := newEnding(t, false)
	g := old.newcomer(t)
	if err := g.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "the running process goes on") {
		t.Errorf("Run: %v", err)
	}
	if err := <-old.left; err != net.ErrClosed {
		t.Errorf("the old process: %v", err)
	}
	conn, err := net.Dial("tcp", old.traffic.Addr().String())
	if err != nil {
		t.Errorf("the old process's socket was closed with the new one's: %v", err)
	} else {
		conn.Close()
	}
	if _, err := os.Lstat(old.path); err != nil {
		t.Errorf("the old process has lost its take-over socket: %v", err)
	}
}

// When the old process dies in the middle, the new one must not give up.
func TestTakeoverFromAProcessThatDies(t *testing.T) {
	old := newEnding(t, true)
	g := old.newcomer(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	if err := <-old.left; err != net.ErrClosed {
		t.Errorf("the old process: %v", err)
	}
	testkit.Eventually(t, testkit.Patience, "the new process's own take-over socket", func() bool {
		conn, err := net.Dial("unix", old.path)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if r := testkit.Get(t, old.traffic.Addr().String(), "/ready"); r.Status != 200 {
		t.Errorf("/ready: status %d", r.Status)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// Two processes that run the same file do not steal the take-over socket from
// one another; one that is left over is no obstacle.
func TestListenTakeover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "takeover.sock")
	crashed, err := listenTakeover(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("take-over socket: %v, %v", info, err)
	}
	if ln, err := listenTakeover(path, false); err == nil {
		ln.Close()
		t.Error("the take-over socket was taken from a process that uses it")
	}
	crashed.Close() // leaves its file
	next, err := listenTakeover(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	successor, err := listenTakeover(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
}

func TestTakeoverPath(t *testing.T) {
	g, _ := handing(t)
	c := *g.running.Load().plan.config
	dir := t.TempDir()
	env := []string{"XDG_RUNTIME_DIR=/nowhere", "XDG_RUNTIME_DIR=" + dir}
	c.Server.TakeoverSocket = ""
	derived := takeoverPath(&c, "gateway.yaml", env)
	if filepath.Dir(derived) != dir {
		t.Errorf("%s is not in %s", derived, dir)
	}
	abs, err := filepath.Abs("gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if same := takeoverPath(&c, abs, env); same != derived {
		t.Errorf("the same file gives %s and %s", derived, same)
	}
	if other := takeoverPath(&c, "other.yaml", env); other == derived {
		t.Errorf("two files give %s", other)
	}
	c.Server.TakeoverSocket = "off"
	if off := takeoverPath(&c, "gateway.yaml", env); off != "" {
		t.Errorf("off gives %s", off)
	}
}
