package telemetry

import (
	"net/netip"
	"time"
)

// Who wrote the answer that the client received, for Event.Source.
const (
	// SourceUpstream marks an answer that came from an upstream.
	SourceUpstream = "upstream"
	// SourceGateway marks an answer made by the gateway: an error, a
	// redirect, a fixed response, a cached reply.
	SourceGateway = "gateway"
	// SourceClient marks a request that ended because the client left
	// before the whole answer was sent.
	SourceClient = "client"
)

// Fields reads the headers of one message.
type Fields interface {
	// Header returns the first value of the named header and whether the
	// header is present. The name is in canonical form ("User-Agent"). The
	// value is borrowed: it is valid as long as the event is.
	Header(name string) (value []byte, ok bool)
}

// Event is one finished request as the request line saw it.
//
// It is valid only during Record: byte slices are memory of the request and are
// reused afterwards, so a sink copies whatever it keeps. The zero value of any
// field means "not known" and is always safe.
type Event struct {
	// Start is the wall clock when the request header had been read.
	Start time.Time
	// Duration runs from Start until the last byte of the answer was handed
	// to the client's connection.
	Duration time.Duration
	// UpstreamDuration is the time spent waiting for upstreams, in all
	// attempts together, until the last byte of the reply.
	UpstreamDuration time.Duration

	// Shard spreads concurrent recorders over several cache lines. Any
	// number that differs between cores will do: the connection's
	// identifier is free and good.
	Shard uint32

	// Status is the code sent to the client, 0 when none was sent.
	Status int
	// BytesIn and BytesOut count bytes of the request and response bodies,
	// after transfer coding was removed and before it was applied.
	BytesIn, BytesOut int64

	Method, Scheme, Host, Path, Query, Protocol []byte
	RequestID, UserAgent, Referer               []byte

	// ClientIP is the client as the trusted proxies named it; Peer is the
	// other end of the connection.
	ClientIP netip.Addr
	Peer     netip.AddrPort

	// Route, Upstream and Endpoint are names from the configuration; empty
	// when the request did not get that far.
	Route, Upstream, Endpoint string

	// Attempts counts the upstream attempts: 0 when none was made, 1
	// without retries.
	Attempts int
	// Reason is the gateway's stable error code when it answered an error
	// itself ("no_route", "upstream_connect_failed"); empty otherwise.
	Reason string
	// Source tells who wrote the answer: one of the Source constants.
	Source string
	// ConnReused tells that the last attempt went over a connection that
	// had served a request before.
	ConnReused bool

	// RequestHeaders and ResponseHeaders give access to the headers named
	// in the access log's configuration. Nil means none.
	RequestHeaders, ResponseHeaders Fields
}

// GatewayDuration is the time that the gateway itself took: everything that was
// not waiting for an upstream. It includes reading from and writing to the
// client. It is never negative.
func (e *Event) GatewayDuration() time.Duration {
	return max(e.Duration-e.UpstreamDuration, 0)
}

// Sink receives every finished request.
type Sink interface {
	// Record takes note of e. It is called on the request's goroutine: it
	// must neither block nor keep e or anything e points to.
	Record(e *Event)
}
