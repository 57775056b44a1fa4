package jwt

import (
	"bytes"
	"encoding/base64"

	"github.com/salgue441/velocity/auth"
)

// header is what a token's header says of its key.
type header struct{ alg, kid string }

// parts are a token's segments in the JWS compact serialization.
type parts struct {
	header  header
	signed  []byte // header and payload with the dot, as they are signed
	payload []byte // encoded
	sig     []byte // decoded
}

// split takes a token apart and reads its header.
func split(token []byte) (p parts, err error) {
	first := bytes.IndexByte(token, '.')
	last := bytes.LastIndexByte(token, '.')
	if first <= 0 || last == first {
		return p, auth.ErrMalformed
	}
	p.signed, p.payload = token[:last], token[first+1:last]
	// A further dot is in the payload, where no encoding has one.
	text, ok := decodeSegment(token[:first])
	if !ok || bytes.IndexByte(p.payload, '.') >= 0 {
		return p, auth.ErrMalformed
	}
	if p.sig, ok = decodeSegment(token[last+1:]); !ok {
		return p, auth.ErrMalformed
	}
	if p.header, ok = parseHeader(text); !ok {
		return p, auth.ErrMalformed
	}
	if len(p.sig) == 0 || p.header.alg == "none" {
		return p, auth.ErrSignature
	}
	return p, nil
}

// parseHeader refuses headers that bring their own key (jwk, jku, x5c, x5u),
// change how the token is to be read (crit, b64, zip), or belong to encryption
// (enc). The thumbprints x5t and x5t#S256 and what else may be there say nothing
// that is needed.
func parseHeader(text []byte) (h header, ok bool) {
	m, ok := parseObject(text)
	if !ok {
		return h, false
	}
	for _, name := range []string{"crit", "jwk", "jku", "x5c", "x5u", "b64", "zip", "enc"} {
		if _, there := m[name]; there {
			return h, false
		}
	}
	if h.alg, ok = m["alg"].(string); !ok || h.alg == "" {
		return h, false
	}
	if kid, there := m["kid"]; there {
		if h.kid, ok = kid.(string); !ok {
			return h, false
		}
	}
	return h, true
}

// decodeSegment decodes base64url without padding. The standard decoder skips
// line ends and, unless strict, bits that carry nothing; both would let one
// token be written in several ways.
func decodeSegment(src []byte) ([]byte, bool) {
	if bytes.ContainsAny(src, "\r\n") {
		return nil, false
	}
	dst := make([]byte, base64.RawURLEncoding.DecodedLen(len(src)))
	n, err := base64.RawURLEncoding.Strict().Decode(dst, src)
	return dst[:n], err == nil
}
