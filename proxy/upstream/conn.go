package upstream

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is one connection of an endpoint's pool, leased to one attempt at a
// time. It is not safe for concurrent use.
type Conn struct {
	net.Conn // as dialled, TLS included

	endpoint *Endpoint
	born     time.Time
	dialled  time.Duration // how long that took
	give     func(reuse bool)
	reused   bool
	br       *bufio.Reader // only while leased
	body     body
	wait     wait
	spliced  io.LimitedReader
	relay    Relay
	interim  int // interim replies since the last final one
	// interrupted is set by another goroutine than the one that reads.
	interrupted atomic.Bool
	// dedicated tells that the connection is not the pool's, but from Dial.
	dedicated bool

	// raw and look make the peek without allocating; raw is nil when the
	// connection has no file descriptor (in-memory tests).
	raw    syscall.RawConn
	look   func(fd uintptr)
	seen   state // by the last look
	peeked [1]byte
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
// endpoint drains, is closed all the same. A second call does nothing.
func (c *Conn) Release(reuse bool) {
	if c.br == nil || c.dedicated {
		c.drop() // or released before
		return
	}
	e := c.endpoint
	if c.br.Buffered() > 0 || e.settings.DisableKeepAlive || e.Live.Retired() ||
		(e.settings.MaxLifetime > 0 && time.Since(c.born) > e.settings.MaxLifetime) {
		reuse = false
	}
	e.pool.ReleaseReader(c.br)
	c.br, c.relay, c.interim = nil, nil, 0
	c.wait = wait{}
	c.body.framing, c.body.left, c.body.done = NoBody, 0, false
	c.body.chunks.Reset(nil)
	c.give(reuse)
}

// Answered tells, without waiting, whether the endpoint has begun its final
// reply, or closed, before the request is complete. Interim replies that have
// arrived are passed over. Over TLS what has arrived may be records that are not
// HTTP, or a part of one: for those it waits a moment. The caller must call Await
// before it reads.
func (c *Conn) Answered() bool {
	for {
		b, _ := c.br.Peek(c.br.Buffered())
		if end := bytes.Index(b, crlfcrlf); end >= 0 {
			if !isInterim(b) || c.passInterim(b[:end+len(crlfcrlf)]) != nil {
				return true // what is wrong with it is found when it is read
			}
			continue
		}
		if c.clean() {
			return false
		}
		if c.TCP() == nil {
			_ = c.Conn.SetReadDeadline(time.Now().Add(moment)) //nolint:staticcheck // the socket's, as in armLook
		}
		// There is something to read, so this does not wait.
		if _, err := c.br.Peek(len(b) + 1); err != nil {
			return !isTimeout(err)
		}
	}
}

// moment is long enough to decrypt what has arrived.
const moment = time.Millisecond

// isInterim reports whether a reply's first bytes are those of a 1xx other
// than 101. Whether the rest is well-formed is judged when it is read.
func isInterim(b []byte) bool {
	return len(b) > 11 && b[8] == ' ' && b[9] == '1' && string(b[9:12]) != "101"
}

// clean reports whether the connection is open with nothing to read, which is
// how an idle connection must look. Bytes nobody asked for would be taken for
// the next reply.
func (c *Conn) clean() bool {
	data, ended := c.Unread()
	return !data && !ended
}

// Unread looks, without waiting, for what has arrived and was not read: data,
// or the end of the connection. Without a socket it sees neither.
func (c *Conn) Unread() (data, ended bool) {
	if c.raw == nil {
		return false, false
	}
	seen := c.glance()
	return seen == readable, seen == closed
}

// glance looks at the socket without waiting, whatever its deadlines are.
func (c *Conn) glance() state {
	if c.raw.Control(c.look) != nil {
		return closed
	}
	return c.seen
}

// state is what a socket looks like.
type state uint8

const (
	idle     state = iota // open, nothing to read
	readable              // bytes wait
	closed                // ended or broken
)

// watch prepares glance for a socket.
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
	c.look = func(fd uintptr) { c.seen = peek(fd, &c.peeked) }
}
