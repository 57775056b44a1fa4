package proxy

import (
	"net/netip"
	"strconv"

	"github.com/salgue441/velocity/proxy/upstream"
)

// writeHead serialises the request for an endpoint into x.head: one framing,
// no hop-by-hop fields, the forwarding fields as the snapshot says unless a
// header program decides on them. It is one pass over the field list.
func (x *Exchange) writeHead(ep *upstream.Endpoint) {
	r, snap := x.Route, x.snap
	b := append(x.head[:0], x.Method()...)
	b = append(b, ' ')
	if x.target != nil {
		b = append(b, x.target...)
	} else {
		b = append(b, x.Path...)
	}
	if len(x.query) > 0 {
		b = append(append(b, '?'), x.query...)
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	switch {
	case r.TargetHost:
		b = append(b, ep.Host...)
	case len(r.UpstreamHost) > 0:
		b = append(b, r.UpstreamHost...)
	case len(x.hostField) > 0:
		b = append(b, x.hostField...)
	default:
		b = append(b, ep.Host...)
	}
	b = append(b, "\r\n"...)

	for i := range x.fields.list {
		f := &x.fields.list[i]
		if f.kind == other || f.kind > plain || x.keeps(f.kind) {
			b = append(b, f.name...)
			b = append(b, ": "...)
			b = append(b, f.value...)
			b = append(b, "\r\n"...)
		}
	}
	if snap.Forwarding.XForwarded {
		b = x.appendXForwarded(b)
	}
	if snap.Forwarding.Forwarded && !x.fields.isEdited(forwarded) {
		b = x.appendForwarded(b)
	}
	if snap.Forwarding.Via && !x.fields.isEdited(via) {
		b = x.appendVia(b)
	}
	if _, ok := x.fields.Header(snap.RequestIDHeader); !ok {
		b = append(b, snap.RequestIDHeader...)
		b = append(b, ": "...)
		b = append(b, x.RequestID...)
		b = append(b, "\r\n"...)
	}
	switch {
	case x.body.stream != nil && x.body.length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case x.body.length > 0 || x.fields.first[contentLength] > 0 || x.fields.first[transferEncoding] > 0:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, max(x.body.length, 0), 10)
		b = append(b, "\r\n"...)
	}
	if x.upgrade.protocol != "" {
		b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
		b = append(b, x.upgrade.protocol...)
		b = append(b, "\r\n"...)
	}
	x.head = append(b, "\r\n"...)
}

// keeps tells whether fields of a kind that the line may rewrite are passed on
// as they are: a trusted proxy's forwarding fields, unless the gateway writes
// them itself.
func (x *Exchange) keeps(k kind) bool {
	f := &x.snap.Forwarding
	switch k {
	case forwardedFor:
		return x.trusted && !f.XForwarded
	case forwardedProto, forwardedHost:
		return x.trusted
	case forwardedOther:
		return x.trusted
	case forwarded:
		return x.trusted && !f.Forwarded
	case via:
		return !f.Via
	}
	return false
}

// appendXForwarded appends the peer to the chain that a trusted proxy sent, or
// begins a new one. Proto and Host of a trusted proxy were kept.
func (x *Exchange) appendXForwarded(b []byte) []byte {
	if !x.fields.isEdited(forwardedFor) {
		b = append(b, "X-Forwarded-For: "...)
		if x.trusted {
			b = x.appendChain(b, forwardedFor)
		}
		b = x.peer.Addr().WithZone("").AppendTo(b)
		b = append(b, "\r\n"...)
	}
	if x.adds(forwardedProto) {
		b = append(b, "X-Forwarded-Proto: "...)
		b = append(b, x.scheme()...)
		b = append(b, "\r\n"...)
	}
	if x.adds(forwardedHost) && len(x.hostField) > 0 {
		b = append(b, "X-Forwarded-Host: "...)
		b = append(b, x.hostField...)
		b = append(b, "\r\n"...)
	}
	return b
}

// adds tells whether the gateway writes a forwarding field that has one value:
// a trusted proxy's is kept, a program's stands.
func (x *Exchange) adds(k kind) bool {
	return !x.fields.isEdited(k) && (!x.trusted || x.fields.first[k] == 0)
}

// appendForwarded writes Forwarded (RFC 7239): IPv6 addresses in brackets and
// quotes, the host quoted because of its port.
func (x *Exchange) appendForwarded(b []byte) []byte {
	b = append(b, "Forwarded: "...)
	if x.trusted {
		b = x.appendChain(b, forwarded)
	}
	b = append(b, "for="...)
	b = appendNode(b, x.peer.Addr().WithZone(""))
	if len(x.hostField) > 0 {
		b = append(b, `;host="`...)
		b = append(b, x.hostField...)
		b = append(b, '"')
	}
	b = append(b, ";proto="...)
	b = append(b, x.scheme()...)
	return append(b, "\r\n"...)
}

func appendNode(b []byte, ip netip.Addr) []byte {
	if ip.Is6() {
		b = append(b, `"[`...)
		b = ip.AppendTo(b)
		return append(b, `]"`...)
	}
	return ip.AppendTo(b)
}

// appendVia appends the gateway to Via (RFC 9110 section 7.6.3), joined to
// what came in.
func (x *Exchange) appendVia(b []byte) []byte {
	b = append(b, "Via: "...)
	b = x.appendChain(b, via)
	if x.http10 {
		return append(b, "1.0 velocity\r\n"...)
	}
	return append(b, "1.1 velocity\r\n"...)
}

// appendChain joins all fields of a kind, each followed by a comma.
func (x *Exchange) appendChain(b []byte, k kind) []byte {
	if x.fields.first[k] == 0 {
		return b
	}
	for i := range x.fields.list {
		if f := &x.fields.list[i]; f.kind == k && len(f.value) > 0 {
			b = append(b, f.value...)
			b = append(b, ", "...)
		}
	}
	return b
}
