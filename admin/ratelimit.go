package admin

// The modes of a RateLimit.
const (
	LimitLocal = "local" // of this node alone
	LimitAsync = "async" // of all nodes together, with what is known of the others
	LimitExact = "exact" // of all nodes together, asked for each request
)

// The kinds of what a NotFound of a rate limit is about.
const (
	KindRateLimit = "rate limit"
	KindPlan      = "plan"
	KindKey       = "key"
)

// RateLimit is one limit on how often requests may come, and what it did. Its
// counts are since the start, or since a change of the limit after which it had to
// begin anew.
type RateLimit struct {
	Name   string   `json:"name"`
	Routes []string `json:"routes"` // that use it
	Mode   string   `json:"mode"`
	Key    string   `json:"key"` // the template; empty counts all requests together

	Rules []RateLimitRule `json:"rules"` // where no plan holds
	Plans []RateLimitPlan `json:"plans"`

	Keys       int          `json:"keys"`     // remembered at present; those of plans and of concurrency count apart
	MaxKeys    int          `json:"max_keys"` // of each, from which on idle ones are forgotten
	Admitted   uint64       `json:"admitted"`
	Evicted    uint64       `json:"evicted"`     // idle keys, to make room
	Overflowed uint64       `json:"overflowed"`  // requests whose key found no room
	Delayed    uint64       `json:"delayed"`     // requests admitted after a wait
	Waiting    int64        `json:"waiting"`     // at present
	TopRefused []RefusedKey `json:"top_refused"` // most first

	Store *LimitStore `json:"store,omitempty"` // nil if Mode is local
}

// RateLimitPlan is the rules that hold in place of a limit's own for requests of
// one plan. Without rules they are not limited.
type RateLimitPlan struct {
	Name  string          `json:"name"`
	Rules []RateLimitRule `json:"rules"`
}

// RateLimitRule is one rule, and what it did.
type RateLimitRule struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Limit     int64  `json:"limit"`
	Window    string `json:"window,omitempty"` // a duration such as 1m; empty with Period and for concurrency
	Period    string `json:"period,omitempty"` // "day" or "month"
	Burst     int64  `json:"burst,omitempty"`  // of those algorithms that have one
	Observe   bool   `json:"observe"`          // it refuses nothing
	Refused   uint64 `json:"refused"`
	Observed  uint64 `json:"observed"` // would have been refused
}

// RefusedKey is a key that is refused often.
type RefusedKey struct {
	Key     string `json:"key"`            // cut, if it is long
	Plan    string `json:"plan,omitempty"` // empty where no plan holds
	Refused uint64 `json:"refused"`        // requests, at most; at least Refused - Excess
	Excess  uint64 `json:"excess"`
}

// LimitStore is what is known of the store through which nodes share limits.
type LimitStore struct {
	Connected   bool    `json:"connected"`
	Degraded    bool    `json:"degraded"` // limits are not those of all nodes together
	LagMS       float64 `json:"lag_ms"`   // age of what is known of the others
	RoundTripMS float64 `json:"round_trip_ms"`
	Errors      uint64  `json:"errors"`
	Nodes       int     `json:"nodes"` // that share the limits, this one included
}

// KeyState is what is left for one key of a rate limit.
type KeyState struct {
	Limit string    `json:"limit"`
	Plan  string    `json:"plan,omitempty"` // empty where no plan holds
	Key   string    `json:"key"`
	Rules []KeyRule `json:"rules"`
}

// KeyRule is what one rule would say to a request that came now.
type KeyRule struct {
	Name         string  `json:"name"`
	Limit        int64   `json:"limit"`         // the most units that can be had at once
	Remaining    int64   `json:"remaining"`     // below 0 that many are owed
	ResetSeconds float64 `json:"reset_seconds"` // until Remaining is Limit if nothing more is taken; 0 for concurrency
	// RetryAfterSeconds is the time until a unit can be had: 0 if one can now, and
	// nil if waiting alone does not bring one.
	RetryAfterSeconds *float64 `json:"retry_after_seconds,omitempty"`
}
