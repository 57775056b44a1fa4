package gateway

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/salgue441/velocity/internal/telemetry"
)

// door is what every listening socket leads to: one limit on open connections
// and the server that is current. Settings that fasthttp fixes when a server
// starts can so change without touching a socket.
type door struct {
	limit   atomic.Int64 // open connections, 0 for no limit
	open    atomic.Int64
	clients clients
	rest    atomic.Int64 // how long a connection may rest, in nanoseconds; zero for not at all
	current atomic.Pointer[gate]
	metrics *telemetry.GatewayMetrics

	waiting   atomic.Int64 // acceptors that wait for room
	mu        sync.Mutex
	resting   map[*restingConn]struct{}
	dismissed bool
	rests     sync.WaitGroup // one for each of resting
	changed   *sync.Cond     // a connection has ended, the limit or an acceptor has changed
}

func newDoor(m *telemetry.GatewayMetrics) *door {
	d := &door{metrics: m}
	d.changed = sync.NewCond(&d.mu)
	return d
}

// waitRoom waits until one more connection may be open, or until closing is
// closed. Acceptors that wait at the same time may each take one, so the limit
// is exceeded by at most the number of sockets less one.
func (d *door) waitRoom(closing <-chan struct{}) {
	if !d.full() {
		return
	}
	d.waiting.Add(1)
	defer d.waiting.Add(-1)
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.full() && !isClosed(closing) {
		d.changed.Wait()
	}
}

func (d *door) full() bool {
	limit := d.limit.Load()
	return limit > 0 && d.open.Load() >= limit
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// wake makes those in waitRoom look again.
func (d *door) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed.Broadcast()
}

// setLimit changes the number of connections that may be open.
func (d *door) setLimit(n int) {
	d.limit.Store(int64(n))
	d.wake()
}

// enter hands a connection to the current server, unless its client has too
// many.
func (d *door) enter(conn net.Conn) {
	client := clientOf(conn)
	if !d.clients.add(client) {
		d.metrics.ConnectionRefused()
		conn.Close()
		return
	}
	d.open.Add(1)
	d.metrics.ConnectionAccepted()
	d.offer(newRestingConn(conn, client, d))
}

// offer hands a connection to the current server.
func (d *door) offer(c *restingConn) {
	if g := d.current.Load(); g != nil && g.offer(c) {
		return
	}
	// The server was replaced between the load and the offer.
	if g := d.current.Load(); g != nil && g.offer(c) {
		return
	}
	_ = c.end() // it was not served
}

// left notes that a connection is closed.
func (d *door) left(client netip.Addr) {
	d.clients.remove(client)
	d.open.Add(-1)
	d.metrics.ConnectionClosed()
	if d.waiting.Load() > 0 {
		d.wake()
	}
}

// leadTo makes g the server's listener from now on.
func (d *door) leadTo(g *gate) {
	if old := d.current.Swap(g); old != nil {
		old.shut()
	}
}

// gate is a server's view of the sockets. Closing it ends that server's Serve
// without error and leaves the sockets open.
type gate struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newGate() *gate {
	return &gate{conns: make(chan net.Conn), done: make(chan struct{})}
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

// Addr implements net.Listener. A gate stands for all sockets and has no
// address of its own.
func (g *gate) Addr() net.Addr { return &net.TCPAddr{} }
