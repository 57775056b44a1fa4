package gateway

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// firstPassedFD is the first descriptor that systemd passes (sd_listen_fds(3)).
const firstPassedFD = 3

// variable returns the value of a variable in env, in the form of os.Environ.
func variable(env []string, name string) string {
	for _, entry := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// passedSockets returns the listening sockets that systemd has passed to this
// process, if any.
func passedSockets(env []string) (inheritance, error) {
	in := inheritance{byKey: map[string]socket{}, names: map[string][]string{}}
	if variable(env, "LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return in, nil // they are for somebody else
	}
	n, err := strconv.Atoi(variable(env, "LISTEN_FDS"))
	if err != nil || n < 0 {
		return in, fmt.Errorf("use sockets of systemd: LISTEN_FDS is %q", variable(env, "LISTEN_FDS"))
	}
	names := strings.Split(variable(env, "LISTEN_FDNAMES"), ":")
	for i := range n {
		name := "unknown" // what systemd calls a socket without a name
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		ln, err := listenerOf(firstPassedFD+i, name)
		if err != nil {
			in.drop(false)
			return in, err
		}
		if u, ok := ln.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // the file is systemd's
		}
		key := keyOf(ln.Addr())
		in.byKey[key] = socket{key: key, ln: ln}
		in.names[name] = append(in.names[name], key)
	}
	return in, nil
}

// notifier tells systemd about the state of the service (sd_notify(3)). The
// zero value, for a process that systemd does not run, does nothing.
type notifier struct {
	address string
	// watchdog is how often to say that the process is alive; 0 means never.
	watchdog time.Duration
}

func newNotifier(env []string) notifier {
	n := notifier{address: variable(env, "NOTIFY_SOCKET")}
	if n.address == "" {
		return n
	}
	pid := variable(env, "WATCHDOG_PID")
	limit, err := strconv.ParseInt(variable(env, "WATCHDOG_USEC"), 10, 64)
	if err == nil && limit > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(limit) * time.Microsecond / 2
	}
	return n
}

// send sends assignments such as READY=1, one a line.
func (n notifier) send(state ...string) error {
	if n.address == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.address, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(strings.Join(state, "\n"))); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

// ticks returns a channel that says when to feed the watchdog, nil without one.
func (n notifier) ticks() (c <-chan time.Time, stop func()) {
	if n.watchdog == 0 {
		return nil, func() {}
	}
	t := time.NewTicker(n.watchdog)
	return t.C, t.Stop
}

// reloading is the message that a reload begins, with the time by the clock
// that systemd compares.
func reloading() []string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return []string{"RELOADING=1"}
	}
	return []string{"RELOADING=1", "MONOTONIC_USEC=" + strconv.FormatInt(now.Nano()/int64(time.Microsecond), 10)}
}

// childEnvironment is the environment for a process that takes over: sockets
// come by hand-over, and the watchdog is meant for whoever is the main process.
func childEnvironment(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID":
			return true
		}
		return false
	})
}
