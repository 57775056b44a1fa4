package proxyproto

import (
	"io"
	"net"
	"net/netip"
	"sync/atomic"
)

// firstRead is the room in bytes for the header at first: more than most headers, and little payload to copy behind one.
const firstRead = 512

// Conn is a connection that starts with a PROXY header. The header is read by the first Read, on the reader's goroutine and under the
// deadline that the connection has then; a server that accepts connections is never held up by one that sends nothing. Everything
// but Read and the addresses is the underlying connection's.
//
// Read and Buffered belong to one goroutine at a time; the other methods may be called from any.
type Conn struct {
	net.Conn
	onBad func(net.Conn, error)
	named atomic.Pointer[addresses]

	// The reader's own. Until the header has been parsed, rest is what has come of it, afterwards what came behind it and has not
	// been read. It is nil once empty, so that an idle connection holds no buffer.
	parsed bool
	rest   []byte
	bad    error
}

// addresses are the addresses of a header, built once for every caller.
type addresses struct {
	remote, local net.TCPAddr
}

// NewConn returns c with its header still to be read. The header is required: anything else makes every Read return an Error, and
// onBad, which may be nil, is called once with c and that error, on the reader's goroutine. Closing c is left to the reader. A peer
// that closes the connection without having sent a byte (a load balancer's probe) is no such case: Read returns io.EOF. Neither is
// an error of c's own, such as a deadline: it is returned as it is, and a further Read goes on where this one stopped.
func NewConn(c net.Conn, onBad func(net.Conn, error)) *Conn {
	return &Conn{Conn: c, onBad: onBad}
}

// Read reads the payload, after the header. A Read of no bytes at the beginning waits for the header only.
func (c *Conn) Read(p []byte) (int, error) {
	if !c.parsed {
		if err := c.readHeader(); err != nil {
			return 0, err
		}
		if len(p) == 0 {
			return 0, nil
		}
	}
	if c.rest == nil {
		return c.Conn.Read(p)
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
	}
	return n, nil
}

func (c *Conn) readHeader() error {
	if c.bad != nil {
		return c.bad
	}
	if c.rest == nil {
		c.rest = make([]byte, 0, firstRead)
	}
	for {
		received := len(c.rest)
		if received == cap(c.rest) {
			c.rest = append(make([]byte, 0, MaxHeader), c.rest...)
		}
		n, err := c.Conn.Read(c.rest[received:cap(c.rest)])
		if n == 0 && err != nil {
			return c.ended(err)
		}
		c.rest = c.rest[:received+n]
		switch h, size, err := Parse(c.rest); err {
		case nil:
			c.accept(h, c.rest[size:])
			return nil
		case ErrIncomplete:
		default:
			return c.refuse(err)
		}
	}
}

// accept publishes the header's addresses and keeps what came behind it.
func (c *Conn) accept(h Header, payload []byte) {
	if !h.Local {
		c.named.Store(&addresses{remote: tcpAddr(h.Source), local: tcpAddr(h.Destination)})
	}
	c.parsed = true
	c.rest = nil
	if len(payload) > 0 {
		c.rest = payload
	}
}

func tcpAddr(a netip.AddrPort) net.TCPAddr {
	return net.TCPAddr{IP: a.Addr().AsSlice(), Port: int(a.Port())}
}

// ended judges an error of the connection within the header.
func (c *Conn) ended(err error) error {
	if len(c.rest) == 0 {
		c.rest = nil
		return err
	}
	if err == io.EOF {
		return c.refuse(ErrTruncated)
	}
	return err
}

func (c *Conn) refuse(err error) error {
	c.bad, c.rest = err, nil
	if c.onBad != nil {
		c.onBad(c.Conn, err)
	}
	return err
}

// RemoteAddr returns the client's address as the header names it, a *net.TCPAddr that lives as long as c and is not to be changed.
// Until the header has been read, and when it names none, it is the underlying connection's; it never waits.
func (c *Conn) RemoteAddr() net.Addr {
	if a := c.named.Load(); a != nil {
		return &a.remote
	}
	return c.Conn.RemoteAddr()
}

// LocalAddr returns the address that the client connected to, under the same rules as RemoteAddr.
func (c *Conn) LocalAddr() net.Addr {
	if a := c.named.Load(); a != nil {
		return &a.local
	}
	return c.Conn.LocalAddr()
}

// Buffered returns how many bytes of payload came with the header and have not been read; -1 until the header has been read.
func (c *Conn) Buffered() int {
	if !c.parsed {
		return -1
	}
	return len(c.rest)
}

// Unwrap returns the underlying connection. Reading from it directly, as splicing does, is right once Buffered is 0.
func (c *Conn) Unwrap() net.Conn { return c.Conn }
