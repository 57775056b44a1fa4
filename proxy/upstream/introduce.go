package upstream

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/salgue441/velocity/internal/proxyproto"
)

// Introduces tells whether every connection must be introduced before it is
// used, see Conn.Introduce.
func (e *Endpoint) Introduces() bool { return e.settings.ProxyProtocol != 0 }

// ProbePreface returns what a probe must send before all else, TLS included: a
// PROXY header that stands for no client. It is empty when there is none.
func (e *Endpoint) ProbePreface() string {
	if !e.Introduces() {
		return ""
	}
	return string(e.appendHeader(nil, proxyproto.Header{Local: true}))
}

// Introduce begins a new connection of an endpoint that Introduces: it sends
// the PROXY header and then does the TLS handshake, if there is one. client is
// whom the connection serves and local where it connected to; one that is not
// valid makes the header name nobody. It ends by the given time, which may be
// zero for never, and within what dialling left of the connect timeout.
//
// Errors wrap ErrConnect or ErrConnectTimeout; then only Release may follow.
// Deadlines that were set before are gone.
func (c *Conn) Introduce(client, local netip.AddrPort, by time.Time) error {
	if limit := c.endpoint.settings.ConnectTimeout; limit > 0 {
		if latest := time.Now().Add(limit - c.dialled); by.IsZero() || latest.Before(by) {
			by = latest
		}
	}
	if err := c.SetDeadline(by); err != nil {
		return connectError(err)
	}
	header := c.endpoint.appendHeader(nil, proxyproto.Header{Source: client, Destination: local})
	if err := c.introduce(header); err != nil {
		return connectError(err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return connectError(err)
	}
	return nil
}

func (c *Conn) introduce(header []byte) error {
	tc, secure := c.Conn.(*tls.Conn)
	if !secure {
		_, err := c.Write(header)
		return err
	}
	if _, err := tc.NetConn().Write(header); err != nil {
		return err
	}
	return tc.Handshake()
}

// appendHeader writes a PROXY header of the endpoint's version, with a checksum
// where there is one.
func (e *Endpoint) appendHeader(dst []byte, h proxyproto.Header) []byte {
	if e.settings.ProxyProtocol == 1 {
		return h.AppendV1(dst)
	}
	return h.AppendV2(dst, true)
}
