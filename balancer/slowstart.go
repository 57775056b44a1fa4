package balancer

import (
	"cmp"
	"math"
	"time"
)

// SlowStart says how an endpoint that begins to serve comes to its full share:
// max(floor, (elapsed/window)^(1/aggression)) of it.
type SlowStart struct {
	// Window is how long it takes. Zero is no slow start.
	Window time.Duration
	// Aggression is how early the share grows: above 1 more of it at first,
	// below 1 more of it towards the end. 0 means 1, in proportion to time.
	Aggression float64
	// Floor is the share at the beginning, in percent. 0 means 10.
	Floor int
}

// rampSteps is how many steps a ramp has. Each makes pickers rebuild their
// sequences.
const rampSteps = 100

// defaultFloor is the share at the beginning, in percent.
const defaultFloor = 10

// Ramp returns what part of its share an endpoint has that began to serve the
// given time ago, in 1/FullRamp.
func (s SlowStart) Ramp(elapsed time.Duration) int {
	if elapsed >= s.Window {
		return FullRamp
	}
	part := math.Pow(float64(max(elapsed, 0))/float64(s.Window), 1/cmp.Or(s.Aggression, 1))
	floor := float64(cmp.Or(s.Floor, defaultFloor)) / 100
	return min(max(int(math.Round(FullRamp*max(floor, part))), 1), FullRamp)
}

// step is the time between two changes of a ramp.
func (s SlowStart) step() time.Duration { return max(s.Window/rampSteps, time.Millisecond) }
