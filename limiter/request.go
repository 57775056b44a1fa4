package limiter

import (
	"math"
	"time"
)

// Key names whose tokens a request takes: 128 bits of a hash over whatever the
// caller limits by. The zero Key is the whole route: one bucket for all requests,
// spread over the cores. Two keys share a bucket only if all 128 bits collide:
// among a million live keys the odds are 1.5e-27. The hash must be even, and keyed
// by a secret where clients choose what is hashed.
type Key struct{ Hi, Lo uint64 }

// Instant is one reading of both clocks. The limiter never reads a clock itself.
type Instant struct {
	// Mono is monotonic time in ns since any moment before the limiter was made,
	// the same for all requests. Below 0 counts as 0. All algorithms but
	// calendar quotas go by it alone, so that no step of the wall clock opens a
	// window twice.
	Mono int64
	// Wall is Unix time in ns. Only calendar quotas and New look at it.
	Wall int64
}

// InstantOf is the reading t, with monotonic time counted from origin. Both have
// to come from time.Now.
func InstantOf(t, origin time.Time) Instant {
	return Instant{Mono: int64(t.Sub(origin)), Wall: t.UnixNano()}
}

// Request is what is asked of a limiter. It is written by Allow and read by Charge
// and Release, which therefore want the same Request. The limiter keeps no
// reference to it.
type Request struct {
	Key Key
	// Cost is how many units the request takes of every rule. 0 takes none and is
	// allowed while at least one is left: for requests whose cost is charged
	// later. Below 0 counts as 0.
	Cost int64
	// At is when the request came.
	At Instant
	// Shard spreads the work on one hot key: any number that seldom is the same on
	// two cores, such as the connection's. Only speed depends on it.
	Shard uint32
	// Label is what TopRefused shows for the key, cut at MaxLabel bytes. It is
	// copied when needed, so it may point into a request's buffer.
	Label []byte

	origin origin
	spared set // observing rules that took nothing
}

// origin is where a request's units came from, and so where they go back to.
type origin uint8

const (
	fromKey      origin = iota
	fromOverflow        // the bucket that all keys share which found the table full
	fromNowhere         // let through unlimited
)

// Never is the time until something that waiting does not bring.
const Never time.Duration = math.MaxInt64

// Decision is what came of a request.
type Decision struct {
	// Allowed is also what Allow returns.
	Allowed bool
	// Overflow says that the table was full and the key was not looked at: see Full.
	Overflow bool
	// Rule is the index of the rule that the other fields are about: the one that
	// refused and makes wait longest, or else the one with the fewest units left.
	// It is -1 if no rule was looked at.
	Rule int
	// Limit is the most units that can be had at once.
	Limit int64
	// Remaining is how many units are left, and below 0 how many are owed. For the
	// zero Key it may be too low: it leaves out what other shards hold, and what came
	// back since a shard last had to ask.
	Remaining int64
	// Reset is the time until Remaining is Limit again if nothing more is taken.
	// It is 0 for Concurrency.
	Reset time.Duration
	// RetryAfter is 0 if allowed, else the time after which the same request
	// would be allowed if nothing else were taken meanwhile, exact for every
	// algorithm. It is Never if the cost is above the limit, and 0 if only the
	// end of another request helps.
	RetryAfter time.Duration
}
