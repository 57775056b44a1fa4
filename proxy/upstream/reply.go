package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/proxy/syntax"
)

// Framing is how a reply's body ends (RFC 9112 section 6.3).
type Framing uint8

// The framings of a reply.
const (
	NoBody Framing = iota
	Fixed
	Chunked
	UntilClose
)

// HopByHop is the set of connection-specific fields found in a reply; they
// stop here (RFC 9110 section 7.6.1).
type HopByHop uint8

// The fields of a HopByHop set.
const (
	HasConnection HopByHop = 1 << iota
	HasKeepAlive
	HasProxyConnection
	HasUpgrade
	HasTrailer
	HasTE
)

// Reply is what the header block of a reply says about the message; the
// fields themselves are in the fasthttp.ResponseHeader.
type Reply struct {
	Status    int
	Framing   Framing
	Length    int64 // of a Fixed body
	KeepAlive bool  // the connection may be reused after a complete body
	HopByHop  HopByHop
	HasDate   bool
	// Nominating is the header block of a reply whose Connection fields name
	// others, nil if none does. Valid until the connection is released or
	// read from.
	Nominating []byte
}

// ReadReply reads the header of the final reply into h, skipping interim
// (1xx) ones; 101 is final on a connection from Dial, and malformed on others.
// head tells that the request was HEAD. The time limit is the caller's, see
// Await. Errors wrap ErrClosed, ErrTimeout, ErrAbandoned or ErrMalformed.
//
// The block is judged here, before fasthttp sees it, because fasthttp accepts
// bare LF, folded lines, spaces before the colon and both framings at once.
func (c *Conn) ReadReply(h *fasthttp.ResponseHeader, head bool) (Reply, error) {
	for interim := false; ; interim = true {
		block, err := c.peekBlock()
		if err == ErrClosed && interim { // it was alive, so the request is not to be repeated
			err = malformed("none after an interim one")
		}
		if err != nil {
			return Reply{}, err
		}
		r, err := judge(block, head)
		if err != nil {
			return Reply{}, err
		}
		if r.Status < 200 && (r.Status != 101 || !c.dedicated) {
			if r.Status == 101 {
				return Reply{}, malformed("101 to a request that did not ask to upgrade")
			}
			if _, err := c.br.Discard(len(block)); err != nil {
				return Reply{}, c.readError(err, ErrClosed)
			}
			continue
		}
		if !r.HasDate {
			// A recipient with a clock adds the Date (RFC 9110 section
			// 6.6.1): fasthttp does, in a header that was reset.
			h.Reset()
			h.SetNoDefaultContentType(true)
		}
		// fasthttp would answer an HTTP/1.0 reply's version to the client.
		block[7] = '1'
		if err := h.Read(c.br); err != nil {
			return Reply{}, malformed("header fields")
		}
		h.ResetConnectionClose()
		c.body = body{framing: r.Framing, left: r.Length}
		return r, nil
	}
}

// peekBlock waits for a whole header block, its empty line included, and
// returns it without consuming it.
func (c *Conn) peekBlock() ([]byte, error) {
	seen := 0
	for {
		b, err := c.br.Peek(max(c.br.Buffered(), seen+1))
		if i := bytes.Index(b[max(0, seen-3):], crlfcrlf); i >= 0 {
			return b[:max(0, seen-3)+i+len(crlfcrlf)], nil
		}
		if err != nil {
			if err == bufio.ErrBufferFull {
				return nil, malformed("header block larger than 32 KiB")
			}
			if err = c.readError(err, ErrClosed); err == ErrClosed && len(b) > 0 {
				err = malformed("header block cut short")
			}
			return nil, err
		}
		seen = len(b)
	}
}

func (c *Conn) readError(err, otherwise error) error {
	switch {
	case errors.Is(err, ErrAbandoned):
		return ErrAbandoned
	case isTimeout(err):
		return ErrTimeout
	}
	return otherwise
}

var crlfcrlf = []byte("\r\n\r\n")

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// judge checks a header block, which ends in an empty line, and finds its
// framing.
func judge(block []byte, head bool) (Reply, error) {
	var r Reply
	line, rest, ok := syntax.CutLine(block)
	if !ok {
		return r, malformed("line not ended by CRLF")
	}
	// status-line = "HTTP/1." DIGIT SP 3DIGIT [ SP reason ]
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || (line[7] != '0' && line[7] != '1') || line[8] != ' ' ||
		(len(line) > 12 && line[12] != ' ') {
		return r, malformed("status line")
	}
	for _, d := range line[9:12] {
		if d < '0' || d > '9' {
			return r, malformed("status code")
		}
		r.Status = r.Status*10 + int(d-'0')
	}
	if r.Status < 100 {
		return r, malformed("status code")
	}
	if !syntax.IsText(line[12:]) {
		return r, malformed("control character in reason phrase")
	}
	r.KeepAlive = line[7] == '1'

	length, chunked := int64(-1), false
	closes, stays := false, false
	for {
		line, rest, ok = syntax.CutLine(rest)
		if !ok {
			return r, malformed("line not ended by CRLF")
		}
		if len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !syntax.IsToken(line[:colon]) {
			return r, malformed("field name")
		}
		name, value := line[:colon], syntax.TrimSpace(line[colon+1:])
		if !syntax.IsText(value) {
			return r, malformed("control character in field value")
		}
		switch len(name) {
		case 2:
			if syntax.EqualFold(name, "te") {
				r.HopByHop |= HasTE
			}
		case 4:
			if syntax.EqualFold(name, "date") {
				r.HasDate = true
			}
		case 7:
			if syntax.EqualFold(name, "upgrade") {
				r.HopByHop |= HasUpgrade
			} else if syntax.EqualFold(name, "trailer") {
				r.HopByHop |= HasTrailer
			}
		case 10:
			if syntax.EqualFold(name, "connection") {
				r.HopByHop |= HasConnection
				closes = closes || syntax.ListHas(value, "close")
				stays = stays || syntax.ListHas(value, "keep-alive")
				if !syntax.EqualFold(value, "close") && !syntax.EqualFold(value, "keep-alive") {
					r.Nominating = block
				}
			} else if syntax.EqualFold(name, "keep-alive") {
				r.HopByHop |= HasKeepAlive
			}
		case 14:
			if syntax.EqualFold(name, "content-length") {
				n, ok := syntax.ParseLength(value)
				if !ok || (length >= 0 && n != length) {
					return r, malformed("Content-Length")
				}
				length = n
			}
		case 16:
			if syntax.EqualFold(name, "proxy-connection") {
				r.HopByHop |= HasProxyConnection
			}
		case 17:
			if syntax.EqualFold(name, "transfer-encoding") {
				if chunked || !syntax.EqualFold(value, "chunked") {
					return r, malformed("Transfer-Encoding")
				}
				chunked = true
			}
		}
	}
	r.KeepAlive = !closes && (r.KeepAlive || stays) // close wins, RFC 9112 section 9.3
	switch {
	case chunked && length >= 0:
		return r, malformed("Content-Length with Transfer-Encoding")
	case head || r.Status < 200 || r.Status == 204 || r.Status == 304:
		r.Framing = NoBody
	case chunked:
		r.Framing = Chunked
	case length == 0:
		r.Framing = NoBody
	case length > 0:
		r.Framing, r.Length = Fixed, length
	default:
		r.Framing, r.KeepAlive = UntilClose, false
	}
	return r, nil
}
