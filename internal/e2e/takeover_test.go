package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// lineage is a gateway whose process is replaced again and again. All its
// processes write to one log, those that it starts itself too.
type lineage struct {
	config string
	dir    string
	log    string
	file   *os.File
}

func newLineage(t *testing.T, document string) *lineage {
	t.Helper()
	dir := t.TempDir()
	l := &lineage{dir: dir, config: testkit.WriteFile(t, dir, "gateway.yaml", document), log: filepath.Join(dir, "log")}
	var err error
	if l.file, err = os.OpenFile(l.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.file.Close()
		if !t.Failed() {
			return
		}
		t.Log(testkit.ReadFile(t, l.log))
		for _, line := range l.lines(t, "ready") {
			// A process that another one has started, and that was not replaced.
			if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", line.PID)); strings.Contains(string(args), l.config) {
				_ = syscall.Kill(line.PID, syscall.SIGKILL) // it may be ending by itself
			}
		}
	})
	return l
}

// start starts a process; it is not waited for.
func (l *lineage) start(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Getenv("VELOCITY_BIN"), append([]string{"--config", l.config}, args...)...)
	l.run(t, cmd)
	return cmd
}

// run is start for any command that becomes the gateway.
func (l *lineage) run(t *testing.T, cmd *exec.Cmd, env ...string) {
	t.Helper()
	cmd.Env = append(append(os.Environ(), "XDG_RUNTIME_DIR="+l.dir), env...)
	cmd.Stdout, cmd.Stderr = l.file, l.file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // and have been waited for
	})
}

// lineageLine is a line of the log with the fields that tests ask for.
type lineageLine struct {
	Message string
	PID     int
	Address string
	Admin   string
}

func (l *lineage) lines(t *testing.T, message string) []lineageLine {
	t.Helper()
	var out []lineageLine
	for text := range strings.Lines(testkit.ReadFile(t, l.log)) {
		var line lineageLine
		if json.Unmarshal([]byte(text), &line) == nil && line.Message == message {
			out = append(out, line)
		}
	}
	return out
}

// wait waits for the n-th line with this message.
func (l *lineage) wait(t *testing.T, message string, n int) lineageLine {
	t.Helper()
	var lines []lineageLine
	testkit.Eventually(t, testkit.Patience, message, func() bool {
		lines = l.lines(t, message)
		return len(lines) >= n
	})
	return lines[n-1]
}

// killLast ends the process that serves at the end of a test, which may not be
// one that the test has started.
func (l *lineage) killLast(t *testing.T) {
	t.Helper()
	ready := l.lines(t, "ready")
	stopped := len(l.lines(t, "stopped"))
	if err := syscall.Kill(ready[len(ready)-1].PID, syscall.SIGTERM); err != nil {
		t.Errorf("stop the last process: %v", err)
	}
	l.wait(t, "stopped", stopped+1)
}

// TestTakeOverUnderTraffic replaces the process ten times under traffic of
// clients that retry nothing.
func TestTakeOverUnderTraffic(t *testing.T) {
	up := testkit.NewUpstream(t, "up")
	path := filepath.Join(t.TempDir(), "v.sock")
	l := newLineage(t, listening(`{address: "127.0.0.1:0"}, {address: "[::1]:0", reuse_port: 2}, {address: "unix:`+path+`"}`)+
		`routes: [{path: "/*", targets: [{url: "`+up.URL()+`"}]}]`+"\n")
	cmd := l.start(t)
	first := l.wait(t, "ready", 1)
	var clients []*client
	for i := range 12 {
		clients = append(clients, &client{network: "tcp", addr: first.Address, keepAlive: i%2 == 0})
	}
	clients = append(clients,
		&client{network: "unix", addr: path, keepAlive: true},
		&client{network: "unix", addr: path},
		&client{network: "tcp", addr: first.Address, keepAlive: true, pause: 7 * time.Millisecond},
		&client{network: "tcp", addr: first.Address, keepAlive: true, pause: 900 * time.Millisecond},
		// Longer than the old process waits: it sees its connection closed.
		&client{network: "tcp", addr: first.Address, keepAlive: true, pause: 3100 * time.Millisecond},
	)
	end := clientTraffic(t, clients)

	const times = 10
	var took time.Duration
	for i := range times {
		before := l.lines(t, "ready")[i]
		began := time.Now()
		if i%2 == 0 {
			l.start(t, "--takeover")
		} else if err := syscall.Kill(before.PID, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		next := l.wait(t, "ready", i+2)
		took += time.Since(began)
		if next.PID == before.PID || next.Address != before.Address || next.Admin != before.Admin {
			t.Fatalf("process %+v was followed by %+v", before, next)
		}
		for _, c := range clients {
			seen := c.requests.Load()
			testkit.Eventually(t, testkit.Patience, "requests after a take-over", func() bool {
				return c.pause > 0 || c.requests.Load() > seen+20
			})
		}
	}
	l.wait(t, "stopped", times) // while traffic goes on
	end()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the first process: %v", err)
	}
	total := int64(0)
	for _, c := range clients {
		total += c.requests.Load()
	}
	t.Logf("%d requests over %d take-overs of %v each", total, times, took/times)
	if n := len(l.lines(t, "drain: time is up, closing what is under way")); n != 0 {
		t.Errorf("%d processes cut something", n)
	}
	l.killLast(t)
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket file is still there")
	}
	if left, _ := filepath.Glob(filepath.Join(l.dir, "*.sock*")); len(left) != 0 {
		t.Errorf("take-over sockets are left: %v", left)
	}
}

// What is under way when the process is replaced finishes in the old one, and
// idle clients get the time to notice.
func TestTakeOverFinishesRequests(t *testing.T) {
	t.Parallel()
	up := testkit.NewUpstream(t, "up")
	l := newLineage(t, listening(`{address: "127.0.0.1:0"}`)+`routes: [{path: "/*", targets: [{url: "`+up.URL()+`"}]}]`+"\n")
	old := l.start(t)
	first := l.wait(t, "ready", 1)
	slow, idle := testkit.Dial(t, first.Address), testkit.Dial(t, first.Address)
	idle.Do(t, "GET", "/a")
	slow.Send(t, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
	testkit.Eventually(t, testkit.Patience, "the slow request to arrive", func() bool { return up.Requests() == 2 })

	l.start(t, "--takeover")
	l.wait(t, "ready", 2)
	l.wait(t, "draining: waiting for requests under way", 1)
	if r := testkit.Get(t, first.Address, "/ready"); r.Status != 200 || r.Close {
		t.Errorf("/ready of the new process: status %d, close %v", r.Status, r.Close)
	}
	if r := idle.Do(t, "GET", "/ready"); r.Status != 200 || !r.Close {
		t.Errorf("/ready of the old process: status %d, close %v", r.Status, r.Close)
	}
	up.Release()
	if r := slow.Receive(t, "GET"); r.Status != 200 || !r.Close {
		t.Errorf("the slow request: status %d, close %v", r.Status, r.Close)
	}
	if err := old.Wait(); err != nil {
		t.Errorf("the old process: %v", err)
	}
	l.killLast(t)
}

// The new process may want other listeners than the old one had.
func TestTakeOverWithOtherListeners(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gone, added := filepath.Join(dir, "gone.sock"), filepath.Join(dir, "added.sock")
	const stays = `{address: "127.0.0.1:0"}, `
	l := newLineage(t, listening(stays+`{address: "unix:`+gone+`"}`)+answering("one"))
	old := l.start(t)
	first := l.wait(t, "ready", 1)
	lives, err := net.Dial("unix", gone)
	if err != nil {
		t.Fatal(err)
	}
	defer lives.Close()
	if _, err := exchange(lives, bufio.NewReader(lives)); err != nil {
		t.Fatal(err)
	}
	testkit.ReplaceFile(t, l.config, listening(stays+`{address: "unix:`+added+`"}`)+answering("one"))
	l.start(t, "--takeover")
	if second := l.wait(t, "ready", 2); second.Address != first.Address {
		t.Errorf("address %s became %s", first.Address, second.Address)
	}
	conn, err := net.Dial("unix", added)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, c := range []net.Conn{conn, lives} {
		if _, err := exchange(c, bufio.NewReader(c)); err != nil {
			t.Errorf("%s: %v", c.RemoteAddr(), err)
		}
	}
	if _, err := os.Lstat(gone); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket file that nobody serves is still there: %v", err)
	}
	if err := old.Wait(); err != nil {
		t.Errorf("the old process: %v", err)
	}
	if _, err := os.Lstat(added); err != nil {
		t.Errorf("the new socket file: %v", err)
	}
	l.killLast(t)
}

// Whatever goes wrong in the new process, the old one goes on.
func TestTakeOverThatFails(t *testing.T) {
	t.Parallel()
	good := listening(`{address: "127.0.0.1:0"}`) + answering("one")
	l := newLineage(t, good)
	l.start(t)
	first := l.wait(t, "ready", 1)
	end := clientTraffic(t, []*client{{network: "tcp", addr: first.Address, keepAlive: true}, {network: "tcp", addr: first.Address}})

	exits := func(why, document string, want int) {
		t.Helper()
		testkit.ReplaceFile(t, l.config, document)
		next := l.start(t, "--takeover")
		_ = next.Wait() // the exit code tells
		if code := next.ProcessState.ExitCode(); code != want {
			t.Errorf("%s: exit code %d, want %d", why, code, want)
		}
	}
	exits("a bad document", "routes: [", 1)
	exits("an address that is taken", strings.Replace(good, `{address: "127.0.0.1:0"}`, `{address: "127.0.0.1:0"}, {address: "`+first.Admin+`", reuse_port: 1}`, 1), 3)
	exits("an access log that cannot be opened", strings.Replace(good, "access_log: {enabled: false}", "access_log: {output: /nowhere/access.log}", 1), 3)
	exits("hand-over switched off", strings.Replace(good, "watch: false", "watch: false, takeover_socket: off", 1), 3)

	testkit.ReplaceFile(t, l.config, "routes: [")
	if err := syscall.Kill(first.PID, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	l.wait(t, "take over: the new process ended, this one goes on", 1)

	// And when all is well again, it hands over.
	testkit.ReplaceFile(t, l.config, good)
	if err := syscall.Kill(first.PID, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	if next := l.wait(t, "ready", 2); next.PID == first.PID || next.Address != first.Address {
		t.Errorf("process %+v was followed by %+v", first, next)
	}
	l.wait(t, "stopped", 1)
	end()
	l.killLast(t)
}
