package proxy

import (
	"context"
	"net"
	"sync"
	"time"
)

// tunnels are the open tunnels of a server.
type tunnels struct {
	mu      sync.Mutex
	open    map[*tunnel]struct{}
	closing bool          // what opens now is cut at once
	empty   chan struct{} // closed with the last tunnel, when someone waits
}

// openTunnel makes a tunnel of the exchange, whose endpoint has switched
// protocols. It keeps the endpoint and the route's name and metrics, but not
// the snapshot.
func (s *Server) openTunnel(x *Exchange) {
	r := x.Route
	t := &tunnel{limits: r.Upgrade, metrics: r.Metrics, framed: x.upgrade.protocol == webSocket}
	x.head = append(x.head[:0], x.Ctx.Response.Header.Header()...)
	head := len(x.head)
	t.endpoint, x.head = x.conn.Switch(x.head)
	x.Route = &Route{Name: r.Name, Metrics: r.Metrics, Destination: Destination{Upstream: x.dest.Upstream}}
	x.dest = &x.Route.Destination
	x.snap = nil
	s.hijack(x, func(c net.Conn) {
		defer s.recoverPanic(x)
		s.carry(x, t, c, head)
	}, func() {
		x.gone = true
		s.closeTunnel(x)
	})
}

// carry runs a tunnel to its end.
func (s *Server) carry(x *Exchange, t *tunnel, c net.Conn, head int) {
	var early []byte
	t.client, early = takeEarly(c)
	t.metrics.UpgradeBegin()
	if !s.tunnels.add(t) {
		t.cut(ErrTunnelDrained)
	}
	defer s.tunnels.remove(t)
	first := x.head
	x.head = nil // it is needed once, and the tunnel may last
	t.run(early, first, head)
	_ = t.client.Close() // fasthttp would, after all else
	t.metrics.UpgradeEnd()
	x.body.read, x.bytesOut = t.up.moved, t.down.moved
	if cause := t.cause.Load(); cause == ErrClientClosed {
		x.gone = true
	} else {
		x.Err = cause
	}
	s.closeTunnel(x)
}

// closeTunnel ends the exchange of a tunnel, for the sinks of today.
func (s *Server) closeTunnel(x *Exchange) {
	x.endAttempt(false)
	x.snap = s.snapshot.Load()
	s.close(x)
}

// takeEarly returns the connection below what fasthttp hands over, and what
// fasthttp had read from it already.
func takeEarly(c net.Conn) (client net.Conn, early []byte) {
	pump := pumps.Get().(*[]byte)
	defer pumps.Put(pump)
	// fasthttp's reader gives what it has, then asks the connection, which
	// answers at once that it is late.
	_ = c.SetReadDeadline(longAgo) // fails only when closed
	for {
		n, err := c.Read(*pump)
		early = append(early, (*pump)[:n]...)
		if err != nil {
			break
		}
	}
	_ = c.SetReadDeadline(time.Time{})
	if below, ok := c.(interface{ UnsafeConn() net.Conn }); ok {
		c = below.UnsafeConn()
	}
	return unwrap(c), early
}

// unwrap returns the connection below a wrapper, such as that of the PROXY
// protocol, that holds back nothing it has read.
func unwrap(c net.Conn) net.Conn {
	for {
		w, ok := c.(interface {
			Unwrap() net.Conn
			Buffered() int
		})
		if !ok || w.Buffered() > 0 {
			return c
		}
		c = w.Unwrap()
	}
}

// add registers a tunnel. It reports false when none may stay open.
func (ts *tunnels) add(t *tunnel) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.open == nil {
		ts.open = map[*tunnel]struct{}{}
	}
	ts.open[t] = struct{}{}
	return !ts.closing
}

func (ts *tunnels) remove(t *tunnel) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.open, t)
	if len(ts.open) == 0 && ts.empty != nil {
		close(ts.empty)
		ts.empty = nil
	}
}

// drained returns a channel that is closed once no tunnel is open.
func (ts *tunnels) drained() <-chan struct{} {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.open) == 0 {
		none := make(chan struct{})
		close(none)
		return none
	}
	if ts.empty == nil {
		ts.empty = make(chan struct{})
	}
	return ts.empty
}

// cutAll cuts what is open, and what opens from now on. It returns how many
// were open.
func (ts *tunnels) cutAll(cause *Error) int {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.closing = true
	for t := range ts.open {
		t.cut(cause)
	}
	return len(ts.open)
}

// Upgrades returns how many connections that have switched protocols are open.
func (s *Server) Upgrades() int {
	s.tunnels.mu.Lock()
	defer s.tunnels.mu.Unlock()
	return len(s.tunnels.open)
}

// CloseUpgrades waits until all connections that have switched protocols have
// ended. When ctx ends first, it closes those that are left and returns, once
// they are gone, how many they were. No other connection can switch from then
// on.
func (s *Server) CloseUpgrades(ctx context.Context) int {
	select {
	case <-s.tunnels.drained():
	case <-ctx.Done():
	}
	cut := s.tunnels.cutAll(ErrTunnelDrained)
	<-s.tunnels.drained()
	return cut
}
