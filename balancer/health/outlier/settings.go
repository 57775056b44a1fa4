package outlier

import (
	"math"
	"time"
)

// Off switches a rule off whose zero means its default.
const Off = -1

// Defaults of Settings, Rate and Percentage.
const (
	DefaultConsecutive             = 5
	DefaultInterval                = 10 * time.Second
	DefaultBaseEjection            = 30 * time.Second
	DefaultMaxEjection             = 300 * time.Second
	DefaultMaxEjectionPercent      = 10
	DefaultMinHosts                = 5
	DefaultRateRequestVolume       = 100
	DefaultStdevFactor             = 1900
	DefaultFailurePercent          = 85
	DefaultPercentageRequestVolume = 50
)

// Settings are the rules for one upstream. A field that is zero has its default.
type Settings struct {
	// ObserveOnly takes no endpoint out: ejections are counted, reported and end
	// as if they were real, so that rules can be tried on live traffic.
	ObserveOnly bool
	// SplitLocal counts failures without an answer apart from those with one,
	// instead of as gateway errors.
	SplitLocal bool

	Consecutive5xx     int // of any 5xx; default 5; Off
	ConsecutiveGateway int // of 502, 503 and 504; default 5; Off
	ConsecutiveLocal   int // without an answer, if SplitLocal; default 5; Off

	Interval       time.Duration // between looks at the rates; default 10 s
	BaseEjection   time.Duration // of the first ejection; default 30 s
	MaxEjection    time.Duration // of any; default 300 s or BaseEjection if that is longer
	EjectionJitter time.Duration // at most so much is added to each; default none

	// MaxEjectionPercent of an upstream's endpoints may be out at a time, but one
	// always may; default 10. Off leaves that one.
	MaxEjectionPercent int

	SuccessRate       Rate
	FailurePercentage Percentage
}

// Rate is the rule that compares endpoints with each other.
type Rate struct {
	Disabled      bool
	MinHosts      int // endpoints with RequestVolume that are needed; default 5
	RequestVolume int // requests in an interval for an endpoint to be looked at; default 100
	StdevFactor   int // in thousandths: how many standard deviations below the mean; default 1900
}

// Percentage is the rule that compares each endpoint with a fixed limit.
type Percentage struct {
	Enabled       bool
	Threshold     int // failures in percent that eject, 1 to 100; default 85
	MinHosts      int // endpoints with RequestVolume that are needed; default 5
	RequestVolume int // requests in an interval for an endpoint to be looked at; default 50
}

func (s Settings) withDefaults() Settings {
	s.Consecutive5xx = orDefault(s.Consecutive5xx, DefaultConsecutive)
	s.ConsecutiveGateway = orDefault(s.ConsecutiveGateway, DefaultConsecutive)
	s.ConsecutiveLocal = orDefault(s.ConsecutiveLocal, DefaultConsecutive)
	s.Interval = positive(s.Interval, DefaultInterval)
	s.BaseEjection = positive(s.BaseEjection, DefaultBaseEjection)
	s.MaxEjection = max(s.BaseEjection, positive(s.MaxEjection, DefaultMaxEjection))
	s.EjectionJitter = max(s.EjectionJitter, 0)
	s.MaxEjectionPercent = min(max(orDefault(s.MaxEjectionPercent, DefaultMaxEjectionPercent), 0), 100)
	s.SuccessRate.MinHosts = positive(s.SuccessRate.MinHosts, DefaultMinHosts)
	s.SuccessRate.RequestVolume = positive(s.SuccessRate.RequestVolume, DefaultRateRequestVolume)
	s.SuccessRate.StdevFactor = positive(s.SuccessRate.StdevFactor, DefaultStdevFactor)
	s.FailurePercentage.Threshold = positive(s.FailurePercentage.Threshold, DefaultFailurePercent)
	s.FailurePercentage.MinHosts = positive(s.FailurePercentage.MinHosts, DefaultMinHosts)
	s.FailurePercentage.RequestVolume = positive(s.FailurePercentage.RequestVolume, DefaultPercentageRequestVolume)
	return s
}

// orDefault leaves negative numbers, which switch rules off.
func orDefault(setting, value int) int {
	if setting == 0 {
		return value
	}
	return setting
}

func positive[T int | time.Duration](setting, value T) T {
	if setting <= 0 {
		return value
	}
	return setting
}

// limits are the settings that requests look at. They are immutable; a nil
// *limits is an endpoint that nobody watches.
type limits struct {
	detector   *Detector
	split      bool
	any5xx     uint32
	gateway    uint32
	unanswered uint32
}

func (s Settings) limits(d *Detector) *limits {
	return &limits{
		detector:   d,
		split:      s.SplitLocal,
		any5xx:     limitOf(s.Consecutive5xx),
		gateway:    limitOf(s.ConsecutiveGateway),
		unanswered: limitOf(s.ConsecutiveLocal),
	}
}

// limitOf returns a limit that is never reached for a rule that is off.
func limitOf(setting int) uint32 {
	if setting < 0 {
		return math.MaxUint32
	}
	return uint32(min(setting, math.MaxInt32))
}

// ejection is how long an endpoint stays out that was ejected so many times. It
// divides first, so that no product overflows.
func (s Settings) ejection(times int) time.Duration {
	if time.Duration(times) > s.MaxEjection/s.BaseEjection {
		return s.MaxEjection
	}
	return min(time.Duration(times)*s.BaseEjection, s.MaxEjection)
}
