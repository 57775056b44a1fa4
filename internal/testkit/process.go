package testkit

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a running binary. It is killed at the end of the test unless it
// has ended before.
type Process struct {
	// Ready is how long it took from starting the process to its line that says
	// that it is ready.
	Ready time.Duration
	// Addr and Admin are where it takes traffic and where it is managed; Admin
	// is empty when management is off.
	Addr, Admin string

	cmd            *exec.Cmd
	ended          chan struct{}
	stdout, stderr output
}

// LogLine is a line of the gateway's own log, with the fields that tests ask for.
type LogLine struct {
	Level   string `json:"level"`
	Message string `json:"message"`
	Address string `json:"address"`
	Admin   string `json:"admin"`
	Took    string `json:"took"`
	Error   string `json:"error"`
}

// StartGateway runs the binary with a configuration file and waits until it is
// ready. The configuration should ask for port 0 on both listeners, and for
// logs in JSON at level info.
func StartGateway(tb testing.TB, config string, env ...string) *Process {
	tb.Helper()
	started := time.Now()
	p := start(tb, env, "--config", config)
	line := p.WaitLog(tb, "ready")
	p.Ready, p.Addr, p.Admin = time.Since(started), line.Address, line.Admin
	return p
}

// StartEcho runs the sample upstream on a free port.
func StartEcho(tb testing.TB) *Process {
	tb.Helper()
	return StartEchoAt(tb, "127.0.0.1:0", "sample")
}

// StartEchoAt runs the sample upstream on an address and under a name.
func StartEchoAt(tb testing.TB, addr, name string) *Process {
	tb.Helper()
	p := start(tb, nil, "echo", "--listen", addr, "--name", name)
	const before = "listening on http://"
	Eventually(tb, Patience, "the echo server to listen", func() bool {
		_, rest, ok := strings.Cut(p.Stderr(), before)
		p.Addr, _, _ = strings.Cut(rest, " ")
		return ok && strings.HasSuffix(rest, "\n")
	})
	return p
}

func start(tb testing.TB, env []string, args ...string) *Process {
	tb.Helper()
	p := &Process{cmd: command(tb, env, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("start velocity %q: %v", args, err)
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState has what it says
		close(p.ended)
	}()
	tb.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
		if tb.Failed() {
			tb.Logf("stderr of velocity %q:\n%s", args, tail(p.Stderr(), 4<<10))
		}
	})
	return p
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// PID is the process's ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stdout and Stderr are what was written so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr is what was written there so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Log returns the lines with this message, in order.
func (p *Process) Log(message string) []LogLine {
	var lines []LogLine
	s := bufio.NewScanner(strings.NewReader(p.Stderr()))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var line LogLine
		if json.Unmarshal(s.Bytes(), &line) == nil && line.Message == message {
			lines = append(lines, line)
		}
	}
	return lines
}

// WaitLog waits for a line with this message and returns the last one.
func (p *Process) WaitLog(tb testing.TB, message string) LogLine {
	tb.Helper()
	var line LogLine
	Eventually(tb, Patience, "the log line "+message, func() bool {
		lines := p.Log(message)
		if len(lines) == 0 {
			if !p.Running() {
				tb.Fatalf("velocity ended with %d before it logged %q:\n%s", p.cmd.ProcessState.ExitCode(), message, p.Stderr())
			}
			return false
		}
		line = lines[len(lines)-1]
		return true
	})
	return line
}

// Signal sends a signal to the process and to nothing else.
func (p *Process) Signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		tb.Fatalf("signal velocity: %v", err)
	}
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Wait waits for the process to end by itself and returns its exit code.
func (p *Process) Wait(tb testing.TB, within time.Duration) int {
	tb.Helper()
	limit := time.NewTimer(within)
	defer limit.Stop()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-limit.C:
		tb.Fatalf("velocity has not ended after %v", within)
		return 0
	}
}

// Kill ends the process as kill -9 does, and waits for it.
func (p *Process) Kill(tb testing.TB) {
	tb.Helper()
	p.Signal(tb, syscall.SIGKILL)
	p.Wait(tb, Patience)
}

// Stop asks the process to stop and waits for it.
func (p *Process) Stop(tb testing.TB) int {
	tb.Helper()
	p.Signal(tb, syscall.SIGTERM)
	return p.Wait(tb, Patience)
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

var _ io.Writer = (*output)(nil)

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Root returns the module's root directory.
func Root(tb testing.TB) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		tb.Fatalf("find module root: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// ReadFile returns the text of a file.
func ReadFile(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}
