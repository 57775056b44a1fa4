package telemetry

import (
	"sync/atomic"
	"time"
)

// FailureKind says how an attempt failed before a reply header arrived whole.
type FailureKind uint8

// The kinds of failure, with the value of the label `kind` beside each.
const (
	// FailureConnect: no connection could be made, TLS handshake included
	// ("connect_failed").
	FailureConnect FailureKind = iota
	// FailureTimeout: the endpoint did not answer in time ("timeout").
	FailureTimeout
	// FailureReset: the connection broke or was closed early ("reset").
	FailureReset
	// FailureProtocol: the reply was not valid HTTP ("protocol_error").
	FailureProtocol
	// FailureOverflow: no connection of the pool became free in time
	// ("pool_exhausted").
	FailureOverflow
	failureKinds
)

var failureLabels = [failureKinds]string{"connect_failed", "timeout", "reset", "protocol_error", "pool_exhausted"}

// EndpointState is what an endpoint is at this moment, read when metrics are
// scraped.
type EndpointState struct {
	// Up tells whether the endpoint is offered requests.
	Up bool
	// Ejected tells whether it was taken out of rotation as an outlier.
	Ejected bool
	// Weight is its share of the requests relative to its like.
	Weight int
	// Connections counts the open connections, idle ones included.
	Connections int
	// Latency is the balancer's estimate of how long it takes to answer, zero
	// if too little is known.
	Latency time.Duration
	// Breaker is its circuit breaker, and BreakerOpened how often that has
	// opened, which must not fall while the endpoint is the same.
	Breaker       BreakerState
	BreakerOpened uint64
}

// EndpointMetrics counts the attempts on one endpoint of an upstream. An attempt
// is Begin, then any of Connected, Answered and Failed, then End. All methods
// are atomic additions that never allocate once a shard has been used, and are
// safe for concurrent use, also after the handle was retired.
//
// The shard argument is Event.Shard.
type EndpointMetrics struct {
	striped[endpointShard]
	state atomic.Pointer[func() EndpointState]
	// Probes are seconds apart, and not the requests' business.
	probesPassed, probesFailed atomic.Uint64
}

// endpointShard is a whole number of cache lines, see TestShardSizes.
type endpointShard struct {
	inFlight atomic.Int64 // may be negative; only the sum over shards means something
	opened   atomic.Uint64
	reused   atomic.Uint64
	answers  [classCount]atomic.Uint64
	failures [failureKinds]atomic.Uint64
	header   histogram
}

// Begin counts an attempt as in flight until End.
func (m *EndpointMetrics) Begin(shard uint32) {
	m.shard(shard).inFlight.Add(1)
}

// End ends what Begin started: when the last byte of the reply was read, or the
// attempt was given up.
func (m *EndpointMetrics) End(shard uint32) {
	m.shard(shard).inFlight.Add(-1)
}

// Connected counts the connection that an attempt got: a reused one, or one
// that was opened for it.
func (m *EndpointMetrics) Connected(shard uint32, reused bool) {
	if s := m.shard(shard); reused {
		s.reused.Add(1)
	} else {
		s.opened.Add(1)
	}
}

// Answered counts a reply whose header arrived after the given time, counted
// from when the attempt had its connection and began to send.
func (m *EndpointMetrics) Answered(shard uint32, status int, header time.Duration) {
	s := m.shard(shard)
	s.answers[classOf(status)].Add(1)
	s.header.observe(header)
}

// Failed counts an attempt that ended without a usable reply.
func (m *EndpointMetrics) Failed(shard uint32, kind FailureKind) {
	m.shard(shard).failures[kind].Add(1)
}

// Probed counts a health probe that ended.
func (m *EndpointMetrics) Probed(success bool) {
	if success {
		m.probesPassed.Add(1)
	} else {
		m.probesFailed.Add(1)
	}
}

// Observe sets where a scrape reads the endpoint's state from, once a scrape; the
// latest call wins. The function runs on the scraping goroutine, at any time
// until the handle is retired and by several scrapes at once, and must not block.
// Without one, the endpoint has no state series.
func (m *EndpointMetrics) Observe(state func() EndpointState) {
	m.state.Store(&state)
}

func (m *EndpointMetrics) reading() (r reading[EndpointState], ok bool) {
	return readState(m.labels, &m.state)
}
