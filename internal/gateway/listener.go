package gateway

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/salgue441/velocity/internal/telemetry"
)

// acceptor owns a listening socket for as long as the process wants it and
// hands connections to whichever server is current. Settings that fasthttp
// fixes when a server starts can so change without touching the socket.
//
// fasthttp ends Serve on the first error of Accept, so running out of file
// descriptors would end the gateway; here it only pauses.
type acceptor struct {
	ln      net.Listener
	limit   atomic.Int64 // open connections, 0 for no limit
	open    atomic.Int64
	closed  chan struct{} // one token at the most: a connection has ended
	current atomic.Pointer[gate]
	metrics *telemetry.GatewayMetrics
	done    chan struct{} // closed when run has returned
	onPause func(error)
}

func newAcceptor(ln net.Listener, m *telemetry.GatewayMetrics, onPause func(error)) *acceptor {
	return &acceptor{ln: ln, metrics: m, closed: make(chan struct{}, 1), done: make(chan struct{}), onPause: onPause}
}

// run accepts until the socket is closed.
func (a *acceptor) run() {
	defer close(a.done)
	pause := time.Duration(0)
	for {
		for limit := a.limit.Load(); limit > 0 && a.open.Load() >= limit; limit = a.limit.Load() {
			<-a.closed
		}
		conn, err := a.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if passing(err) {
				continue
			}
			a.onPause(err)
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			<-time.After(pause)
			continue
		}
		pause = 0
		a.open.Add(1)
		a.metrics.ConnectionAccepted()
		if g := a.current.Load(); g == nil || !g.offer(conn) {
			// The server was replaced between the load and the offer.
			if g = a.current.Load(); g == nil || !g.offer(conn) {
				conn.Close()
				a.ended()
			}
		}
	}
}

// passing reports whether an accept error concerns one connection only.
func passing(err error) bool {
	return errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EINTR)
}

// ended notes that a connection is closed.
func (a *acceptor) ended() {
	a.open.Add(-1)
	a.metrics.ConnectionClosed()
	select {
	case a.closed <- struct{}{}:
	default:
	}
}

// setLimit changes the number of connections that may be open.
func (a *acceptor) setLimit(n int) {
	a.limit.Store(int64(n))
	select {
	case a.closed <- struct{}{}: // wake a waiting run
	default:
	}
}

// serve makes g the server's listener from now on.
func (a *acceptor) serve(g *gate) {
	if old := a.current.Swap(g); old != nil {
		old.shut()
	}
}

// close closes the socket and waits for run to return.
func (a *acceptor) close() {
	a.ln.Close()
	a.setLimit(0)
	<-a.done
}

// gate is a server's view of the socket. Closing it ends that server's Serve
// without error and leaves the socket open.
type gate struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newGate(addr net.Addr) *gate {
	return &gate{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (g *gate) offer(c net.Conn) bool {
	select {
	case g.conns <- c:
		return true
	case <-g.done:
		return false
	}
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case c := <-g.conns:
		return c, nil
	case <-g.done:
		return nil, io.EOF // fasthttp takes it for a shutdown
	}
}

// Close implements net.Listener.
func (g *gate) Close() error {
	g.shut()
	return nil
}

// shut makes Accept return. It may be called more than once.
func (g *gate) shut() { g.once.Do(func() { close(g.done) }) }

// Addr implements net.Listener.
func (g *gate) Addr() net.Addr { return g.addr }
