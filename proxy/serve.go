package proxy

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/proxy/router"
	"github.com/salgue441/velocity/proxy/syntax"
)

// admit is the line up to the request's body, which a client may hold back
// until it is admitted (Expect). Each stage either goes on, or sets x.Err or has
// the response ready.
func (x *Exchange) admit() bool {
	return x.readRequest() && x.matchRoute() && x.enterLimits() && x.enterPhases() && x.admitBody()
}

// answer is the line from there to the response.
func (x *Exchange) answer() {
	if x.Route.Answer != nil {
		x.Route.Answer.Answer(x)
	} else {
		x.forward()
	}
}

// finish ends the line: whatever happened, the phases that were entered are
// left in reverse.
func (x *Exchange) finish() {
	if x.Err != nil {
		x.answerError()
	}
	x.leaveLimits()
	x.leavePhases()
	x.finishResponse()
}

// readRequest judges the header block, indexes its fields and works out host,
// path, client and request ID.
func (x *Exchange) readRequest() bool {
	h := &x.Ctx.Request.Header
	err := x.fields.parse(h.RawHeaders(), x.snap.MaxHeaders, x.snap.Underscores)
	x.identify() // an ID is wanted for the answer even if the header is bad
	if err != nil {
		return x.refuse(err)
	}
	if !x.readLine(h.RawHeaders()) {
		return false
	}
	switch proto := h.Protocol(); {
	case string(proto) == "HTTP/1.1":
	case string(proto) == "HTTP/1.0":
		x.http10 = true
	default:
		return x.refuse(ErrVersion)
	}
	switch string(x.Method()) {
	case "CONNECT", "TRACE":
		return x.refuse(ErrMethodRefused)
	}
	if limit := x.snap.MaxURIBytes; limit > 0 && len(h.RequestURI()) > limit {
		return x.refuse(ErrURITooLong)
	}
	if !x.http10 && !x.fields.expectsContinue() {
		return x.refuse(ErrExpectation)
	}
	// Before any phase: a client must not drop what the gateway adds.
	x.fields.dropNominated()
	return x.readTarget(h.RequestURI())
}

// readTarget takes the request target apart (RFC 9112 section 3.2). The host
// of an absolute-form target must be that of the Host field.
func (x *Exchange) readTarget(target []byte) bool {
	x.hostField = x.fields.value(hostField)
	if len(target) > 0 && target[0] != '/' && string(target) != "*" {
		rest, ok := cutScheme(target)
		if !ok {
			return x.refuse(ErrBadRequest)
		}
		authority := rest
		target = []byte("/")
		if i := bytes.IndexAny(rest, "/?"); i >= 0 {
			authority, target = rest[:i], rest[i:]
			if target[0] == '?' {
				start := len(x.arena)
				x.arena = append(append(x.arena, '/'), target...)
				target = x.arena[start:]
			}
		}
		// HTTP/1.1 has a Host all the same (RFC 9112 section 3.2).
		if len(authority) == 0 || x.hostField == nil && !x.http10 ||
			x.hostField != nil && !bytes.EqualFold(authority, x.hostField) {
			return x.refuse(ErrBadHost)
		}
		x.hostField = authority
	}
	if !x.readHost() {
		return x.refuse(ErrBadHost)
	}
	path := target
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		path, x.query = target[:i], target[i+1:]
		if bytes.IndexByte(x.query, '#') >= 0 { // a target has no fragment
			return x.refuse(ErrBadPath)
		}
	}
	if string(path) == "*" { // OPTIONS *: the server as a whole, which no path names
		x.Path = path
		return true
	}
	x.pathBuf = slices.Grow(x.pathBuf[:0], 3*len(path)) // always enough
	canonical, flags, err := router.AppendCanonical(x.pathBuf, path)
	if err != nil {
		return x.refuse(ErrBadPath)
	}
	x.Path = canonical
	x.encodedSlash = flags&router.EncodedSlash != 0
	return true
}

func cutScheme(target []byte) ([]byte, bool) {
	for _, scheme := range []string{"http://", "https://"} {
		if len(target) > len(scheme) && syntax.EqualFold(target[:len(scheme)], scheme) {
			return target[len(scheme):], true
		}
	}
	return nil, false
}

// readHost checks the Host field and derives the name that routes match:
// lower case, without port. HTTP/1.0 may do without.
func (x *Exchange) readHost() bool {
	host := x.hostField
	if len(host) == 0 {
		return x.http10
	}
	name := host
	if host[0] == '[' {
		end := bytes.IndexByte(host, ']')
		if end < 0 || end+1 < len(host) && host[end+1] != ':' {
			return false
		}
		if ip, err := netip.ParseAddr(stringOf(host[1:end])); err != nil || !ip.Is6() || ip.Zone() != "" {
			return false
		}
		name = host[:end+1]
	} else if i := bytes.IndexByte(host, ':'); i >= 0 {
		name = host[:i]
	}
	upper := false
	for _, c := range name {
		switch {
		case 'A' <= c && c <= 'Z':
			upper = true
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
		case (c == ':' || c == '[' || c == ']') && name[0] == '[':
		default:
			return false
		}
	}
	if port := host[len(name):]; len(port) > 0 {
		if len(port) > len(":65535") {
			return false
		}
		for _, c := range port[1:] {
			if c < '0' || c > '9' {
				return false
			}
		}
	}
	if len(name) > 0 && name[len(name)-1] == '.' {
		name = name[:len(name)-1]
	}
	if upper {
		start := len(x.arena)
		for _, c := range name {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			x.arena = append(x.arena, c)
		}
		name = x.arena[start:]
	}
	x.host = name
	return len(name) > 0
}

// matchRoute finds the route, unless the gateway answers the path itself.
func (x *Exchange) matchRoute() bool {
	if x.snap.Local != nil && x.snap.Local(x) {
		return false
	}
	if !x.findRoute() {
		return false
	}
	x.Route.Metrics.Begin(x.shard())
	if x.encodedSlash && !x.Route.KeepEncodedSlashes {
		return x.refuse(ErrEncodedSlash)
	}
	return true
}

// Claimed reports whether a route that names the path exactly takes the
// request. For Snapshot.Local: such a route comes before the gateway's own
// answer.
func (x *Exchange) Claimed() bool {
	claimed := x.findRoute() && x.Route.Claims
	x.Route, x.Err, x.allow, x.preflight = nil, nil, "", false
	return claimed
}

// findRoute asks the table. A CORS preflight finds the route of the method it
// asks about, if that route answers preflights.
func (x *Exchange) findRoute() bool {
	x.match = router.Request{Host: x.host, Method: x.Method(), Path: x.Path, Fields: (*view)(x)}
	if x.isPreflight() {
		x.match.Method = x.requestedMethod
		if r, outcome, _ := x.snap.Table.Match(&x.match, &x.params); outcome == router.Found && r.CORS {
			x.Route, x.preflight = r, true
			return true
		}
		x.match.Method = x.Method()
	}
	r, outcome, allow := x.snap.Table.Match(&x.match, &x.params)
	switch outcome {
	case router.Found:
		x.Route = r
		return true
	case router.MethodNotAllowed:
		x.allow = allow
		return x.refuse(ErrMethod)
	}
	return x.refuse(ErrNoRoute)
}

// isPreflight recognises a CORS preflight (Fetch standard section 3.3.2).
func (x *Exchange) isPreflight() bool {
	if string(x.Method()) != "OPTIONS" || x.fields.value(origin) == nil {
		return false
	}
	method, ok := x.fields.Header("Access-Control-Request-Method")
	x.requestedMethod = method
	return ok
}

// enterPhases runs the request phases in order until one responds.
func (x *Exchange) enterPhases() bool {
	phases := x.Route.phases
	for i := range phases {
		if p := phases[i].Request; p != nil && p.Enter(x) == Respond {
			return false
		}
		x.entered = i + 1
	}
	return true
}

// leavePhases runs the response phases of what was entered, in reverse.
func (x *Exchange) leavePhases() {
	for i := x.entered - 1; i >= 0; i-- {
		if p := x.Route.phases[i].Response; p != nil {
			p.Leave(x)
		}
	}
}

// refuse sets the error to answer with and ends the stage.
func (x *Exchange) refuse(e *Error) bool {
	x.Err = e
	return false
}

// answerError puts x.Err into the response. A request that could not be read
// leaves the connection in doubt, so it is closed.
func (x *Exchange) answerError() {
	writeError(x.Ctx, x.Err, x.fields.value(accept), x.RequestID)
	if x.Err == ErrMethod {
		x.Ctx.Response.Header.Set("Allow", x.allow)
	}
	if x.challenge != nil {
		x.Ctx.Response.Header.SetCanonical(headerChallenge, x.challenge)
	}
	if x.Err == ErrUpgradeVersion {
		x.offerWebSocket()
	}
	if x.Err.Source == FromClient && x.Route == nil && x.Err != ErrNoRoute && x.Err != ErrMethod ||
		x.Err == ErrBodyRead || x.Err == ErrBodyTooLarge || x.Err == ErrRequestTimeout || x.Err == ErrBodyRate ||
		x.Err == ErrClientClosed || x.Err == ErrHandshake {
		x.Ctx.SetConnectionClose()
	}
}

// finishResponse adds what every response carries.
func (x *Exchange) finishResponse() {
	x.Ctx.Response.Header.SetCanonical(bytesOf(x.snap.RequestIDHeader), x.RequestID)
}

// OwnResponse empties the response for an answer of the gateway's own, which
// fasthttp dates. (An upstream's Date is passed on; fasthttp has no other way
// to say which.)
func OwnResponse(ctx *fasthttp.RequestCtx) {
	ctx.Response.Reset()
	ctx.Response.Header.SetNoDefaultContentType(true)
}
