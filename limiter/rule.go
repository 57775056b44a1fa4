package limiter

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// Algorithm is how a rule counts.
type Algorithm string

// The algorithms.
const (
	// TokenBucket refills at Limit units per Window up to Burst, and starts full.
	TokenBucket Algorithm = "token_bucket"
	// GCRA spaces units Window/Limit apart and lets Burst of them come early. It is
	// a token bucket seen from the other side, and here the same arithmetic; only
	// its Burst is 1 unless given.
	GCRA Algorithm = "gcra"
	// SlidingWindow estimates the trailing window from two counters: what the
	// previous window holds of it is taken to have come evenly. With f the part of
	// the current window that has passed and p the count of the previous one, at
	// most Limit + f·p units are admitted in any trailing window (below 2·Limit,
	// reached only by a burst at the very end of a window), never more than Limit
	// in an aligned one, and none is refused while the trailing window holds
	// less than Limit - (1-f)·p.
	SlidingWindow Algorithm = "sliding_window"
	// SlidingLog remembers when each unit was taken and is exact. It takes 8 bytes
	// per unit and key, so Limit is at most MaxLog.
	SlidingLog Algorithm = "sliding_log"
	// FixedWindow counts in windows that follow one another: of length Window,
	// aligned to Unix time, or the days or months of a Location.
	FixedWindow Algorithm = "fixed_window"
	// Concurrency limits what is held at one time: Allow takes, Release gives back.
	Concurrency Algorithm = "concurrency"
)

// Algorithms lists them all.
func Algorithms() []Algorithm {
	return []Algorithm{TokenBucket, GCRA, SlidingWindow, SlidingLog, FixedWindow, Concurrency}
}

// Period is a window of the calendar.
type Period string

// The periods. They start at midnight of the rule's Location, so that a day has 23
// to 25 hours where clocks are changed.
const (
	Day   Period = "day"
	Month Period = "month"
)

const (
	// MaxRules is how many rules a limiter may have.
	MaxRules = 8
	// MaxLog is the largest Limit of SlidingLog.
	MaxLog = 1024
	// MaxLimit is the largest Limit and Burst.
	MaxLimit = 1 << 48
	// MaxConcurrency is the largest Limit of Concurrency.
	MaxConcurrency = 1 << 30
)

// Rule is one limit. Two rules that are Same share counts across reloads.
type Rule struct {
	// Name is part of the rule's identity, and unique within a limiter.
	Name      string
	Algorithm Algorithm
	// Limit is how many units a window admits, or how many may be held at one time.
	// 0 refuses everything.
	Limit int64
	// Window is the time that Limit is for. 0 for Concurrency and with Period.
	Window time.Duration
	// Period makes a FixedWindow one of the calendar.
	Period Period
	// Location is where a Period starts; nil is UTC.
	Location *time.Location
	// Burst is how many units TokenBucket and GCRA admit at once. 0 is Limit for
	// TokenBucket and 1 for GCRA.
	Burst int64
	// Observe makes the rule count what it would refuse instead of refusing it.
	// A request that it would refuse takes none of its units.
	Observe bool
}

// Same reports whether both rules count alike, so that the counts of one are those
// of the other. Observe may differ.
func (r Rule) Same(o Rule) bool {
	return r.Name == o.Name && r.Algorithm == o.Algorithm && r.Limit == o.Limit && r.Window == o.Window &&
		r.Period == o.Period && zone(r.Location) == zone(o.Location) && r.Burst == o.Burst
}

func zone(l *time.Location) string {
	if l == nil {
		return time.UTC.String()
	}
	return l.String()
}

// Validate returns every problem of the rule, joined, or nil.
func (r Rule) Validate() error {
	var problems []error
	complain := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("rule %q: "+format, append([]any{r.Name}, args...)...))
	}
	if !slices.Contains(Algorithms(), r.Algorithm) {
		names := make([]string, 0, len(Algorithms()))
		for _, a := range Algorithms() {
			names = append(names, string(a))
		}
		complain("unknown algorithm %q, want one of %s", r.Algorithm, strings.Join(names, ", "))
		return errors.Join(problems...)
	}
	if r.Limit < 0 || r.Limit > MaxLimit {
		complain("limit must be 0 to %d", int64(MaxLimit))
	}
	if r.Algorithm == SlidingLog && r.Limit > MaxLog {
		complain("limit of sliding_log must be at most %d: use sliding_window", MaxLog)
	}
	if r.Algorithm == Concurrency && r.Limit > MaxConcurrency {
		complain("limit of concurrency must be at most %d", MaxConcurrency)
	}
	if r.Burst < 0 || r.Burst > MaxLimit {
		complain("burst must be 0 to %d", int64(MaxLimit))
	}
	if bucket := r.Algorithm == TokenBucket || r.Algorithm == GCRA; !bucket && r.Burst != 0 {
		complain("burst is for token_bucket and gcra")
	} else if _, err := newRate(r); bucket && err != nil {
		complain("%w", err)
	}
	r.validateWindow(complain)
	return errors.Join(problems...)
}

func (r Rule) validateWindow(complain func(format string, args ...any)) {
	switch {
	case r.Algorithm == Concurrency:
		if r.Window != 0 || r.Period != "" {
			complain("concurrency has no window")
		}
	case r.Period != "":
		if r.Algorithm != FixedWindow {
			complain("period is for fixed_window")
		}
		if r.Period != Day && r.Period != Month {
			complain("unknown period %q, want day or month", r.Period)
		}
		if r.Window != 0 {
			complain("window and period exclude each other")
		}
	case r.Window <= 0:
		complain("window must be positive")
	}
}

// burst is Burst with its default.
func (r Rule) burst() int64 {
	if r.Algorithm == GCRA {
		return cmp.Or(r.Burst, 1)
	}
	return cmp.Or(r.Burst, r.Limit)
}

// rate is Limit/Window without a fraction: a unit is worth unit parts, of which
// fill flow back per tick. All sums are exact, so that no drift adds up.
type rate struct {
	tick     int64 // ns
	fill     int64 // parts per tick
	unit     int64 // parts
	capacity int64 // parts of a full bucket
}

// maxParts bounds a full bucket, so that a debt of as much again fits too.
const maxParts = 1 << 61

// newRate makes the tick as short as the range of int64 allows: nearly always
// 1 ns, and more only if limit and window hardly have a divisor in common.
func newRate(r Rule) (rate, error) {
	if r.Limit <= 0 || r.Window <= 0 {
		return rate{tick: 1, unit: 1}, nil
	}
	for tick, window := int64(1), int64(r.Window); ; tick, window = tick*10, window/10 {
		d := gcd(r.Limit, window)
		unit := window / d
		if high, parts := bits.Mul64(uint64(r.burst()), uint64(unit)); high == 0 && parts <= maxParts {
			return rate{tick: tick, fill: r.Limit / d, unit: unit, capacity: int64(parts)}, nil
		}
		if window%10 != 0 {
			return rate{}, fmt.Errorf("%d units per %v with bursts of %d are too many to count exactly: choose a rounder limit or window", r.Limit, r.Window, r.burst())
		}
	}
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
