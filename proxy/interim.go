package proxy

import (
	"bytes"
	"time"

	"github.com/salgue441/velocity/proxy/syntax"
)

// Interim passes an interim reply, such as 103 Early Hints, on to the client
// (upstream.Relay). It is written straight to the connection: the server's
// buffer is empty, because Handle has every response flushed. An HTTP/1.0 client
// does not know interim replies (RFC 9110 section 15.2).
func (x *Exchange) Interim(block []byte) {
	if x.http10 {
		return
	}
	start := len(x.arena)
	line, rest, _ := syntax.CutLine(block)
	b := append(append(x.arena, "HTTP/1.1"...), line[8:]...)
	b = append(b, "\r\n"...)
	for line, rest, ok := syntax.CutLine(rest); ok && len(line) > 0; line, rest, ok = syntax.CutLine(rest) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		switch k := classify(name); {
		case k == connection, k == hopByHop, k == trailerField, k == contentLength, k == transferEncoding, nominates(block, name):
		default:
			b = append(append(b, line...), "\r\n"...)
		}
	}
	x.arena = append(b, "\r\n"...)
	client := x.Ctx.Conn()
	if d := x.snap.WriteTimeout; d > 0 {
		_ = client.SetWriteDeadline(time.Now().Add(d)) // fails only when closed, as the write will
	}
	_, _ = client.Write(x.arena[start:]) // a client that is gone is noticed by the final reply
	x.arena = x.arena[:start]
}

// nominates tells whether a Connection field of a header block names a field.
func nominates(block, name []byte) bool {
	for line, rest, ok := syntax.CutLine(block); ok; line, rest, ok = syntax.CutLine(rest) {
		field, list, _ := bytes.Cut(line, []byte(":"))
		if !syntax.EqualFold(field, "connection") {
			continue
		}
		for len(list) > 0 {
			var item []byte
			item, list = syntax.CutItem(list)
			if bytes.EqualFold(item, name) {
				return true
			}
		}
	}
	return false
}
