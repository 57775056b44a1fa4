package upstream

import (
	"bufio"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is one connection of an endpoint's pool, leased to one attempt at a
// time. It is not safe for concurrent use.
type Conn struct {
	net.Conn // as dialled, TLS included

	endpoint *Endpoint
	born     time.Time
	give     func(reuse bool)
	reused   bool
	br       *bufio.Reader // only while leased
	body     body
	spliced  io.LimitedReader

	// raw and look ask whether there is something to read without allocating;
	// raw is nil when the connection has no file descriptor (in-memory tests).
	raw   syscall.RawConn
	look  func(fd uintptr) bool
	fds   [1]unix.PollFd
	ready int
}

// TCP returns the plain TCP connection underneath, nil for TLS: what can be
// spliced.
func (c *Conn) TCP() *net.TCPConn {
	tc, _ := c.Conn.(*net.TCPConn)
	return tc
}

// Reused tells whether the connection carried a request before: only then can
// a failure mean that the endpoint had closed it in between.
func (c *Conn) Reused() bool { return c.reused }

// Release ends the lease. With reuse the connection goes back to the pool; the
// caller may ask for that only after a complete reply on a persistent
// connection. A connection that is too old, has bytes left over, or whose
// endpoint drains, is closed all the same.
func (c *Conn) Release(reuse bool) {
	e := c.endpoint
	if c.br.Buffered() > 0 || e.settings.DisableKeepAlive || e.Live.Draining() ||
		(e.settings.MaxLifetime > 0 && time.Since(c.born) > e.settings.MaxLifetime) {
		reuse = false
	}
	e.pool.ReleaseReader(c.br)
	c.br = nil
	c.body = body{}
	c.give(reuse)
}

// Readable tells, without blocking, whether the endpoint has sent something
// or closed: an answer before the request is complete.
func (c *Conn) Readable() bool {
	return c.br.Buffered() > 0 || !c.clean()
}

// clean reports whether the connection is open with nothing to read, which is
// how an idle connection must look. Bytes nobody asked for would be taken for
// the next reply.
func (c *Conn) clean() bool {
	if c.raw == nil {
		return true
	}
	// The deadline of the last exchange may have passed; the look must not
	// take that for an answer.
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return false
	}
	if err := c.raw.Read(c.look); err != nil {
		return false
	}
	return c.ready == 0
}

// Unread looks, without blocking, for what has arrived and was not read: data,
// or the end of the connection. It needs a socket, clears the read deadline and
// allocates: it is for finding out what went wrong.
func (c *Conn) Unread() (data, ended bool) {
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return false, true
	}
	err := c.raw.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		data, ended = err == nil && n > 0, err == nil && n == 0 || err != nil && err != unix.EAGAIN
		return true
	})
	return data, ended || err != nil
}

// watch prepares clean for a socket.
func (c *Conn) watch(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	c.raw = raw
	c.look = func(fd uintptr) bool {
		// Data, the end and errors all make a socket readable. A peek would
		// tell them apart, but allocates for the sender's address.
		c.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN} //nolint:gosec // a file descriptor is an int
		c.ready, _ = unix.Poll(c.fds[:], 0)                        // -1 for an error
		return true
	}
}
