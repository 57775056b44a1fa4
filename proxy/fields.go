package proxy

import (
	"bytes"

	"github.com/salgue441/velocity/proxy/syntax"
)

// kind classifies the header fields that the line itself cares about, so that
// later stages compare a byte and not a name.
type kind uint8

const (
	other kind = iota
	dropped
	hostField
	contentLength
	transferEncoding
	connection
	hopByHop // Keep-Alive, Proxy-Connection, Proxy-Authorization
	te
	trailerField
	upgradeField
	expect
	forwardedFor   // X-Forwarded-For
	forwardedProto // X-Forwarded-Proto
	forwardedHost  // X-Forwarded-Host
	forwardedOther // X-Forwarded-*, X-Real-Ip
	forwarded
	via
	plain // from here on: known, but passed on like any other
	accept
	cookie
	origin
	userAgent
	referer
	numKinds
)

// field is one header field of the request. Name and value point into the
// request's raw header block, or into the exchange's arena once edited.
type field struct {
	name, value []byte
	kind        kind
}

// fields is the request's header list in wire order, with an index of the
// fields that the line cares about. It implements transform.Headers.
type fields struct {
	list     []field
	received int             // how many of the list the client sent; programs append the others
	edited   uint32          // kinds of which a program has set or removed fields, as bits
	first    [numKinds]int32 // index+1 of the first field of a kind
}

func (f *fields) reset() {
	clear(f.list) // what they point to is not kept alive
	f.list = f.list[:0]
	f.received, f.edited = 0, 0
	f.first = [numKinds]int32{}
}

// value returns the first field of a kind, nil when there is none.
func (f *fields) value(k kind) []byte {
	if i := f.first[k]; i > 0 {
		return f.list[i-1].value
	}
	return nil
}

// parse indexes a header block as fasthttp keeps it (RequestHeader.RawHeaders,
// exact wire bytes) and refuses what fasthttp lets through: bare LF, folded
// lines, spaces in names, contradictory framing (RFC 9112 sections 2.2, 5, 6).
// fasthttp has already refused control characters in values.
//
// A field with an underscore in its name is treated as policy says; max, if
// not zero, is how many fields there may be.
func (f *fields) parse(raw []byte, limit int, policy Underscores) *Error {
	f.reset()
	count := 0
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\n')
		if i < 1 || raw[i-1] != '\r' {
			return ErrBadHeader
		}
		line := raw[:i-1]
		raw = raw[i+1:]
		if len(line) == 0 {
			break
		}
		if count++; limit > 0 && count > limit {
			return ErrHeaderTooLarge
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !syntax.IsToken(line[:colon]) {
			return ErrBadHeader
		}
		name, value := line[:colon], syntax.TrimSpace(line[colon+1:])
		k := classify(name)
		if bytes.IndexByte(name, '_') >= 0 {
			if policy == RejectUnderscores {
				return ErrBadHeader
			}
			if policy == DropUnderscores || looksLikeOurs(name) {
				continue
			}
		}
		if k != other && f.first[k] == 0 {
			f.first[k] = int32(len(f.list) + 1)
		} else if k == hostField || k == contentLength || k == transferEncoding {
			if k == hostField {
				return ErrBadHost
			}
			return ErrBadFraming
		}
		f.list = append(f.list, field{name: name, value: value, kind: k})
	}
	f.received = len(f.list)
	if te := f.first[transferEncoding]; te > 0 {
		if f.first[contentLength] > 0 || !syntax.EqualFold(f.list[te-1].value, "chunked") {
			return ErrBadFraming
		}
	}
	return nil
}

// Header returns the first field of a name, as it is now.
func (f *fields) Header(name string) ([]byte, bool) {
	for i := range f.list {
		if e := &f.list[i]; e.kind != dropped && syntax.EqualName(e.name, name) {
			return e.value, true
		}
	}
	return nil, false
}

// count is how many fields of a name there are.
func (f *fields) count(name string) int {
	n := 0
	for i := range f.list {
		if e := &f.list[i]; e.kind != dropped && syntax.EqualName(e.name, name) {
			n++
		}
	}
	return n
}

// asReceived returns the first field of a name that the client sent, whatever
// became of it since.
func (f *fields) asReceived(name string) []byte {
	for i := range f.list[:f.received] {
		if e := &f.list[i]; syntax.EqualName(e.name, name) {
			return e.value
		}
	}
	return nil
}

// Set replaces all fields of that name by one at the end of the list.
func (f *fields) Set(name string, value []byte) {
	f.Remove(name)
	f.Add(name, value)
}

// Add appends a field.
func (f *fields) Add(name string, value []byte) {
	f.edited |= 1 << classify(bytesOf(name))
	f.list = append(f.list, field{name: bytesOf(name), value: value})
}

// Remove deletes all fields of that name.
func (f *fields) Remove(name string) {
	f.edited |= 1 << classify(bytesOf(name))
	for i := range f.list {
		if e := &f.list[i]; syntax.EqualName(e.name, name) {
			e.kind = dropped
		}
	}
}

// keepFirst drops all fields of a name but the first.
func (f *fields) keepFirst(name string) {
	seen := false
	for i := range f.list {
		if e := &f.list[i]; e.kind != dropped && syntax.EqualName(e.name, name) {
			if seen {
				e.kind = dropped
			}
			seen = true
		}
	}
}

// isEdited tells that a program decides on the fields of a kind.
func (f *fields) isEdited(k kind) bool { return f.edited&(1<<k) != 0 }

// dropNominated drops the fields that Connection names (RFC 9110 section
// 7.6.1). Only ordinary fields can be dropped that way: framing is not the
// client's to remove, and which forwarding fields count is decided by trust.
func (f *fields) dropNominated() {
	if f.first[connection] == 0 {
		return
	}
	for i := range f.list {
		if f.list[i].kind != connection {
			continue
		}
		list := f.list[i].value
		for len(list) > 0 {
			var item []byte
			item, list = syntax.CutItem(list)
			if syntax.EqualFold(item, "close") || syntax.EqualFold(item, "keep-alive") || len(item) == 0 {
				continue
			}
			for j := range f.list {
				e := &f.list[j]
				if (e.kind == other || e.kind > plain) && bytes.EqualFold(e.name, item) {
					e.kind = dropped
				}
			}
		}
	}
}

// expectsContinue reports whether all that Expect asks for is 100-continue.
func (f *fields) expectsContinue() bool {
	if f.first[expect] == 0 {
		return true
	}
	for i := range f.list {
		if e := &f.list[i]; e.kind == expect && !syntax.EqualFold(e.value, "100-continue") {
			return false
		}
	}
	return true
}

// looksLikeOurs reports whether a name is that of a field which the line heeds,
// once its underscores are taken for hyphens.
func looksLikeOurs(name []byte) bool {
	var hyphened [32]byte // longer than any name that the line knows
	if len(name) > len(hyphened) {
		return len(name) > len(forwardedPrefix) && looksLikeOurs(name[:len(forwardedPrefix)+1])
	}
	for i, c := range name {
		if c == '_' {
			c = '-'
		}
		hyphened[i] = c
	}
	k := classify(hyphened[:len(name)])
	return k != other && k < plain
}

// classify finds the kind of a name by length first, so that most names cost
// one comparison at the most.
func classify(name []byte) kind {
	is := func(lower string, k kind) kind {
		if syntax.EqualFold(name, lower) {
			return k
		}
		return other
	}
	if len(name) > len(forwardedPrefix) && name[1] == '-' && syntax.EqualFold(name[:len(forwardedPrefix)], forwardedPrefix) {
		return classifyForwarded(name[len(forwardedPrefix):])
	}
	switch len(name) {
	case 2:
		return is("te", te)
	case 3:
		return is("via", via)
	case 4:
		return is("host", hostField)
	case 6:
		switch name[0] | 0x20 {
		case 'a':
			return is("accept", accept)
		case 'c':
			return is("cookie", cookie)
		case 'o':
			return is("origin", origin)
		case 'e':
			return is("expect", expect)
		}
	case 7:
		switch name[0] | 0x20 {
		case 'u':
			return is("upgrade", upgradeField)
		case 't':
			return is("trailer", trailerField)
		case 'r':
			return is("referer", referer)
		}
	case 9:
		switch name[0] | 0x20 {
		case 'f':
			return is("forwarded", forwarded)
		case 'x':
			return is("x-real-ip", forwardedOther)
		}
	case 10:
		switch name[0] | 0x20 {
		case 'c':
			return is("connection", connection)
		case 'k':
			return is("keep-alive", hopByHop)
		case 'u':
			return is("user-agent", userAgent)
		}
	case 14:
		return is("content-length", contentLength)
	case 16:
		return is("proxy-connection", hopByHop)
	case 17:
		return is("transfer-encoding", transferEncoding)
	case 19:
		return is("proxy-authorization", hopByHop)
	}
	return other
}

const forwardedPrefix = "x-forwarded-"

// classifyForwarded finds the kind of an X-Forwarded- field by what follows.
func classifyForwarded(rest []byte) kind {
	switch {
	case syntax.EqualFold(rest, "for"):
		return forwardedFor
	case syntax.EqualFold(rest, "proto"):
		return forwardedProto
	case syntax.EqualFold(rest, "host"):
		return forwardedHost
	}
	return forwardedOther
}

// queryValue returns the first value of a query parameter, as sent: escapes
// are not decoded.
func queryValue(query []byte, name string) ([]byte, bool) {
	for len(query) > 0 {
		pair := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			query = nil
		}
		key, value, _ := bytes.Cut(pair, []byte("="))
		if string(key) == name {
			return value, true
		}
	}
	return nil, false
}

// cookieValue returns the first cookie of a name in all Cookie fields.
func (f *fields) cookieValue(name string) ([]byte, bool) {
	for i := range f.list {
		if f.list[i].kind != cookie {
			continue
		}
		list := f.list[i].value
		for len(list) > 0 {
			pair := list
			if c := bytes.IndexByte(list, ';'); c >= 0 {
				pair, list = list[:c], list[c+1:]
			} else {
				list = nil
			}
			key, value, _ := bytes.Cut(syntax.TrimSpace(pair), []byte("="))
			if string(key) == name {
				return value, true
			}
		}
	}
	return nil, false
}
