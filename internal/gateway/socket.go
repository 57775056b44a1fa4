package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/salgue441/velocity/internal/config"
)

// socket is a listening socket under its identity. It lives across reloads,
// and across processes.
type socket struct {
	key string
	ln  net.Listener
	// file is the path of a Unix socket that goes away with the socket; empty
	// when there is none, or when it is not ours.
	file string
	// opened is set when this process made the socket.
	opened bool
}

// discard closes a socket that will not be used. Its file is removed only if
// this process made it: another process may still serve it.
func (s socket) discard() {
	s.ln.Close()
	if s.opened {
		s.removeFile()
	}
}

// removeFile removes the file of a Unix socket that nobody serves any more.
func (s socket) removeFile() {
	if s.file != "" {
		_ = os.Remove(s.file) // its directory may be gone, too
	}
}

// address is where the socket listens, for people.
func (s socket) address() string {
	if a := s.ln.Addr(); a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return s.ln.Addr().String()
}

// Identities of sockets: what a configuration names, never what the kernel
// chose for it, so that port 0 stays what it became.
func tcpKey(hostPort string) string {
	host, port, _ := net.SplitHostPort(hostPort) // checked, or made by JoinHostPort
	if host == "" {
		host = "::"
	}
	return network(host) + " " + net.JoinHostPort(host, port)
}

func unixKey(path string) string { return "unix " + path }

func fdKey(name string, i int) string { return "fd " + name + "#" + strconv.Itoa(i) }

// keyOf is the identity that a configuration would give to a socket by its
// address.
func keyOf(a net.Addr) string {
	if a.Network() == "unix" {
		return unixKey(a.String())
	}
	return tcpKey(a.String())
}

// network keeps 0.0.0.0 to IPv4: "tcp" would listen on IPv6 as well.
func network(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}

// inheritance is the sockets that another process has passed on: the one that
// is taken over, or systemd. Each is taken at most once.
type inheritance struct {
	byKey map[string]socket
	// names are the systemd names of sockets, whose identity in byKey is their
	// address until they are asked for by name.
	names map[string][]string
}

func (in *inheritance) take(key string) (socket, bool) {
	s, ok := in.byKey[key]
	delete(in.byKey, key)
	return s, ok
}

// takeNamed takes all sockets of a systemd name.
func (in *inheritance) takeNamed(name string) []socket {
	var out []socket
	for _, key := range in.names[name] {
		if s, ok := in.take(key); ok {
			s.key = fdKey(name, len(out))
			out = append(out, s)
		}
	}
	for {
		s, ok := in.take(fdKey(name, len(out)))
		if !ok {
			return out
		}
		out = append(out, s)
	}
}

// drop closes what was not taken. With remove, files of Unix sockets go, too:
// the process before does not need them any more.
func (in *inheritance) drop(remove bool) {
	for key, s := range in.byKey {
		s.discard()
		if remove {
			s.removeFile()
		}
		delete(in.byKey, key)
	}
}

// openSockets returns the sockets of one listener of the configuration: those
// that have looks up, those that are inherited, and new ones.
func openSockets(l *config.Listener, have func(key string) (socket, bool), in *inheritance) ([]socket, error) {
	find := func(key string) (socket, bool) {
		if s, ok := have(key); ok {
			return s, true
		}
		return in.take(key)
	}
	switch kind, address := l.Split(); kind {
	case config.ListenFD:
		var out []socket
		for s, ok := have(fdKey(address, 0)); ok; s, ok = have(fdKey(address, len(out))) {
			out = append(out, s)
		}
		if len(out) == 0 {
			out = in.takeNamed(address)
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("listen on fd:%s: systemd passed no socket of that name (LISTEN_FDS, LISTEN_FDNAMES)", address)
		}
		return out, nil
	case config.ListenUnix:
		s, ok := find(unixKey(address))
		if ok {
			return []socket{s}, nil
		}
		s, err := listenUnix(address, os.FileMode(l.Mode))
		if err != nil {
			return nil, err
		}
		return []socket{s}, nil
	default:
		return openTCP(address, l.ReusePort, find)
	}
}

// openTCP returns the sockets of an address: one, or several that the kernel
// spreads connections over.
func openTCP(hostPort string, reuse int, find func(string) (socket, bool)) ([]socket, error) {
	var out []socket
	for i := range max(reuse, 1) {
		key := tcpKey(hostPort)
		if reuse > 0 {
			key += " reuse_port#" + strconv.Itoa(i)
		}
		s, ok := find(key)
		if !ok {
			var err error
			if s, err = listenTCP(key, hostPort, reuse > 0); err != nil {
				for _, s := range out {
					if s.opened {
						s.discard()
					}
				}
				return nil, err
			}
		}
		out = append(out, s)
		if reuse > 0 {
			hostPort = s.ln.Addr().String() // all on the port that the first one got
		}
	}
	return out, nil
}

func listenTCP(key, hostPort string, reusePort bool) (socket, error) {
	lc := net.ListenConfig{}
	if reusePort {
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			if outer := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}); outer != nil {
				return outer
			}
			return err
		}
	}
	host, _, _ := net.SplitHostPort(hostPort)
	ln, err := lc.Listen(context.Background(), network(host), hostPort)
	return socket{key: key, ln: ln, opened: true}, err
}

// listenUnix listens on a path. A socket file that a crashed process left
// there is replaced; one that somebody serves is not.
func listenUnix(path string, mode os.FileMode) (socket, error) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if errors.Is(err, syscall.EADDRINUSE) && isStale(path) {
		_ = os.Remove(path) // if it stays, listening fails again
		ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	}
	if err != nil {
		return socket{}, err
	}
	ln.SetUnlinkOnClose(false) // the file outlives this process when it is taken over
	s := socket{key: unixKey(path), ln: ln, file: path, opened: true}
	if err := os.Chmod(path, mode); err != nil {
		s.discard()
		return socket{}, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	return s, nil
}

// isStale reports whether path is a socket that nobody listens on.
func isStale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// listenerOf makes a listener of a descriptor and closes the descriptor.
func listenerOf(fd int, name string) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("use inherited socket %s: %w", name, err)
	}
	return ln, nil
}

// rawFD calls f with the descriptor of a listener.
func rawFD(ln net.Listener, f func(fd int) error) error {
	s, ok := ln.(syscall.Conn)
	if !ok {
		return fmt.Errorf("BUG: %T has no descriptor", ln)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	if outer := raw.Control(func(fd uintptr) { err = f(int(fd)) }); outer != nil {
		return outer
	}
	return err
}
