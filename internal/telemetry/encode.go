package telemetry

import (
	"bytes"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Bounds of a line, in bytes as encoded. Longer values end in "…", and the line
// says "truncated":true. The fixed fields at their longest leave more than 1 KiB
// for headers.
const (
	maxLine   = 8 << 10
	maxWord   = 32  // method, scheme, protocol, source
	maxName   = 256 // identifiers, names from the configuration, host
	maxAgent  = 512
	maxQuery  = 1 << 10 // also the referer
	maxPath   = 2 << 10
	maxHeader = 512
	// lineReserve is kept free for what ends a line.
	lineReserve = len(`…"},"truncated":true}`) + 1
)

const redacted = "REDACTED"

// encoder turns events into lines. Its methods are safe for concurrent use.
type encoder struct {
	query    bool
	secrets  []string // the operator's own, lower case
	request  []headerField
	response []headerField
	second   atomic.Pointer[secondText]
}

// headerField is a header to log.
type headerField struct {
	name   string // canonical, as Fields wants it
	key    string // `"x-name":`
	secret bool
	url    bool // may carry a query string
}

// secondText is one second as text, up to the point before the fraction.
type secondText struct {
	unix int64
	text []byte
}

func newEncoder(opts *AccessLogOptions) *encoder {
	enc := &encoder{query: opts.Query}
	for _, name := range opts.Redact {
		enc.secrets = append(enc.secrets, strings.ToLower(name))
	}
	enc.request = enc.headerFields(opts.RequestHeaders)
	enc.response = enc.headerFields(opts.ResponseHeaders)
	return enc
}

func (enc *encoder) headerFields(names []string) []headerField {
	var fields []headerField
	for _, name := range names {
		lower := strings.ToLower(name)
		key := line{}
		appendString(&key, lower, maxName)
		fields = append(fields, headerField{
			name:   textproto.CanonicalMIMEHeaderKey(name),
			key:    string(key.b) + ":",
			secret: enc.isSecret([]byte(name)),
			url: slices.Contains([]string{"referer", "location", "content-location"}, lower) ||
				strings.HasSuffix(lower, "-url") || strings.HasSuffix(lower, "-uri"),
		})
	}
	return fields
}

// appendEvent appends e as one line to dst.
func (enc *encoder) appendEvent(dst []byte, e *Event) []byte {
	l := line{b: append(dst, `{"time":"`...)}
	l.b = enc.appendTime(l.b, e.Start)
	l.b = append(l.b, '"')
	field(&l, `,"request_id":`, e.RequestID, maxName)
	l.address(`,"client_ip":"`, e.ClientIP)
	l.peer(e.Peer)
	field(&l, `,"method":`, e.Method, maxWord)
	field(&l, `,"scheme":`, e.Scheme, maxWord)
	field(&l, `,"host":`, e.Host, maxName)
	field(&l, `,"path":`, e.Path, maxPath)
	if enc.query && len(e.Query) > 0 {
		l.b = append(l.b, `,"query":"`...)
		enc.appendQuery(&l, e.Query, len(l.b)+maxQuery)
		l.b = append(l.b, '"')
	}
	field(&l, `,"protocol":`, e.Protocol, maxWord)
	l.number(`,"status":`, int64(e.Status))
	l.number(`,"bytes_in":`, e.BytesIn)
	l.number(`,"bytes_out":`, e.BytesOut)
	l.millis(`,"duration_ms":`, e.Duration)
	l.millis(`,"upstream_ms":`, e.UpstreamDuration)
	l.millis(`,"gateway_ms":`, e.GatewayDuration())
	field(&l, `,"route":`, e.Route, maxName)
	field(&l, `,"upstream":`, e.Upstream, maxName)
	field(&l, `,"endpoint":`, e.Endpoint, maxName)
	if e.Attempts > 0 {
		l.number(`,"attempts":`, int64(e.Attempts))
		l.b = append(l.b, `,"conn_reused":`...)
		l.b = strconv.AppendBool(l.b, e.ConnReused)
	}
	field(&l, `,"source":`, e.Source, maxWord)
	field(&l, `,"reason":`, e.Reason, maxName)
	field(&l, `,"user_agent":`, e.UserAgent, maxAgent)
	if len(e.Referer) > 0 {
		l.b = append(l.b, `,"referer":"`...)
		enc.appendURL(&l, e.Referer, len(l.b)+maxQuery)
		l.b = append(l.b, '"')
	}
	enc.appendHeaders(&l, `,"request_headers":{`, enc.request, e.RequestHeaders)
	enc.appendHeaders(&l, `,"response_headers":{`, enc.response, e.ResponseHeaders)
	if l.cut {
		l.b = append(l.b, `,"truncated":true`...)
	}
	return append(l.b, "}\n"...)
}

func (enc *encoder) appendHeaders(l *line, key string, wanted []headerField, from Fields) {
	if len(wanted) == 0 || from == nil {
		return
	}
	open := false
	for i := range wanted {
		f := &wanted[i]
		value, ok := from.Header(f.name)
		if !ok {
			continue
		}
		free := maxLine - lineReserve - len(l.b) - len(key) - len(f.key)
		if free < len(redacted)+len(`,""`) {
			l.cut = true
			break
		}
		if !open {
			l.b = append(l.b, key...)
			open = true
		} else {
			l.b = append(l.b, ',')
		}
		l.b = append(l.b, f.key...)
		l.b = append(l.b, '"')
		end := len(l.b) + min(free-len(`,""`), maxHeader)
		switch {
		case f.secret:
			l.b = append(l.b, redacted...)
		case f.url:
			enc.appendURL(l, value, end)
		default:
			escape(l, value, end)
		}
		l.b = append(l.b, '"')
	}
	if open {
		l.b = append(l.b, '}')
	}
}

// appendURL appends an address without its fragment, and without its query
// unless queries are wanted: either may carry a token.
func (enc *encoder) appendURL(l *line, url []byte, end int) {
	if i := bytes.IndexByte(url, '#'); i >= 0 {
		url = url[:i]
	}
	query := bytes.IndexByte(url, '?')
	if query < 0 {
		escape(l, url, end)
		return
	}
	if !enc.query {
		escape(l, url[:query], end)
		return
	}
	if escape(l, url[:query+1], end) {
		enc.appendQuery(l, url[query+1:], end)
	}
}

// appendQuery appends a query string with the values of secrets replaced.
func (enc *encoder) appendQuery(l *line, query []byte, end int) {
	for len(query) > 0 {
		pair := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			pair = query[:i+1]
		}
		query = query[len(pair):]
		if i := bytes.IndexByte(pair, '='); i >= 0 && enc.isSecret(pair[:i]) {
			if !escape(l, pair[:i+1], end) || !escape(l, redacted, end) {
				return
			}
			pair = pair[len(pair)-1:]
			if pair[0] != '&' {
				continue
			}
		}
		if !escape(l, pair, end) {
			return
		}
	}
}

// isSecret tells whether a header or query parameter of this name is likely to
// hold a secret. It errs on the side of redacting.
func (enc *encoder) isSecret(name []byte) bool {
	var room [64]byte
	lower := room[:0]
	for _, c := range name[:min(len(name), len(room))] {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower = append(lower, c)
	}
	switch string(lower) {
	case "key", "sig", "code", "auth", "pwd", "pass", "sid":
		return true
	}
	for _, word := range [...]string{
		"token", "secret", "passw", "signature", "credential", "authoriz",
		"cookie", "session", "jwt", "apikey", "api-key", "api_key", "access-key", "access_key",
	} {
		if bytes.Contains(lower, []byte(word)) {
			return true
		}
	}
	for _, own := range enc.secrets {
		if string(lower) == own {
			return true
		}
	}
	return false
}

// appendTime appends t in UTC with milliseconds. Formatting happens once a
// second: later lines of the same second copy its text. A time before the
// newest second (a long request that ends now) is formatted for itself, and does
// not push the newest one out.
func (enc *encoder) appendTime(dst []byte, t time.Time) []byte {
	unix := t.Unix()
	cached := enc.second.Load()
	if cached != nil && cached.unix == unix {
		dst = append(dst, cached.text...)
	} else {
		dst = enc.appendSecond(dst, t, cached)
	}
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(dst, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

func (enc *encoder) appendSecond(dst []byte, t time.Time, cached *secondText) []byte {
	start := len(dst)
	dst = t.UTC().AppendFormat(dst, "2006-01-02T15:04:05.")
	if cached == nil || cached.unix < t.Unix() {
		enc.second.CompareAndSwap(cached, &secondText{unix: t.Unix(), text: slices.Clone(dst[start:])})
	}
	return dst
}

// line is a line being built.
type line struct {
	b   []byte
	cut bool // a value was too long
}

func (l *line) number(key string, n int64) {
	l.b = append(l.b, key...)
	l.b = strconv.AppendInt(l.b, n, 10)
}

// millis appends a duration in milliseconds with three decimals.
func (l *line) millis(key string, d time.Duration) {
	micros := max(d, 0).Microseconds()
	l.b = append(l.b, key...)
	l.b = strconv.AppendInt(l.b, micros/1000, 10)
	micros %= 1000
	l.b = append(l.b, '.', byte('0'+micros/100), byte('0'+micros/10%10), byte('0'+micros%10))
}

// address appends an IP address without its zone, which is free text when the
// address was read from a header.
func (l *line) address(key string, ip netip.Addr) {
	if ip.IsValid() {
		l.b = append(l.b, key...)
		l.b = ip.WithZone("").AppendTo(l.b)
		l.b = append(l.b, '"')
	}
}

func (l *line) peer(peer netip.AddrPort) {
	if peer.IsValid() {
		l.b = append(l.b, `,"peer":"`...)
		l.b = netip.AddrPortFrom(peer.Addr().WithZone(""), peer.Port()).AppendTo(l.b)
		l.b = append(l.b, '"')
	}
}

// text is what a JSON string is made from. The bytes need not be valid UTF-8.
type text interface{ string | []byte }

// field appends a member whose value is a string, or nothing if it is empty.
func field[T text](l *line, key string, s T, limit int) {
	if len(s) > 0 {
		l.b = append(l.b, key...)
		appendString(l, s, limit)
	}
}

// appendString appends s as a JSON string of at most limit bytes between the
// quotes, not counting the mark of truncation.
func appendString[T text](l *line, s T, limit int) {
	l.b = append(l.b, '"')
	escape(l, s, len(l.b)+limit)
	l.b = append(l.b, '"')
}

// escape appends s as the inside of a JSON string (RFC 8259, section 7). It stops
// before l.b would grow beyond end, marks the cut and returns false.
//
// Beyond what JSON demands it escapes everything that a terminal or a line
// splitter might act upon: DEL, C1 controls, U+2028 and U+2029. Bytes that are
// not UTF-8 become U+FFFD.
func escape[T text](l *line, s T, end int) bool {
	b := l.b
	start := 0 // of the bytes that can be copied as they are
	for i := 0; ; {
		if i < len(s) && plain[s[i]] {
			i++
			continue
		}
		if room := end - len(b); i-start > room {
			l.b = append(b, s[start:start+max(room, 0)]...)
			return l.cutHere()
		}
		b = append(b, s[start:i]...)
		if i == len(s) {
			l.b = b
			return true
		}
		mark := len(b)
		var size int
		b, size = appendSpecial(b, string(s[i:min(i+utf8.UTFMax, len(s))]))
		if len(b) > end {
			l.b = b[:mark]
			return l.cutHere()
		}
		i += size
		start = i
	}
}

func (l *line) cutHere() bool {
	l.b = append(l.b, "…"...)
	l.cut = true
	return false
}

// plain marks the bytes that stand for themselves inside a JSON string.
var plain = plainBytes()

func plainBytes() (table [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}

// appendSpecial appends the first character of s, which is not plain, and returns
// how many bytes of s it took.
func appendSpecial(dst []byte, s string) ([]byte, int) {
	switch s[0] {
	case '"', '\\':
		return append(dst, '\\', s[0]), 1
	case '\n':
		return append(dst, `\n`...), 1
	case '\r':
		return append(dst, `\r`...), 1
	case '\t':
		return append(dst, `\t`...), 1
	}
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && size == 1:
		return append(dst, `\ufffd`...), 1
	case r < ' ', 0x7f <= r && r < 0xa0, r == '\u2028', r == '\u2029':
		const hex = "0123456789abcdef"
		return append(dst, '\\', 'u', hex[r>>12&0xf], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf]), size
	}
	return append(dst, s[:size]...), size
}
