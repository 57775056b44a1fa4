package telemetry

import (
	"sync/atomic"
	"time"
)

// BreakerState is what a circuit breaker does with requests.
type BreakerState uint8

// The states of a breaker, with the value of its metric beside each.
const (
	// BreakerNone: there is no breaker, and no series of one.
	BreakerNone BreakerState = iota
	// BreakerClosed: every request is let through (0).
	BreakerClosed
	// BreakerOpen: none is (1).
	BreakerOpen
	// BreakerHalfOpen: some are, to find out about the others (2).
	BreakerHalfOpen
)

// UpstreamState is what an upstream is at this moment, read when metrics are
// scraped. What counts from the beginning (LimitRejected, BreakerOpened, the
// numbers of Ejections, DiscoveryState.Failures) must not fall while the upstream
// is the same: a fall is taken for a restart.
type UpstreamState struct {
	// Panicking tells that health is disregarded, because too few endpoints
	// are healthy.
	Panicking bool
	// Waiting counts the requests in the queue.
	Waiting int64
	// InFlight counts the requests that have been let in, those in the queue
	// not included.
	InFlight int64
	// Limit is the present limit of adaptive concurrency on InFlight, zero if
	// there is none, and LimitRejected the requests that it kept out.
	Limit         int
	LimitRejected uint64
	// Breaker is the upstream's own circuit breaker, those of its endpoints
	// aside, and BreakerOpened how often it has opened.
	Breaker       BreakerState
	BreakerOpened uint64
	// Ejections has the causes for which endpoints are ejected, each once.
	// One that is listed has its series from the first scrape on, so that the
	// first ejection is seen as an increase: list those that can occur.
	Ejections []Ejections
	// Discovery is where the endpoints come from, nil if the configuration
	// lists them.
	Discovery *DiscoveryState
}

// Ejections counts the endpoints found to be outliers by one rule.
type Ejections struct {
	// Cause is the value of the label `cause`.
	Cause string
	// Enforced counts those that were taken out of rotation, Observed those
	// that were left in it: by the settings, or because too many were out.
	Enforced, Observed uint64
}

// DiscoveryState is what is known of an upstream's source of endpoints.
type DiscoveryState struct {
	// Targets is how many endpoints it gives at present.
	Targets int
	// Updated is when it last answered, zero if it never has.
	Updated time.Time
	// Failures is how often it has failed in all, not only since it last
	// answered.
	Failures uint64
	// Stale tells that it has failed since it answered: the endpoints may be
	// out of date.
	Stale bool
}

// UpstreamMetrics exposes the state of one upstream. What its endpoints do is
// counted by their EndpointMetrics.
type UpstreamMetrics struct {
	labels string
	state  atomic.Pointer[func() UpstreamState]
}

// Observe sets where a scrape reads the upstream's state from, once a scrape; the
// latest call wins. The function runs on the scraping goroutine, at any time
// until the handle is retired and by several scrapes at once, and must not block.
// Without one, the upstream has no series.
func (m *UpstreamMetrics) Observe(state func() UpstreamState) {
	m.state.Store(&state)
}

func (m *UpstreamMetrics) reading() (r reading[UpstreamState], ok bool) {
	return readState(m.labels, &m.state)
}

// reading is the state of a handle as one scrape saw it.
type reading[S any] struct {
	labels string
	state  S
}

func readState[S any](labels string, state *atomic.Pointer[func() S]) (r reading[S], ok bool) {
	read := state.Load()
	if read == nil {
		return r, false
	}
	return reading[S]{labels: labels, state: (*read)()}, true
}

// readings reads the state of every handle that has one. Each is read once, so
// that all series of a page agree, and locks behind it are taken once.
func readings[S any, H interface{ reading() (reading[S], bool) }](handles []H) []reading[S] {
	list := make([]reading[S], 0, len(handles))
	for _, h := range handles {
		if r, ok := h.reading(); ok {
			list = append(list, r)
		}
	}
	return list
}
