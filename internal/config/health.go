package config

import (
	"regexp"
	"strings"
)

// HealthCheck probes each server of an upstream. A new server is down until
// its first probe succeeds. [resilience.md](resilience.md#health) explains it.
//
//	upstreams:
//	  - name: users
//	    targets: [{url: "http://10.0.0.1:3000"}]
//	    health_check: {path: /health, expected_body: '"ok"', down_interval: 500ms}
//	  - name: ledger
//	    targets: [{url: "http://10.0.0.2:9000"}]
//	    health_check: {type: grpc, service: bank.Ledger}
//	routes:
//	  - {path: /users/*, upstream: users}
//	  - {path: /ledger/*, upstream: ledger}
type HealthCheck struct {
	// Type is what a probe does: `http` sends a request, `tcp` opens a connection,
	// `grpc` calls `grpc.health.v1.Health/Check`.
	Type string `yaml:"type" default:"http" enum:"http,tcp,grpc"`

	// Path is the path, and query if any, that `http` requests.
	Path string `yaml:"path"`

	// Method is the request's method.
	Method string `yaml:"method" default:"GET" enum:"GET,HEAD,OPTIONS,POST"`

	// Host is the request's Host. Absent, the target's host.
	Host string `yaml:"host"`

	// Headers are added to the request.
	Headers map[string]string `yaml:"headers"`

	// ExpectedStatuses lists the statuses that count as success, each one
	// number or a range such as `200-399`.
	ExpectedStatuses []StatusRange `yaml:"expected_statuses" default:"200-399"`

	// ExpectedBody is text that the body of an `http` reply, or what a `tcp`
	// server says, must hold within its first 64 KiB.
	ExpectedBody string `yaml:"expected_body"`

	// ExpectedBodyRegex is a regular expression (RE2) that must match in the first
	// 64 KiB of the body of an `http` reply.
	ExpectedBodyRegex string `yaml:"expected_body_regex"`

	// Send is what `tcp` sends once it is connected.
	Send string `yaml:"send"`

	// Service is the name that `grpc` asks for. Absent, the server as a whole.
	Service string `yaml:"service"`

	// Port is another port to probe than the target's. 0 means the target's.
	Port int `yaml:"port" default:"0" min:"0" max:"65535"`

	// Interval is the time between probes of one server.
	Interval Duration `yaml:"interval" default:"2s" min:"100ms"`

	// DownInterval is the time between probes of a server that is down. 0 means
	// `interval`.
	DownInterval Duration `yaml:"down_interval" default:"0s"`

	// FastInterval is the time between probes of a server whose last one did not
	// end as its state says. 0 means `interval`, or `down_interval`.
	FastInterval Duration `yaml:"fast_interval" default:"0s"`

	// Timeout bounds one probe. It may not be longer than the interval; absent,
	// it is not.
	Timeout Duration `yaml:"timeout" default:"1s" min:"1ms"`

	// Rise is how many successes in a row bring a server up.
	Rise int `yaml:"rise" default:"2" min:"1" max:"100"`

	// Fall is how many failures in a row take a server down.
	Fall int `yaml:"fall" default:"3" min:"1" max:"100"`
}

// OutlierDetection takes a server out of service for a while that answers worse
// than it should. It learns from the requests themselves; numbers and rules are
// those of Envoy. [resilience.md](resilience.md#ejection) explains it.
//
//	upstreams:
//	  - name: users
//	    targets: [{url: "http://10.0.0.1:3000"}, {url: "http://10.0.0.2:3000"}]
//	    outlier_detection: {consecutive_5xx: 10, base_ejection_time: 5s}
//	routes:
//	  - {path: /users/*, upstream: users}
type OutlierDetection struct {
	// Enabled turns it on.
	Enabled bool `yaml:"enabled" default:"true"`

	// ObserveOnly takes no server out: it counts and logs what it would have done.
	ObserveOnly bool `yaml:"observe_only" default:"false"`

	// Consecutive5xx is how many replies of a status 500 to 599 in a row take a
	// server out; failures without a reply count as such, unless `split_local`. 0
	// is off.
	Consecutive5xx int `yaml:"consecutive_5xx" default:"5" min:"0" max:"1000000"`

	// ConsecutiveGatewayErrors is the same for 502, 503, 504 and failures without
	// a reply.
	ConsecutiveGatewayErrors int `yaml:"consecutive_gateway_errors" default:"5" min:"0" max:"1000000"`

	// SplitLocal counts failures without a reply, such as refused connections,
	// resets and timeouts, apart from replies.
	SplitLocal bool `yaml:"split_local" default:"false"`

	// ConsecutiveLocalErrors is how many failures without a reply in a row take a
	// server out when `split_local` is on. 0 is off.
	ConsecutiveLocalErrors int `yaml:"consecutive_local_errors" default:"5" min:"0" max:"1000000"`

	// Interval is how often the rates are looked at.
	Interval Duration `yaml:"interval" default:"10s" min:"100ms"`

	// BaseEjectionTime is how long a server is out the first time; the second
	// time it is twice as long, and so on.
	BaseEjectionTime Duration `yaml:"base_ejection_time" default:"30s" min:"1ms"`

	// MaxEjectionTime bounds that.
	MaxEjectionTime Duration `yaml:"max_ejection_time" default:"300s" min:"1ms"`

	// EjectionJitter adds up to so much to each ejection.
	EjectionJitter Duration `yaml:"ejection_jitter" default:"1s"`

	// MaxEjectedPercent bounds the share of the servers that are out at a time,
	// in percent. One always may be.
	MaxEjectedPercent int `yaml:"max_ejected_percent" default:"10" min:"0" max:"100"`

	// SuccessRate takes a server out whose share of successes is far below that
	// of the others.
	SuccessRate SuccessRate `yaml:"success_rate"`

	// FailurePercentage takes a server out that fails too often, whatever the
	// others do.
	FailurePercentage FailurePercentage `yaml:"failure_percentage"`
}

// SuccessRate takes a server out whose share of successes over an interval is so
// many standard deviations below the mean of all servers.
type SuccessRate struct {
	// Enabled turns it on.
	Enabled bool `yaml:"enabled" default:"true"`

	// MinServers is how many servers with enough requests it takes to compare.
	MinServers int `yaml:"min_servers" default:"5" min:"1" max:"1000000"`

	// MinRequests is how many requests in an interval are enough.
	MinRequests int `yaml:"min_requests" default:"100" min:"1" max:"1000000000"`

	// StdevFactor is how many standard deviations.
	StdevFactor float64 `yaml:"stdev_factor" default:"1.9" min:"0.1" max:"100"`
}

// FailurePercentage takes a server out that fails too often.
type FailurePercentage struct {
	// Enabled turns it on.
	Enabled bool `yaml:"enabled" default:"false"`

	// Threshold is the share of failures over an interval, in percent.
	Threshold int `yaml:"threshold" default:"85" min:"1" max:"100"`

	// MinServers is how many servers with enough requests there must be.
	MinServers int `yaml:"min_servers" default:"5" min:"1" max:"1000000"`

	// MinRequests is how many requests in an interval are enough.
	MinRequests int `yaml:"min_requests" default:"50" min:"1" max:"1000000000"`
}

// The keys of a health check that only some types heed.
var healthCheckKeys = []struct {
	key   string
	types string
}{
	{"path", "http"},
	{"method", "http"},
	{"host", "http"},
	{"headers", "http"},
	{"expected_statuses", "http"},
	{"expected_body", "http and tcp"},
	{"expected_body_regex", "http"},
	{"send", "tcp"},
	{"service", "grpc"},
}

func (h *HealthCheck) check(s scope) {
	for _, k := range healthCheckKeys {
		if s.has(k.key) && !strings.Contains(k.types, h.Type) {
			s.problem(k.key, "has no effect with type %s, only with %s", h.Type, k.types)
		}
	}
	switch {
	case h.Type != "http":
	case !s.has("path"):
		s.problem("path", "is required")
	case !strings.HasPrefix(h.Path, "/") || strings.ContainsAny(h.Path, "# \t\r\n"):
		s.problem("path", "expected a path such as /health, got %q", h.Path)
	}
	if h.Host != "" && !isAuthority(h.Host) {
		s.problem("host", "%q is not a host name", h.Host)
	}
	if s.has("expected_body_regex") {
		if _, err := regexp.Compile(h.ExpectedBodyRegex); err != nil {
			s.problem("expected_body_regex", "%s", regexProblem(err))
		}
		if s.has("expected_body") {
			s.problem("expected_body_regex", "give expected_body or expected_body_regex, not both")
		}
	}
	if h.Type == "http" && h.Method == "HEAD" && (h.ExpectedBody != "" || h.ExpectedBodyRegex != "") {
		s.problem("method", "replies to HEAD have no body to expect anything of")
	}
	for key, interval := range map[string]Duration{"down_interval": h.DownInterval, "fast_interval": h.FastInterval} {
		if interval != 0 && interval < minProbeInterval {
			s.problem(key, "must be at least %s, or 0", minProbeInterval)
		}
	}
	if h.Timeout > h.Interval && !s.has("timeout") {
		h.Timeout = h.Interval
	}
	if h.Timeout > h.Interval {
		s.problem("timeout", "must not be longer than interval (%s)", h.Interval)
	}
	if s.hasList("expected_statuses") && len(h.ExpectedStatuses) == 0 {
		s.problem("expected_statuses", "needs at least one status")
	}
	checkHeaderValues(s, "headers", h.Headers, func(string) {})
}

// minProbeInterval is the shortest time between probes of one server.
const minProbeInterval = Duration(100e6)

func (o *OutlierDetection) check(s scope) {
	if o.MaxEjectionTime < o.BaseEjectionTime {
		if s.has("max_ejection_time") {
			s.problem("max_ejection_time", "must not be shorter than base_ejection_time (%s)", o.BaseEjectionTime)
		}
		o.MaxEjectionTime = o.BaseEjectionTime
	}
	if s.has("consecutive_local_errors") && !o.SplitLocal {
		s.problem("consecutive_local_errors", "has no effect without split_local: true")
	}
}
