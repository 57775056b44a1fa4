package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

const (
	v2Signature = "\r\n\r\n\x00\r\nQUIT\n"
	// v2Fixed is the size of the part before the addresses: signature, version and command, family and protocol, length.
	v2Fixed = 16

	// The version and the command, in one byte.
	v2Local = 0x20
	v2Proxy = 0x21

	protocolUnspec   = 0
	protocolStream   = 1
	protocolDatagram = 2

	crcSize = 4
)

// addressSize is the size in bytes of both addresses with their ports.
func addressSize(family byte) int {
	switch family {
	case familyInet:
		return 2*4 + 2*2
	case familyInet6:
		return 2*16 + 2*2
	case familyUnix:
		return 2 * 108
	default:
		return 0
	}
}

func parseV2(b []byte) (Header, int, error) {
	command := len(v2Signature)
	if len(b) <= command {
		return Header{}, 0, ErrIncomplete
	}
	if b[command]>>4 != v2Proxy>>4 {
		return Header{}, 0, ErrVersion
	}
	if b[command] != v2Local && b[command] != v2Proxy {
		return Header{}, 0, ErrCommand
	}
	local := b[command] == v2Local

	if len(b) <= command+1 {
		return Header{}, 0, ErrIncomplete
	}
	family, protocol := b[command+1]>>4, b[command+1]&0x0f
	if !local && (family > familyUnix || protocol > protocolDatagram) {
		return Header{}, 0, ErrFamily
	}

	if len(b) < v2Fixed {
		return Header{}, 0, ErrIncomplete
	}
	total := v2Fixed + int(binary.BigEndian.Uint16(b[command+2:]))
	if total > MaxHeader {
		return Header{}, 0, ErrTooLong
	}

	// What follows in a LOCAL or UNSPEC header has no defined form and must be skipped whatever it is. Senders do put TLVs there;
	// when it reads as such, a checksum among them still counts.
	opaque := local || family == familyUnspec || protocol == protocolUnspec
	tlvs := v2Fixed + addressSize(family)
	if tlvs > total {
		if !opaque {
			return Header{}, 0, ErrTooShort
		}
		tlvs = total
	}
	checksum, err := checkTLVs(b[:min(len(b), total)], tlvs, total)
	if err != nil && !opaque {
		return Header{}, 0, err
	}
	if len(b) < total {
		return Header{}, 0, ErrIncomplete
	}

	h := Header{Version: 2}
	if err == nil {
		if checksum != 0 && !checksumMatches(b[:total], checksum) {
			return Header{}, 0, ErrChecksum
		}
		h.TLVs = b[tlvs:total:total]
	}
	if opaque || protocol != protocolStream || family == familyUnix {
		h.Local = true
		return h, total, nil
	}
	h.Source, h.Destination = decodeAddresses(b[v2Fixed:tlvs])
	return h, total, nil
}

// decodeAddresses reads an address block: source, destination, and their ports.
func decodeAddresses(b []byte) (source, destination netip.AddrPort) {
	size := (len(b) - 2*2) / 2
	from, _ := netip.AddrFromSlice(b[:size])
	to, _ := netip.AddrFromSlice(b[size : 2*size])
	ports := b[2*size:]
	return netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(ports)),
		netip.AddrPortFrom(to.Unmap(), binary.BigEndian.Uint16(ports[2:]))
}

// checkTLVs walks the TLVs from at to total, as far as b has them, and returns where the checksum's value is; 0 means that there is
// none. What the TLVs contain is not judged, since nothing depends on it.
func checkTLVs(b []byte, at, total int) (checksum int, err error) {
	for at < total {
		if at+tlvHead > total {
			return 0, ErrTLV
		}
		if at+tlvHead > len(b) {
			return checksum, nil
		}
		kind, size := b[at], int(binary.BigEndian.Uint16(b[at+1:]))
		at += tlvHead
		if at+size > total {
			return 0, ErrTLV
		}
		if kind == TypeCRC32C {
			if size != crcSize || checksum != 0 {
				return 0, ErrChecksumField
			}
			checksum = at
		}
		at += size
	}
	return checksum, nil
}

// checksumMatches compares the checksum at the given offset with that of the header b, in which its own bytes count as zero.
func checksumMatches(b []byte, at int) bool {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum(b[:at], table)
	// By hand, since a slice of zeros given to Update would escape to the heap, and b is the caller's and not to be changed.
	sum = ^sum
	for range crcSize {
		sum = table[byte(sum)] ^ sum>>8
	}
	sum = crc32.Update(^sum, table, b[at+crcSize:])
	return sum == binary.BigEndian.Uint32(b[at:])
}

// AppendV2 appends h as a version 2 header, at most MaxHeader bytes; withCRC adds a checksum as its last TLV. Without addresses to
// write (Local, or one of them zero) the command is LOCAL. Of h's TLVs a checksum is left out, since it was that of another header,
// and so is what is malformed or does not fit in MaxHeader: Parse accepts everything that AppendV2 writes. Zones are left out.
func (h Header) AppendV2(dst []byte, withCRC bool) []byte {
	start := len(dst)
	source, destination, family := h.wireAddresses()
	dst = append(dst, v2Signature...)
	switch family {
	case familyInet:
		from, to := source.As4(), destination.As4()
		dst = append(dst, v2Proxy, familyInet<<4|protocolStream, 0, 0)
		dst = append(append(dst, from[:]...), to[:]...)
	case familyInet6:
		from, to := source.As16(), destination.As16()
		dst = append(dst, v2Proxy, familyInet6<<4|protocolStream, 0, 0)
		dst = append(append(dst, from[:]...), to[:]...)
	default:
		dst = append(dst, v2Local, familyUnspec<<4|protocolUnspec, 0, 0)
	}
	if family != familyUnspec {
		dst = binary.BigEndian.AppendUint16(dst, h.Source.Port())
		dst = binary.BigEndian.AppendUint16(dst, h.Destination.Port())
	}

	limit := start + MaxHeader
	if withCRC {
		limit -= tlvHead + crcSize
	}
	for kind, value := range h.TLVs.All() {
		if kind != TypeCRC32C && len(dst)+tlvHead+len(value) <= limit {
			dst = binary.BigEndian.AppendUint16(append(dst, kind), uint16(len(value)))
			dst = append(dst, value...)
		}
	}
	if withCRC {
		dst = append(dst, TypeCRC32C, 0, crcSize, 0, 0, 0, 0)
	}

	header := dst[start:]
	binary.BigEndian.PutUint16(header[v2Fixed-2:], uint16(len(header)-v2Fixed))
	if withCRC {
		sum := crc32.Checksum(header, crc32.MakeTable(crc32.Castagnoli))
		binary.BigEndian.PutUint32(header[len(header)-crcSize:], sum)
	}
	return dst
}
