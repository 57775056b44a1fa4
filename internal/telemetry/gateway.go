package telemetry

import (
	"sync/atomic"
	"time"
)

// ReloadResult says how an attempt to apply a configuration ended.
type ReloadResult uint8

// The results of a reload, with the value of the label `result` beside each.
const (
	// ReloadApplied: the new configuration is running ("applied").
	ReloadApplied ReloadResult = iota
	// ReloadUnchanged: it equals the running one, nothing was done
	// ("unchanged").
	ReloadUnchanged
	// ReloadFailed: it was refused, the running one stays ("failed").
	ReloadFailed
	reloadResults
)

var reloadLabels = [reloadResults]string{"applied", "unchanged", "failed"}

// Limit is a limit that a request or a connection can meet.
type Limit uint8

// The limits, with the value of the label `limit` beside each.
const (
	NoLimit               Limit = iota
	LimitInFlight               // "in_flight"
	LimitMemory                 // "memory"
	LimitRouteInFlight          // "route_in_flight"
	LimitUpstreamInFlight       // "upstream_in_flight"
	LimitUpstreamQueue          // "upstream_queue"
	LimitCircuit                // "circuit": a circuit breaker was open
	LimitHeaderTime             // "header_time"
	LimitBodyRate               // "body_rate"
	LimitSendRate               // "send_rate"
	LimitRate                   // "rate": a rule of a rate limit
	LimitConcurrency            // "concurrency": a rate limit's bound on requests under way
	limits
)

var limitLabels = [limits]string{
	"", "in_flight", "memory", "route_in_flight", "upstream_in_flight", "upstream_queue", "circuit", "header_time", "body_rate", "send_rate",
	"rate", "concurrency",
}

// String returns the value of the label `limit`.
func (l Limit) String() string { return limitLabels[l] }

// GatewayMetrics counts what belongs to the process rather than to a route or
// an endpoint. All methods are safe for concurrent use and none allocates,
// except SetConfig.
type GatewayMetrics struct {
	reloads    [reloadResults]atomic.Uint64
	lastResult atomic.Uint32 // ReloadResult + 1; 0 before the first
	lastGood   atomic.Int64  // Unix nanoseconds, 0 before the first
	configHash atomic.Pointer[string]

	accepted atomic.Uint64
	closed   atomic.Uint64
	refused  atomic.Uint64
	panics   atomic.Uint64
	limited  [limits]atomic.Uint64
	memory   atomic.Uint64
	ceiling  atomic.Uint64
	shedding atomic.Bool
	badProxy atomic.Uint64
	store    atomic.Pointer[func() StoreState]

	accessLog AccessLogMetrics
}

// Reloaded counts an attempt to apply a configuration that ended at the given
// time. The first load at start counts too.
func (m *GatewayMetrics) Reloaded(result ReloadResult, at time.Time) {
	m.reloads[result].Add(1)
	m.lastResult.Store(uint32(result) + 1)
	if result != ReloadFailed {
		m.lastGood.Store(at.UnixNano())
	}
}

// SetConfig names the running configuration by a hash of its content.
func (m *GatewayMetrics) SetConfig(hash string) {
	m.configHash.Store(&hash)
}

// ConnectionAccepted counts a client connection that a listener accepted; it is
// open until ConnectionClosed.
func (m *GatewayMetrics) ConnectionAccepted() { m.accepted.Add(1) }

// ConnectionClosed ends what ConnectionAccepted started.
func (m *GatewayMetrics) ConnectionClosed() { m.closed.Add(1) }

// ConnectionRefused counts a connection that was closed unserved because of a
// limit. It is not among the accepted ones.
func (m *GatewayMetrics) ConnectionRefused() { m.refused.Add(1) }

// ProxyHeaderBad counts a connection of a trusted peer that was closed because
// it did not start with a valid PROXY header. It is among the accepted ones.
func (m *GatewayMetrics) ProxyHeaderBad() { m.badProxy.Add(1) }

// Panicked counts a panic that was caught while serving a request.
func (m *GatewayMetrics) Panicked() { m.panics.Add(1) }

// Limited counts a request that met a limit.
func (m *GatewayMetrics) Limited(l Limit) { m.limited[l].Add(1) }

// SetMemory notes the memory in use that is measured against the limit, the
// limit, zero for none, both in bytes, and whether requests are refused for it.
func (m *GatewayMetrics) SetMemory(used, limit uint64, shedding bool) {
	m.memory.Store(used)
	m.ceiling.Store(limit)
	m.shedding.Store(shedding)
}

// AccessLog returns the counters for AccessLogOptions.Metrics.
func (m *GatewayMetrics) AccessLog() *AccessLogMetrics { return &m.accessLog }

// AccessLogMetrics counts the lines of an access log. Written and dropped
// together are all the lines that passed the filters.
type AccessLogMetrics struct {
	written atomic.Uint64
	dropped atomic.Uint64
	errors  atomic.Uint64
}

// Written counts lines that the writer took.
func (m *AccessLogMetrics) Written() uint64 { return m.written.Load() }

// Dropped counts lines that were lost: the ring was full, the log was closed,
// or the writer refused them.
func (m *AccessLogMetrics) Dropped() uint64 { return m.dropped.Load() }

// Errors counts failed writes; one write carries many lines.
func (m *AccessLogMetrics) Errors() uint64 { return m.errors.Load() }
