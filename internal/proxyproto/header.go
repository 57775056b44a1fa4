// Package proxyproto owns the PROXY protocol (HAProxy's proxy-protocol.txt), versions 1 and 2, in both directions: parsing and
// writing the header that a layer 4 load balancer puts before a connection's first byte, and Conn, which reads it at the first Read.
// It does not decide which peers may send one: a listener wraps the connections of trusted peers only.
package proxyproto

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// MaxHeader is the size in bytes of the longest header that is accepted or written, everything included. The specification allows
// 64 KiB in version 2; known senders stay below 1 KiB.
const MaxHeader = 4096

// Error says what is wrong with a header. It never contains bytes of the peer's.
type Error string

// Error returns the cause with the action before it.
func (e Error) Error() string { return "parse proxy header: " + string(e) }

// What can be wrong with a header. Callers tell a bad header from a failing connection by the type Error; the single causes are
// compared with errors.Is.
const (
	// ErrIncomplete is returned by Parse for the beginning of what may become a header: more bytes are needed.
	ErrIncomplete Error = "incomplete"
	// ErrSignature means that the bytes are those of another protocol.
	ErrSignature Error = "neither a version 1 nor a version 2 signature"
	// ErrTruncated means that the peer closed the connection within the header.
	ErrTruncated Error = "connection closed within the header"
	// ErrTooLong means that the header is longer than its version allows: 107 bytes in version 1, MaxHeader in version 2.
	ErrTooLong Error = "longer than allowed"

	// ErrProtocol means a version 1 protocol other than TCP4, TCP6 and UNKNOWN.
	ErrProtocol Error = "version 1 protocol is none of TCP4, TCP6, UNKNOWN"
	// ErrAddress means a version 1 address that is not of its family's form.
	ErrAddress Error = "malformed version 1 address"
	// ErrPort means a version 1 port that is not a decimal number up to 65535 without leading zeros.
	ErrPort Error = "malformed version 1 port"
	// ErrLineEnd means a version 1 line that does not end in CR LF where it should.
	ErrLineEnd Error = "malformed end of the version 1 line"

	// ErrVersion means a binary header of a version other than 2.
	ErrVersion Error = "unknown version of the binary header"
	// ErrCommand means a version 2 command other than LOCAL and PROXY.
	ErrCommand Error = "unknown version 2 command"
	// ErrFamily means a version 2 address family or transport protocol that is not specified.
	ErrFamily Error = "unknown version 2 address family or protocol"
	// ErrTooShort means a version 2 header whose length does not hold the addresses of its family.
	ErrTooShort Error = "version 2 length too short for the addresses"
	// ErrTLV means version 2 TLVs that do not add up to the header's length.
	ErrTLV Error = "malformed version 2 TLV"
	// ErrChecksumField means a version 2 checksum that is not 4 bytes long or is given twice.
	ErrChecksumField Error = "malformed version 2 checksum"
	// ErrChecksum means that the version 2 header does not match its checksum.
	ErrChecksum Error = "wrong version 2 checksum"
)

// Header is one PROXY header.
type Header struct {
	// Version is 1 or 2 after Parse. Writing ignores it.
	Version int
	// Local is set when the header names no addresses that stand for the client, and the connection's own are to be used: the
	// command LOCAL (health checks of the load balancer), the protocols UNKNOWN and UNSPEC, Unix sockets and datagrams.
	Local bool
	// Source is the client and Destination is where it connected to. After Parse they are zero when Local is set; otherwise both
	// are valid, and IPv4-mapped IPv6 addresses are IPv4 ones, so that a client has one form whatever listener it came through.
	Source, Destination netip.AddrPort
	// TLVs are the version 2 extensions as they were sent. After Parse they are part of the parsed buffer and live as long.
	TLVs TLVs
}

// Types of TLVs, section 2.2 of the specification.
const (
	TypeALPN      byte = 0x01
	TypeAuthority byte = 0x02 // host name, as in TLS SNI
	TypeCRC32C    byte = 0x03
	TypeNoop      byte = 0x04
	TypeUniqueID  byte = 0x05
	TypeSSL       byte = 0x20 // its value contains further TLVs after 5 bytes
	TypeNetNS     byte = 0x30
)

// tlvHead is the size of a TLV's type and length.
const tlvHead = 3

// TLVs are type-length-value fields, one after the other. Nil means none.
type TLVs []byte

// All iterates over types and values; the values are parts of t. It ends early where t is malformed, which it never is after Parse.
func (t TLVs) All() iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		rest := t
		for len(rest) >= tlvHead {
			end := tlvHead + int(binary.BigEndian.Uint16(rest[1:]))
			if end > len(rest) || !yield(rest[0], rest[tlvHead:end:end]) {
				return
			}
			rest = rest[end:]
		}
	}
}

// Parse reads the header at the beginning of b and returns it with its size in bytes; what follows is the connection's payload.
// While b may still become a header the error is ErrIncomplete, which b of MaxHeader bytes never is. Any other error is an Error and
// final: it is returned for the shortest prefix that shows the fault, or soon after it, and more bytes do not change it. A client
// that speaks HTTP is told apart by its first bytes.
//
// The grammar is the specification's without leniency, save that TCP6 addresses may end in dotted decimal (::ffff:192.0.2.1), since
// HAProxy writes IPv4-mapped ones so.
func Parse(b []byte) (h Header, n int, err error) {
	switch {
	case mayStart(b, v2Signature):
		return parseV2(b)
	case mayStart(b, v1Start):
		return parseV1(b)
	case len(b) == 0:
		return Header{}, 0, ErrIncomplete
	default:
		return Header{}, 0, ErrSignature
	}
}

// mayStart says whether b, which is not empty, starts with want or may do so once it is longer.
func mayStart(b []byte, want string) bool {
	n := min(len(b), len(want))
	return n > 0 && string(b[:n]) == want[:n]
}

// Values of version 2's address family; the writers of both versions decide with them.
const (
	familyUnspec = 0
	familyInet   = 1
	familyInet6  = 2
	familyUnix   = 3
)

// wireAddresses returns the addresses without zones, which neither version can carry, and the family that both fit in: an IPv4 address
// beside an IPv6 one is written IPv4-mapped. The family is familyUnspec when there are none to write.
func (h Header) wireAddresses() (source, destination netip.Addr, family byte) {
	if h.Local || !h.Source.IsValid() || !h.Destination.IsValid() {
		return netip.Addr{}, netip.Addr{}, familyUnspec
	}
	source = h.Source.Addr().Unmap().WithZone("")
	destination = h.Destination.Addr().Unmap().WithZone("")
	if source.Is4() && destination.Is4() {
		return source, destination, familyInet
	}
	return source, destination, familyInet6
}
