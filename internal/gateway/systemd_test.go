package gateway

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

func TestNotifier(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@velocity-test-%d", os.Getpid())} {
		socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		if err := newNotifier([]string{"NOTIFY_SOCKET=" + name}).send("READY=1", "MAINPID=7"); err != nil {
			t.Fatal(err)
		}
		if err := socket.SetReadDeadline(time.Now().Add(testkit.Patience)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		if n, err := socket.Read(buf); err != nil || string(buf[:n]) != "READY=1\nMAINPID=7" {
			t.Errorf("%s: got %q, %v", name, buf[:n], err)
		}
	}
	if err := newNotifier(nil).send("READY=1"); err != nil {
		t.Errorf("without systemd: %v", err)
	}
	if err := newNotifier([]string{"NOTIFY_SOCKET=/nowhere/notify"}).send("READY=1"); err == nil {
		t.Error("a socket that does not exist is no error")
	}
}

func TestWatchdogInterval(t *testing.T) {
	f := func(want time.Duration, env ...string) {
		t.Helper()
		if got := newNotifier(append(env, "NOTIFY_SOCKET=/run/notify")).watchdog; got != want {
			t.Errorf("%q: every %v, want %v", env, got, want)
		}
	}
	self := fmt.Sprintf("WATCHDOG_PID=%d", os.Getpid())
	f(0)
	f(5*time.Second, "WATCHDOG_USEC=10000000")
	f(5*time.Second, "WATCHDOG_USEC=10000000", self)
	f(0, "WATCHDOG_USEC=10000000", "WATCHDOG_PID=1")
	f(0, "WATCHDOG_USEC=0", self)
	f(0, "WATCHDOG_USEC=soon", self)
}

// Sockets are taken only by the process they are meant for, and numbers that
// make no sense are an error and not a start without sockets.
func TestPassedSocketsOfOthers(t *testing.T) {
	self := fmt.Sprintf("LISTEN_PID=%d", os.Getpid())
	if in, err := passedSockets([]string{"LISTEN_PID=1", "LISTEN_FDS=1"}); err != nil || len(in.byKey) != 0 {
		t.Errorf("sockets of another process: %v, %v", in, err)
	}
	for _, n := range []string{"", "-1", "many"} {
		if _, err := passedSockets([]string{self, "LISTEN_FDS=" + n}); err == nil {
			t.Errorf("LISTEN_FDS=%s is no error", n)
		}
	}
}

func TestChildEnvironment(t *testing.T) {
	env := []string{"PATH=/bin", "LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=web", "WATCHDOG_PID=1", "WATCHDOG_USEC=1", "NOTIFY_SOCKET=/n"}
	if got, want := childEnvironment(env), []string{"PATH=/bin", "WATCHDOG_USEC=1", "NOTIFY_SOCKET=/n"}; !slices.Equal(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
}
