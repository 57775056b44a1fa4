package proxy

import "unsafe" //nolint:depguard // views without copying, of memory that outlives them

// bytesOf returns the bytes of a string without copying. They must not be
// written to; the strings it is used for are names from the snapshot.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// stringOf returns b as a string without copying, for calls that do not keep
// it.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

const hexDigits = "0123456789abcdef"

// appendHex64 appends 16 hexadecimal digits.
func appendHex64(dst []byte, v uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[v>>shift&15])
	}
	return dst
}
