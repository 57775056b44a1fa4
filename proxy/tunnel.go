package proxy

import (
	"crypto/tls"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/salgue441/velocity/internal/telemetry"
)

// tunnel carries bytes both ways between a client and an endpoint that have
// left HTTP, until both have ended what they send. It takes two goroutines and,
// while nothing is sent, no buffers.
type tunnel struct {
	client, endpoint net.Conn
	up, down         pipe // from the client, to the client
	limits           UpgradePolicy
	metrics          *telemetry.RouteMetrics
	// framed tells that the protocol marks its own end, as WebSockets do:
	// nobody takes a connection that was cut for one that is complete, and
	// when one side has gone the other has little left to say.
	framed bool

	start   time.Time
	last    atomic.Int64 // when bytes went either way, in nanoseconds from start
	ending  atomic.Bool  // one direction has ended
	stopped atomic.Bool
	cause   atomic.Pointer[Error] // why it was cut; nil when its ends ended it
	timer   *time.Timer
	sides   sync.WaitGroup
}

// closeGrace is how long one side of a framed protocol may be silent after the
// other has gone.
const closeGrace = 10 * time.Second

// longAgo is a deadline that ends what waits.
var longAgo = time.Unix(1, 0)

// run carries until both directions have ended or the tunnel is cut. fromClient
// and fromEndpoint were read before; the first head bytes of fromEndpoint are
// the gateway's own answer and not counted.
func (t *tunnel) run(fromClient, fromEndpoint []byte, head int) {
	t.start = time.Now()
	t.up = pipe{tunnel: t, src: t.client, dst: t.endpoint, count: t.metrics.UpgradeReceived, srcGone: ErrClientClosed, dstGone: ErrReset}
	t.down = pipe{tunnel: t, src: t.endpoint, dst: t.client, count: t.metrics.UpgradeSent, srcGone: ErrReset, dstGone: ErrClientClosed}
	t.timer = time.AfterFunc(math.MaxInt64, t.check)
	t.check()
	t.sides.Go(func() { t.down.run(fromEndpoint, head) })
	t.up.run(fromClient, 0)
	t.sides.Wait()
	t.stopped.Store(true)
	t.timer.Stop()
}

// check cuts the tunnel when its time is up, and otherwise has itself called
// again when it may be.
func (t *tunnel) check() {
	if t.stopped.Load() {
		return
	}
	now := time.Since(t.start)
	next := time.Duration(math.MaxInt64)
	if d := t.limits.MaxDuration; d > 0 {
		if next = d - now; next <= 0 {
			t.cut(ErrTunnelExpired)
			return
		}
	}
	idle, cause := t.limits.IdleTimeout, ErrTunnelIdle
	if t.framed && t.ending.Load() && (idle <= 0 || idle > closeGrace) {
		idle, cause = closeGrace, nil
	}
	if idle > 0 {
		left := idle - (now - time.Duration(t.last.Load()))
		if left <= 0 {
			t.cut(cause)
			return
		}
		next = min(next, left)
	}
	t.timer.Reset(next)
}

// cut ends both directions now. The first call's cause is the one that counts.
func (t *tunnel) cut(cause *Error) {
	if !t.stopped.CompareAndSwap(false, true) {
		return
	}
	t.cause.Store(cause)
	if !t.framed && cause != nil {
		resetOnClose(t.client)
		resetOnClose(t.endpoint)
	}
	_ = t.client.SetDeadline(longAgo) // fails only when closed, which ends it as well
	_ = t.endpoint.SetDeadline(longAgo)
}

// resetOnClose makes the close that follows look like what it is, and not like
// the orderly end of the data.
func resetOnClose(c net.Conn) {
	if tc, ok := c.(*tls.Conn); ok {
		c = tc.NetConn()
	}
	if tc, ok := c.(*net.TCPConn); ok {
		_ = tc.SetLinger(0) // fails only when closed
	}
}

// endOf passes on that one side sends nothing more. The other may go on.
func (t *tunnel) endOf(p *pipe) {
	if t.ending.Swap(true) {
		return // both have ended
	}
	half, ok := p.dst.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		t.cut(nil)
		return
	}
	t.last.Store(int64(time.Since(t.start)))
	t.check()
}

// pipe is one direction of a tunnel.
type pipe struct {
	tunnel           *tunnel
	src, dst         net.Conn
	srcGone, dstGone *Error
	moved            int64
	count            func(n int)

	raw  syscall.RawConn // of src, when it is a plain socket
	take func(fd uintptr) bool

	// What was read last: n bytes of pump, or of own when that is nil.
	pump *[]byte
	own  []byte
	n    int
	err  error
}

// ownSize is the size of the buffer that a source which is no plain socket
// waits with, in bytes.
const ownSize = 4 << 10

func (p *pipe) run(early []byte, head int) {
	if len(early) > 0 && !p.write(early, head) {
		return
	}
	p.raw = rawSocket(p.src)
	p.take = p.takeAvailable
	for {
		err := p.read()
		ok := p.n == 0 || p.write(p.buffer()[:p.n], 0)
		p.putPump()
		if ok && p.n == pumpSize {
			ok = p.splice()
		}
		switch {
		case !ok:
			return
		case err == io.EOF:
			p.tunnel.endOf(p)
			return
		case err != nil:
			p.tunnel.cut(p.srcGone)
			return
		}
	}
}

// rawSocket returns the raw connection of a plain socket, nil for others.
func rawSocket(c net.Conn) syscall.RawConn {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
		raw, err := c.(syscall.Conn).SyscallConn()
		if err == nil {
			return raw
		}
	}
	return nil
}

func (p *pipe) buffer() []byte {
	if p.pump != nil {
		return *p.pump
	}
	return p.own
}

func (p *pipe) putPump() {
	if p.pump != nil {
		pumps.Put(p.pump)
		p.pump = nil
	}
}

// write passes bytes on, of which the first head are not counted.
func (p *pipe) write(b []byte, head int) bool {
	n, err := p.dst.Write(b)
	p.note(n - head)
	if err != nil {
		p.tunnel.cut(p.dstGone)
		return false
	}
	return true
}

// note counts bytes that were passed on.
func (p *pipe) note(n int) {
	if n > 0 {
		p.moved += int64(n)
		p.count(n)
		p.tunnel.last.Store(int64(time.Since(p.tunnel.start)))
	}
}

// read waits for bytes. A socket is waited for without a buffer.
func (p *pipe) read() error {
	if p.raw == nil {
		return p.readOwn()
	}
	p.n, p.err = 0, nil
	if err := p.raw.Read(p.take); err != nil {
		return err
	}
	if p.n == 0 && p.err == nil {
		return io.EOF
	}
	return p.err
}

// takeAvailable reads what a socket has into a borrowed buffer. It reports
// false, and has given the buffer back, when that is nothing yet.
func (p *pipe) takeAvailable(fd uintptr) bool {
	p.pump = pumps.Get().(*[]byte)
	for {
		n, err := unix.Read(int(fd), *p.pump)
		switch err {
		case nil:
			p.n = n
			return true
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			p.putPump()
			return false
		default:
			p.err = err
			return true
		}
	}
}

// tunnelSplice is how many bytes must wait before the kernel is to move them
// between the sockets. For fewer, the calls that this takes cost more than
// the copy that it saves.
const tunnelSplice = 256 << 10

// splice has the kernel move what waits, if that is a lot.
func (p *pipe) splice() bool {
	src, ok := p.src.(*net.TCPConn)
	dst, both := p.dst.(*net.TCPConn)
	if !ok || !both {
		return true
	}
	waits := pendingBytes(p.raw)
	if waits < tunnelSplice {
		return true
	}
	n, err := dst.ReadFrom(&io.LimitedReader{R: src, N: int64(waits)})
	p.note(int(n))
	if err != nil { // what waits can be read: it is the other side that failed
		p.tunnel.cut(p.dstGone)
		return false
	}
	return true
}

// readOwn reads by the connection's own Read, TLS for one, with a small buffer.
// When that was filled the rest is fetched with a large one.
func (p *pipe) readOwn() (err error) {
	if p.own == nil {
		p.own = make([]byte, ownSize)
	} else if p.n == ownSize {
		p.pump = pumps.Get().(*[]byte)
	}
	p.n, err = p.src.Read(p.buffer())
	return err
}
