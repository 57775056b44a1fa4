package proxyproto

import (
	"net/netip"
	"strings"
	"testing"
)

func addressed(source, destination string) Header {
	return Header{Source: netip.MustParseAddrPort(source), Destination: netip.MustParseAddrPort(destination)}
}

func TestAppendV1(t *testing.T) {
	f := func(h Header, want string) {
		t.Helper()
		if got := string(h.AppendV1([]byte("before"))); got != "before"+want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f(addressed("192.168.0.1:56324", "192.168.0.11:443"), "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n")
	f(addressed("[2001:db8::1]:1", "[::]:0"), "PROXY TCP6 2001:db8::1 :: 1 0\r\n")
	f(addressed("[::ffff:192.0.2.1]:1", "192.0.2.2:2"), "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
	f(addressed("192.0.2.1:1", "[2001:db8::1]:2"), "PROXY TCP6 ::ffff:c000:201 2001:db8::1 1 2\r\n")
	f(addressed("[fe80::1%eth0]:1", "[fe80::2%eth0]:2"), "PROXY TCP6 fe80::1 fe80::2 1 2\r\n")
	f(Header{Local: true, Source: netip.MustParseAddrPort("192.0.2.1:1")}, "PROXY UNKNOWN\r\n")
	f(Header{Source: netip.MustParseAddrPort("192.0.2.1:1")}, "PROXY UNKNOWN\r\n")
	f(Header{}, "PROXY UNKNOWN\r\n")
}

func TestAppendV2(t *testing.T) {
	f := func(h Header, withCRC bool, want string) {
		t.Helper()
		if got := string(h.AppendV2([]byte("before"), withCRC)); got != "before"+want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	h := addressed("192.168.0.1:56324", "192.168.0.11:443")
	f(h, false, v2(0x21, 0x11, tcp4Addresses))
	f(addressed("[2001:db8::1%eth0]:1", "[2001:db8::2]:65535"), false, v2(0x21, 0x21, tcp6Addresses))
	f(addressed("[::ffff:192.168.0.1]:56324", "192.168.0.11:443"), false, v2(0x21, 0x11, tcp4Addresses))
	f(addressed("192.0.2.1:1", "[::1]:2"), false, v2(0x21, 0x21, strings.Repeat("\x00", 10)+"\xff\xff\xc0\x00\x02\x01"+strings.Repeat("\x00", 15)+"\x01\x00\x01\x00\x02"))
	f(Header{}, false, v2(0x20, 0x00, ""))
	f(Header{Local: true, Source: h.Source, Destination: h.Destination}, false, v2(0x20, 0x00, ""))
	// The checksum is the one that HAProxy computes for the same bytes.
	f(Header{}, true, fromHex(t, "0d0a0d0a000d0a515549540a20000007030004a9b87e8f"))

	// The checksum of another header goes, and so does a malformed rest.
	h.TLVs = TLVs("\x01\x00\x02h2\x03\x00\x04abcd\x02\x00\x01a\x04\x00")
	f(h, false, v2(0x21, 0x11, tcp4Addresses+"\x01\x00\x02h2\x02\x00\x01a"))
}

func TestAppendV2KeepsTheLimit(t *testing.T) {
	f := func(withCRC bool, size int, fits bool) {
		t.Helper()
		h := addressed("192.0.2.1:1", "192.0.2.2:2")
		h.TLVs = TLVs(string([]byte{TypeNoop, byte(size >> 8), byte(size)}) + strings.Repeat("x", size) + "\x01\x00\x00")
		b := h.AppendV2(nil, withCRC)
		parsed, n, err := Parse(b)
		if err != nil || n != len(b) {
			t.Fatalf("%d of %d bytes, error %v", n, len(b), err)
		}
		kind := byte(0)
		for kind = range parsed.TLVs.All() {
			break
		}
		if (kind == TypeNoop) != fits {
			t.Errorf("value of %d bytes, checksum %v: in a header of %d bytes, first TLV %d", size, withCRC, len(b), kind)
		}
	}
	room := MaxHeader - v2Fixed - len(tcp4Addresses) - tlvHead
	f(false, room, true)
	f(false, room+1, false)
	f(true, room-tlvHead-crcSize, true)
	f(true, room-tlvHead-crcSize+1, false)
	f(true, 0xffff, false)
}

func TestRoundTrip(t *testing.T) {
	endpoints := []string{"192.0.2.1:1", "0.0.0.0:0", "255.255.255.255:65535", "[::]:80", "[2001:db8::1]:443", "[::ffff:192.0.2.1]:8080", "[::192.0.2.1]:9", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"}
	for _, source := range endpoints {
		for _, destination := range endpoints {
			h := addressed(source, destination)
			h.TLVs = TLVs("\x02\x00\x0bexample.com")
			for name, b := range map[string][]byte{"v1": h.AppendV1(nil), "v2": h.AppendV2(nil, false), "v2 with checksum": h.AppendV2(nil, true)} {
				got, n, err := Parse(b)
				if err != nil || n != len(b) || got.Local || got.Source != unmap(h.Source) || got.Destination != unmap(h.Destination) {
					t.Errorf("%s of %s to %s, %q: %+v, %d bytes, error %v", name, source, destination, b, got, n, err)
				}
				if name != "v1" && !strings.HasPrefix(string(got.TLVs), string(h.TLVs)) {
					t.Errorf("%s: TLVs %q", name, got.TLVs)
				}
			}
		}
	}
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
