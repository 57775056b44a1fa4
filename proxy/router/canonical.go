package router

import (
	"bytes"
	"errors"
)

// CanonicalFlags tell what was in a path that a route may refuse.
type CanonicalFlags uint8

// EncodedSlash is set if the raw path has a %2F, a %5C or a backslash: some servers
// take these for slashes, so a route must choose to let them pass. It is set too if
// the segment that had one was removed by a following "..", since what that leaves
// depends on the reader.
const EncodedSlash CanonicalFlags = 1 << 0

// The reasons why a path has no canonical form. All of them mean that the
// request is malformed (400).
var (
	ErrNotAbsolute      = errors.New("path does not begin with a slash")
	ErrBadEscape        = errors.New("path has a percent sign without two hexadecimal digits")
	ErrForbiddenByte    = errors.New("path has a space, a control character, a question mark or a hash")
	ErrNulByte          = errors.New("path has an encoded zero byte")
	ErrAboveRoot        = errors.New("path leads above the root")
	ErrEncodedTraversal = errors.New("path has a dot segment beside an encoded slash")
)

// AppendCanonical returns the canonical form of a path, the one form that
// routing, policies and the upstream see. The result is either raw itself, if
// raw has no escapes and is canonical already, or what was appended to dst; it
// does not include what dst held before. 3*len(raw) bytes of room in dst are
// always enough, with which nothing is allocated. The two must not overlap.
//
//	in the path                                 becomes
//	no leading slash, or empty                  ErrNotAbsolute
//	%41 %7e (letters, digits, - . _ ~)          A ~, RFC 3986 section 6.2.2.2
//	%2f %5c                                     %2F %5C, never decoded; EncodedSlash
//	\                                           %5C; EncodedSlash
//	%00                                         ErrNulByte
//	any other escape: %20 %3a %c3 %25           kept in upper case: %20 %3A %C3 %25
//	% not followed by two hexadecimal digits    ErrBadEscape
//	0x00 to 0x20, 0x7F, # and ?                 ErrForbiddenByte
//	0x80 to 0xFF, and " < > [ ] ^ ` { | }       percent-encoded
//	//                                          /, before dot segments are removed
//	/./ and /../, also as %2e                   removed, RFC 3986 section 5.2.4
//	/.. above the root                          ErrAboveRoot
//	. or .. between slashes of which at least   ErrEncodedTraversal
//	one is encoded, as in /a/..%2Fb
//
// Nothing is decoded twice, and the canonical form of a canonical path is
// itself. Reserved characters and their escapes (: and %3A) stay different, as
// RFC 3986 section 2.2 has it. Errors are preallocated values.
func AppendCanonical(dst, raw []byte) (path []byte, flags CanonicalFlags, err error) {
	if len(raw) == 0 || raw[0] != '/' {
		return nil, 0, ErrNotAbsolute
	}
	if isPlain(raw) {
		return raw, 0, nil
	}
	base := len(dst)
	dst, flags, err = appendSegments(dst, raw)
	if err != nil {
		return nil, 0, err
	}
	path = dst[base:]
	if flags&EncodedSlash != 0 && hidesDotSegment(path) {
		return nil, 0, ErrEncodedTraversal
	}
	return path, flags, nil
}

// isPlain reports whether a path needs no work at all, as nearly all do not. It
// is content to say no to some canonical paths: those with escapes, and those
// with a segment that begins with a dot.
func isPlain(raw []byte) bool {
	previous := classPlain
	for _, c := range raw {
		class := byteClasses[c]
		if class > classDot || class != classPlain && previous == classSlash {
			return false
		}
		previous = class
	}
	return true
}

// appendSegments appends raw segment by segment. Between segments dst ends with
// a slash.
func appendSegments(dst, raw []byte) ([]byte, CanonicalFlags, error) {
	var flags CanonicalFlags
	root := len(dst)
	dst = append(dst, '/')
	for i := 1; ; i++ {
		start := len(dst)
		for ; i < len(raw) && raw[i] != '/'; i++ {
			c := raw[i]
			switch byteClasses[c] {
			case classEscape:
				if i+2 >= len(raw) {
					return dst, flags, ErrBadEscape
				}
				high, low := hexValues[raw[i+1]], hexValues[raw[i+2]]
				if high|low > 0xF {
					return dst, flags, ErrBadEscape
				}
				i += 2
				switch c = high<<4 | low; {
				case c == 0:
					return dst, flags, ErrNulByte
				case isUnreserved(c):
					dst = append(dst, c)
				default:
					if c == '/' || c == '\\' {
						flags |= EncodedSlash
					}
					dst = appendEscaped(dst, c)
				}
			case classEncode:
				if c == '\\' {
					flags |= EncodedSlash
				}
				dst = appendEscaped(dst, c)
			case classForbidden:
				return dst, flags, ErrForbiddenByte
			default:
				dst = append(dst, c)
			}
		}
		slash := i < len(raw)
		switch string(dst[start:]) {
		case "", ".":
			dst = dst[:start]
		case "..":
			if start-1 == root {
				return dst, flags, ErrAboveRoot
			}
			dst = dst[:bytes.LastIndexByte(dst[:start-1], '/')+1]
		default:
			if slash {
				dst = append(dst, '/')
			}
		}
		if !slash {
			return dst, flags, nil
		}
	}
}

// hidesDotSegment reports whether a path would have a dot segment if its
// encoded slashes were slashes.
func hidesDotSegment(path []byte) bool {
	start := 0
	for i := 0; i <= len(path); i++ {
		next := i + 1
		if i < len(path) && path[i] == '%' && (string(path[i:i+3]) == "%2F" || string(path[i:i+3]) == "%5C") {
			next = i + 3
		} else if i < len(path) && path[i] != '/' {
			continue
		}
		if s := string(path[start:i]); s == "." || s == ".." {
			return true
		}
		start = next
		i = next - 1
	}
	return false
}

func appendEscaped(dst []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[c>>4], digits[c&0xF])
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// What a byte of a raw path needs.
const (
	classPlain     uint8 = iota // nothing
	classSlash                  // a look at what precedes it
	classDot                    // a look at what precedes it
	classEscape                 // decoding, if it can
	classEncode                 // percent-encoding
	classForbidden              // an error
)

var byteClasses = func() (classes [256]uint8) {
	for i := range classes {
		c := byte(i)
		switch {
		case c == '/':
			classes[i] = classSlash
		case c == '.':
			classes[i] = classDot
		case c == '%':
			classes[i] = classEscape
		case c <= ' ' || c == 0x7F || c == '#' || c == '?':
			classes[i] = classForbidden
		case isUnreserved(c) || bytes.IndexByte([]byte("!$&'()*+,;=:@"), c) >= 0:
			classes[i] = classPlain
		default:
			classes[i] = classEncode
		}
	}
	return classes
}()

// hexValues has 0xFF for what is no hexadecimal digit.
var hexValues = func() (values [256]uint8) {
	for i := range values {
		values[i] = 0xFF
	}
	for i := range 16 {
		values["0123456789ABCDEF"[i]] = uint8(i)
		values["0123456789abcdef"[i]] = uint8(i)
	}
	return values
}()
