// Package syntax is the grammar of HTTP/1 messages as far as the gateway judges
// it on both sides: lines, tokens, field values, lists and lengths of RFC 9110
// section 5.6 and RFC 9112 section 5. Its functions look at bytes and allocate
// nothing; what a violation means is the caller's business.
package syntax

import "bytes"

// CutLine splits b after its first CRLF. It reports false for a line that ends
// in a bare LF.
func CutLine(b []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 1 || b[i-1] != '\r' {
		return nil, nil, false
	}
	return b[:i-1], b[i+1:], true
}

// IsToken reports whether b is a token.
func IsToken(b []byte) bool {
	for _, c := range b {
		if !tokenChar[c] {
			return false
		}
	}
	return len(b) > 0
}

// IsText reports whether b has no control characters but tab: what a field
// value and a reason phrase may hold.
func IsText(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// TrimSpace removes optional whitespace, spaces and tabs, from both ends.
func TrimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// EqualFold compares b to a lower-case ASCII string.
func EqualFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// EqualName compares a field name to another in any case.
func EqualName(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i, c := range b {
		d := name[i]
		if c == d {
			continue
		}
		if c |= 0x20; c != d|0x20 || c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// CutItem takes the first member off a comma-separated list, trimmed. It is
// empty where the list has nothing between commas.
func CutItem(list []byte) (item, rest []byte) {
	item, rest, _ = bytes.Cut(list, comma)
	return TrimSpace(item), rest
}

var comma = []byte(",")

// ListHas reports whether a comma-separated list has the lower-case member.
func ListHas(list []byte, member string) bool {
	for len(list) > 0 {
		var item []byte
		item, list = CutItem(list)
		if EqualFold(item, member) {
			return true
		}
	}
	return false
}

// ParseLength parses a Content-Length: digits only, no overflow.
func ParseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

var tokenChar = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()
