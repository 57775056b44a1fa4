package limiter

import "math/bits"

// A window's cell holds the start of its window. Windows only ever move forward.

// elapsed is the time since the start of the cell's window, below 0 if the clock
// went backward.
func (r *counter) elapsed(start, now int64) int64 { return now + r.base.Load() - start }

// same reports whether a moment lies in the window of the given start, or, for a
// clock that went backward, before it.
func (r *counter) same(start, now int64) bool {
	e := r.elapsed(start, now)
	return e >= 0 && e < r.window
}

// startOf is the start of the window that a moment lies in.
func (r *counter) startOf(now int64) int64 {
	t := now + r.base.Load()
	if rest := t % r.window; rest >= 0 {
		return t - rest
	}
	return t - t%r.window - r.window
}

// windowEnd is when the cell's window ends.
func (r *counter) windowEnd(c *cell) int64 { return c.at + r.window - r.base.Load() }

func (r *counter) advanceFixed(c *cell, now int64) {
	if r.elapsed(c.at, now) >= r.window {
		c.at, c.level, c.spent = r.startOf(now), 0, 0
	}
}

func (r *counter) advanceSliding(c *cell, now int64) {
	e := r.elapsed(c.at, now)
	switch {
	case e < r.window:
	case e-r.window < r.window:
		// What has not been told of the previous window is told with the next.
		c.spent = min(c.spent, c.level)
		c.at, c.prev, c.level = c.at+r.window, c.level, 0
	default:
		c.at, c.prev, c.level, c.spent = r.startOf(now), 0, 0, 0
	}
}

// carried is what the previous window still weighs, rounded up.
func (r *counter) carried(c *cell, now int64) int64 {
	if c.prev <= 0 {
		return 0
	}
	rest := r.window - min(max(r.elapsed(c.at, now), 0), r.window)
	return scaleUp(c.prev, rest, r.window)
}

// scaleUp is n·part/whole, rounded up; part is at most whole.
func scaleUp(n, part, whole int64) int64 {
	high, low := bits.Mul64(uint64(n), uint64(part))
	quotient, rest := bits.Div64(high, low, uint64(whole))
	if rest != 0 {
		quotient++
	}
	return int64(quotient)
}

// scaleDown is n·part/whole, rounded down; n is at most whole.
func scaleDown(n, part, whole int64) int64 {
	high, low := bits.Mul64(uint64(n), uint64(part))
	quotient, _ := bits.Div64(high, low, uint64(whole))
	return int64(quotient)
}

// slidingRetryAt is when the previous window weighs little enough, or else this
// one, once it is the previous.
func (r *counter) slidingRetryAt(c *cell, n int64) int64 {
	if spare := r.limit - n - c.level; spare >= 0 && c.prev > spare {
		return r.windowEnd(c) - scaleDown(spare, r.window, c.prev)
	}
	spare := r.limit - n
	if c.level <= spare {
		return r.windowEnd(c)
	}
	return r.windowEnd(c) + r.window - scaleDown(spare, r.window, c.level)
}

func (r *counter) slidingResetAt(c *cell) int64 {
	if c.level > 0 {
		return r.windowEnd(c) + r.window
	}
	return r.windowEnd(c)
}

func (r *counter) refundSliding(c *cell, since, n, price int64) {
	switch {
	case r.same(c.at, since):
		r.giveBack(c, n, price)
	case r.same(c.at-r.window, since):
		c.prev = max(0, c.prev-price)
	}
}
