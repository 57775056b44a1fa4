package upstream

import (
	"io"
	"net"
	"syscall"
	"time"
)

// The intervals at which a Watcher is asked: the first is longer than most
// replies take, so that those cost nothing.
const (
	firstLook = 100 * time.Millisecond
	maxLook   = 500 * time.Millisecond
)

// Watcher tells whether anyone still wants what the endpoint is asked for.
type Watcher interface {
	// Gone must not block.
	Gone() bool
}

// wait is how long a read may take and who may end it before.
type wait struct {
	watcher  Watcher // nil: nobody
	deadline time.Time
	look     time.Time // when the watcher is asked next
	interval time.Duration
}

// Await sets how long the reads that follow may wait in all: until the
// deadline, the zero time for ever, or until w is found to be gone, which ends
// them with ErrAbandoned. now is the current time. Nothing is started for it:
// the read's own deadline comes early and is put off.
func (c *Conn) Await(now, deadline time.Time, w Watcher) {
	c.wait = wait{watcher: w, deadline: deadline, interval: firstLook}
	c.armLook(now)
}

func (c *Conn) armLook(now time.Time) {
	w := &c.wait
	w.look = now.Add(w.interval)
	if !w.deadline.IsZero() && w.deadline.Before(w.look) {
		w.look = w.deadline
	}
	_ = c.Conn.SetReadDeadline(w.look) //nolint:staticcheck // the socket's, not the method of Conn that waits through this; fails only when closed
	if c.interrupted.Load() {
		_ = c.SetDeadline(longAgo) // ours may have undone that of Interrupt
	}
}

// Read implements io.Reader over the connection as dialled, with the patience
// that Await has set.
func (c *Conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err == nil || n > 0 || err == io.EOF {
			return n, err
		}
		if err = c.putOff(err); err != nil {
			return 0, err
		}
	}
}

// putOff returns nil when err only means that it was time to look, and the read
// is to be tried again.
func (c *Conn) putOff(err error) error {
	w := &c.wait
	if w.watcher == nil || !isTimeout(err) {
		return err
	}
	now := time.Now()
	if now.Before(w.look) || !w.deadline.IsZero() && !now.Before(w.deadline) {
		return err
	}
	if w.watcher.Gone() {
		return ErrAbandoned
	}
	w.interval = min(2*w.interval, maxLook)
	c.armLook(now)
	return nil
}

// Gone tells, without waiting, whether the peer of a client's connection has
// closed or reset it. Bytes that wait to be read say that it is there, and so
// does a connection without a file descriptor.
func Gone(c net.Conn) bool {
	sc := socketOf(c)
	if sc == nil {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	var b [1]byte
	seen := closed
	err = raw.Control(func(fd uintptr) { seen = peek(fd, &b) })
	return err != nil || seen == closed
}

// socketOf finds the socket below what is wrapped around it, nil if there is
// none.
func socketOf(c net.Conn) syscall.Conn {
	for {
		switch v := c.(type) {
		case syscall.Conn:
			return v
		case interface{ Unwrap() net.Conn }:
			c = v.Unwrap()
		case interface{ NetConn() net.Conn }: // tls.Conn
			c = v.NetConn()
		default:
			return nil
		}
	}
}
