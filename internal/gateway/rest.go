package gateway

import (
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/salgue441/velocity/proxy"
)

// linger is how long a connection without a request keeps the server's buffers
// before it rests without them. Clients that ask again sooner pay nothing.
const linger = 250 * time.Millisecond

// The states of a restingConn.
const (
	atServer int32 = iota // served, or waiting for a request with buffers
	leaving               // its wait has timed out: the server is about to drop it
	atRest                // waiting for a request without buffers
)

// restingConn is a client's connection that outlives its stay at the server.
// fasthttp keeps buffers, a context and a grown stack for as long as a
// connection waits for its next request. It is therefore told to close idle
// connections after linger; such a connection does not close then but rests,
// on a goroutine that holds nothing else, and goes back to the current server
// once there is something to read.
type restingConn struct {
	net.Conn
	door   *door
	client netip.Addr      // whom it counts for
	raw    syscall.RawConn // nil for a connection that is no plain socket

	lines    proxy.RequestLines
	state    atomic.Int32
	closed   atomic.Bool
	born     time.Time
	idle     bool   // between requests; this and what follows is of whom the connection is with
	requests uint64 // that have ended
	before   uint64 // of them before its last rest
}

func newRestingConn(conn net.Conn, client netip.Addr, d *door) *restingConn {
	c := &restingConn{Conn: conn, door: d, client: client, born: time.Now()}
	inner := conn
	for {
		u, ok := inner.(interface{ Unwrap() net.Conn })
		if !ok {
			break
		}
		inner = u.Unwrap()
	}
	if s, ok := inner.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	return c
}

// Unwrap returns the connection itself.
func (c *restingConn) Unwrap() net.Conn { return c.Conn }

// Buffered tells that nothing is held back of what was read.
func (c *restingConn) Buffered() int { return 0 }

// History tells when the connection was opened and how many requests it had
// before this stay at the server.
func (c *restingConn) History() (born time.Time, requests uint64) { return c.born, c.before }

// RequestLines are what the proxy knows of the request lines.
func (c *restingConn) RequestLines() *proxy.RequestLines { return &c.lines }

// note follows the server's ConnState.
func (c *restingConn) note(idle bool) {
	if c.idle = idle; idle {
		c.requests++
	}
}

// Read implements net.Conn. A wait for the next request that times out is the
// beginning of a rest. A connection that has no socket to wait at rests where it
// is.
func (c *restingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.lines.Saw(p[:n])
	}
	if err == nil || !c.idle || !os.IsTimeout(err) {
		return n, err
	}
	rest := time.Duration(c.door.rest.Load())
	switch {
	case rest <= 0:
	case c.raw != nil:
		c.state.CompareAndSwap(atServer, leaving)
	case c.SetReadDeadline(time.Now().Add(rest)) == nil:
		n, err = c.Conn.Read(p)
		c.lines.Saw(p[:n])
	}
	return n, err
}

// Close implements net.Conn. For the server that drops a resting connection it
// does not close.
func (c *restingConn) Close() error {
	if c.state.CompareAndSwap(leaving, atRest) && c.rest() {
		return nil
	}
	return c.end()
}

// rest begins a rest, if connections still may. The server's buffer is no longer
// the connection's.
func (c *restingConn) rest() bool {
	c.lines.Restart()
	return c.door.lay(c)
}

// end closes the connection.
func (c *restingConn) end() error {
	err := c.Conn.Close()
	if c.closed.CompareAndSwap(false, true) {
		c.door.left(c.client)
	}
	return err
}

// wake waits until there is something to read, and reports whether there was.
func (c *restingConn) wake(within time.Duration) bool {
	if c.SetReadDeadline(time.Now().Add(within)) != nil {
		return false
	}
	got := 0
	var b [1]byte
	err := c.raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		got = n
		return err != syscall.EAGAIN && err != syscall.EINTR
	})
	return err == nil && got > 0
}

// lay puts a connection to rest; false if connections no longer rest.
func (d *door) lay(c *restingConn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dismissed {
		return false
	}
	if d.resting == nil {
		d.resting = make(map[*restingConn]struct{})
	}
	d.resting[c] = struct{}{}
	d.rests.Go(func() { d.watchOver(c) })
	return true
}

// atRest is how many connections rest.
func (d *door) atRest() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.resting)
}

// watchOver sees a connection through its rest.
func (d *door) watchOver(c *restingConn) {
	awake := c.wake(time.Duration(d.rest.Load()))
	d.mu.Lock()
	delete(d.resting, c)
	d.mu.Unlock()
	if !awake {
		_ = c.end() // there is nobody to tell
		return
	}
	c.idle, c.before = false, c.requests
	c.state.Store(atServer)
	d.offer(c)
}

// dismiss closes the connections that rest. From now on none rests.
func (d *door) dismiss() {
	d.mu.Lock()
	d.dismissed = true
	for c := range d.resting {
		_ = c.Conn.Close() // its goroutine does the rest
	}
	d.mu.Unlock()
	d.rests.Wait()
}
