package balancer

import "sync/atomic"

// MaxWeight is the largest weight of an endpoint; larger ones are lowered to it.
const MaxWeight = 1<<16 - 1

// FullRamp is the ramp of an endpoint that takes its whole share.
const FullRamp = 1 << 8

// An endpoint's weight, ramp and flags share one word, so that a pick needs one
// load to know whether and how much an endpoint may be used.
const (
	maskWeight = MaxWeight
	shiftRamp  = 16
	maskRamp   = (1<<9 - 1) << shiftRamp

	flagUp       = 1 << 32 // active health checks
	flagEjected  = 1 << 33 // passive outlier detection
	flagBroken   = 1 << 34 // the endpoint's circuit breaker is open
	flagDrained  = 1 << 35 // by the operator
	flagDisabled = 1 << 36 // by the operator
	flagRetired  = 1 << 37 // no longer configured

	maskFlags = flagUp | flagEjected | flagBroken | flagDrained | flagDisabled | flagRetired
	// maskHealth is what is found out from outside and may be wrong.
	maskHealth = flagUp | flagEjected
)

// Mode is what the operator has decided about an endpoint, whatever its health.
type Mode uint8

// The modes of an endpoint.
const (
	// Enabled leaves the endpoint to its health.
	Enabled Mode = iota
	// Drained gives it no new requests but those of clients that a sticky cookie
	// binds to it. Health checks go on.
	Drained
	// Disabled gives it none at all.
	Disabled
)

// String returns enabled, drained or disabled.
func (m Mode) String() string {
	switch m {
	case Drained:
		return "drained"
	case Disabled:
		return "disabled"
	}
	return "enabled"
}

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
	latency  latency // beside inFlight, as who compares one compares the other
	_        [48]byte
}

// NewEndpoint returns an endpoint of the given weight and full ramp that is up
// or down. An endpoint whose health is checked starts down, any other one up.
func NewEndpoint(weight int, up bool) *Endpoint {
	e := new(Endpoint)
	e.SetWeight(weight)
	e.SetRamp(FullRamp)
	e.SetUp(up)
	return e
}

// Weight is the endpoint's share relative to the others of its list.
func (e *Endpoint) Weight() int { return int(e.state.Load() & maskWeight) }

// SetWeight changes the weight, limited to 0 to MaxWeight. An endpoint of
// weight 0 is never picked, whatever else is unavailable.
func (e *Endpoint) SetWeight(weight int) {
	e.change(maskWeight, uint64(min(max(weight, 0), MaxWeight)))
}

// Ramp is the part of its weight that counts at present, in 1/FullRamp.
func (e *Endpoint) Ramp() int { return int(e.state.Load() & maskRamp >> shiftRamp) }

// SetRamp makes only a part of the weight count, limited to 1 to FullRamp: an
// endpoint that is warming up takes less than its share. No positive weight
// becomes 0 by it.
func (e *Endpoint) SetRamp(ramp int) {
	e.change(maskRamp, uint64(min(max(ramp, 1), FullRamp))<<shiftRamp)
}

// change replaces the bits of the mask.
func (e *Endpoint) change(mask, bits uint64) {
	for {
		old := e.state.Load()
		if e.state.CompareAndSwap(old, old&^mask|bits) {
			return
		}
	}
}

func (e *Endpoint) set(flag uint64, on bool) {
	if on {
		e.state.Or(flag)
	} else {
		e.state.And(^flag)
	}
}

func (e *Endpoint) has(flag uint64) bool { return e.state.Load()&flag != 0 }

// Begin counts a request that was given to the endpoint; End must follow.
func (e *Endpoint) Begin() { e.inFlight.Add(1) }

// End counts a request that the endpoint is done with.
func (e *Endpoint) End() { e.inFlight.Add(-1) }

// InFlight is the number of requests between Begin and End.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// Up reports whether health checks allow the endpoint traffic.
func (e *Endpoint) Up() bool { return e.has(flagUp) }

// SetUp records what health checks found.
func (e *Endpoint) SetUp(up bool) { e.set(flagUp, up) }

// Ejected reports whether outlier detection keeps traffic away.
func (e *Endpoint) Ejected() bool { return e.has(flagEjected) }

// SetEjected records what outlier detection decided.
func (e *Endpoint) SetEjected(ejected bool) { e.set(flagEjected, ejected) }

// Broken reports whether the endpoint's circuit breaker is open.
func (e *Endpoint) Broken() bool { return e.has(flagBroken) }

// SetBroken records whether the endpoint's circuit breaker is open.
func (e *Endpoint) SetBroken(broken bool) { e.set(flagBroken, broken) }

// Mode is what the operator has decided.
func (e *Endpoint) Mode() Mode {
	switch state := e.state.Load(); {
	case state&flagDisabled != 0:
		return Disabled
	case state&flagDrained != 0:
		return Drained
	}
	return Enabled
}

// SetMode records what the operator has decided.
func (e *Endpoint) SetMode(m Mode) {
	var flag uint64
	switch m {
	case Drained:
		flag = flagDrained
	case Disabled:
		flag = flagDisabled
	}
	e.change(flagDrained|flagDisabled, flag)
}

// Retired reports whether the endpoint is no longer configured.
func (e *Endpoint) Retired() bool { return e.has(flagRetired) }

// Retire keeps new requests away for good; those in flight go on.
func (e *Endpoint) Retire() { e.set(flagRetired, true) }

// Available reports whether nothing but its weight keeps requests away.
func (e *Endpoint) Available() bool { return e.state.Load()&maskFlags == flagUp }

// Keeps reports whether the endpoint may go on serving clients that are bound to
// it, by a sticky cookie say: nothing but its weight or the operator's draining
// keeps requests away.
func (e *Endpoint) Keeps() bool { return e.state.Load()&maskFlags&^flagDrained == flagUp }

// shareOf is the weight that a pick may count on, in 1/FullRamp so that the ramp
// shows in a weight of 1 too: 0 if the endpoint must not be picked. Only the
// flags that matter are looked at: all of maskFlags, or in a panic those that are
// not of maskHealth.
func shareOf(state, matters uint64) uint64 {
	if (state^flagUp)&matters != 0 {
		return 0
	}
	return (state & maskWeight) * (state & maskRamp >> shiftRamp)
}
