package proxyproto

import (
	"net/netip"
	"strconv"
	"strings"
)

const (
	v1Start = "PROXY "
	// maxV1 is the longest line with its CR LF, section 2.1.
	maxV1 = 107
	// maxIPv6 is the longest IPv6 address: eight groups of four digits.
	maxIPv6 = 39
)

func parseV1(b []byte) (Header, int, error) {
	if len(b) <= len(v1Start) {
		return Header{}, 0, ErrIncomplete
	}
	const tcp4, tcp6, unknown = "TCP4 ", "TCP6 ", "UNKNOWN"
	protocol := b[len(v1Start):]
	switch {
	case mayStart(protocol, unknown):
		return parseUnknown(b, len(v1Start)+len(unknown))
	case !mayStart(protocol, tcp4) && !mayStart(protocol, tcp6):
		return Header{}, 0, ErrProtocol
	case len(protocol) < len(tcp4):
		return Header{}, 0, ErrIncomplete
	}

	l := line{b: b, at: len(v1Start) + len(tcp4)}
	var source, destination netip.Addr
	if mayStart(protocol, tcp4) {
		source, destination = l.ipv4(), l.ipv4()
	} else {
		source, destination = l.ipv6(), l.ipv6()
	}
	sourcePort, destinationPort := l.port(' '), l.port('\r')
	l.lineFeed()
	if l.err != nil {
		return Header{}, 0, l.err
	}
	return Header{
		Version:     1,
		Source:      netip.AddrPortFrom(source, sourcePort),
		Destination: netip.AddrPortFrom(destination, destinationPort),
	}, l.at, nil
}

// parseUnknown finds the end of a line of protocol UNKNOWN. What stands from at to there is to be ignored, but is bounded and may
// not hold a lone CR or LF.
func parseUnknown(b []byte, at int) (Header, int, error) {
	for i := at; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\r' && i+1 == len(b):
			return Header{}, 0, ErrIncomplete
		case c == '\r' && b[i+1] == '\n':
			return Header{Version: 1, Local: true}, i + 2, nil
		case c == '\r', c == '\n':
			return Header{}, 0, ErrLineEnd
		case i == at && c != ' ':
			return Header{}, 0, ErrProtocol
		case i == maxV1-len("\r\n"):
			return Header{}, 0, ErrTooLong
		}
	}
	return Header{}, 0, ErrIncomplete
}

// line reads the fields of a version 1 line from left to right. After the first error, which is ErrIncomplete at the end of b,
// every method does nothing.
type line struct {
	b   []byte
	at  int
	err error
}

func (l *line) ipv4() netip.Addr {
	var octets [4]byte
	for i := range octets {
		delimiter := byte('.')
		if i == len(octets)-1 {
			delimiter = ' '
		}
		octets[i] = byte(l.number(255, delimiter, ErrAddress))
	}
	return netip.AddrFrom4(octets)
}

func (l *line) ipv6() netip.Addr {
	if l.err != nil {
		return netip.Addr{}
	}
	rest := l.b[l.at:]
	end := 0
	for end < len(rest) && end <= maxIPv6 && strings.IndexByte("0123456789abcdefABCDEF:.", rest[end]) >= 0 {
		end++
	}
	switch {
	case end > maxIPv6:
		l.err = ErrAddress
		return netip.Addr{}
	case end == len(rest):
		l.err = ErrIncomplete
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(string(rest[:end]))
	if err != nil || !address.Is6() || rest[end] != ' ' {
		l.err = ErrAddress
		return netip.Addr{}
	}
	l.at += end + 1
	return address.Unmap()
}

func (l *line) port(delimiter byte) uint16 {
	return uint16(l.number(65535, delimiter, ErrPort))
}

// number reads a decimal number from 0 to most without leading zeros, and the delimiter after it.
func (l *line) number(most int, delimiter byte, wrong error) int {
	if l.err != nil {
		return 0
	}
	value := 0
	for i, c := range l.b[l.at:] {
		if c == delimiter && i > 0 {
			l.at += i + 1
			return value
		}
		leadingZero := i > 0 && value == 0
		if c < '0' || c > '9' || leadingZero {
			l.err = wrong
			return 0
		}
		if value = value*10 + int(c-'0'); value > most {
			l.err = wrong
			return 0
		}
	}
	l.err = ErrIncomplete
	return 0
}

// lineFeed reads the last byte of the line.
func (l *line) lineFeed() {
	switch {
	case l.err != nil:
	case l.at == len(l.b):
		l.err = ErrIncomplete
	case l.b[l.at] != '\n':
		l.err = ErrLineEnd
	default:
		l.at++
	}
}

// AppendV1 appends h as a version 1 line, at most 107 bytes. Without addresses to write (Local, or one of them zero) the protocol is
// UNKNOWN, which some receivers refuse. TLVs and zones are left out.
func (h Header) AppendV1(dst []byte) []byte {
	source, destination, family := h.wireAddresses()
	switch family {
	case familyInet:
		dst = append(dst, v1Start+"TCP4 "...)
		dst = append(source.AppendTo(dst), ' ')
		dst = append(destination.AppendTo(dst), ' ')
	case familyInet6:
		dst = append(dst, v1Start+"TCP6 "...)
		dst = append(appendIPv6(dst, source), ' ')
		dst = append(appendIPv6(dst, destination), ' ')
	default:
		return append(dst, v1Start+"UNKNOWN\r\n"...)
	}
	dst = append(strconv.AppendUint(dst, uint64(h.Source.Port()), 10), ' ')
	dst = strconv.AppendUint(dst, uint64(h.Destination.Port()), 10)
	return append(dst, '\r', '\n')
}

// appendIPv6 appends a as an IPv6 address. An IPv4 one becomes IPv4-mapped in hexadecimal groups, the only form that the
// specification's grammar has.
func appendIPv6(dst []byte, a netip.Addr) []byte {
	if !a.Is4() {
		return a.AppendTo(dst)
	}
	octets := a.As4()
	dst = append(dst, "::ffff:"...)
	dst = strconv.AppendUint(dst, uint64(octets[0])<<8|uint64(octets[1]), 16)
	dst = append(dst, ':')
	return strconv.AppendUint(dst, uint64(octets[2])<<8|uint64(octets[3]), 16)
}
