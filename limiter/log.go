package limiter

// A log's cell is a ring of the times at which units were taken, oldest first:
// level of them, from index at.

func (r *counter) advanceLog(c *cell, log []int64, now int64) {
	for c.level > 0 && now-log[c.at] >= r.window {
		c.level--
		if c.at++; c.at == int64(len(log)) {
			c.at = 0
		}
	}
}

// newest is the index of the youngest time in a log that is not empty.
func (r *counter) newest(c *cell, size int) int { return r.index(c, c.level-1, size) }

// index is where the nth oldest time lies.
func (r *counter) index(c *cell, nth int64, size int) int {
	if nth += c.at; nth >= int64(size) {
		nth -= int64(size)
	}
	return int(nth)
}

// chargeLog notes n units. A log holds no more than its limit: of a debt only the
// youngest units are remembered. Times never decrease along the ring.
func (r *counter) chargeLog(c *cell, log []int64, now, n int64) {
	if len(log) == 0 {
		return
	}
	if c.level > 0 {
		now = max(now, log[r.newest(c, len(log))])
	}
	for range min(n, int64(len(log))) {
		if c.level == int64(len(log)) {
			c.at = int64(r.index(c, 1, len(log)))
			c.level--
		}
		c.level++
		log[r.newest(c, len(log))] = now
	}
}

// refundLog removes up to n units that were taken at the given time.
func (r *counter) refundLog(c *cell, log []int64, since, n int64) {
	kept := int64(0)
	for i := range c.level {
		t := log[r.index(c, i, len(log))]
		if t == since && n > 0 {
			n--
			continue
		}
		log[r.index(c, kept, len(log))] = t
		kept++
	}
	c.level = kept
}

// logRetryAt is when enough of the oldest units have left the window.
func (r *counter) logRetryAt(c *cell, log []int64, n int64) int64 {
	return log[r.index(c, c.level-(r.limit-n)-1, len(log))] + r.window
}
