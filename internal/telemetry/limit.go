package telemetry

import (
	"sync/atomic"
	"time"
)

// LimitState is what a rate limit is at this moment, read when metrics are
// scraped. What counts from the beginning (Admitted, Evicted, Overflowed, Delayed
// and the numbers of Rules) must not fall while the limit keeps its name: a fall
// is taken for a restart.
type LimitState struct {
	// Keys counts the keys that are remembered, and Bytes is the most memory that
	// they may take.
	Keys, Bytes int
	// Admitted counts the requests that all rules let through, those that a rule
	// only observes among them.
	Admitted uint64
	// Evicted counts the idle keys that were forgotten to make room for others.
	Evicted uint64
	// Overflowed counts the requests whose key found no room.
	Overflowed uint64
	// Delayed counts the requests that were admitted after a wait, and Waiting is
	// how many wait at present.
	Delayed uint64
	Waiting int64
	// Rules has the limit's rules. List those that have refused nothing too, so
	// that the first refusal is seen as an increase. The numbers of rules of the
	// same name, as several plans may have, are added up.
	Rules []LimitRule
}

// LimitRule counts what one rule of a limit did.
type LimitRule struct {
	// Name is the value of the label `rule`.
	Name string
	// Refused counts the requests that were refused because of it, Observed those
	// that would have been, if it did not only observe.
	Refused, Observed uint64
}

// LimitMetrics exposes the state of one rate limit.
type LimitMetrics struct {
	labels string
	state  atomic.Pointer[func() LimitState]
}

// Observe sets where a scrape reads the limit's state from, as
// UpstreamMetrics.Observe does.
func (m *LimitMetrics) Observe(state func() LimitState) { m.state.Store(&state) }

func (m *LimitMetrics) reading() (r reading[LimitState], ok bool) {
	return readState(m.labels, &m.state)
}

// StoreState is what is known of the store through which several nodes share
// their rate limits, read when metrics are scraped. Errors must not fall, as with
// LimitState.
type StoreState struct {
	// Connected tells that the store answers.
	Connected bool
	// Degraded tells that limits are not those of all nodes together, because the
	// store does not answer or is too slow.
	Degraded bool
	// Lag is the age of what is known of the other nodes.
	Lag time.Duration
	// RoundTrip is how long the store took to answer last, zero before the first
	// answer.
	RoundTrip time.Duration
	// Errors counts the exchanges that failed.
	Errors uint64
	// Nodes is how many nodes share the limits, this one included.
	Nodes int
}

// ObserveStore sets where a scrape reads the state of the rate limits' store from,
// once a scrape; the latest call wins. The function runs on the scraping
// goroutine, by several scrapes at once, and must not block. Nil, as in the
// beginning, is for no store, which has no series. A scrape that has begun may
// still call the function that was replaced.
func (m *GatewayMetrics) ObserveStore(state func() StoreState) {
	if state == nil {
		m.store.Store(nil)
		return
	}
	m.store.Store(&state)
}

// storeReadings has one reading if there is a store.
func (m *GatewayMetrics) storeReadings() []reading[StoreState] {
	if r, ok := readState("", &m.store); ok {
		return []reading[StoreState]{r}
	}
	return nil
}
