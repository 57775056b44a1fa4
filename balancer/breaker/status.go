package breaker

import (
	"fmt"
	"time"
)

// Status is what there is to know about a breaker. Times are of the caller's clock.
type Status struct {
	State State
	// Since is when the state began, 0 for a breaker that was never open.
	Since int64
	// RetryAt is when an open breaker half-opens, 0 if it is not open or stays open
	// until Reset.
	RetryAt int64
	// Share is the part of requests that are let through, in percent. It is 0
	// while a half-open breaker waits for its probes.
	Share int
	// Requests, Failed and Slow are the counts in the window: of an open breaker,
	// what is left of those that opened it.
	Requests int
	Failed   int
	Slow     int
	// InARow is how many requests have failed since the last success.
	InARow int
	// Opened is how often the breaker has opened.
	Opened uint64
	// Cause is why it opened the last time, empty if it never has.
	Cause string
}

// State returns the state, after the changes that are due.
func (b *Breaker) State(now int64) State {
	b.Poll(now)
	return phaseOf(b.word.Load()).state()
}

// Status returns the breaker's numbers, after the changes that are due.
func (b *Breaker) Status(now int64) Status {
	b.Poll(now)
	b.mu.Lock()
	defer b.mu.Unlock()
	phase, due := phaseOf(b.word.Load()), b.due.Load()
	n := b.live.Load().window.sums(now)
	status := Status{
		State:    phase.state(),
		Since:    b.since,
		Requests: n.requests,
		Failed:   n.failed,
		Slow:     n.slow,
		InARow:   int(b.row.Load()),
		Opened:   b.opened,
		Cause:    b.cause.String(),
	}
	switch phase {
	case closed:
		status.Share = 100
	case open:
		status.RetryAt = finite(due)
	case ramping:
		status.Share = int(100 * b.share(now, due))
	}
	return status
}

// cause is why a breaker opened. It becomes text when somebody asks.
type cause struct {
	kind     causeKind
	sums     sums
	row      int
	window   time.Duration
	limit    time.Duration
	quantile float64
	latency  time.Duration
}

type causeKind uint8

const (
	noCause causeKind = iota
	tooManyInARow
	tooManyFailed
	tooManySlow
	probeFailed
	probeSlow
	tripped
)

func (c cause) String() string {
	switch c.kind {
	case tooManyInARow:
		return fmt.Sprintf("%d requests in a row failed", c.row)
	case tooManyFailed:
		return fmt.Sprintf("%d of %d requests in %v failed", c.sums.failed, c.sums.requests, c.window)
	case tooManySlow:
		return fmt.Sprintf("%d of %d requests in %v took longer than %v, which is more than %g %%",
			c.sums.slow, c.sums.requests, c.window, c.limit, 100-c.quantile)
	case probeFailed:
		return "a probe failed"
	case probeSlow:
		return fmt.Sprintf("a probe took %v, longer than %v", c.latency, c.limit)
	case tripped:
		return "opened by the operator"
	}
	return ""
}
