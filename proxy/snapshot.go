package proxy

import (
	"net/netip"
	"slices"
	"time"

	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/router"
	"github.com/salgue441/velocity/proxy/transform"
)

// Snapshot is everything a request needs, immutable once it is given to
// Server.Swap.
type Snapshot struct {
	// Table finds the route.
	Table *router.Table[*Route]
	// Trusted are the proxies whose forwarding fields are believed.
	Trusted []netip.Prefix
	// Forwarding says which fields tell an upstream about the client.
	Forwarding Forwarding
	// RequestIDHeader is the field that carries the request ID both ways, in
	// canonical form.
	RequestIDHeader string
	// KeepRequestID keeps a well-formed ID that the client sent.
	KeepRequestID bool
	// NoRoute are the handles for requests that match no route.
	NoRoute *telemetry.RouteMetrics
	// Sinks receive every finished request.
	Sinks []telemetry.Sink
	// ReadTimeout and WriteTimeout bound the wait for the next bytes of a
	// request body and for the client to take more of a streamed response.
	// Zero means no limit.
	ReadTimeout, WriteTimeout time.Duration
	// MaxHeaders is how many header fields a request may have, and MaxURIBytes
	// how long its target may be. Zero means no limit but that of the read
	// buffer.
	MaxHeaders, MaxURIBytes int
	// Underscores says what becomes of header fields with an underscore in
	// their name.
	Underscores Underscores
	// BodyRate and SendRate are the least rates at which a client must send a
	// request body and take a streamed response. Zero means none.
	BodyRate, SendRate Rate
	// MaxInFlight is how many requests for routes may be under way. Zero means
	// no limit.
	MaxInFlight int
	// MaxRequests is how many requests a client connection may carry, and
	// MaxAge how old it may be when another is answered: the answer says that
	// it ends. MaxAge is shortened by up to a tenth. Zero means no limit.
	MaxRequests int
	MaxAge      time.Duration
	// Local, when set, is asked before the table: it answers what is the
	// gateway's own, such as /health, and reports whether it did.
	Local func(x *Exchange) bool
}

// Forwarding says which fields tell an upstream about the client.
type Forwarding struct {
	XForwarded bool // X-Forwarded-For, -Proto, -Host
	Forwarded  bool // RFC 7239
	Via        bool // RFC 9110 section 7.6.3
}

// Underscores is what becomes of header fields with an underscore in their name.
// Servers that turn names into variables, as CGI does, cannot tell X_Forwarded_For
// from X-Forwarded-For, which the gateway vouches for.
type Underscores uint8

// The policies for names with underscores. Zero is the safe one.
const (
	// DropUnderscores takes such fields away.
	DropUnderscores Underscores = iota
	// RejectUnderscores answers 400.
	RejectUnderscores
	// KeepUnderscores passes them on, but for those that look like a field
	// which the gateway itself heeds.
	KeepUnderscores
)

// Route is one route, compiled.
type Route struct {
	// Name is the route's name in configuration, logs and metrics.
	Name string
	// Metrics are the route's handles, which outlive the snapshot.
	Metrics *telemetry.RouteMetrics
	// Destination is where requests go.
	Destination
	// Fallback answers requests that Destination could not; nil leaves the error.
	Fallback *Fallback
	// Answer answers instead of an upstream; nil for a route with one.
	Answer Answer
	// Rewrite changes the path that the upstream sees.
	Rewrite transform.Rewrite
	// KeepEncodedSlashes lets %2F and %5C through, still encoded.
	KeepEncodedSlashes bool
	// UpstreamHost is the Host to send: empty keeps the client's.
	UpstreamHost []byte
	// TargetHost sends the endpoint's own address as Host.
	TargetHost bool
	// Timeout bounds the request from its header to the end of the answer.
	// Zero means no limit.
	Timeout time.Duration
	// MaxBodySize is the largest request body, in bytes. Zero means no limit.
	MaxBodySize int64
	// DeadlineField is the request field in which clients may ask for a time
	// limit shorter than Timeout. Empty lets them not.
	DeadlineField string
	// MaxInFlight is how many requests of the route may be under way. Zero
	// means no limit; otherwise InFlight counts them.
	MaxInFlight int
	// InFlight outlives the snapshot.
	InFlight *InFlight
	// Retry is the retry policy.
	Retry RetryPolicy
	// Hedge is the hedging policy.
	Hedge HedgePolicy
	// Claims tells that the route's pattern is exactly a path that the gateway
	// would answer itself, such as /health.
	Claims bool
	// Upgrade says which protocols requests may switch to.
	Upgrade UpgradePolicy
	// CORS tells that the route answers preflights, so that one finds the
	// route by the method it asks about.
	CORS bool

	phases []Phase
}

// Answer fills the response of a route without an upstream.
type Answer interface {
	Answer(x *Exchange)
}

// SetPhases gives the route its phases. They are ordered by slot, stably.
func (r *Route) SetPhases(phases []Phase) {
	slices.SortStableFunc(phases, func(a, b Phase) int { return int(a.Slot) - int(b.Slot) })
	r.phases = phases
}

// Phases returns the phases in the order in which a request meets them.
func (r *Route) Phases() []Phase { return r.phases }
