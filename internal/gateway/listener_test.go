package gateway

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/internal/testkit"
)

// scripted is a listener whose Accept gives what the test puts in.
type scripted struct {
	net.Listener
	results chan any // net.Conn or error
	asked   atomic.Int64
	done    chan struct{}
}

func newScripted() *scripted {
	return &scripted{results: make(chan any), done: make(chan struct{})}
}

func (s *scripted) Accept() (net.Conn, error) {
	s.asked.Add(1)
	select {
	case r := <-s.results:
		if err, ok := r.(error); ok {
			return nil, err
		}
		return r.(net.Conn), nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *scripted) Close() error {
	close(s.done)
	return nil
}

func (s *scripted) Addr() net.Addr { return &net.TCPAddr{} }

// accepting starts an acceptor with a gate; pauses counts the reported errors.
func accepting(t *testing.T, limit int) (a *acceptor, ln *scripted, g *gate, pauses *atomic.Int64) {
	t.Helper()
	ln, pauses = newScripted(), new(atomic.Int64)
	a = newAcceptor(socket{ln: ln}, newDoor(telemetry.NewRegistry("").Gateway()), func(error) { pauses.Add(1) })
	a.door.setLimit(limit)
	g = newGate()
	a.door.leadTo(g)
	go a.run()
	t.Cleanup(func() {
		g.shut()
		a.close(0)
	})
	return a, ln, g, pauses
}

// pipe puts a connection in and returns the client's end.
func (s *scripted) pipe(t *testing.T) net.Conn {
	t.Helper()
	server, client := net.Pipe()
	t.Cleanup(func() {
		server.Close()
		client.Close()
	})
	s.results <- server
	return client
}

func acceptFailed(errno syscall.Errno) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept", errno)}
}

// fasthttp ends on the first error of Accept; the acceptor must not.
func TestAcceptorOutlivesErrors(t *testing.T) {
	_, ln, g, pauses := accepting(t, 0)
	ln.results <- acceptFailed(syscall.ECONNABORTED)
	ln.results <- acceptFailed(syscall.EMFILE)
	ln.results <- acceptFailed(syscall.ENFILE)
	ln.pipe(t)
	if _, err := g.Accept(); err != nil {
		t.Errorf("Accept after errors: %v", err)
	}
	if n := pauses.Load(); n != 2 {
		t.Errorf("%d errors were reported, want EMFILE and ENFILE once each", n)
	}
}

func TestAcceptorLimit(t *testing.T) {
	a, ln, g, _ := accepting(t, 2)
	var conn net.Conn
	for range 2 {
		ln.pipe(t)
		var err error
		if conn, err = g.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing more is taken from the kernel until a connection ends.
	if n := ln.asked.Load(); n != 2 {
		t.Errorf("asked for %d connections at a limit of 2", n)
	}
	conn.Close()
	testkit.Eventually(t, testkit.Patience, "the acceptor to go on", func() bool { return ln.asked.Load() == 3 })
	ln.pipe(t)
	if _, err := g.Accept(); err != nil {
		t.Fatal(err)
	}
	// A reload that lifts the limit is followed at once.
	a.door.setLimit(0)
	testkit.Eventually(t, testkit.Patience, "the acceptor to go on", func() bool { return ln.asked.Load() == 4 })
	if n := a.door.open.Load(); n != 2 {
		t.Errorf("%d connections are counted as open, want 2", n)
	}
}

func TestAcceptorChangesServers(t *testing.T) {
	a, ln, old, _ := accepting(t, 0)
	next := newGate()
	a.door.leadTo(next)
	defer next.shut()
	if _, err := old.Accept(); err == nil {
		t.Error("the old server still accepts")
	}
	ln.pipe(t)
	if _, err := next.Accept(); err != nil {
		t.Errorf("the new server does not accept: %v", err)
	}
}

// A connection that no server wants any more is closed and not forgotten.
func TestAcceptorClosesWhatNobodyTakes(t *testing.T) {
	a, ln, g, _ := accepting(t, 0)
	g.shut()
	client := ln.pipe(t)
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
	testkit.Eventually(t, testkit.Patience, "the count to go down", func() bool { return a.door.open.Load() == 0 })
}

func TestAcceptorCloseEndsAWait(t *testing.T) {
	ln := newScripted()
	a := newAcceptor(socket{ln: ln}, newDoor(telemetry.NewRegistry("").Gateway()), func(err error) { t.Error(err) })
	g := newGate()
	a.door.leadTo(g)
	a.door.setLimit(1)
	go a.run()
	ln.pipe(t)
	if _, err := g.Accept(); err != nil {
		t.Fatal(err)
	}
	a.close(0) // returns although the limit is reached
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is open: %v", err)
	}
}

// All sockets share one limit, and whoever waits for room gets it.
func TestAcceptorsShareTheLimit(t *testing.T) {
	a, first, g, _ := accepting(t, 1)
	second := newScripted()
	b := newAcceptor(socket{ln: second}, a.door, func(err error) { t.Error(err) })
	first.pipe(t)
	conn, err := g.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go b.run()
	defer b.close(0)
	testkit.Eventually(t, testkit.Patience, "both to wait", func() bool { return a.door.waiting.Load() == 2 })
	if n := first.asked.Load() + second.asked.Load(); n != 1 {
		t.Errorf("asked for %d connections at a limit of 1", n)
	}
	conn.Close()
	testkit.Eventually(t, testkit.Patience, "both to go on", func() bool {
		return first.asked.Load() == 2 && second.asked.Load() == 1
	})
}

// A peer that is not trusted is not asked for a header, one on a Unix socket
// always is, and both keep their own address until there is one.
func TestDress(t *testing.T) {
	prefix := netip.MustParsePrefix("10.0.0.0/8")
	a := newAcceptor(socket{}, nil, nil)
	f := func(peer net.Addr, proxies *proxyPeers, wantHeader bool, wantPeer string) {
		t.Helper()
		a.proxies.Store(proxies)
		conn := a.dress(&fakeConn{peer: peer})
		if _, header := conn.(*proxiedConn); header != wantHeader {
			t.Errorf("%v: expects a header: %v, want %v", peer, header, wantHeader)
		}
		if got := conn.RemoteAddr().String(); got != wantPeer {
			t.Errorf("%v: peer %s, want %s", peer, got, wantPeer)
		}
	}
	inside, mapped := &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3).To4(), Port: 1}, &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 1}
	outside, local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, &net.UnixAddr{Net: "unix"}
	trusted := &proxyPeers{trusted: []netip.Prefix{prefix}}
	f(inside, nil, false, "10.1.2.3:1")
	f(inside, trusted, true, "10.1.2.3:1")
	f(mapped, trusted, true, "10.1.2.3:1")
	f(outside, trusted, false, "192.0.2.1:1")
	f(local, nil, false, "127.0.0.1:0")
	f(local, &proxyPeers{}, true, "127.0.0.1:0")
}

// fakeConn is a connection with a peer of the test's choice.
type fakeConn struct {
	net.Conn
	peer net.Addr
}

func (c *fakeConn) RemoteAddr() net.Addr { return c.peer }
