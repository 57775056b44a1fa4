package chunked

import (
	"bytes"

	"github.com/salgue441/velocity/proxy/syntax"
)

// MayTrail reports whether a field may be passed on in a trailer section. Those
// that say how a message is framed, routed, authenticated or understood may not
// (RFC 9110 section 6.5.1), nor those that tell where a request comes from, nor
// names with an underscore, which some servers take for a hyphen.
func MayTrail(name []byte) bool {
	if bytes.IndexByte(name, '_') >= 0 {
		return false
	}
	for _, prefix := range [...]string{"x-forwarded", "x-real-ip", "proxy-", "if-", "sec-", "access-control-"} {
		if len(name) >= len(prefix) && syntax.EqualFold(name[:len(prefix)], prefix) {
			return false
		}
	}
	for _, no := range [...]string{
		"age", "authorization", "cache-control", "connection", "content-encoding", "content-length", "content-range",
		"content-type", "cookie", "date", "expect", "expires", "forwarded", "host", "keep-alive", "location",
		"max-forwards", "pragma", "range", "retry-after", "set-cookie", "te", "trailer", "transfer-encoding",
		"upgrade", "vary", "via", "warning", "www-authenticate", "authentication-info",
	} {
		if syntax.EqualFold(name, no) {
			return false
		}
	}
	return true
}

// MayAnnounce reports whether the value of a Trailer field names only what may
// be passed on.
func MayAnnounce(list []byte) bool {
	for len(list) > 0 {
		item := list
		if i := bytes.IndexByte(list, ','); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		if item = syntax.TrimSpace(item); !syntax.IsToken(item) || !MayTrail(item) {
			return false
		}
	}
	return true
}
