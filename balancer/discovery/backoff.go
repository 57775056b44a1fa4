package discovery

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is how long to wait after failures: Min doubled with each up to Max, of
// which a random half is taken off, so that gateways that failed together do not
// come back together.
type Backoff struct {
	Min, Max time.Duration
	failures int
}

// Next counts a failure and returns how long to wait, between half and the whole
// of the present step.
func (b *Backoff) Next() time.Duration {
	step := b.Max
	if shifted := b.Min << b.failures; b.failures < 32 && shifted > 0 && shifted < b.Max {
		step = shifted
		b.failures++
	}
	return step/2 + rand.N(step/2+1)
}

// Reset forgets the failures.
func (b *Backoff) Reset() { b.failures = 0 }

// Wait waits for d and reports whether ctx has not ended by then.
func Wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
