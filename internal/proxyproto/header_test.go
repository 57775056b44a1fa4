package proxyproto

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// v2 builds a version 2 header from its fields: the version with the command, the family with the protocol, and what follows.
func v2(command, family byte, rest string) string {
	return v2Signature + string([]byte{command, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

// fromHex is for headers captured from HAProxy.
func fromHex(t testing.TB, s string) string {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	tcp4Addresses = "\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb" // 192.168.0.1:56324 to 192.168.0.11:443
	tcp6Addresses = " \x01\r\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + " \x01\r\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\x00\x01\xff\xff"
)

type accepted struct {
	name, header        string
	source, destination string // empty when the header is Local
	version             int
	tlvs                string
}

func acceptedHeaders(t testing.TB) []accepted {
	unix := strings.Repeat("\x00", 216)
	return []accepted{
		{name: "v1 example of the specification", version: 1, header: "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", source: "192.168.0.1:56324", destination: "192.168.0.11:443"},
		{name: "v1 longest TCP4", version: 1, header: "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", source: "255.255.255.255:65535", destination: "255.255.255.255:65535"},
		{name: "v1 zeros", version: 1, header: "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", source: "0.0.0.0:0", destination: "0.0.0.0:0"},
		{name: "v1 longest TCP6", version: 1, header: "PROXY TCP6 " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("FFFF:", 7) + "FFFF 65535 65535\r\n", source: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", destination: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
		{name: "v1 shortest TCP6", version: 1, header: "PROXY TCP6 :: ::1 1 2\r\n", source: "[::]:1", destination: "[::1]:2"},
		{name: "v1 IPv4-mapped in hexadecimal", version: 1, header: "PROXY TCP6 ::ffff:c000:201 2001:db8::1 1 2\r\n", source: "192.0.2.1:1", destination: "[2001:db8::1]:2"},
		{name: "v1 unknown, short", version: 1, header: "PROXY UNKNOWN\r\n"},
		{name: "v1 unknown, with addresses", version: 1, header: "PROXY UNKNOWN ::1 ::1 1 2\r\n"},
		{name: "v1 unknown, with anything", version: 1, header: "PROXY UNKNOWN  \x00\xff\r\n"},
		{name: "v1 unknown, longest", version: 1, header: "PROXY UNKNOWN " + strings.Repeat("x", maxV1-16) + "\r\n"},

		{name: "v2 TCP4", version: 2, header: v2(0x21, 0x11, tcp4Addresses), source: "192.168.0.1:56324", destination: "192.168.0.11:443"},
		{name: "v2 TCP6", version: 2, header: v2(0x21, 0x21, tcp6Addresses), source: "[2001:db8::1]:1", destination: "[2001:db8::2]:65535"},
		{name: "v2 TLVs", version: 2, header: v2(0x21, 0x11, tcp4Addresses+"\x04\x00\x00\x02\x00\x01a\xe0\x00\x02\x00\x00"), tlvs: "\x04\x00\x00\x02\x00\x01a\xe0\x00\x02\x00\x00", source: "192.168.0.1:56324", destination: "192.168.0.11:443"},
		{name: "v2 longest", version: 2, header: v2(0x21, 0x11, tcp4Addresses+"\x04\x0f\xe1"+strings.Repeat("x", 0xfe1)), tlvs: "\x04\x0f\xe1" + strings.Repeat("x", 0xfe1), source: "192.168.0.1:56324", destination: "192.168.0.11:443"},
		{name: "v2 UDP over IPv4", version: 2, header: v2(0x21, 0x12, tcp4Addresses)},
		{name: "v2 UDP over IPv6", version: 2, header: v2(0x21, 0x22, tcp6Addresses)},
		{name: "v2 Unix stream", version: 2, header: v2(0x21, 0x31, unix+"\x01\x00\x02h2"), tlvs: "\x01\x00\x02h2"},
		{name: "v2 Unix datagram", version: 2, header: v2(0x21, 0x32, unix)},
		{name: "v2 UNSPEC", version: 2, header: v2(0x21, 0x00, "")},
		{name: "v2 UNSPEC with anything", version: 2, header: v2(0x21, 0x00, "\x01\xff\xff")},
		{name: "v2 IPv4 of no protocol", version: 2, header: v2(0x21, 0x10, "x")},
		{name: "v2 LOCAL", version: 2, header: v2(0x20, 0x00, "")},
		{name: "v2 LOCAL with addresses", version: 2, header: v2(0x20, 0x11, tcp4Addresses+"\x04\x00\x00"), tlvs: "\x04\x00\x00"},
		{name: "v2 LOCAL of too few addresses", version: 2, header: v2(0x20, 0x21, "abc")},
		{name: "v2 LOCAL of unknown family", version: 2, header: v2(0x20, 0xf7, "ab")},

		// Captured from HAProxy 2.6: send-proxy, send-proxy-v2, proxy-v2-options crc32c,unique-id, and its health checks.
		{name: "HAProxy v1 TCP4", version: 1, header: "PROXY TCP4 127.0.0.1 127.0.0.1 57584 49677\r\n", source: "127.0.0.1:57584", destination: "127.0.0.1:49677"},
		{name: "HAProxy v1 TCP6", version: 1, header: "PROXY TCP6 ::1 ::1 39018 57125\r\n", source: "[::1]:39018", destination: "[::1]:57125"},
		{name: "HAProxy v1 IPv4-mapped", version: 1, header: "PROXY TCP6 ::ffff:127.0.0.1 ::ffff:127.0.0.1 49776 38503\r\n", source: "127.0.0.1:49776", destination: "127.0.0.1:38503"},
		{name: "HAProxy v2 TCP4", version: 2, header: fromHex(t, "0d0a0d0a000d0a515549540a2111000c7f0000017f000001ce34dc43"), source: "127.0.0.1:52788", destination: "127.0.0.1:56387"},
		{name: "HAProxy v2 IPv4-mapped", version: 2, header: fromHex(t, "0d0a0d0a000d0a515549540a2121002400000000000000000000ffff7f00000100000000000000000000ffff7f0000019a8ed4e3"), source: "127.0.0.1:39566", destination: "127.0.0.1:54499"},
		{name: "HAProxy v2 TCP4 with checksum", version: 2, header: fromHex(t, "0d0a0d0a000d0a515549540a2111001d7f0000017f000001ed8add03030004d148c6340500076162632d313233"), tlvs: "\x03\x00\x04\xd1\x48\xc6\x34\x05\x00\x07abc-123", source: "127.0.0.1:60810", destination: "127.0.0.1:56579"},
		{name: "HAProxy v2 TCP6 with checksum", version: 2, header: fromHex(t, "0d0a0d0a000d0a515549540a212100350000000000000000000000000000000100000000000000000000000000000001b488c089030004ca7d4ec80500076162632d313233"), tlvs: "\x03\x00\x04\xca\x7d\x4e\xc8\x05\x00\x07abc-123", source: "[::1]:46216", destination: "[::1]:49289"},
		{name: "HAProxy v2 LOCAL", version: 2, header: fromHex(t, "0d0a0d0a000d0a515549540a20000000")},
		{name: "HAProxy v2 LOCAL with checksum", version: 2, header: fromHex(t, "0d0a0d0a000d0a515549540a20000007030004a9b87e8f"), tlvs: "\x03\x00\x04\xa9\xb8\x7e\x8f"},
	}
}

func TestParseAccepts(t *testing.T) {
	for _, test := range acceptedHeaders(t) {
		t.Run(test.name, func(t *testing.T) {
			want := Header{Version: test.version, Local: test.source == ""}
			if test.source != "" {
				want.Source, want.Destination = netip.MustParseAddrPort(test.source), netip.MustParseAddrPort(test.destination)
			}
			for _, payload := range []string{"", "GET / HTTP/1.1\r\n", "\r\n", "\x00"} {
				h, n, err := Parse([]byte(test.header + payload))
				if err != nil || n != len(test.header) {
					t.Fatalf("with payload %q: %d bytes, error %v; want %d bytes", payload, n, err, len(test.header))
				}
				if h.Version != want.Version || h.Local != want.Local || h.Source != want.Source || h.Destination != want.Destination {
					t.Fatalf("header %+v, want %+v", h, want)
				}
				if string(h.TLVs) != test.tlvs {
					t.Fatalf("TLVs %q, want %q", h.TLVs, test.tlvs)
				}
			}
			for i := range len(test.header) {
				if h, n, err := Parse([]byte(test.header[:i])); err != ErrIncomplete || n != 0 || h.Version != 0 {
					t.Fatalf("first %d bytes: %+v, %d bytes, error %v; want ErrIncomplete", i, h, n, err)
				}
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	// The header ends with the byte that shows the fault: without it, it is incomplete.
	f := func(want error, headers ...string) {
		t.Helper()
		for _, header := range headers {
			b := []byte(header)
			if _, n, err := Parse(b); !errors.Is(err, want) || n != 0 {
				t.Errorf("%q: %d bytes, error %v; want %v", header, n, err, want)
			}
			if _, _, err := Parse(append(b, "\r\nmore"...)); !errors.Is(err, want) {
				t.Errorf("%q with more: error %v, want %v", header, err, want)
			}
			if _, _, err := Parse(b[:len(b)-1]); err != ErrIncomplete {
				t.Errorf("%q without its last byte: error %v, want ErrIncomplete", header, err)
			}
		}
	}

	f(ErrSignature, "G", "g", "\x16", "\x00", " ", "PO", "PU", "PROP", "p", "PRI", "PROXY\t", "PROXY\r", "\n", "\r\r", "\r\n\r\nG", "\r\n\r\n\x00\r\nQUIT\r")
	f(ErrProtocol, "PROXY  ", "PROXY t", "PROXY TCP5", "PROXY TCP ", "PROXY TCP4\t", "PROXY TCP4\r", "PROXY TCP6x", "PROXY UD", "PROXY UNI", "PROXY UNKNOWn", "PROXY UNKNOWN1", "PROXY \r", "PROXY u")
	f(ErrAddress,
		"PROXY TCP4  ", "PROXY TCP4 1..", "PROXY TCP4 .", "PROXY TCP4 01", "PROXY TCP4 00", "PROXY TCP4 256", "PROXY TCP4 1.2.3 ", "PROXY TCP4 1.2.3.4.",
		"PROXY TCP4 +", "PROXY TCP4 -", "PROXY TCP4 0x", "PROXY TCP4 1.2.3.4\t", "PROXY TCP4 1.2.3.4  ", "PROXY TCP4 :", "PROXY TCP4 1.2.3.4 :", "PROXY TCP4 1.2.3.4\r",
		"PROXY TCP6  ", "PROXY TCP6 1.2.3.4 ", "PROXY TCP6 : ", "PROXY TCP6 1 ", "PROXY TCP6 1::2::3 ", "PROXY TCP6 ::12345 ", "PROXY TCP6 1:2:3:4:5:6:7 ", "PROXY TCP6 1:2:3:4:5:6:7:8:9 ", "PROXY TCP6 1:2:3:4:5:6:7:8:: ",
		"PROXY TCP6 fe80::1%", "PROXY TCP6 g", "PROXY TCP6 [", "PROXY TCP6 ::1\t", "PROXY TCP6 ::1\r", "PROXY TCP6 ::1  ", "PROXY TCP6 ::ffff:1.2.3 ", "PROXY TCP6 ::ffff:1.2.3.04 ",
		"PROXY TCP6 "+strings.Repeat("0", 40))
	f(ErrPort,
		"PROXY TCP4 1.2.3.4 1.2.3.4  ", "PROXY TCP4 1.2.3.4 1.2.3.4 01", "PROXY TCP4 1.2.3.4 1.2.3.4 00", "PROXY TCP4 1.2.3.4 1.2.3.4 +", "PROXY TCP4 1.2.3.4 1.2.3.4 -", "PROXY TCP4 1.2.3.4 1.2.3.4 65536",
		"PROXY TCP4 1.2.3.4 1.2.3.4 100000", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r", "PROXY TCP4 1.2.3.4 1.2.3.4 1\t", "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 ", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1  ", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\x00", "PROXY TCP6 ::1 ::1 x", "PROXY TCP6 ::1 ::1 1 65536")
	f(ErrLineEnd, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r", "PROXY TCP6 ::1 ::1 1 2\rx", "PROXY UNKNOWN\n", "PROXY UNKNOWN\r\r", "PROXY UNKNOWN x\rx", "PROXY UNKNOWN x\n")
	f(ErrTooLong, "PROXY UNKNOWN "+strings.Repeat("x", maxV1-15), v2Signature+"\x21\x11\x0f\xf1", v2Signature+"\x20\x00\xff\xff")

	f(ErrVersion, v2Signature+"\x11", v2Signature+"\x31", v2Signature+"\x01", v2Signature+"\xff")
	f(ErrCommand, v2Signature+"\x22", v2Signature+"\x2f")
	f(ErrFamily, v2Signature+"\x21\x41", v2Signature+"\x21\xf1", v2Signature+"\x21\x13", v2Signature+"\x21\x1f", v2Signature+"\x21\x03")
	f(ErrTooShort, v2Signature+"\x21\x11\x00\x00", v2Signature+"\x21\x11\x00\x0b", v2Signature+"\x21\x12\x00\x0b", v2Signature+"\x21\x21\x00\x23", v2Signature+"\x21\x22\x00\x0c", v2Signature+"\x21\x31\x00\xd7", v2Signature+"\x21\x32\x00\x24")

	// A part of a TLV behind the addresses, seen in the length; a TLV longer than the rest; a second one.
	f(ErrTLV, v2Signature+"\x21\x11\x00\x0d", v2Signature+"\x21\x21\x00\x26",
		v2Signature+"\x21\x11\x00\x0f"+tcp4Addresses+"\x04\x00\x01", v2Signature+"\x21\x11\x00\x20"+tcp4Addresses+"\x04\xff\xff",
		v2Signature+"\x21\x11\x00\x14"+tcp4Addresses+"\x04\x00\x01x\x04\x00\x02", v2Signature+"\x21\x11\x00\x11"+tcp4Addresses+"\x04\x00\x00")
	f(ErrChecksumField, v2Signature+"\x21\x11\x00\x20"+tcp4Addresses+"\x03\x00\x03", v2Signature+"\x21\x11\x00\x20"+tcp4Addresses+"\x03\x00\x00", v2Signature+"\x21\x11\x00\x20"+tcp4Addresses+"\x03\x00\x05",
		v2Signature+"\x21\x11\x00\x1a"+tcp4Addresses+"\x03\x00\x04abcd\x03\x00\x04")
	f(ErrChecksum, v2(0x21, 0x11, tcp4Addresses+"\x03\x00\x04\x00\x00\x00\x00"), v2(0x20, 0x00, "\x03\x00\x04\xa9\xb8\x7e\x8e"))
}

// Whatever bit of a header with a checksum is turned, the header is refused, or stays incomplete where its length grew.
func TestParseVerifiesChecksum(t *testing.T) {
	for _, test := range acceptedHeaders(t) {
		if !strings.HasSuffix(test.name, "with checksum") || test.source == "" {
			continue
		}
		kind := strings.Index(test.header, "\x03\x00\x04")
		for i := range 8 * len(test.header) {
			if i/8 == kind {
				continue // the checksum would be a TLV of another type
			}
			b := []byte(test.header)
			b[i/8] ^= 1 << (i % 8)
			// LOCAL hides a checksum that no longer stands where the family puts it; UNSPEC does so too.
			if h, _, err := Parse(b); err == nil && !h.Local {
				t.Errorf("%s: accepted with bit %d turned", test.name, i)
			}
		}
	}
}

func TestTLVs(t *testing.T) {
	f := func(tlvs TLVs, want ...string) {
		t.Helper()
		for range 2 { // an iterator can be used again
			var got []string
			for kind, value := range tlvs.All() {
				got = append(got, string(kind)+string(value))
			}
			if strings.Join(got, "|") != strings.Join(want, "|") {
				t.Errorf("%q: %q, want %q", tlvs, got, want)
			}
		}
	}
	f(nil)
	f(TLVs("\x04\x00\x00"), "\x04")
	f(TLVs("\x02\x00\x0bexample.com\x01\x00\x02h2"), "\x02example.com", "\x01h2")
	f(TLVs("\x01\x00\x02h2\x02\x00\x02a"), "\x01h2")
	f(TLVs("\x01\x00\x02h2\x02\x00"), "\x01h2")

	for kind, value := range TLVs("\x01\x00\x02h2\x02\x00\x01a").All() {
		if kind != TypeALPN || cap(value) != 2 {
			t.Errorf("type %d of capacity %d: appending would overwrite the next", kind, cap(value))
		}
		break
	}
}

func TestErrorText(t *testing.T) {
	if got, want := ErrPort.Error(), "parse proxy header: malformed version 1 port"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
