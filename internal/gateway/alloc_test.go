//go:build !race

package gateway

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/salgue441/velocity/internal/proxyproto"
)

// endless is a connection that always has another byte.
type endless struct{ fakeConn }

func (*endless) Read([]byte) (int, error) { return 1, nil }

// What a connection is dressed in is asked for its peer and read from by every
// request.
func TestDressedConnectionsAllocateNothing(t *testing.T) {
	head := proxyproto.Header{Source: netip.MustParseAddrPort("192.0.2.1:1"), Destination: netip.MustParseAddrPort("192.0.2.2:2")}
	server, client := net.Pipe()
	defer client.Close()
	go func() {
		_, _ = client.Write(append(head.AppendV2(nil, false), "x"...)) // Read tells
	}()
	proxied := &proxiedConn{proxyproto.NewConn(server, nil)}
	if _, err := io.ReadFull(proxied, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	local := newLocalConn(&endless{})
	buf := make([]byte, 1)
	for name, f := range map[string]func(){
		"peer after a PROXY header":    func() { _ = proxied.RemoteAddr().(*net.TCPAddr).AddrPort() },
		"peer over a Unix socket":      func() { _ = local.RemoteAddr().(*net.TCPAddr).AddrPort() },
		"read through a Unix socket's": func() { _, _ = local.Read(buf) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
