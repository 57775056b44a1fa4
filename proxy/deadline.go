package proxy

import (
	"strconv"
	"strings"
	"time"

	"github.com/salgue441/velocity/proxy/syntax"
)

// maxClientTimeout is the longest time limit that a client can ask for; more
// is taken for no wish at all.
const maxClientTimeout = 24 * time.Hour

// Rate is the least speed at which a peer must move a message while it is
// waited for: Bytes in every Window of waiting. Zero asks for nothing. Pauses
// of the other side do not count.
type Rate struct {
	Bytes  int64
	Window time.Duration
}

// pace is how a peer does in the current window.
type pace struct {
	moved  int64
	waited time.Duration
}

// left is how much longer the window may take. It is at least a nanosecond.
func (p *pace) left(r Rate) time.Duration { return max(r.Window-p.waited, 1) }

// add notes bytes and the wait for them, and begins a new window once the
// current one has its bytes.
func (p *pace) add(r Rate, n int64, waited time.Duration) {
	p.moved += n
	p.waited += waited
	if p.moved >= r.Bytes {
		*p = pace{}
	}
}

// forBytes is how long n bytes may take at once: what they take at the rate,
// and a window at the least.
func (r Rate) forBytes(n int) time.Duration {
	return max(r.Window, time.Duration(float64(r.Window)*float64(n)/float64(r.Bytes)))
}

// readDeadline sets the request's time limit: the route's, or what the client
// asks for in the route's deadline field if that is shorter.
func (x *Exchange) readDeadline() bool {
	x.timeout = x.Route.Timeout
	if x.Route.DeadlineField == "" {
		return true
	}
	value, ok := x.fields.Header(x.Route.DeadlineField)
	if !ok {
		return true
	}
	d, inSeconds, ok := parseTimeout(value)
	if !ok {
		return true
	}
	x.asked, x.askedSeconds = true, inSeconds
	if d == 0 {
		return x.refuse(ErrDeadline)
	}
	if x.timeout == 0 || d < x.timeout {
		x.timeout = d
	}
	return true
}

// parseTimeout reads a number of seconds, such as 2 or 0.5, or a duration such
// as 500ms.
func parseTimeout(value []byte) (d time.Duration, inSeconds, ok bool) {
	if len(value) == 0 || len(value) > 32 {
		return 0, false, false
	}
	text := stringOf(syntax.TrimSpace(value))
	if strings.Trim(text, "0123456789.") == "" { // not all that ParseFloat takes
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds >= 0 && seconds <= maxClientTimeout.Seconds()) {
			return 0, false, false
		}
		return time.Duration(seconds * float64(time.Second)), true, true
	}
	d, err := time.ParseDuration(text)
	return d, false, err == nil && d >= 0 && d <= maxClientTimeout
}

// passDeadline tells the endpoint what is left of a time limit that the client
// has asked for, in the client's unit.
func (x *Exchange) passDeadline(left time.Duration) {
	if !x.asked {
		return
	}
	start := len(x.arena)
	left = left.Truncate(time.Millisecond)
	if x.askedSeconds {
		x.arena = strconv.AppendFloat(x.arena, left.Seconds(), 'f', 3, 64)
	} else {
		x.arena = append(strconv.AppendInt(x.arena, left.Milliseconds(), 10), "ms"...)
	}
	x.fields.Set(x.Route.DeadlineField, x.arena[start:])
}
