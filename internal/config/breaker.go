package config

// CircuitBreaker stops sending where most attempts fail or are slow: to a server,
// or to the upstream as a whole. After a while it lets a few requests through, and
// as they succeed, more and more. [resilience.md](resilience.md#circuit-breakers)
// explains it.
//
//	upstreams:
//	  - name: users
//	    targets: [{url: "http://10.0.0.1:3000"}, {url: "http://10.0.0.2:3000"}]
//	    circuit_breaker:
//	      server: {error_percent: 50}
//	      upstream: {latency_limit: 2s, latency_percentile: 50}
//	routes:
//	  - {path: /users/*, upstream: users}
type CircuitBreaker struct {
	// Server is the breaker of each server. Absent, there is none.
	Server *Breaker `yaml:"server"`

	// Upstream is the breaker of all servers together. While it is open requests
	// are answered 503, or by the route's `fallback`. Absent, there is none.
	Upstream *Breaker `yaml:"upstream"`
}

// Breaker says when a circuit breaker opens and how it comes back. At least one of
// `error_percent`, `latency_limit` and `consecutive_failures` must be given.
type Breaker struct {
	// Window is the time over which attempts count.
	Window Duration `yaml:"window" default:"10s" min:"10ms"`

	// MinRequests is how many attempts the window must have before
	// `error_percent` and `latency_limit` are looked at.
	MinRequests int `yaml:"min_requests" default:"20" min:"1" max:"1000000000"`

	// ErrorPercent opens the breaker when so many of the attempts, in percent,
	// have failed: without a reply, or with a status of 500 to 599. 0 is off.
	ErrorPercent float64 `yaml:"error_percent" default:"0" min:"0" max:"100"`

	// LatencyLimit opens the breaker when `latency_percentile` of the replies took
	// longer to begin. 0 is off.
	LatencyLimit Duration `yaml:"latency_limit" default:"0s"`

	// LatencyPercentile is which of the replies, by time, `latency_limit` bounds.
	LatencyPercentile float64 `yaml:"latency_percentile" default:"50" min:"1" max:"99.9"`

	// ConsecutiveFailures opens the breaker when so many attempts in a row have
	// failed. 0 is off.
	ConsecutiveFailures int `yaml:"consecutive_failures" default:"0" min:"0" max:"1000000000"`

	// OpenFor is how long an open breaker lets nothing through.
	OpenFor Duration `yaml:"open_for" default:"10s" min:"1ms"`

	// MaxOpenFor makes each opening that follows another without a close in
	// between twice as long, up to this. 0 keeps `open_for`.
	MaxOpenFor Duration `yaml:"max_open_for" default:"0s"`

	// Probes is how many requests are let through at first, and must succeed.
	Probes int `yaml:"probes" default:"1" min:"1" max:"10000"`

	// Ramp is the time over which the share of requests that are let through
	// grows to all after that. 0 closes the breaker at once.
	Ramp Duration `yaml:"ramp" default:"10s"`
}

// AdaptiveConcurrency bounds the requests in flight of an upstream by a limit that
// follows the latency: it grows while requests take about as long as they do
// without load, and shrinks as they queue. What is beyond waits in `queue` or is
// answered 503. [resilience.md](resilience.md#adaptive-concurrency) explains it.
//
//	upstreams:
//	  - name: reports
//	    targets: [{url: "http://10.0.0.1:3000"}]
//	    adaptive_concurrency: {max: 200}
//	routes:
//	  - {path: /reports/*, upstream: reports}
type AdaptiveConcurrency struct {
	// Min is the least limit.
	Min int `yaml:"min" default:"3" min:"1" max:"1000000"`

	// Max is the largest limit.
	Max int `yaml:"max" default:"1000" min:"1" max:"1000000"`
}

// Fallback answers requests whose upstream cannot: exactly one of `upstream` and
// `respond`.
//
//	routes:
//	  - path: /recommendations
//	    targets: [{url: "http://10.0.0.1:3000"}]
//	    fallback:
//	      on: [circuit_open, no_healthy_endpoint, upstream_connect_failed]
//	      respond: {status: 200, content_type: application/json, body: "[]"}
type Fallback struct {
	// On lists the codes of the errors that are answered so (see
	// [errors.md](errors.md)). Another upstream gets only what may be sent again:
	// requests of which nothing has reached a server, and those that `retries`
	// would repeat.
	On []string `yaml:"on" default:"circuit_open,no_healthy_endpoint,upstream_in_flight,upstream_queue_timeout" enum:"circuit_open,no_healthy_endpoint,upstream_in_flight,upstream_queue_timeout,upstream_exhausted,upstream_connect_failed,upstream_connect_timeout,upstream_reset,upstream_timeout,upstream_bad_reply"`

	// Upstream names an entry of `upstreams` that gets the request.
	Upstream string `yaml:"upstream"`

	// Respond is a fixed response.
	Respond *Respond `yaml:"respond"`
}

func (b *Breaker) check(s scope) {
	if b.ErrorPercent == 0 && b.LatencyLimit == 0 && b.ConsecutiveFailures == 0 {
		s.problem("", "needs error_percent, latency_limit or consecutive_failures, or it would never open")
	}
	if s.has("latency_percentile") && b.LatencyLimit == 0 {
		s.problem("latency_percentile", "has no effect without latency_limit")
	}
	if b.MaxOpenFor != 0 && b.MaxOpenFor < b.OpenFor {
		s.problem("max_open_for", "must not be shorter than open_for (%s)", b.OpenFor)
	}
}

func (c *CircuitBreaker) check(s scope) {
	if c.Server == nil && c.Upstream == nil {
		s.problem("", "needs server, upstream or both")
	}
}

func (a *AdaptiveConcurrency) check(s scope) {
	if a.Max < a.Min {
		s.problem("max", "must not be below min (%d)", a.Min)
	}
}

func (f *Fallback) check(s scope) {
	switch {
	case s.has("upstream") && s.has("respond"):
		s.problem("respond", "only one of upstream and respond may be given, and upstream is")
	case !s.has("upstream") && !s.has("respond"):
		s.problem("", "needs upstream or respond")
	case s.has("upstream") && f.Upstream == "":
		s.problem("upstream", "must not be empty")
	}
	if s.has("on") && len(f.On) == 0 {
		s.problem("on", "needs at least one code")
	}
}
