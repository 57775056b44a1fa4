package breaker

import "time"

// The defaults of LimitSettings: those of Envoy's gradient controller, which has
// none for MeasureInterval and Initial.
const (
	DefaultLimitMin        = 3
	DefaultLimitMax        = 1000
	DefaultLimitInitial    = 20
	DefaultUpdateInterval  = 100 * time.Millisecond
	DefaultSampleQuantile  = 50
	DefaultBuffer          = 25
	DefaultMeasureInterval = 60 * time.Second
	DefaultMeasureRequests = 50
	DefaultMeasureJitter   = 15
)

const (
	minUpdateInterval  = time.Millisecond
	maxLimit           = 1 << 30
	maxMeasureRequests = 1 << 20
)

// LimitSettings say how a Limit adapts. They can be compared; every zero stands
// for a default.
type LimitSettings struct {
	// Min and Max bound the limit; 0 means DefaultLimitMin and DefaultLimitMax.
	Min, Max int
	// Initial is the limit of a new Limit; 0 means DefaultLimitInitial.
	Initial int
	// UpdateInterval is how often the limit is adapted; 0 means
	// DefaultUpdateInterval. With few requests it takes longer: until there are 10.
	UpdateInterval time.Duration
	// SampleQuantile is the percentile that stands for the latencies of an
	// interval, above 0 and at most 100; anything else means DefaultSampleQuantile.
	SampleQuantile float64
	// Buffer is by how many percent latencies may exceed the base latency before
	// the limit is lowered; 0 means DefaultBuffer, negative none.
	Buffer float64
	// MeasureInterval is how often the base latency is measured anew; 0 means
	// DefaultMeasureInterval.
	MeasureInterval time.Duration
	// MeasureRequests is how many requests a measurement takes; 0 means
	// DefaultMeasureRequests.
	MeasureRequests int
	// MeasureJitter delays each measurement by a random part of the interval of up
	// to so many percent; 0 means DefaultMeasureJitter, negative none.
	MeasureJitter float64
}

func (s LimitSettings) withDefaults() LimitSettings {
	s.Min = min(orDefault(s.Min, DefaultLimitMin), maxLimit)
	s.Max = max(min(orDefault(s.Max, DefaultLimitMax), maxLimit), s.Min)
	s.Initial = min(max(orDefault(s.Initial, DefaultLimitInitial), s.Min), s.Max)
	s.UpdateInterval = max(durationOrDefault(s.UpdateInterval, DefaultUpdateInterval), minUpdateInterval)
	if !(s.SampleQuantile > 0 && s.SampleQuantile <= 100) {
		s.SampleQuantile = DefaultSampleQuantile
	}
	s.Buffer = percentOrNone(s.Buffer, DefaultBuffer)
	s.MeasureInterval = durationOrDefault(s.MeasureInterval, DefaultMeasureInterval)
	s.MeasureRequests = min(orDefault(s.MeasureRequests, DefaultMeasureRequests), maxMeasureRequests)
	s.MeasureJitter = percentOrNone(s.MeasureJitter, DefaultMeasureJitter)
	return s
}
