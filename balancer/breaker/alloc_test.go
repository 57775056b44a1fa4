//go:build !race

package breaker

import (
	"testing"
	"time"
)

func TestBreakerAllocatesNothing(t *testing.T) {
	settings := Settings{ErrorRatio: 50, LatencyLimit: time.Second, OpenFor: time.Second, Ramp: time.Second}
	b := New(settings, func(State, State) {})
	now := int64(0)
	life := func(outcome Outcome, latency time.Duration) func() {
		return func() {
			now += int64(10 * time.Millisecond)
			p, _ := b.Allow(now)
			b.Record(now, p, outcome, latency)
		}
	}
	for name, do := range map[string]func(){
		"success": life(Success, 0),
		"ignored": life(Ignored, 0),
		"failure": life(Failure, 0), // opens, half-opens and opens again
		"slow":    life(Success, time.Minute),
		"queries": func() { b.State(now); b.Poll(now); b.RetryAt() },
		"operator": func() {
			b.Trip(now, time.Second)
			b.Reset(now)
		},
	} {
		if allocs := testing.AllocsPerRun(10_000, do); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
	if b.Status(now).Opened < 10 {
		t.Error("the breaker hardly opened")
	}
}

func TestLimitAllocatesNothing(t *testing.T) {
	l := NewLimit(LimitSettings{MeasureInterval: time.Second})
	now := int64(0)
	allocs := testing.AllocsPerRun(100_000, func() {
		now += int64(time.Millisecond)
		if l.Acquire() {
			l.Release(now, 500*time.Microsecond, Success)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if l.Status().Measured < 10 {
		t.Error("the limit hardly measured")
	}
}
