package outlier

import (
	"time"

	"github.com/salgue441/velocity/balancer"
)

// Cause is the rule by which an endpoint is an outlier.
type Cause uint8

// The causes, those that come first being named when several apply.
const (
	NoCause Cause = iota // of an endpoint that was never ejected
	ConsecutiveLocal
	ConsecutiveGateway
	Consecutive5xx
	SuccessRate
	SuccessRateLocal
	FailurePercentage
	FailurePercentageLocal

	Causes // all causes are below it: for cause := range outlier.Causes
)

// String returns a name for metric labels and the admin API.
func (c Cause) String() string {
	switch c {
	case NoCause:
		return "none"
	case ConsecutiveLocal:
		return "consecutive_local"
	case ConsecutiveGateway:
		return "consecutive_gateway"
	case Consecutive5xx:
		return "consecutive_5xx"
	case SuccessRate:
		return "success_rate"
	case SuccessRateLocal:
		return "success_rate_local"
	case FailurePercentage:
		return "failure_percentage"
	case FailurePercentageLocal:
		return "failure_percentage_local"
	}
	return "unknown"
}

// Ejection is one endpoint that was taken out of rotation, or would have been if
// its upstream's settings did not say ObserveOnly.
type Ejection struct {
	Upstream string
	URL      string
	Endpoint *balancer.Endpoint
	Cause    Cause
	Detail   string // the figures behind it, for people
	Since    time.Time
	Until    time.Time // when it returns by itself
	Times    int       // by which the base ejection time was multiplied
	Enforced bool      // false: traffic went on
}

// Reason is why an endpoint returned.
type Reason uint8

// The reasons of a return.
const (
	// Expired is an ejection whose time was over.
	Expired Reason = iota
	// Unwatched is an endpoint or an upstream that is no longer watched.
	Unwatched
	// Switched is an upstream whose enforcement was switched on or off.
	Switched
	// Released is a return that was asked for with Detector.Return.
	Released
)

// String returns a word for logs.
func (r Reason) String() string {
	switch r {
	case Unwatched:
		return "unwatched"
	case Switched:
		return "switched"
	case Released:
		return "released"
	}
	return "expired"
}

// Return is the end of an ejection.
type Return struct {
	Ejection // as it was reported
	At       time.Time
	Reason   Reason
}

// Status is what is known about one endpoint.
type Status struct {
	URL      string
	Ejected  bool // or would be, if not Enforced
	Enforced bool // the upstream's setting
	// The last ejection; all zero if there was none.
	Cause  Cause
	Detail string
	Since  time.Time
	Until  time.Time // when it returns, or the time that it should have returned
	// Times is by how much the base ejection time was multiplied, less one for
	// each interval in service since.
	Times int
	// Rate is the success rate in percent of the last interval in which the
	// endpoint had enough requests for a rate rule, -1 before that.
	Rate float64
}

// Counters are an upstream's totals since it was first watched. Those of NoCause
// are always 0.
type Counters struct {
	Detected [Causes]uint64 // outliers found, whether they could be ejected or not
	Ejected  [Causes]uint64 // those that were taken out of rotation
	Overflow uint64         // those that were not, because too many were out
	Out      int            // endpoints that are ejected now, whether enforced or not
}
