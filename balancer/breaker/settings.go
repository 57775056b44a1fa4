package breaker

import "time"

// The defaults of Settings.
const (
	DefaultWindow          = 10 * time.Second
	DefaultMinRequests     = 20
	DefaultLatencyQuantile = 50
	DefaultOpenFor         = 10 * time.Second
	DefaultJitter          = 10
	DefaultRamp            = 10 * time.Second
	DefaultProbes          = 1
	DefaultProbeTimeout    = 30 * time.Second
)

const (
	minWindow = buckets * 10 * time.Millisecond
	// maxDuration keeps sums of times far from overflow.
	maxDuration = 365 * 24 * time.Hour
	maxProbes   = 1 << 16
	// none is what a setting is whose 0 means a default and that is off.
	none = -1
)

// Settings say when a breaker opens and how it comes back. They can be compared.
// The zero value never opens by itself: each condition is off at 0.
type Settings struct {
	// Window is the time over which requests count, at least 100 ms; 0 means
	// DefaultWindow. It moves in tenths: between 90 % and 100 % of it count.
	Window time.Duration
	// MinRequests is how many requests must be in the window before ErrorRatio and
	// LatencyLimit are looked at; 0 means DefaultMinRequests.
	MinRequests int

	// ErrorRatio opens the breaker when so many percent of the requests in the
	// window, or more, have failed. 0 is off.
	ErrorRatio float64
	// LatencyLimit opens the breaker when the quantile LatencyQuantile of the
	// latencies in the window is longer. 0 is off.
	LatencyLimit time.Duration
	// LatencyQuantile is in percent, above 0 and below 100; anything else means
	// DefaultLatencyQuantile. It wants a MinRequests that carries it: of fewer than
	// 100 requests, the quantile 99 is the slowest one.
	LatencyQuantile float64
	// ConsecutiveFailures opens the breaker when so many requests in a row have
	// failed, whatever MinRequests is. 0 is off.
	ConsecutiveFailures int

	// OpenFor is how long an open breaker refuses everything; 0 means
	// DefaultOpenFor.
	OpenFor time.Duration
	// MaxOpenFor, if longer than OpenFor, makes each opening that follows another
	// without a close in between twice as long, up to this. 0 keeps OpenFor.
	MaxOpenFor time.Duration
	// Jitter makes each opening longer by a random part of up to so many percent,
	// so that breakers that opened together do not probe together. 0 means
	// DefaultJitter, negative none.
	Jitter float64

	// Probes is how many requests a half-open breaker lets through at first, and
	// how many successes it wants of them; 0 means DefaultProbes.
	Probes int
	// ProbeTimeout is how long after the last probe began those whose outcome is
	// still open are given up, and other requests take their places; 0 means
	// DefaultProbeTimeout.
	ProbeTimeout time.Duration
	// Ramp is the time over which the share of requests that are let through grows
	// from nothing to all once the probes have succeeded; 0 means DefaultRamp,
	// negative closes the breaker at once.
	Ramp time.Duration
}

// withDefaults also brings what makes no sense into range, so that the rest of the
// package need not ask. Of what it has returned it makes the same.
func (s Settings) withDefaults() Settings {
	s.Window = max(durationOrDefault(s.Window, DefaultWindow), minWindow)
	s.MinRequests = orDefault(s.MinRequests, DefaultMinRequests)
	s.ErrorRatio = percent(s.ErrorRatio)
	s.LatencyLimit = max(s.LatencyLimit, 0)
	if !(s.LatencyQuantile > 0 && s.LatencyQuantile < 100) {
		s.LatencyQuantile = DefaultLatencyQuantile
	}
	s.ConsecutiveFailures = max(s.ConsecutiveFailures, 0)
	s.OpenFor = durationOrDefault(s.OpenFor, DefaultOpenFor)
	s.MaxOpenFor = max(min(s.MaxOpenFor, maxDuration), s.OpenFor)
	s.Jitter = percentOrNone(s.Jitter, DefaultJitter)
	s.Probes = min(orDefault(s.Probes, DefaultProbes), maxProbes)
	s.ProbeTimeout = durationOrDefault(s.ProbeTimeout, DefaultProbeTimeout)
	if s.Ramp == 0 {
		s.Ramp = DefaultRamp
	}
	s.Ramp = min(max(s.Ramp, none), maxDuration)
	return s
}

func orDefault(value, otherwise int) int {
	if value <= 0 {
		return otherwise
	}
	return value
}

func durationOrDefault(value, otherwise time.Duration) time.Duration {
	if value <= 0 {
		return otherwise
	}
	return min(value, maxDuration)
}

// percent also makes 0 of what is not a number.
func percent(p float64) float64 {
	if !(p > 0) {
		return 0
	}
	return min(p, 100)
}

func percentOrNone(p, otherwise float64) float64 {
	switch {
	case p == 0:
		return otherwise
	case p > 0:
		return min(p, 100)
	}
	return none
}

// openFor is how long the breaker stays open when it opens for the nth time
// since it was closed, random being 0 to 1.
func (s *Settings) openFor(n int, random float64) time.Duration {
	d := s.OpenFor
	for range n - 1 {
		if d >= s.MaxOpenFor {
			break
		}
		d = min(2*d, s.MaxOpenFor)
	}
	return d + time.Duration(float64(d)*max(s.Jitter, 0)/100*random)
}
