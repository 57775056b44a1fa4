package admin

import "time"

// Upstream is a named group of endpoints.
type Upstream struct {
	Name           string          `json:"name"`
	Algorithm      string          `json:"algorithm"`
	Panic          bool            `json:"panic"` // health is disregarded, because too few are healthy
	InFlight       int64           `json:"in_flight"`
	Queue          Queue           `json:"queue"`
	Concurrency    *Concurrency    `json:"concurrency,omitempty"`     // nil unless the limit adapts
	CircuitBreaker *CircuitBreaker `json:"circuit_breaker,omitempty"` // of all endpoints together; nil unless configured
	Discovery      *Discovery      `json:"discovery,omitempty"`       // nil unless configured
	Endpoints      []Endpoint      `json:"endpoints"`
}

// Queue is the requests that wait until an upstream has room for them.
type Queue struct {
	Waiting     int64 `json:"waiting"`
	Size        int   `json:"size"`          // how many may wait
	MaxInFlight int   `json:"max_in_flight"` // above which they wait; 0 means no limit
}

// Concurrency is a limit of requests in flight that follows the latency.
type Concurrency struct {
	Limit         int     `json:"limit"` // at present
	Min           int     `json:"min"`
	Max           int     `json:"max"`
	InFlight      int     `json:"in_flight"`
	LatencyMS     float64 `json:"latency_ms"`      // at the last update
	BaseLatencyMS float64 `json:"base_latency_ms"` // at ease; 0 before the first measurement
	Measuring     bool    `json:"measuring"`       // of the base latency, with the limit halved
	Rejected      uint64  `json:"rejected"`        // requests, since the start
}

// The states of a CircuitBreaker.
const (
	BreakerClosed   = "closed"
	BreakerOpen     = "open"
	BreakerHalfOpen = "half_open"
)

// CircuitBreaker is what is known of one, of an endpoint or of an upstream.
type CircuitBreaker struct {
	State        string     `json:"state"`
	Since        *time.Time `json:"since,omitempty"`    // nil if it was never open
	RetryAt      *time.Time `json:"retry_at,omitempty"` // when it half-opens; nil if it is not open or stays open until it is closed
	SharePercent int        `json:"share_percent"`      // of the requests that are let through
	Requests     int        `json:"requests"`           // in its window, as are Failed and Slow
	Failed       int        `json:"failed"`
	Slow         int        `json:"slow"`
	Opened       uint64     `json:"opened"`          // how often
	Cause        string     `json:"cause,omitempty"` // why it opened last
}

// Discovery is what finds an upstream's endpoints.
type Discovery struct {
	Type      string     `json:"type"`                 // as configured: "dns" and so on
	State     string     `json:"state"`                // as of a Dependency
	UpdatedAt *time.Time `json:"updated_at,omitempty"` // of the last answer; nil before the first
	Error     string     `json:"error,omitempty"`      // of the last attempt
	Found     int        `json:"found"`                // endpoints, in the last answer
}

// The modes of an Endpoint, which the operator decides whatever its health.
const (
	ModeEnabled  = "enabled"  // left to its health
	ModeDrained  = "drained"  // no new requests but those of clients bound to it
	ModeDisabled = "disabled" // no requests, and no probes
)

// The states of an Endpoint. Of several the one further down is shown: it is
// what would remain if those above it ended.
const (
	StateUp       = "up"
	StateWarming  = "warming"  // takes less than its share
	StateBroken   = "broken"   // its circuit breaker is open
	StateEjected  = "ejected"  // by outlier detection
	StateDown     = "down"     // by health checks, also before the first probe
	StateDrained  = "drained"  // by its mode or by a weight of 0
	StateDisabled = "disabled" // by its mode
	StateRetired  = "retired"  // no longer configured or found
)

// Endpoint is one server of an upstream.
type Endpoint struct {
	ID               string          `json:"id"` // unique in its upstream; see EndpointIDs
	URL              string          `json:"url"`
	Mode             string          `json:"mode"`
	State            string          `json:"state"` // what a request meets
	Weight           int             `json:"weight"`
	ConfiguredWeight int             `json:"configured_weight"`
	Priority         int             `json:"priority"`
	Zone             string          `json:"zone,omitempty"`
	RampPercent      int             `json:"ramp_percent,omitempty"` // of its weight that counts, from 1, while warming; else 0
	Up               bool            `json:"up"`                     // by health checks
	Since            time.Time       `json:"since"`                  // when Up last changed
	Cause            string          `json:"cause,omitempty"`        // why it is down
	Draining         bool            `json:"draining"`               // takes no new requests, by its mode or because it is retired
	InFlight         int64           `json:"in_flight"`
	LatencyMS        float64         `json:"latency_ms,omitempty"` // estimate; 0 if too little is known
	Connections      Connections     `json:"connections"`
	Ejected          *Ejection       `json:"ejected,omitempty"` // nil unless it is out
	CircuitBreaker   *CircuitBreaker `json:"circuit_breaker,omitempty"`
	Probe            *Probe          `json:"probe,omitempty"` // the last; nil before the first or without health checks
}

// Connections counts the connections to an endpoint; Idle are those of Open that
// carry no request.
type Connections struct {
	Open int `json:"open"`
	Idle int `json:"idle"`
}

// Ejection says why outlier detection keeps traffic from an endpoint.
type Ejection struct {
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Cause    string    `json:"cause"`            // a name: "consecutive_5xx" and so on
	Detail   string    `json:"detail,omitempty"` // the figures, for people
	Times    int       `json:"times"`            // what the base time was multiplied by
	Enforced bool      `json:"enforced"`         // false when it is only observed, and traffic goes on
}

// Probe is the last health check of an endpoint.
type Probe struct {
	At        time.Time `json:"at"` // when it ended
	LatencyMS float64   `json:"latency_ms"`
	Error     string    `json:"error,omitempty"`
	Succeeded int       `json:"succeeded"` // in a row
	Failed    int       `json:"failed"`    // in a row
}

// EndpointChange is what is to change of an endpoint. The zero value changes
// nothing.
type EndpointChange struct {
	Mode        string // empty leaves it
	Weight      *int   // from 0 to MaxWeight; nil leaves it
	ResetWeight bool   // return to the configured weight; Weight is nil then
}

// MaxWeight is the largest weight of an endpoint.
const MaxWeight = 1<<16 - 1

// BreakerChange is what is to be done with a circuit breaker.
type BreakerChange struct {
	Open bool          // else close it
	For  time.Duration // after which an opened one half-opens; 0 leaves it open until it is closed
}
