package breaker

import (
	"fmt"
	"testing"
	"time"
)

// fate is what becomes of a request that asks a half-open breaker.
type fate uint8

const (
	succeeds fate = iota
	fails
	isSlow
	isIgnored
	isLost
	fates
)

// TestHalfOpenInterleavings: every order in which a few requests can ask and end,
// with every fate of each. Asking and ending take the breaker's lock while it
// probes, so that orders of whole steps are all there are.
func TestHalfOpenInterleavings(t *testing.T) {
	runs := 0
	for probes := 1; probes <= 3; probes++ {
		for requests := 1; requests <= 4; requests++ {
			for code := range power(int(fates), requests) {
				chosen := make([]fate, requests)
				for i := range chosen {
					chosen[i] = fate(code / power(int(fates), i) % int(fates))
				}
				interleave(make([]int, requests), nil, func(order []int) {
					runs++
					if err := halfOpenRun(probes, chosen, order); err != nil {
						t.Fatalf("%d probes, fates %v, order %v: %v", probes, chosen, order, err)
					}
				})
			}
		}
	}
	t.Logf("%d runs", runs)
}

func power(base, exponent int) int {
	n := 1
	for range exponent {
		n *= base
	}
	return n
}

// interleave calls run for every order in which each request takes its two steps.
// As every fate is tried for each, they may as well ask in the order of their
// numbers.
func interleave(taken, order []int, run func(order []int)) {
	ended := true
	for i := range taken {
		if taken[i] == 2 {
			continue
		}
		ended = false
		if i > 0 && taken[i-1] == 0 {
			break
		}
		taken[i]++
		interleave(taken, append(order, i), run)
		taken[i]--
	}
	if ended {
		run(order)
	}
}

func halfOpenRun(probes int, chosen []fate, order []int) error {
	const begun = int64(DefaultOpenFor)
	b := New(Settings{ConsecutiveFailures: 1, LatencyLimit: time.Second, Probes: probes, Jitter: -1}, nil)
	b.Trip(0, DefaultOpenFor)
	permits := make([]Permit, len(chosen))
	asked := make([]bool, len(chosen))
	underWay, succeeded, failed := 0, 0, false
	for _, i := range order {
		probing := !failed && succeeded < probes
		if !asked[i] {
			asked[i] = true
			var ok bool
			permits[i], ok = b.Allow(begun)
			want := probing && underWay+succeeded < probes
			if ok != want {
				return fmt.Errorf("request %d allowed: %v, with %d under way and %d succeeded", i, ok, underWay, succeeded)
			}
			if ok {
				underWay++
			}
			continue
		}
		if permits[i] == 0 || chosen[i] == isLost {
			continue
		}
		outcome, latency := Success, time.Duration(0)
		switch chosen[i] {
		case fails:
			outcome = Failure
		case isSlow:
			latency = time.Minute
		case isIgnored:
			outcome = Ignored
		}
		b.Record(begun, permits[i], outcome, latency)
		if probing {
			underWay--
			succeeded += btoi(chosen[i] == succeeds)
			failed = failed || chosen[i] == fails || chosen[i] == isSlow
		}
		if err := halfOpenState(b, begun, probes, succeeded, failed); err != nil {
			return err
		}
	}
	return halfOpenEnd(b, begun)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func halfOpenState(b *Breaker, now int64, probes, succeeded int, failed bool) error {
	want := probing
	switch {
	case failed:
		want = open
	case succeeded >= probes:
		want = ramping
	}
	if got := phaseOf(b.word.Load()); got != want {
		return fmt.Errorf("phase %v at %v, want %v", got, now, want)
	}
	return nil
}

// halfOpenEnd has all that is still under way lost: the breaker must come back
// nonetheless.
func halfOpenEnd(b *Breaker, now int64) error {
	now += int64(DefaultOpenFor + DefaultProbeTimeout)
	for range 2 { // one that was lost may be found so only when the others are through
		for range 5 {
			if p, ok := b.Allow(now); ok {
				b.Record(now, p, Success, 0)
			}
		}
		now += int64(DefaultProbeTimeout)
	}
	if state := b.State(now + int64(DefaultRamp)); state != Closed {
		return fmt.Errorf("%v at the end: %+v", state, b.Status(now))
	}
	return nil
}
