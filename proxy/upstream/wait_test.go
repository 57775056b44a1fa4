package upstream

import (
	"crypto/tls"
	"net"
	"testing"
	"time"
)

// wrapper is a connection of a listener that reads ahead.
type wrapper struct{ net.Conn }

func (w wrapper) Unwrap() net.Conn { return w.Conn }

// TestGone looks at one end of a connection while the other is open, sends,
// ends and resets.
func TestGone(t *testing.T) {
	f := func(name string, wrap func(net.Conn) net.Conn) {
		t.Helper()
		check := func(when string, c net.Conn, want bool) {
			t.Helper()
			deadline := time.Now().Add(10 * time.Second)
			for Gone(c) != want { // what the other end does takes its time to arrive
				if time.Now().After(deadline) {
					t.Fatalf("%s: gone %v %s", name, !want, when)
				}
			}
		}
		client, server := tcpPair(t)
		c := wrap(server)
		_ = server.SetReadDeadline(time.Unix(1, 0)) // must not matter
		check("while it is silent", c, false)
		_, _ = client.Write([]byte("x"))
		check("while bytes wait", c, false)
		_ = server.SetReadDeadline(time.Time{})
		if _, err := server.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		check("after they were read", c, false)
		_ = client.CloseWrite()
		check("after its end", c, true)

		client, server = tcpPair(t)
		c = wrap(server)
		_ = client.SetLinger(0)
		_ = client.Close()
		check("after a reset", c, true)

		_, server = tcpPair(t)
		_ = server.Close()
		check("after our own close", wrap(server), true)
	}
	f("plain", func(c net.Conn) net.Conn { return c })
	f("wrapped", func(c net.Conn) net.Conn { return wrapper{wrapper{c}} })
	f("TLS", func(c net.Conn) net.Conn { return tls.Server(c, new(tls.Config)) })

	near, far := net.Pipe()
	_ = far.Close()
	if Gone(near) {
		t.Error("a connection without a file descriptor is gone")
	}
}

func tcpPair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	if server, err = ln.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}
