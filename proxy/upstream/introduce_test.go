package upstream

import (
	"bufio"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/proxyproto"
)

var (
	testClient = netip.MustParseAddrPort("192.0.2.9:4711")
	testLocal  = netip.MustParseAddrPort("198.51.100.1:80")
)

func TestIntroduceWrites(t *testing.T) {
	f := func(version int, client netip.AddrPort, want string) {
		t.Helper()
		e, ln := pair(t, Settings{ProxyProtocol: version, ConnectTimeout: time.Minute})
		if !e.Introduces() {
			t.Errorf("version %d: connections need no introduction", version)
		}
		for _, open := range []func() (*Conn, error){
			func() (*Conn, error) { return e.Acquire(0) },
			func() (*Conn, error) { return e.Dial(0) },
		} {
			c, err := open()
			if err != nil {
				t.Fatal(err)
			}
			peer := bufio.NewReader(accept(t, ln))
			if err := c.Introduce(client, testLocal, time.Time{}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, "GET"); err != nil {
				t.Fatal(err)
			}
			c.Release(true)
			if open, _ := e.Connections(); open != 0 {
				t.Errorf("version %d: the connection is kept for another client", version)
			}
			if got, err := io.ReadAll(peer); err != nil || string(got) != want+"GET" {
				t.Errorf("version %d: the server read %q, %v; want %q", version, got, err, want+"GET")
			}
		}
	}
	f(1, testClient, "PROXY TCP4 192.0.2.9 198.51.100.1 4711 80\r\n")
	f(2, testClient, string(proxyproto.Header{Source: testClient, Destination: testLocal}.AppendV2(nil, true)))
	f(1, netip.AddrPort{}, "PROXY UNKNOWN\r\n")
}

// What fails in an introduction has failed before anything was sent.
func TestIntroduceFails(t *testing.T) {
	f := func(name string, settings Settings, by time.Time, before func(*Conn), want error) {
		t.Helper()
		settings.ProxyProtocol = 1
		e, ln := pair(t, settings)
		c := acquire(t, e)
		accept(t, ln)
		before(c)
		if err := c.Introduce(testClient, testLocal, by); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		c.Release(false)
		if open, _ := e.Connections(); open != 0 {
			t.Errorf("%s: %d connections are left", name, open)
		}
	}
	nothing := func(*Conn) {}
	f("closed", Settings{}, time.Time{}, func(c *Conn) { _ = c.Close() }, ErrConnect)
	f("too late", Settings{}, time.Unix(1, 0), nothing, ErrConnectTimeout)
	f("too late, with a limit", Settings{ConnectTimeout: time.Minute}, time.Unix(1, 0), nothing, ErrConnectTimeout)
	f("dialling took it all", Settings{ConnectTimeout: time.Minute}, time.Now().Add(time.Hour), func(c *Conn) { c.dialled = time.Hour }, ErrConnectTimeout)
}

func TestProbePreface(t *testing.T) {
	f := func(version int, want string) {
		t.Helper()
		e, _ := pair(t, Settings{ProxyProtocol: version})
		if got := e.ProbePreface(); got != want || e.Introduces() != (version != 0) {
			t.Errorf("version %d: %q, introduces %v; want %q", version, got, e.Introduces(), want)
		}
	}
	f(0, "")
	f(1, "PROXY UNKNOWN\r\n")
	f(2, string(proxyproto.Header{Local: true}.AppendV2(nil, true)))
}
