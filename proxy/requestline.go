package proxy

import "bytes"

// RequestLines watches how the request lines on a client's connection begin and
// end, which fasthttp forgets: it takes a bare LF for the end of a line and skips
// any number of empty lines before one. RFC 9112 section 2.2 lets a server do
// so, but what stands before the gateway may see other requests then. One empty
// line is skipped, as the RFC asks.
//
// The connection reports what it reads, and the line where each request ends, so
// that no byte but those of request lines is looked at. The zero value is at the
// beginning of a connection. All calls come from the goroutine that serves it.
type RequestLines struct {
	read   int64  // bytes read from the connection
	last   []byte // the last of them, in the server's buffer
	end    int64  // where the request line ended, behind its LF
	place  place
	before byte // the byte before what is read next
	blank  bool // an empty line was skipped
	bad    bool
	bare   bool // no CR begins what follows the request line
}

// watched is a connection that keeps RequestLines.
type watched interface{ RequestLines() *RequestLines }

// place is where in a request the next byte belongs.
type place uint8

const (
	atStart  place = iota // of a request
	atBlank               // behind a CR at its start
	inLine                // in the request line
	atHeader              // behind its LF
	behind                // anywhere after
)

// Saw takes note of what was read into the server's buffer, which must not
// change until the next call.
func (l *RequestLines) Saw(p []byte) {
	from := l.read
	l.read += int64(len(p))
	l.last = p
	if l.place != behind && l.read > l.end {
		l.look(p[max(0, l.end-from):])
	}
}

// Restart is for a connection whose next byte begins a request and goes into
// another buffer.
func (l *RequestLines) Restart() { *l = RequestLines{read: l.read, end: l.read} }

// next tells where the next request begins. Some of it may have been read: what
// was read last had a byte of this request, or there would have been no need to
// read it.
func (l *RequestLines) next(begin int64) {
	*l = RequestLines{read: l.read, last: l.last, end: begin}
	if begin < l.read {
		l.look(l.last[max(0, int64(len(l.last))-(l.read-begin)):])
	}
}

// look follows the request line through the bytes that were read last. Until it
// has ended, end is where the line is known to reach.
func (l *RequestLines) look(p []byte) {
	at := l.read - int64(len(p))
	for i, c := range p {
		switch l.place {
		case atStart:
			switch c {
			case '\r':
				l.place = atBlank
			case '\n':
				l.bad = true
			default:
				l.place = inLine
				l.lookFor(p[i:], at+int64(i))
				return
			}
		case atBlank:
			l.bad = l.bad || l.blank || c != '\n'
			l.place, l.blank = atStart, true
		case inLine:
			l.lookFor(p[i:], at+int64(i))
			return
		case atHeader:
			l.bare = c != '\r'
			l.place = behind
			return
		}
	}
}

// lookFor looks for the end of the line in bytes from a position on.
func (l *RequestLines) lookFor(p []byte, at int64) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		l.before = p[len(p)-1]
		return
	}
	if i > 0 {
		l.before = p[i-1]
	}
	l.bad = l.bad || l.before != '\r'
	l.end = at + int64(i) + 1
	l.place = atHeader
	if i+1 < len(p) {
		l.bare = p[i+1] != '\r'
		l.place = behind
	}
}

// wellFormed reports whether the request line is, and, before a header block
// without a field, which fasthttp does not keep, the line behind it.
func (l *RequestLines) wellFormed(raw []byte) bool { return !l.bad && (len(raw) > 0 || !l.bare) }

// readLine refuses a request line that is not terminated as it must be.
func (x *Exchange) readLine(raw []byte) bool {
	c, ok := x.Ctx.Conn().(watched)
	if !ok {
		return true
	}
	x.lines = c.RequestLines()
	return x.lines.wellFormed(raw) || x.refuse(ErrBadRequest)
}

// endMessage tells the connection where the request ended, as far as it will be
// used again.
func (x *Exchange) endMessage() {
	l := x.lines
	if l == nil {
		return
	}
	h := &x.Ctx.Request.Header
	switch n := h.ContentLength(); {
	case n >= 0:
		l.next(l.end + int64(len(h.RawHeaders())) + int64(n))
	case n == -1 && x.body.finished && x.body.reader != nil:
		l.next(l.read - int64(x.body.reader.Buffered()))
	case n < -1: // no length: no body
		l.next(l.end + int64(len(h.RawHeaders())))
	}
}
