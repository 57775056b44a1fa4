package limiter

import (
	"math"
	"sync/atomic"
	"time"
)

// cell is what one rule remembers about one key. The zero cell is that of a key
// which has never been seen. Whoever uses a cell holds the lock that guards it.
type cell struct {
	level int64 // what is taken: parts of a bucket, units of anything else
	at    int64 // bucket: tick of level; window: its start; log: ring index of the oldest
	prev  int64 // sliding window: units of the window before
	spent int64 // as level, what was taken here and has not been told: see exchange.go
}

// maxLevel bounds what can be owed, so that no sum of levels overflows.
const maxLevel = 1 << 62

// never is the monotonic time of what does not come.
const never = math.MaxInt64

// kind is a rule's algorithm with what tells its cells apart.
type kind uint8

const (
	kindBucket kind = iota
	kindSliding
	kindLog
	kindFixed
	kindCalendar
	kindConcurrency
)

// counter is a compiled rule: the arithmetic over cells. Times are monotonic unless
// named otherwise. A clock that goes backward stands still.
type counter struct {
	rate
	kind     kind
	observe  bool
	slack    bool          // see hot
	limit    int64         // most units at once
	window   int64         // ns
	base     *atomic.Int64 // to be added to monotonic time so that windows start on Unix time
	calendar *calendar
	logFrom  int // this rule's part of an entry's log
	logTo    int
}

func newCounter(r Rule, base *atomic.Int64) (counter, error) {
	c := counter{observe: r.Observe, limit: r.Limit, window: int64(r.Window), base: base}
	var err error
	switch r.Algorithm {
	case TokenBucket, GCRA:
		c.kind = kindBucket
		if r.Limit > 0 {
			c.limit = r.burst()
		}
		c.slack = float64(r.Limit) >= slackRate*r.Window.Seconds()
		c.rate, err = newRate(r)
	case SlidingWindow:
		c.kind = kindSliding
	case SlidingLog:
		c.kind = kindLog
	case Concurrency:
		c.kind = kindConcurrency
	case FixedWindow:
		c.kind = kindFixed
		if r.Period != "" {
			c.kind, c.calendar = kindCalendar, newCalendar(r.Period, r.Location)
		}
	}
	return c, err
}

// advance brings the cell to the present. A bucket does not sink below floor.
func (r *counter) advance(c *cell, log []int64, at Instant, floor int64) {
	switch r.kind {
	case kindBucket:
		r.advanceBucket(c, at.Mono, floor)
	case kindSliding:
		r.advanceSliding(c, at.Mono)
	case kindLog:
		r.advanceLog(c, log, at.Mono)
	case kindFixed:
		r.advanceFixed(c, at.Mono)
	case kindCalendar:
		r.advanceCalendar(c, at.Wall)
	case kindConcurrency:
	}
}

// available is how many units are left in a cell that has been advanced, below 0 if
// some are owed.
func (r *counter) available(c *cell, at Instant) int64 {
	switch {
	case r.limit == 0:
		return 0
	case r.kind == kindBucket:
		return r.bucketAvailable(c)
	case r.kind == kindSliding:
		return r.limit - c.level - r.carried(c, at.Mono)
	}
	return r.limit - c.level
}

// charge takes n units, 0 or more, whether they are left or not, at their price.
func (r *counter) charge(c *cell, log []int64, at Instant, n, price int64) {
	if r.limit == 0 {
		return // nothing is ever left, so there is nothing to count
	}
	switch r.kind {
	case kindBucket:
		c.level = add(c.level, r.parts(price))
		c.spent = add(c.spent, r.parts(n))
	case kindLog:
		r.chargeLog(c, log, at.Mono, price)
	default:
		c.level = add(c.level, price)
		c.spent = add(c.spent, n)
	}
}

// giveBack undoes a charge of n units of which nothing has come back yet.
func (r *counter) giveBack(c *cell, n, price int64) {
	c.level = max(0, c.level-r.parts(price))
	c.spent = max(-maxLevel, c.spent-r.parts(n))
}

// refund undoes a charge of n units that was made at the moment since, as far as
// they have not come back by themselves: what flowed into a bucket meanwhile would
// otherwise be there twice, and a window that has ended owes nothing.
func (r *counter) refund(c *cell, log []int64, since, at Instant, n, price int64) {
	switch r.kind {
	case kindBucket:
		flowed := r.filled(since.Mono, at.Mono)
		c.level = max(0, c.level-max(0, r.parts(price)-flowed))
		c.spent = max(-maxLevel, c.spent-max(0, r.parts(n)-flowed))
	case kindSliding:
		r.refundSliding(c, since.Mono, n, price)
	case kindLog:
		r.refundLog(c, log, since.Mono, price)
	case kindFixed:
		if r.same(c.at, since.Mono) {
			r.giveBack(c, n, price)
		}
	case kindCalendar:
		if since.Wall >= c.at {
			r.giveBack(c, n, price)
		}
	case kindConcurrency:
		r.giveBack(c, n, price)
	}
}

// retryAt is the monotonic time at which n units are left, never if that does not
// come, and the present if it cannot be known. n is at least 1, and more than
// what is left.
func (r *counter) retryAt(c *cell, log []int64, at Instant, n int64) int64 {
	if n > r.limit {
		return never
	}
	switch r.kind {
	case kindBucket:
		return r.drainedAt(c, r.capacity-n*r.unit)
	case kindSliding:
		return r.slidingRetryAt(c, n)
	case kindLog:
		return r.logRetryAt(c, log, n)
	case kindFixed:
		return r.windowEnd(c)
	case kindCalendar:
		return r.calendarEnd(at)
	}
	return at.Mono
}

// resetAt is the monotonic time at which nothing in the cell counts any more.
// An idle cell's has passed.
func (r *counter) resetAt(c *cell, log []int64, at Instant) int64 {
	if c.level <= 0 && c.prev <= 0 {
		return at.Mono
	}
	switch r.kind {
	case kindBucket:
		return r.drainedAt(c, 0)
	case kindSliding:
		return r.slidingResetAt(c)
	case kindLog:
		return log[r.newest(c, len(log))] + r.window
	case kindFixed:
		return r.windowEnd(c)
	case kindCalendar:
		return r.calendarEnd(at)
	}
	return never // held units have no end of their own
}

// until is the time from now to a monotonic time, and Never to never.
func until(now, when int64) time.Duration {
	if when == never {
		return Never
	}
	return time.Duration(max(0, when-now))
}

// add is a sum that stops at maxLevel.
func add(level, n int64) int64 {
	if n > maxLevel-level {
		return maxLevel
	}
	return level + n
}
