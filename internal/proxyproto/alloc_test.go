//go:build !race

package proxyproto

import (
	"net"
	"strings"
	"testing"
)

func TestAllocParse(t *testing.T) {
	f := func(header string) {
		t.Helper()
		b := []byte(header)
		if n := testing.AllocsPerRun(100, func() { _, _, _ = Parse(b) }); n != 0 {
			t.Errorf("%q: %v allocations", header, n)
		}
	}
	f("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n")
	f("PROXY UNKNOWN\r\n")
	f("PROXY TCP4 192.168.0.01")
	f("GET / HTTP/1.1\r\n")
	f(v2(0x21, 0x11, tcp4Addresses))
	f(string(addressed("[2001:db8::1]:1", "[::1]:2").AppendV2(nil, true)))
}

func TestAllocAppend(t *testing.T) {
	dst := make([]byte, 0, MaxHeader)
	for _, h := range []Header{
		addressed("192.168.0.1:56324", "192.168.0.11:443"),
		addressed("[2001:db8::1%eth0]:1", "192.0.2.1:2"),
		{Local: true},
	} {
		h.TLVs = TLVs("\x02\x00\x0bexample.com\x01\x00\x02h2")
		if n := testing.AllocsPerRun(100, func() {
			h.AppendV1(dst)
			h.AppendV2(dst, false)
			h.AppendV2(dst, true)
		}); n != 0 {
			t.Errorf("%+v: %v allocations", h, n)
		}
	}
}

func TestAllocTLVs(t *testing.T) {
	tlvs := TLVs("\x02\x00\x0bexample.com\x01\x00\x02h2")
	length := 0
	if n := testing.AllocsPerRun(100, func() {
		for _, value := range tlvs.All() {
			length += len(value)
		}
	}); n != 0 || length == 0 {
		t.Errorf("%v allocations, length %d", n, length)
	}
}

func TestAllocConnAfterHeader(t *testing.T) {
	payload := strings.Repeat("x", 1000)
	c := NewConn(&scripted{chunks: append([]string{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nfirst"}, repeat(payload, 200)...)}, nil)
	b := make([]byte, 4096)
	if n, err := c.Read(b); n != len("first") || err != nil {
		t.Fatalf("%d bytes, error %v", n, err)
	}
	var remote, local net.Addr
	if n := testing.AllocsPerRun(100, func() {
		if n, err := c.Read(b); n != len(payload) || err != nil {
			t.Fatalf("%d bytes, error %v", n, err)
		}
		remote, local = c.RemoteAddr(), c.LocalAddr()
	}); n != 0 {
		t.Errorf("%v allocations, between %v and %v", n, remote, local)
	}
}

func repeat(s string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = s
	}
	return all
}
