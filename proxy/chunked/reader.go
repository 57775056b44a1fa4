package chunked

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/salgue441/velocity/proxy/syntax"
)

// The bounds of what surrounds the data, in bytes but for maxFields. A sender
// that needs more wants to keep a reader busy.
const (
	maxLine      = 4 << 10  // a chunk-size line or a trailer field
	maxExtension = 16 << 10 // all chunk extensions of a body
	maxTrailer   = 8 << 10  // the trailer section
	maxFields    = 64       // fields in the trailer section
)

// ErrMalformed is the cause of every error that is the sender's mistake.
var ErrMalformed = errors.New("malformed chunked body")

// The mistakes, made once: a stream of them must not cost memory.
var (
	errSize      = fmt.Errorf("%w: chunk size", ErrMalformed)
	errExtension = fmt.Errorf("%w: chunk extension", ErrMalformed)
	errEnd       = fmt.Errorf("%w: chunk longer than its size", ErrMalformed)
	errLine      = fmt.Errorf("%w: line not ended by CRLF", ErrMalformed)
	errLong      = fmt.Errorf("%w: line too long", ErrMalformed)
	errTrailer   = fmt.Errorf("%w: trailer field", ErrMalformed)
	errTrailers  = fmt.Errorf("%w: trailer section too large", ErrMalformed)
)

// Reader decodes one body at a time. The zero Reader is at the end of a body;
// Reset begins one. It keeps the memory of its trailers from body to body and
// is not safe for concurrent use.
type Reader struct {
	br        *bufio.Reader
	left      int64 // of the current chunk's data
	inChunk   bool  // a chunk was begun, so the CRLF behind its data is to come
	open      bool  // the body has not ended
	extension int   // bytes of extensions so far
	trailer   []byte
}

// Reset begins a body whose first chunk-size line is the next thing in br.
// With br nil it only lets go of the last one.
func (r *Reader) Reset(br *bufio.Reader) {
	*r = Reader{br: br, open: br != nil, trailer: r.trailer[:0]}
}

// Done reports whether the body was read to its end, trailers included.
func (r *Reader) Done() bool { return !r.open }

// Left returns how many bytes of the current chunk's data are still to be read.
func (r *Reader) Left() int64 { return r.left }

// Skip passes over what is left of the current chunk's data, all of which must
// be buffered.
func (r *Reader) Skip() error {
	n, err := r.br.Discard(int(r.left))
	r.left -= int64(n)
	return err
}

// Trailer returns the trailer fields that may be passed on, as lines that end
// in CRLF, without the empty line behind them; it is empty before the end of
// the body and valid until the next Reset.
func (r *Reader) Trailer() []byte { return r.trailer }

// Read decodes data into p. It returns io.EOF at the end of the body,
// io.ErrUnexpectedEOF if the connection ended before, an error that wraps
// ErrMalformed, or what reading the connection failed with.
func (r *Reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		if err := r.Next(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.br.Read(p)
	r.left -= int64(n)
	if err != nil && n == 0 { // with data, as TLS has it, the error comes again
		return 0, unexpected(err)
	}
	return n, nil
}

// Await waits until Read need not, or until reading the connection fails. Unlike
// after an error of Read, the body may be read on after one of Await: nothing was
// consumed. The trailer section is not waited for.
func (r *Reader) Await() error {
	if !r.open || r.left > 0 { // reading data consumes what it returns
		return nil
	}
	lines := 1
	if r.inChunk {
		lines = 2 // the end of the chunk and the size of the next
	}
	for {
		n := r.br.Buffered()
		b, _ := r.br.Peek(n) // all of it is there
		if hasLines(b, lines) || n >= min(maxLine, r.br.Size()) {
			return nil
		}
		if _, err := r.br.Peek(n + 1); err != nil {
			return unexpected(err)
		}
	}
}

func hasLines(b []byte, lines int) bool {
	for ; lines > 0; lines-- {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return false
		}
		b = b[i+1:]
	}
	return true
}

// Next reads up to the data of the next chunk; the data of the one before must
// have been read. Errors are those of Read.
func (r *Reader) Next() error {
	if !r.open {
		return io.EOF
	}
	if r.inChunk {
		line, err := r.line()
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return errEnd
		}
		r.inChunk = false
	}
	line, err := r.line()
	if err != nil {
		return err
	}
	size, extension, err := parseSize(line)
	if err != nil {
		return err
	}
	if r.extension += extension; r.extension > maxExtension {
		return errExtension
	}
	if size > 0 {
		r.left, r.inChunk = size, true
		return nil
	}
	return r.readTrailer()
}

// readTrailer reads the trailer section and keeps what may be passed on.
func (r *Reader) readTrailer() error {
	total := 0
	for range maxFields + 1 {
		line, err := r.line()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			r.open = false
			return io.EOF
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !syntax.IsToken(line[:colon]) || !syntax.IsText(line[colon+1:]) {
			return errTrailer
		}
		if total += len(line); total > maxTrailer {
			return errTrailers
		}
		if MayTrail(line[:colon]) {
			r.trailer = append(append(r.trailer, line[:colon]...), ": "...)
			r.trailer = append(append(r.trailer, syntax.TrimSpace(line[colon+1:])...), "\r\n"...)
		}
	}
	return errTrailers
}

// line consumes a line and returns it without its CRLF; it is valid until the
// next read.
func (r *Reader) line() ([]byte, error) {
	line, err := r.br.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		return nil, errLong
	case err != nil:
		return nil, unexpected(err)
	case len(line) < 2 || line[len(line)-2] != '\r':
		return nil, errLine
	case len(line) > maxLine:
		return nil, errLong
	}
	return line[:len(line)-2], nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseSize parses a chunk-size line without its CRLF and returns how long its
// extensions are.
func parseSize(line []byte) (size int64, extension int, err error) {
	i := 0
	for ; i < len(line); i++ {
		var d byte
		switch c := line[i]; {
		case '0' <= c && c <= '9':
			d = c - '0'
		case 'a' <= c && c <= 'f':
			d = c - 'a' + 10
		case 'A' <= c && c <= 'F':
			d = c - 'A' + 10
		default:
			if i == 0 {
				return 0, 0, errSize
			}
			if !isExtension(line[i:]) {
				return 0, 0, errExtension
			}
			return size, len(line) - i, nil
		}
		if i == 15 { // 15 digits cannot overflow
			return 0, 0, errSize
		}
		size = size<<4 | int64(d)
	}
	if i == 0 {
		return 0, 0, errSize
	}
	return size, 0, nil
}

// isExtension checks chunk-ext:
//
//	*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )
func isExtension(b []byte) bool {
	for len(b) > 0 {
		b = trimLeft(b)
		if len(b) == 0 || b[0] != ';' {
			return false
		}
		n := tokenLength(trimLeft(b[1:]))
		if n == 0 {
			return false
		}
		b = trimLeft(b[1:])[n:]
		if rest := trimLeft(b); len(rest) > 0 && rest[0] == '=' {
			rest = trimLeft(rest[1:])
			n = tokenLength(rest)
			if n == 0 {
				n = quotedLength(rest)
			}
			if n == 0 {
				return false
			}
			b = rest[n:]
		}
	}
	return true
}

func trimLeft(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

func tokenLength(b []byte) int {
	for i := range b {
		if !syntax.IsToken(b[i : i+1]) {
			return i
		}
	}
	return len(b)
}

// quotedLength returns the length of the quoted-string at the start of b, 0 if
// there is none.
func quotedLength(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i++; i == len(b) || !syntax.IsText(b[i:i+1]) {
				return 0
			}
		case !syntax.IsText(b[i : i+1]):
			return 0
		}
	}
	return 0
}

// Ahead is what is buffered of a body that has arrived whole.
type Ahead struct {
	Size     int  // of the data that is left, in bytes, at the most
	Length   int  // of all that is left, in bytes
	Trailers bool // there are trailer fields
}

// Buffered looks whether the rest of the body, its end included, has arrived:
// then reading it does not wait. Whether it is well-formed is for the reading
// to say.
func (r *Reader) Buffered() (ahead Ahead, whole bool) {
	if !r.open {
		return Ahead{}, true
	}
	n := r.br.Buffered()
	if n == 0 {
		return Ahead{}, false
	}
	b, _ := r.br.Peek(n) // all of it is there
	at := 0
	if r.inChunk {
		if r.left+2 > int64(n) {
			return Ahead{}, false
		}
		ahead.Size, at = int(r.left), int(r.left)+2
	}
	for {
		end := lineEnd(b, at)
		if end < 0 {
			return Ahead{}, false
		}
		chunk, _, err := parseSize(b[at : end-2])
		if err != nil {
			return Ahead{}, false
		}
		at = end
		if chunk == 0 {
			break
		}
		if chunk > int64(n-at-2) {
			return Ahead{}, false
		}
		ahead.Size += int(chunk)
		at += int(chunk) + 2
	}
	for {
		end := lineEnd(b, at)
		if end < 0 {
			return Ahead{}, false
		}
		if ahead.Length = end; end-at == 2 {
			return ahead, true
		}
		at, ahead.Trailers = end, true
	}
}

// lineEnd returns where the line that begins at from ends, behind its CRLF, -1
// if that has not arrived.
func lineEnd(b []byte, from int) int {
	i := bytes.IndexByte(b[from:], '\n')
	if i < 1 || b[from+i-1] != '\r' {
		return -1
	}
	return from + i + 1
}
