package proxyproto

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is a connection whose reads give one chunk each, or as much of it as fits, and then err; nil stands for io.EOF.
type scripted struct {
	net.Conn
	chunks []string
	err    error
	reads  int
}

var (
	peer = &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1000}
	self = &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 2000}
)

func (s *scripted) Read(p []byte) (int, error) {
	s.reads++
	if len(s.chunks) == 0 {
		if s.err == nil {
			return 0, io.EOF
		}
		return 0, s.err
	}
	n := copy(p, s.chunks[0])
	if s.chunks[0] = s.chunks[0][n:]; s.chunks[0] == "" {
		s.chunks = s.chunks[1:]
	}
	return n, nil
}

func (s *scripted) RemoteAddr() net.Addr { return peer }
func (s *scripted) LocalAddr() net.Addr  { return self }

// never fails the test when a connection's header is reported as bad.
func never(t *testing.T) func(net.Conn, error) {
	return func(_ net.Conn, err error) {
		t.Helper()
		t.Errorf("bad header: %v", err)
	}
}

// check reads all of c and compares it and the addresses with what is expected of the header.
func check(t *testing.T, c *Conn, test accepted, payload string) {
	t.Helper()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != payload {
		t.Fatalf("read %q, error %v; want %q", got, err, payload)
	}
	remote, local := test.source, test.destination
	if remote == "" {
		remote, local = peer.String(), self.String()
	}
	if c.RemoteAddr().String() != remote || c.LocalAddr().String() != local {
		t.Fatalf("addresses %v and %v, want %s and %s", c.RemoteAddr(), c.LocalAddr(), remote, local)
	}
}

func TestConnAnySplit(t *testing.T) {
	const payload = "GET / HTTP/1.1\r\n\r\n"
	for _, test := range acceptedHeaders(t) {
		t.Run(test.name, func(t *testing.T) {
			all := test.header + payload
			check(t, NewConn(&scripted{chunks: []string{all}}, never(t)), test, payload)
			check(t, NewConn(&scripted{chunks: strings.Split(all, "")}, never(t)), test, payload)
			for i := 1; i < len(all); i++ {
				check(t, NewConn(&scripted{chunks: []string{all[:i], all[i:]}}, never(t)), test, payload)
			}
		})
	}
}

func TestConnBuffered(t *testing.T) {
	under := &scripted{chunks: []string{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nabcdef", "ghi"}}
	c := NewConn(under, never(t))
	if c.Buffered() != -1 || c.RemoteAddr() != peer || c.LocalAddr() != self {
		t.Errorf("before the header: %d buffered, addresses %v and %v", c.Buffered(), c.RemoteAddr(), c.LocalAddr())
	}
	f := func(room int, want string, buffered int) {
		t.Helper()
		p := make([]byte, room)
		n, err := c.Read(p)
		if err != nil || string(p[:n]) != want || c.Buffered() != buffered {
			t.Fatalf("read %q, error %v, %d buffered; want %q and %d", p[:n], err, c.Buffered(), want, buffered)
		}
	}
	f(0, "", 6)
	f(2, "ab", 4)
	f(4, "cdef", 0)
	if c.rest != nil {
		t.Error("the buffer is kept")
	}
	if c.Unwrap() != net.Conn(under) || under.reads != 1 {
		t.Errorf("unwrapped to %v after %d reads", c.Unwrap(), under.reads)
	}
	f(8, "ghi", 0)
	if c.RemoteAddr() != c.RemoteAddr() || c.LocalAddr() != c.LocalAddr() {
		t.Error("addresses are built anew for each call")
	}
}

func TestConnHeaderAlone(t *testing.T) {
	c := NewConn(&scripted{chunks: []string{v2(0x21, 0x11, tcp4Addresses)}}, never(t))
	if n, err := c.Read(nil); n != 0 || err != nil || c.Buffered() != 0 || c.rest != nil {
		t.Errorf("%d bytes, error %v, %d buffered, buffer %v", n, err, c.Buffered(), c.rest)
	}
	if n, err := c.Read(make([]byte, 8)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes, error %v", n, err)
	}
}

func TestConnRefuses(t *testing.T) {
	f := func(want error, reads int, chunks ...string) {
		t.Helper()
		under := &scripted{chunks: chunks}
		var reported []error
		c := NewConn(under, func(bad net.Conn, err error) {
			if bad != net.Conn(under) {
				t.Errorf("reported %v", bad)
			}
			reported = append(reported, err)
		})
		for range 3 {
			if n, err := c.Read(make([]byte, 100)); n != 0 || err != want {
				t.Errorf("%q: %d bytes, error %v; want %v", chunks, n, err, want)
			}
		}
		if len(reported) != 1 || reported[0] != want {
			t.Errorf("%q: reported %v", chunks, reported)
		}
		if under.reads != reads {
			t.Errorf("%q: %d reads, want %d", chunks, under.reads, reads)
		}
		if c.Buffered() != -1 || c.RemoteAddr() != peer || c.LocalAddr() != self {
			t.Errorf("%q: %d buffered, addresses %v and %v", chunks, c.Buffered(), c.RemoteAddr(), c.LocalAddr())
		}
	}
	f(ErrSignature, 1, "GET / HTTP/1.1\r\n\r\n", "more")
	f(ErrSignature, 2, "P", "O", "ST")
	f(ErrPort, 2, "PROXY TCP4 1.2.3.4 1.2.3.4 1 ", "x", "more")
	f(ErrChecksum, 1, v2(0x21, 0x11, tcp4Addresses+"\x03\x00\x04\x00\x00\x00\x00")+"GET /")
	f(ErrTooLong, 1, v2(0x21, 0x11, tcp4Addresses+strings.Repeat("\x04\x00\x00", 1400)))
	f(ErrTruncated, 2, "PROXY")
	f(ErrTruncated, 3, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2", "\r")

	if n, err := NewConn(&scripted{chunks: []string{"GET"}}, nil).Read(make([]byte, 8)); n != 0 || err != ErrSignature {
		t.Errorf("without onBad: %d bytes, error %v", n, err)
	}
}

// A probe that connects and closes, and errors of the connection, are nobody's bad header.
func TestConnErrorsPass(t *testing.T) {
	if n, err := NewConn(&scripted{}, never(t)).Read(make([]byte, 8)); n != 0 || err != io.EOF {
		t.Errorf("closed at once: %d bytes, error %v", n, err)
	}

	cause := errors.New("connection reset")
	if n, err := NewConn(&scripted{chunks: []string{"PRO"}, err: cause}, never(t)).Read(make([]byte, 8)); n != 0 || err != cause {
		t.Errorf("reset: %d bytes, error %v", n, err)
	}

	under := &scripted{err: os.ErrDeadlineExceeded}
	c := NewConn(under, never(t))
	for _, chunk := range []string{"", "PRO", "XY UNKN"} {
		if chunk != "" {
			under.chunks = []string{chunk}
		}
		if n, err := c.Read(make([]byte, 8)); n != 0 || err != os.ErrDeadlineExceeded {
			t.Fatalf("after %q: %d bytes, error %v", chunk, n, err)
		}
	}
	under.chunks = []string{"OWN\r\nbody"}
	b := make([]byte, 8)
	if n, err := c.Read(b); string(b[:n]) != "body" || err != nil {
		t.Errorf("after the rest: %q, error %v", b[:n], err)
	}
}

// Over a real socket: the deadline in force is the reader's, and other goroutines may ask for the addresses meanwhile.
func TestConnOverTCP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := NewConn(accepted, never(t))
	defer c.Close()

	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("deadline passed: error %v", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}

	want := netip.MustParseAddrPort("192.0.2.1:1")
	var askers sync.WaitGroup
	var ended atomic.Bool
	for range 4 {
		askers.Go(func() {
			for !ended.Load() && c.RemoteAddr().(*net.TCPAddr).AddrPort() != want {
				if got := c.RemoteAddr().String(); got != client.LocalAddr().String() && got != want.String() {
					t.Errorf("address %s", got)
					return
				}
			}
		})
	}
	if _, err := client.Write([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")); err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("0123456789"), 10_000)
	askers.Go(func() {
		if _, err := client.Write(body); err != nil {
			t.Error(err)
		}
		client.Close()
	})
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes of %d, error %v", len(got), len(body), err)
	}
	ended.Store(true)
	askers.Wait()
	if c.RemoteAddr().String() != want.String() {
		t.Errorf("address %v, want %v", c.RemoteAddr(), want)
	}
}
