package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/netip"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/proxy/router"
)

// Explanation says what the line would do with a request.
type Explanation struct {
	// Err is what the client would be answered, nil when a route takes the
	// request.
	Err *Error
	// Local is the status with which the gateway itself answers the path, such
	// as /health. Zero means that the path is not its own.
	Local int
	// Path is the canonical path that routes were matched against.
	Path string
	// Route is the winner, nil when there is none.
	Route *Route
	// Preflight tells that the request is a CORS preflight which the gateway
	// answers itself.
	Preflight bool
	// Allow is the Allow field of a 405.
	Allow string
	// Candidates are all routes, in the order of precedence, with the reason
	// why each won or lost.
	Candidates []router.Candidate
}

// Explain runs the first stages of the line over a request head, as a client
// would send it, and sends nothing. It takes the same code as a real request.
func (s *Snapshot) Explain(head []byte, client netip.Addr) (Explanation, error) {
	ctx := new(fasthttp.RequestCtx)
	ctx.Init2(fakeConn{addr: client}, nil, false)
	if err := ctx.Request.Header.Read(bufio.NewReaderSize(bytes.NewReader(head), len(head)+1)); err != nil {
		return Explanation{}, fmt.Errorf("read request: %w", err)
	}
	x := &Exchange{Ctx: ctx, snap: s}
	var e Explanation
	if !x.readRequest() {
		e.Err, e.Path = x.Err, string(x.Path)
		return e, nil
	}
	e.Path = string(x.Path)
	if s.Local != nil && s.Local(x) {
		e.Err, e.Local = x.Err, ctx.Response.StatusCode()
		return e, nil
	}
	if x.findRoute() && x.encodedSlash && !x.Route.KeepEncodedSlashes {
		x.Err = ErrEncodedSlash
	}
	e.Err, e.Route, e.Preflight, e.Allow = x.Err, x.Route, x.preflight, x.allow
	e.Candidates = s.Table.Explain(&x.match)
	return e, nil
}

// fakeConn gives a context its remote address.
type fakeConn struct {
	net.Conn
	addr netip.Addr
}

func (c fakeConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.addr, 0))
}

func (c fakeConn) LocalAddr() net.Addr { return &net.TCPAddr{} }
