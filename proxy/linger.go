package proxy

import (
	"io"
	"net"
	"time"
)

// lingerFor is how long a client may go on sending a body that is not wanted.
const lingerFor = 2 * time.Second

// maxSkipped is how much of an unwanted body fasthttp reads to keep the
// connection, in bytes.
const maxSkipped = 256 << 10

// lingers tells whether the connection closes while the client may still be
// sending the body. Closed at once, it would be reset by what arrives, and the
// answer lost before the client reads it (RFC 9112 section 9.6).
func (x *Exchange) lingers() bool {
	b := &x.body
	if b.stream == nil || b.finished || x.stream.active || x.stream.raw || x.Err == ErrRequestTimeout {
		return false
	}
	return b.stream == &b.chunks || x.Err == ErrBodyTooLarge || b.length-b.read > maxSkipped
}

// linger answers, ends its side of the connection, and reads on for a while
// what the client sends, on a goroutine of its own.
func (s *Server) linger(x *Exchange) {
	ctx := x.Ctx
	s.hijack(x, func(client net.Conn) {
		_ = client.SetDeadline(time.Now().Add(lingerFor)) // fails only when closed, as the write will
		resp := &ctx.Response
		resp.Header.SetConnectionClose()
		resp.Header.SetContentLength(len(resp.Body()))
		answer := append([]byte(nil), resp.Header.Header()...)
		if !ctx.IsHead() {
			answer = append(answer, resp.Body()...)
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
		if c, ok := client.(interface{ UnsafeConn() net.Conn }); ok {
			endWriting(c.UnsafeConn())
		}
		_, _ = io.Copy(io.Discard, client) // until the client has enough, or the time is over
	}, func() {})
}

// endWriting ends the server's side of a connection, whatever wraps it.
func endWriting(c net.Conn) {
	for {
		switch v := c.(type) {
		case interface{ CloseWrite() error }:
			_ = v.CloseWrite() // fails only when closed
			return
		case interface{ Unwrap() net.Conn }:
			c = v.Unwrap()
		default:
			return
		}
	}
}
