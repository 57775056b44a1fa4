package proxy

import (
	"bytes"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/internal/telemetry"
)

// Source says whose doing an error is.
type Source uint8

// The sources of an error.
const (
	FromClient Source = iota
	FromGateway
	FromUpstream
)

// Retry says when an attempt that ended in an error may be made again.
type Retry uint8

// The retry classes.
const (
	// Never: the request may have been acted upon, or would fail again.
	Never Retry = iota
	// Unsent: nothing of the request reached an endpoint.
	Unsent
	// Stale: a reused connection ended before a byte of the reply, as it does
	// when the endpoint closed it while idle. Safe for idempotent requests.
	Stale
)

// Error is an error of the data path: a fixed value with a stable code. None
// is made per request; the log and the client get Code and Detail.
type Error struct {
	// Source is whose doing it is.
	Source Source
	// Code is stable and meant for machines: "no_route".
	Code string
	// Status is the HTTP status of the answer.
	Status int
	// Retry is the retry class of an attempt that ended so.
	Retry Retry
	// Detail is one sentence for people. It says nothing about what is behind
	// the gateway.
	Detail string
	// Limit is the limit that was met, telemetry.NoLimit for none.
	Limit telemetry.Limit

	problem, text []byte // answers without the request ID, made by newError
}

// Error returns the code.
func (e *Error) Error() string { return e.Code }

func newError(source Source, code string, status int, retry Retry, detail string) *Error {
	e := &Error{Source: source, Code: code, Status: status, Retry: retry, Detail: detail}
	title := fasthttp.StatusMessage(status)
	e.problem = []byte(`{"title":"` + title + `","status":` + strconv.Itoa(status) +
		`,"code":"` + code + `","detail":"` + detail + `","request_id":"`)
	e.text = []byte(strconv.Itoa(status) + " " + title + "\n" + detail + "\ncode: " + code + "\nrequest: ")
	return e
}

// met notes which limit an error stands for.
func (e *Error) met(l telemetry.Limit) *Error {
	e.Limit = l
	return e
}

// The errors of the line. docs/errors.md explains each for operators.
var (
	ErrBadRequest     = newError(FromClient, "bad_request", 400, Never, "The request is not well-formed HTTP.")
	ErrBadFraming     = newError(FromClient, "bad_framing", 400, Never, "The request's length is ambiguous: Content-Length and Transfer-Encoding contradict each other or cannot be understood.")
	ErrBadHeader      = newError(FromClient, "bad_header", 400, Never, "A header field of the request is not well-formed.")
	ErrBadHost        = newError(FromClient, "bad_host", 400, Never, "The Host of the request is missing or not a host name.")
	ErrBadPath        = newError(FromClient, "bad_path", 400, Never, "The path of the request is not a valid URI path.")
	ErrEncodedSlash   = newError(FromClient, "encoded_slash", 400, Never, "The path has an encoded slash or backslash, which this route does not accept (encoded_slashes: keep allows it).")
	ErrBodyRead       = newError(FromClient, "request_body", 400, Never, "The body of the request could not be read to its end.")
	ErrRequestTimeout = newError(FromClient, "request_timeout", 408, Never, "The request did not arrive in time.")
	ErrHeaderTimeout  = newError(FromClient, "header_timeout", 408, Never, "The header of the request did not arrive in time.").met(telemetry.LimitHeaderTime)
	ErrBodyRate       = newError(FromClient, "body_too_slow", 408, Never, "The body of the request arrives too slowly.").met(telemetry.LimitBodyRate)
	ErrSendRate       = newError(FromClient, "client_too_slow", 499, Never, "The client takes the answer too slowly.").met(telemetry.LimitSendRate)
	ErrHeaderTooLarge = newError(FromClient, "header_too_large", 431, Never, "The header of the request is larger than the gateway accepts.")
	ErrNoRoute        = newError(FromClient, "no_route", 404, Never, "No route matches the host and path of the request.")
	ErrMethod         = newError(FromClient, "method_not_allowed", 405, Never, "Routes match the host and path of the request, but not its method.")
	ErrURITooLong     = newError(FromClient, "uri_too_long", 414, Never, "The request target is longer than the gateway accepts.")
	ErrBodyTooLarge   = newError(FromClient, "body_too_large", 413, Never, "The body of the request is larger than this route accepts.")
	ErrExpectation    = newError(FromClient, "expectation_failed", 417, Never, "The gateway meets no expectation but 100-continue.")
	ErrMethodRefused  = newError(FromClient, "method_not_implemented", 501, Never, "The gateway does not support CONNECT and TRACE.")
	ErrVersion        = newError(FromClient, "version_not_supported", 505, Never, "The gateway speaks HTTP/1.0 and HTTP/1.1 on this port.")
	ErrClientClosed   = newError(FromClient, "client_closed", 499, Never, "The client closed the connection before the answer was complete.")
	ErrHandshake      = newError(FromClient, "bad_handshake", 400, Never, "The WebSocket handshake of the request is not well-formed.")
	ErrUpgradeVersion = newError(FromClient, "websocket_version", 426, Never, "The gateway speaks version 13 of the WebSocket protocol.")

	ErrNotReady         = newError(FromGateway, "not_ready", 503, Never, "The gateway has no configuration yet.")
	ErrPanic            = newError(FromGateway, "internal_error", 500, Never, "The gateway failed on this request.")
	ErrDeadline         = newError(FromGateway, "request_deadline", 504, Never, "The request took longer than its route allows.")
	ErrExhausted        = newError(FromGateway, "upstream_exhausted", 503, Unsent, "All connections to the service are in use.")
	ErrDraining         = newError(FromGateway, "draining", 503, Never, "The gateway is about to stop and takes no new long-lived connections.")
	ErrOverloaded       = newError(FromGateway, "overloaded", 503, Never, "The gateway has as many requests in flight as it may.").met(telemetry.LimitInFlight)
	ErrMemory           = newError(FromGateway, "memory_limit", 503, Never, "The gateway is short of memory.").met(telemetry.LimitMemory)
	ErrUnauthorized     = newError(FromClient, "unauthorized", 401, Never, "The request has no valid credentials.")
	ErrForbidden        = newError(FromClient, "forbidden", 403, Never, "The credentials do not allow this request.")
	ErrAuthUnavailable  = newError(FromGateway, "auth_unavailable", 503, Never, "Credentials cannot be checked at present.")
	ErrRateLimited      = NewRefusal(429)
	ErrLimitStore       = newError(FromGateway, "rate_limit_store", 503, Never, "Rate limits cannot be kept at present, and requests that are limited are refused meanwhile.").met(telemetry.LimitRate)
	ErrRouteInFlight    = newError(FromGateway, "route_in_flight", 503, Never, "This service has as many requests in flight as it may.").met(telemetry.LimitRouteInFlight)
	ErrUpstreamInFlight = newError(FromGateway, "upstream_in_flight", 503, Never, "The servers of this service have as many requests in flight as they may.").met(telemetry.LimitUpstreamInFlight)
	ErrQueueTimeout     = newError(FromGateway, "upstream_queue_timeout", 503, Never, "The request waited too long for its turn.").met(telemetry.LimitUpstreamQueue)
	ErrCircuitOpen      = newError(FromGateway, "circuit_open", 503, Never, "The servers of this service have failed too often of late, and are given time to recover.").met(telemetry.LimitCircuit)
	ErrNoHealthy        = newError(FromGateway, "no_healthy_endpoint", 503, Never, "No server of the service is available.")

	ErrConnect        = newError(FromUpstream, "upstream_connect_failed", 502, Unsent, "The service could not be reached.")
	ErrConnectTimeout = newError(FromUpstream, "upstream_connect_timeout", 504, Unsent, "The service did not accept a connection in time.")
	ErrStale          = newError(FromUpstream, "upstream_reset", 502, Stale, "The service closed the connection before it answered.")
	ErrReset          = newError(FromUpstream, "upstream_reset", 502, Never, "The service closed the connection before it answered.")
	ErrReplyTimeout   = newError(FromUpstream, "upstream_timeout", 504, Never, "The service did not answer in time.")
	ErrReplyStalled   = newError(FromUpstream, "upstream_stalled", 504, Never, "The service stopped in the middle of its answer.")
	ErrBadReply       = newError(FromUpstream, "upstream_bad_reply", 502, Never, "The service gave an answer that is not well-formed HTTP.")
	ErrTruncated      = newError(FromUpstream, "upstream_truncated", 502, Never, "The service closed the connection inside its answer.")
)

// Why a connection ended that had switched protocols, when its ends did not
// end it. None is answered: the status is that of the switch.
var (
	ErrTunnelIdle    = newError(FromGateway, "upgrade_idle", 101, Never, "Nothing was sent either way for the route's upgrade_idle_timeout.")
	ErrTunnelExpired = newError(FromGateway, "upgrade_expired", 101, Never, "The connection lasted as long as the route's upgrade_max_duration allows.")
	ErrTunnelDrained = newError(FromGateway, "upgrade_drained", 101, Never, "The gateway stopped, and its time for draining was up.")
)

// NewRefusal returns the error of a rate limit whose refusals have the given status.
func NewRefusal(status int) *Error {
	return newError(FromClient, "rate_limited", status, Never, "There were more requests than the rate limit allows. The response says how long to wait.").met(telemetry.LimitRate)
}

// errBroken ends an attempt before it began: the endpoint's circuit breaker lets
// no more requests through. Others are asked, so no client sees it.
var errBroken = newError(FromGateway, ErrCircuitOpen.Code, 503, Never, ErrCircuitOpen.Detail)

// Errors lists every error of the line, for documentation and its test.
func Errors() []*Error {
	return []*Error{
		ErrBadRequest, ErrBadFraming, ErrBadHeader, ErrBadHost, ErrBadPath, ErrEncodedSlash, ErrBodyRead, ErrRequestTimeout,
		ErrHeaderTimeout, ErrBodyRate, ErrSendRate, ErrHeaderTooLarge, ErrURITooLong, ErrBodyTooLarge, ErrExpectation,
		ErrNoRoute, ErrMethod, ErrMethodRefused, ErrVersion, ErrClientClosed, ErrHandshake, ErrUpgradeVersion,
		ErrNotReady, ErrPanic, ErrDeadline, ErrExhausted, ErrDraining, ErrOverloaded, ErrMemory,
		ErrUnauthorized, ErrForbidden, ErrAuthUnavailable, ErrRateLimited, ErrLimitStore, ErrRouteInFlight, ErrUpstreamInFlight, ErrQueueTimeout, ErrCircuitOpen, ErrNoHealthy,
		ErrConnect, ErrConnectTimeout, ErrStale, ErrReset, ErrReplyTimeout, ErrReplyStalled, ErrBadReply, ErrTruncated,
		ErrTunnelIdle, ErrTunnelExpired, ErrTunnelDrained,
	}
}

// writeError puts e into the response: a problem document (RFC 9457), or plain
// text for a client that asks for text and not for JSON.
func writeError(ctx *fasthttp.RequestCtx, e *Error, accept, requestID []byte) {
	OwnResponse(ctx)
	h := &ctx.Response.Header
	h.SetStatusCode(e.Status)
	h.SetCanonical(headerCacheControl, valueNoStore)
	if e.Status == 503 {
		h.SetCanonical(headerRetryAfter, valueOne)
	}
	if prefersText(accept) {
		h.SetContentTypeBytes(typeText)
		ctx.Response.AppendBody(e.text)
		ctx.Response.AppendBody(requestID)
		ctx.Response.AppendBody(newline)
		return
	}
	h.SetContentTypeBytes(typeProblem)
	ctx.Response.AppendBody(e.problem)
	ctx.Response.AppendBody(requestID)
	ctx.Response.AppendBody(problemEnd)
}

// prefersText reports whether Accept names a text type and no JSON. Without
// Accept, or with */*, an API client is assumed.
func prefersText(accept []byte) bool {
	return bytes.Contains(accept, []byte("text/")) && !bytes.Contains(accept, []byte("json"))
}

var (
	headerCacheControl = []byte("Cache-Control")
	headerRetryAfter   = []byte("Retry-After")
	headerChallenge    = []byte("Www-Authenticate")
	valueNoStore       = []byte("no-store")
	valueOne           = []byte("1")
	typeText           = []byte("text/plain; charset=utf-8")
	typeProblem        = []byte("application/problem+json")
	problemEnd         = []byte("\"}\n")
	newline            = []byte("\n")
)
