package proxy

import (
	"crypto/sha1" //nolint:gosec // what RFC 6455 section 4.2.2 asks for; it protects nothing
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/salgue441/velocity/proxy/syntax"
	"github.com/salgue441/velocity/proxy/upstream"
)

// UpgradePolicy says which protocols a request may switch its connection to
// (RFC 9110 section 7.8), and how long the connection lives then. The zero
// value allows none: Upgrade is dropped and the request is an ordinary one.
type UpgradePolicy struct {
	// Protocols are the names that are passed on, in lower case, with a
	// version where there is one: "websocket", "irc/6.9". "h2c" must not be
	// among them: requests in its tunnel would pass the line by.
	Protocols []string
	// IdleTimeout ends a connection over which nothing went either way for so
	// long. Zero means no limit.
	IdleTimeout time.Duration
	// MaxDuration ends a connection that has lasted so long. Zero means no
	// limit.
	MaxDuration time.Duration
}

// webSocket is the protocol whose handshake is checked (RFC 6455 section 4).
const webSocket = "websocket"

// upgrade is the wish of a request to switch protocols.
type upgrade struct {
	protocol string // passed on; empty for an ordinary request
	key      []byte // of a WebSocket handshake
	accepted bool   // the endpoint has answered 101
}

// choose returns the first protocol of a list that the policy allows, "" if
// there is none.
func (p *UpgradePolicy) choose(list []byte) string {
	for len(list) > 0 {
		var item []byte
		item, list = syntax.CutItem(list)
		for _, name := range p.Protocols {
			if syntax.EqualFold(item, name) {
				return name
			}
		}
	}
	return ""
}

// readUpgrade finds out whether the request asks for a protocol that the route
// allows. One that asks for others, or not as RFC 9110 section 7.8 wants it, is
// an ordinary request; only a WebSocket handshake is refused when it is wrong,
// since nothing but a WebSocket would do for its client.
func (x *Exchange) readUpgrade() bool {
	if x.fields.first[upgradeField] == 0 || x.http10 {
		return true
	}
	protocol := x.Route.Upgrade.choose(x.fields.value(upgradeField))
	if protocol == "" {
		return true
	}
	asked := x.fields.connectionHas("upgrade") && !x.announcesBody()
	switch {
	case protocol == webSocket && !asked:
		return x.refuse(ErrHandshake)
	case protocol == webSocket && !x.readHandshake():
		return false
	case !asked:
		return true
	}
	if x.server.draining.Load() {
		return x.refuse(ErrDraining)
	}
	x.upgrade.protocol = protocol
	return true
}

// announcesBody tells whether the request has a body, whose end the switch of
// protocols would have to wait for.
func (x *Exchange) announcesBody() bool {
	length := x.fields.value(contentLength)
	return x.fields.first[transferEncoding] > 0 || length != nil && string(length) != "0"
}

// readHandshake checks a WebSocket handshake (RFC 6455 section 4.2.1).
func (x *Exchange) readHandshake() bool {
	if string(x.Method()) != "GET" {
		return x.refuse(ErrHandshake)
	}
	if version, ok := x.fields.only("Sec-Websocket-Version"); !ok || string(version) != "13" {
		return x.refuse(ErrUpgradeVersion)
	}
	key, ok := x.fields.only("Sec-Websocket-Key")
	if !ok || !isNonce(key) {
		return x.refuse(ErrHandshake)
	}
	x.upgrade.key = key
	return true
}

// isNonce reports whether b is 16 bytes in base64.
func isNonce(b []byte) bool {
	if len(b) != 24 || b[22] != '=' || b[23] != '=' {
		return false
	}
	for _, c := range b[:22] {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// offerWebSocket adds to an answer what a client of another version needs to
// know (RFC 6455 section 4.4, RFC 9110 section 15.5.22).
func (x *Exchange) offerWebSocket() {
	h := &x.Ctx.Response.Header
	h.Set("Sec-WebSocket-Version", "13")
	h.Set("Upgrade", webSocket)
	h.Set("Connection", "Upgrade")
}

// connectionHas tells whether a Connection field of the request has an option,
// given in lower case.
func (f *fields) connectionHas(option string) bool {
	for i := range f.list {
		if e := &f.list[i]; e.kind == connection && syntax.ListHas(e.value, option) {
			return true
		}
	}
	return false
}

// only returns the field of a name if there is exactly one.
func (f *fields) only(name string) (value []byte, ok bool) {
	for i := range f.list {
		if e := &f.list[i]; e.kind != dropped && syntax.EqualName(e.name, name) {
			if ok {
				return nil, false
			}
			value, ok = e.value, true
		}
	}
	return value, ok
}

var (
	errOtherProtocol = fmt.Errorf("%w: 101 for a protocol that was not offered", upstream.ErrMalformed)
	errWrongAccept   = fmt.Errorf("%w: Sec-WebSocket-Accept does not answer the key", upstream.ErrMalformed)
)

// checkSwitch judges a 101: it must be for the protocol that was offered and,
// for a WebSocket, from someone who has read the key (RFC 6455 section 4.1).
func (x *Exchange) checkSwitch() error {
	h := &x.Ctx.Response.Header
	if !syntax.EqualFold(h.Peek("Upgrade"), x.upgrade.protocol) {
		return errOtherProtocol
	}
	if x.upgrade.key != nil && string(h.Peek("Sec-WebSocket-Accept")) != acceptOf(x.upgrade.key) {
		return errWrongAccept
	}
	return nil
}

// acceptOf is the Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2).
func acceptOf(key []byte) string {
	var b strings.Builder
	b.Write(key)
	b.WriteString("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
	sum := sha1.Sum([]byte(b.String())) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// acceptUpgrade makes the endpoint's 101 the gateway's own.
func (x *Exchange) acceptUpgrade() {
	h := &x.Ctx.Response.Header
	h.Del("Transfer-Encoding") // a 101 has no body, whatever it says
	h.SetCanonical(headerConnection, valueUpgrade)
	h.SetCanonical(valueUpgrade, bytesOf(x.upgrade.protocol))
	x.upgrade.accepted = true
}

var (
	headerConnection = []byte("Connection")
	valueUpgrade     = []byte("Upgrade")
)
