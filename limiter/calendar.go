package limiter

import (
	"math"
	"sync/atomic"
	"time"
)

// calendar knows the present day or month of a location. It is shared by all cells
// of a rule and moves only forward: a wall clock that steps backward stays in the
// window that it had reached, with what was taken in it, until it has caught up. A
// clock that is set too far forward ends a window early, once; set right again, it
// gets nothing more until the end of the window that it had jumped to. Monotonic
// time could not decide this: a clock that was wrong at start has to be followed.
type calendar struct {
	period   Period
	location *time.Location
	span     atomic.Pointer[span]
}

// span is a window in Unix time, in ns: start belongs to it, end does not.
type span struct{ start, end int64 }

func newCalendar(p Period, l *time.Location) *calendar {
	if l == nil {
		l = time.UTC
	}
	c := &calendar{period: p, location: l}
	c.span.Store(&span{start: math.MinInt64, end: math.MinInt64})
	return c
}

// at is the window at a moment, or a later one that has been reached before.
func (c *calendar) at(wall int64) *span {
	for {
		s := c.span.Load()
		if wall < s.end {
			return s
		}
		next := c.compute(wall)
		if c.span.CompareAndSwap(s, next) {
			return next
		}
	}
}

// compute looks at the date before and after the moment's own too, because where
// clocks are set back at midnight a moment may bear the date of one day and lie
// in the other.
func (c *calendar) compute(wall int64) *span {
	year, month, day := time.Unix(0, wall).In(c.location).Date()
	if c.period == Month {
		day = 1
	}
	for n := -1; ; n++ {
		start, end := c.start(year, month, day, n), c.start(year, month, day, n+1)
		if wall < end || n > 1 {
			return &span{start: start, end: end}
		}
	}
}

// start is the first moment of the nth period after that of the date.
func (c *calendar) start(year int, month time.Month, day, n int) int64 {
	if c.period == Month {
		month += time.Month(n)
	} else {
		day += n
	}
	want := time.Date(year, month, day, 12, 0, 0, 0, c.location).Day()
	t := time.Date(year, month, day, 0, 0, 0, 0, c.location)
	if t.Day() != want {
		// There is no midnight on a day whose clocks are set forward at midnight.
		_, t = t.ZoneBounds()
	}
	return t.UnixNano()
}

func (r *counter) advanceCalendar(c *cell, wall int64) {
	if s := r.calendar.at(wall); s.start > c.at {
		c.at, c.level, c.spent = s.start, 0, 0
	}
}

// calendarEnd is the monotonic time at which the present window ends if no clock is
// set meanwhile.
func (r *counter) calendarEnd(at Instant) int64 {
	return at.Mono + r.calendar.at(at.Wall).end - at.Wall
}
