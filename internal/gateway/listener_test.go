package gateway

import (
	"errors"
	"net"
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
		g.Close()
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
	defer next.Close()
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
	g.Close()
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
