package balancer

import "sync/atomic"

// MaxWeight is the largest weight of an endpoint; larger ones are lowered to it.
const MaxWeight = 1<<16 - 1

// An endpoint's weight and flags share one word, so that a pick needs one load
// to know whether and how much an endpoint may be used.
const (
	flagUp       = 1 << 16
	flagDraining = 1 << 17
	maskWeight   = MaxWeight
)

// Endpoint is the live numbers of one endpoint. It lives across reloads and is
// shared by every picker that lists it. All methods are safe for concurrent use.
// Make one with NewEndpoint; an Endpoint must not be copied.
//
// What every pick reads and what every request writes lie in cache lines of
// their own, and no two endpoints share one.
type Endpoint struct {
	state    atomic.Uint64
	_        [56]byte
	inFlight atomic.Int64
	_        [56]byte
}

// NewEndpoint returns an endpoint of the given weight that is up or down. An
// endpoint whose health is checked starts down, any other one up.
func NewEndpoint(weight int, up bool) *Endpoint {
	e := new(Endpoint)
	e.SetWeight(weight)
	e.SetUp(up)
	return e
}

// Weight is the endpoint's share relative to the others of its list.
func (e *Endpoint) Weight() int { return int(e.state.Load() & maskWeight) }

// SetWeight changes the weight, limited to 0 to MaxWeight. An endpoint of
// weight 0 is never picked, whatever else is unavailable.
func (e *Endpoint) SetWeight(weight int) {
	w := uint64(min(max(weight, 0), MaxWeight))
	for {
		old := e.state.Load()
		if e.state.CompareAndSwap(old, old&^maskWeight|w) {
			return
		}
	}
}

// Begin counts a request that was given to the endpoint; End must follow.
func (e *Endpoint) Begin() { e.inFlight.Add(1) }

// End counts a request that the endpoint is done with.
func (e *Endpoint) End() { e.inFlight.Add(-1) }

// InFlight is the number of requests between Begin and End.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// Up reports whether health checks allow the endpoint traffic.
func (e *Endpoint) Up() bool { return e.state.Load()&flagUp != 0 }

// SetUp records what health checks found.
func (e *Endpoint) SetUp(up bool) {
	if up {
		e.state.Or(flagUp)
	} else {
		e.state.And(^uint64(flagUp))
	}
}

// Draining reports whether the endpoint has been told to drain.
func (e *Endpoint) Draining() bool { return e.state.Load()&flagDraining != 0 }

// Drain keeps new requests away for good; those in flight go on.
func (e *Endpoint) Drain() { e.state.Or(flagDraining) }

// Available reports whether the endpoint is up and not draining.
func (e *Endpoint) Available() bool { return e.state.Load()&(flagUp|flagDraining) == flagUp }

// share is the weight that a pick may count on: 0 if the endpoint must not be picked.
func (e *Endpoint) share() uint64 { return shareOf(e.state.Load()) }

func shareOf(state uint64) uint64 {
	if state&(flagUp|flagDraining) != flagUp {
		return 0
	}
	return state & maskWeight
}
