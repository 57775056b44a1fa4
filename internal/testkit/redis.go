package testkit

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Redis is a private redis-server, on a Unix socket and a port of its own. It keeps
// nothing when it ends, and ends with the test.
type Redis struct {
	// Addr is its host:port, and Socket its Unix socket. They stay the same over
	// Restart.
	Addr, Socket string

	binary string
	args   []string
	dir    string
	cmd    *exec.Cmd
	ended  chan struct{}
	log    *output
}

// StartRedis starts a redis-server with more arguments ("--cluster-enabled", "yes") and
// waits until it answers.
func StartRedis(tb testing.TB, args ...string) *Redis {
	tb.Helper()
	return startRedis(tb, freeAddr(tb), args...)
}

// StartSentinel starts a redis-server as a Sentinel of a master.
func StartSentinel(tb testing.TB, name string, master *Redis) *Redis {
	tb.Helper()
	host, port, _ := net.SplitHostPort(master.Addr)
	config := WriteFile(tb, tb.TempDir(), "sentinel.conf", fmt.Sprintf(
		"sentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 2000\n", name, host, port, name, name))
	r := &Redis{Addr: freeAddr(tb), binary: redisBinary(tb), dir: filepath.Dir(config)}
	_, sentinelPort, _ := net.SplitHostPort(r.Addr)
	r.args = []string{config, "--sentinel", "--port", sentinelPort, "--bind", "127.0.0.1"}
	tb.Cleanup(func() { r.end() })
	r.Restart(tb)
	return r
}

func startRedis(tb testing.TB, addr string, args ...string) *Redis {
	tb.Helper()
	// The path of a socket must be short.
	dir, err := os.MkdirTemp("", "redis-") //nolint:usetesting // its directory is named after the test, which may be long
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) }) // what is left is in the temporary directory
	r := &Redis{Addr: addr, binary: redisBinary(tb), dir: dir}
	r.Socket = filepath.Join(r.dir, "s")
	_, port, _ := net.SplitHostPort(addr)
	r.args = append([]string{"--port", port, "--bind", "127.0.0.1", "--unixsocket", r.Socket, "--save", "", "--appendonly", "no", "--dir", r.dir}, args...)
	tb.Cleanup(func() { r.end() })
	r.Restart(tb)
	return r
}

func redisBinary(tb testing.TB) string {
	tb.Helper()
	for _, name := range []string{"redis-server", "/usr/sbin/redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	tb.Fatal("redis-server is missing; on Debian or Ubuntu: sudo apt-get install -y --no-install-recommends redis-server")
	return ""
}

// freeAddr is an address at which nobody listens. Somebody may before it is used, which is
// why the port is kept by a server that restarts only while its test runs.
func freeAddr(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Restart starts it at the same addresses, without data, and waits until it answers.
func (r *Redis) Restart(tb testing.TB) {
	tb.Helper()
	r.log = &output{}
	r.cmd = exec.Command(r.binary, r.args...)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = r.dir, r.log, r.log
	if err := r.cmd.Start(); err != nil {
		tb.Fatalf("start redis-server: %v", err)
	}
	ended, cmd := make(chan struct{}), r.cmd
	r.ended = ended
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	Eventually(tb, Patience, "redis-server to answer", func() bool {
		select {
		case <-ended:
			tb.Fatalf("redis-server ended:\n%s", r.log.String())
		default:
		}
		answer, err := r.do("PING")
		return err == nil && strings.HasPrefix(answer, "+PONG")
	})
}

// Do sends a command and returns the first line of the answer, less its end.
func (r *Redis) Do(tb testing.TB, command ...string) string {
	tb.Helper()
	answer, err := r.do(command...)
	if err != nil {
		tb.Fatalf("redis %q: %v", command, err)
	}
	return answer
}

func (r *Redis) do(command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(Patience)) // a connection that has one
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := c.Write([]byte(b.String())); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// Kill ends it at once, as a crash does.
func (r *Redis) Kill(tb testing.TB) {
	tb.Helper()
	r.end()
}

func (r *Redis) end() {
	if r.cmd == nil || r.cmd.Process == nil {
		return
	}
	_ = r.cmd.Process.Kill() // it may have ended
	<-r.ended
}

// Freeze stops it from running, connections stay open; Thaw lets it go on.
func (r *Redis) Freeze(tb testing.TB) {
	tb.Helper()
	r.signal(tb, syscall.SIGSTOP)
}

// Thaw ends Freeze.
func (r *Redis) Thaw(tb testing.TB) {
	tb.Helper()
	r.signal(tb, syscall.SIGCONT)
}

func (r *Redis) signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		tb.Fatalf("signal redis-server: %v", err)
	}
}
