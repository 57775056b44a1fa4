package proxy

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/auth"
	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/proxy/router"
	"github.com/salgue441/velocity/proxy/syntax"
	"github.com/salgue441/velocity/proxy/transform"
	"github.com/salgue441/velocity/proxy/upstream"
)

// noCopy makes vet complain about copies of an Exchange.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// Exchange is the state of one request. It is pooled: nothing may keep it, or
// any byte slice reached through it, beyond the request.
type Exchange struct {
	_ noCopy

	// Ctx is the connection's fasthttp context; its response is the answer.
	Ctx *fasthttp.RequestCtx
	// Route is set once matched.
	Route *Route
	// Err is why the gateway answers with an error; nil otherwise.
	Err *Error
	// RequestID names the request in logs, error bodies and at the upstream.
	RequestID []byte
	// Path is the canonical path.
	Path []byte

	server *Server
	snap   *Snapshot
	fields fields
	peer   netip.AddrPort
	client netip.Addr // the peer or, behind trusted proxies, whom they forwarded

	start           time.Time
	host            []byte // lower case, without port
	hostField       []byte // as sent
	query           []byte // raw
	params          router.Params
	match           router.Request
	target          []byte // path for the upstream, when rewritten
	encodedSlash    bool   // the path has %2F or %5C
	trusted         bool   // the peer is a trusted proxy
	http10          bool   // the client speaks HTTP/1.0
	preflight       bool   // a CORS preflight whose route was found by the method it asks for
	requestedMethod []byte
	allow           string
	entered         int // phases entered, to be left in reverse

	lines      *RequestLines      // of the client's connection; nil if it does not watch them
	identity   *auth.Identity     // who calls; nil if nobody asked
	claims     []string           // the names of the identity's values
	challenge  []byte             // of an answer 401 or 403
	quotas     []quota            // of the limits that the request has met
	quotaRules []limiter.Decision // room for what is told of one
	netBits    int                // that ${client_net} keeps of an IPv6 address; 0 for the default
	body       requestBody
	head       []byte // serialised request, head and small body
	arena      []byte // values made for this request
	pathBuf    []byte
	dest       *Destination       // where the request goes: the route's, or its fallback's
	state      *upstream.State    // of the upstream, the same for all attempts
	trial      trial              // the attempt under way
	bound      *upstream.Endpoint // that the client's cookie names
	pick       balancer.Query
	conn       *upstream.Conn
	endpoint   *upstream.Endpoint
	reply      upstream.Reply
	stream     stream
	upgrade    upgrade

	pristine fasthttp.ResponseHeader // as fasthttp gave it, if replies are discarded
	hedged   bool                    // a second attempt was made, or the budget refused it
	awaited  time.Time               // when the attempt began whose reply is waited for

	attempts     int
	attempting   bool // an attempt is under way, its numbers are to be balanced
	retrying     bool // a part of the retry budget is taken
	connReused   bool
	upstreamTime time.Duration
	sent         time.Time // when the current attempt began
	bytesOut     int64
	held         held
	timeout      time.Duration // the route's, or what the client asked for; zero for no limit
	asked        bool          // the client asked for a time limit
	askedSeconds bool          // in seconds
	gone         bool          // the client left
	closing      bool          // close has begun
	event        telemetry.Event
}

func (x *Exchange) reset() {
	x.Ctx, x.Route, x.Err = nil, nil, nil
	x.snap, x.RequestID, x.Path = nil, nil, nil
	x.fields.reset()
	x.lines = nil
	x.identity, x.claims, x.challenge = nil, nil, nil
	clear(x.quotas)
	x.quotas, x.quotaRules, x.netBits = x.quotas[:0], x.quotaRules[:0], 0
	x.host, x.hostField, x.query, x.target, x.requestedMethod = nil, nil, nil, nil, nil
	x.encodedSlash, x.trusted, x.http10, x.preflight, x.gone = false, false, false, false, false
	x.attempting, x.retrying, x.hedged, x.connReused, x.closing = false, false, false, false, false
	x.allow = ""
	x.entered, x.attempts = 0, 0
	x.pick.Reset()
	x.conn, x.endpoint, x.state = nil, nil, nil
	x.dest, x.trial, x.bound = nil, trial{}, nil
	x.reply = upstream.Reply{}
	x.match = router.Request{}
	x.params.Reset()
	x.body.reset()
	x.stream.reset()
	x.upgrade = upgrade{}
	x.upstreamTime, x.bytesOut = 0, 0
	x.timeout, x.asked, x.askedSeconds = 0, false, false
	x.event = telemetry.Event{}
	if cap(x.arena) > maxKept {
		x.arena = nil
	}
	if cap(x.head) > maxKept {
		x.head = nil
	}
	if cap(x.pathBuf) > maxKept {
		x.pathBuf = nil
	}
	x.arena, x.head = x.arena[:0], x.head[:0]
}

// maxKept is the largest buffer, in bytes, that a pooled exchange keeps.
const maxKept = 64 << 10

// shard spreads counters over cache lines: connections live on different
// goroutines, and a connection has one request at a time.
func (x *Exchange) shard() uint32 { return uint32(x.Ctx.ConnID()) }

// identify fills in who is at the other end and the request's ID.
func (x *Exchange) identify() {
	if a, ok := x.Ctx.RemoteAddr().(*net.TCPAddr); ok {
		x.peer = a.AddrPort()
		x.peer = netip.AddrPortFrom(x.peer.Addr().Unmap(), x.peer.Port())
	} else {
		x.peer = netip.AddrPort{}
	}
	ip := x.peer.Addr()
	x.trusted = trusts(x.snap.Trusted, ip)
	if x.trusted {
		ip = x.forwardedClient(ip)
	}
	x.client = ip

	if id, ok := x.fields.Header(x.snap.RequestIDHeader); ok {
		if x.snap.KeepRequestID && wellFormedID(id) {
			x.RequestID = id
			x.fields.keepFirst(x.snap.RequestIDHeader)
			return
		}
		x.fields.Remove(x.snap.RequestIDHeader)
	}
	start := len(x.arena)
	x.arena = appendHex64(appendHex64(x.arena, rand.Uint64()), rand.Uint64())
	x.RequestID = x.arena[start:]
}

func trusts(trusted []netip.Prefix, ip netip.Addr) bool {
	for _, p := range trusted {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// forwardedClient scans X-Forwarded-For from the right, past the trusted
// proxies, to the first address that none of them vouches for. An entry that
// is not an address ends the scan.
func (x *Exchange) forwardedClient(ip netip.Addr) netip.Addr {
	for i := len(x.fields.list) - 1; i >= 0; i-- {
		f := &x.fields.list[i]
		if f.kind != forwardedFor {
			continue
		}
		list := f.value
		for len(list) > 0 {
			item := list
			if c := bytes.LastIndexByte(list, ','); c >= 0 {
				item, list = list[c+1:], list[:c]
			} else {
				list = nil
			}
			next, err := netip.ParseAddr(stringOf(syntax.TrimSpace(item)))
			if err != nil {
				return ip
			}
			ip = next.Unmap().WithZone("")
			if !trusts(x.snap.Trusted, ip) {
				return ip
			}
		}
	}
	return ip
}

// wellFormedID accepts what is safe in a log, a header and a JSON string.
func wellFormedID(id []byte) bool {
	if len(id) == 0 || len(id) > 128 {
		return false
	}
	for _, c := range id {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// ClientIP returns the client's address: the peer's or, behind trusted proxies,
// the one they forwarded.
func (x *Exchange) ClientIP() netip.Addr { return x.client }

// ends returns the two ends of the client's connection, for a PROXY header. A
// client that a trusted proxy named has no port that we know, and who came over
// a Unix socket reached no address: zeros stand for those.
func (x *Exchange) ends() (client, local netip.AddrPort) {
	client = x.peer
	if x.client != x.peer.Addr() {
		client = netip.AddrPortFrom(x.client, 0)
	}
	if a, ok := x.Ctx.LocalAddr().(*net.TCPAddr); ok {
		return client, a.AddrPort()
	}
	nowhere := netip.IPv6Unspecified()
	if x.client.Is4() {
		nowhere = netip.IPv4Unspecified()
	}
	return client, netip.AddrPortFrom(nowhere, 0)
}

// Method returns the request's method.
func (x *Exchange) Method() []byte { return x.Ctx.Method() }

// RespondText fills the response with plain text, for what the gateway answers
// itself.
func (x *Exchange) RespondText(status int, text string) {
	OwnResponse(x.Ctx)
	x.Ctx.Response.SetStatusCode(status)
	x.Ctx.Response.Header.SetContentTypeBytes(typeText)
	x.Ctx.Response.Header.SetCanonical(headerCacheControl, valueNoStore)
	x.Ctx.Response.SetBodyString(text)
}

// AllowOnly refuses a method that is not in allow, the value of an Allow field,
// and reports whether the request may go on.
func (x *Exchange) AllowOnly(allow string) bool {
	if listed(allow, stringOf(x.Method())) {
		return true
	}
	x.allow = allow
	return x.refuse(ErrMethod)
}

func listed(allow, method string) bool {
	for m := range strings.SplitSeq(allow, ", ") {
		if m == method {
			return true
		}
	}
	return false
}

// Header returns the first request field of a name, given in canonical form.
func (x *Exchange) Header(name string) ([]byte, bool) { return x.fields.Header(name) }

// scheme is what the client used to reach the gateway's edge.
func (x *Exchange) scheme() string {
	if x.trusted {
		if p := x.fields.value(forwardedProto); syntax.EqualFold(p, "https") || syntax.EqualFold(p, "http") {
			return stringOf(p)
		}
	}
	if x.Ctx.IsTLS() {
		return "https"
	}
	return "http"
}

// view is the exchange as the router's predicates see it.
type view Exchange

func (v *view) Header(name string) ([]byte, bool) { return v.fields.Header(name) }
func (v *view) Cookie(name string) ([]byte, bool) { return v.fields.cookieValue(name) }
func (v *view) ClientIP() netip.Addr              { return v.client }

// Query decodes the value: a predicate on "a b" matches a+b and a%20b alike.
func (v *view) Query(name string) ([]byte, bool) {
	value, ok := queryValue(v.query, name)
	if !ok || bytes.IndexByte(value, '%') < 0 && bytes.IndexByte(value, '+') < 0 {
		return value, ok
	}
	start := len(v.arena)
	v.arena = appendUnescaped(v.arena, value)
	return v.arena[start:], true
}

// appendUnescaped decodes form encoding; a bad escape stands for itself.
func appendUnescaped(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '+':
			dst = append(dst, ' ')
		case c == '%' && i+2 < len(b) && unhex(b[i+1]) < 16 && unhex(b[i+2]) < 16:
			dst = append(dst, unhex(b[i+1])<<4|unhex(b[i+2]))
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 255
}

// AppendVar implements transform.Values.
func (x *Exchange) AppendVar(dst []byte, v transform.Var, name string) []byte {
	switch v {
	case transform.ClientIP:
		return x.client.AppendTo(dst)
	case transform.ClientNet:
		return appendClientNet(dst, x.client, cmp.Or(x.netBits, defaultNetBits))
	case transform.Identity:
		return x.appendIdentity(dst)
	case transform.Claim:
		return x.appendClaim(dst, name)
	case transform.RequestID:
		return append(dst, x.RequestID...)
	case transform.Host:
		return append(dst, x.host...)
	case transform.Method:
		return append(dst, x.Method()...)
	case transform.Path:
		return append(dst, x.Path...)
	case transform.Query:
		return append(dst, x.query...)
	case transform.Scheme:
		return append(dst, x.scheme()...)
	case transform.RouteName:
		return append(dst, x.Route.Name...)
	case transform.Param:
		value, _ := x.params.Get(x.Path, name)
		return append(dst, value...)
	case transform.Header:
		return append(dst, x.fields.asReceived(name)...)
	case transform.QueryArg:
		value, _ := queryValue(x.query, name)
		return append(dst, value...)
	case transform.Cookie:
		value, _ := x.fields.cookieValue(name)
		return append(dst, value...)
	}
	return dst
}
