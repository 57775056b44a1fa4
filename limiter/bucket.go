package limiter

import "math/bits"

// A bucket's cell holds what has been taken and has not flowed back, in parts: 0 is
// a full bucket, capacity an empty one, and more is a debt. at + level/fill is GCRA's
// theoretical arrival time.

func (r *counter) advanceBucket(c *cell, now, floor int64) {
	tick := r.ticks(now)
	if c.level > floor {
		if tick <= c.at {
			return
		}
		high, drained := bits.Mul64(uint64(tick-c.at), uint64(r.fill))
		if c.at = tick; high == 0 && drained < uint64(c.level-floor) {
			c.level -= int64(drained)
			return
		}
		c.level = floor
	}
	// It is full. Whatever is taken now begins to flow back at the next whole tick.
	if r.tick != 1 && tick*r.tick < now {
		tick++
	}
	c.at = max(c.at, tick)
}

func (r *counter) ticks(now int64) int64 {
	if r.tick != 1 {
		return now / r.tick
	}
	return now
}

// bucketAvailable is the whole units left, rounded down.
func (r *counter) bucketAvailable(c *cell) int64 {
	left := r.capacity - c.level
	if left < 0 {
		return -((r.unit - 1 - left) / r.unit)
	}
	return left / r.unit
}

// parts of n units, or of as many as can be owed.
func (r *counter) parts(n int64) int64 {
	if r.kind != kindBucket {
		return n
	}
	high, parts := bits.Mul64(uint64(n), uint64(r.unit))
	if high != 0 || parts > maxLevel {
		return maxLevel
	}
	return int64(parts)
}

// filled is the parts that flow in from one time to another.
func (r *counter) filled(from, to int64) int64 {
	ticks := r.ticks(to) - r.ticks(from)
	if ticks <= 0 {
		return 0
	}
	high, parts := bits.Mul64(uint64(ticks), uint64(r.fill))
	if high != 0 || parts > maxLevel {
		return maxLevel
	}
	return int64(parts)
}

// drainedAt is when the level has sunk to what is given.
func (r *counter) drainedAt(c *cell, level int64) int64 {
	if c.level <= level {
		return c.at * r.tick
	}
	if r.fill == 0 {
		return never
	}
	ticks := c.at + (c.level-level-1)/r.fill + 1
	if high, ns := bits.Mul64(uint64(ticks), uint64(r.tick)); high == 0 && ns < never {
		return int64(ns)
	}
	return never
}
