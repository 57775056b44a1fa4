package gateway

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/salgue441/velocity/internal/proxyproto"
)

// lastCalls is how long a socket is still read before it is closed, so that
// connections that the kernel has already established are served rather than
// reset.
const lastCalls = 20 * time.Millisecond

// acceptor takes the connections of one listening socket for as long as the
// configuration wants it.
//
// fasthttp ends Serve on the first error of Accept, so running out of file
// descriptors would end the gateway; here it only pauses.
type acceptor struct {
	socket
	door    *door
	proxies atomic.Pointer[proxyPeers] // nil: no PROXY headers
	closing chan struct{}              // closed by close
	done    chan struct{}              // closed when run has returned
	onPause func(error)
}

// proxyPeers are the peers whose connections start with a PROXY header.
type proxyPeers struct {
	trusted []netip.Prefix
	onBad   func(net.Conn, error)
}

func newAcceptor(s socket, d *door, onPause func(error)) *acceptor {
	return &acceptor{socket: s, door: d, closing: make(chan struct{}), done: make(chan struct{}), onPause: onPause}
}

// run accepts until close is called.
func (a *acceptor) run() {
	defer close(a.done)
	pause := time.Duration(0)
	for {
		a.door.waitRoom(a.closing)
		conn, err := a.ln.Accept()
		switch {
		case err == nil:
			pause = 0
			a.door.enter(a.dress(conn))
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		case errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EINTR):
			// It concerns this connection only.
		default:
			a.onPause(err)
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-a.closing:
			}
		}
	}
}

// dress gives a connection the addresses that requests are to see.
func (a *acceptor) dress(conn net.Conn) net.Conn {
	peer, isTCP := conn.RemoteAddr().(*net.TCPAddr)
	if !isTCP {
		conn = newLocalConn(conn)
	}
	p := a.proxies.Load()
	if p == nil || isTCP && !p.trusts(peer) {
		return conn
	}
	return &proxiedConn{proxyproto.NewConn(conn, p.onBad)}
}

func (p *proxyPeers) trusts(peer *net.TCPAddr) bool {
	addr := peer.AddrPort().Addr().Unmap().WithZone("")
	for _, t := range p.trusted {
		if t.Contains(addr) {
			return true
		}
	}
	return false
}

// close stops accepting and closes the socket. What has connected within
// linger is still taken; 0 leaves it in the kernel's queue, for the process
// that has the socket as well.
func (a *acceptor) close(linger time.Duration) {
	close(a.closing)
	a.door.wake()
	if s, ok := a.ln.(interface{ SetDeadline(time.Time) error }); ok && s.SetDeadline(time.Now().Add(linger)) == nil {
		<-a.done
	}
	a.ln.Close()
	<-a.done
}

// proxiedConn ends silently when its PROXY header is bad: whoever sent it does
// not speak HTTP at this point, and a balancer would take an answer for that of
// a request.
type proxiedConn struct{ *proxyproto.Conn }

// Unwrap returns the connection that carries the header.
func (c *proxiedConn) Unwrap() net.Conn { return c.Conn.Conn }

// Read implements net.Conn.
func (c *proxiedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		var bad proxyproto.Error
		if errors.As(err, &bad) {
			err = io.EOF
		}
	}
	return n, err
}

// localConn is a connection over a Unix socket. Its peer is on this machine and
// counts as 127.0.0.1 wherever a client's address matters: in forwarding
// headers, in logs and among trusted_proxies.
type localConn struct {
	net.Conn
	peer net.TCPAddr
}

func newLocalConn(c net.Conn) *localConn {
	return &localConn{c, net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
}

// RemoteAddr implements net.Conn.
func (c *localConn) RemoteAddr() net.Addr { return &c.peer }

// Unwrap returns the connection itself.
func (c *localConn) Unwrap() net.Conn { return c.Conn }
