package proxy

// Slot is where in the line a phase runs. Slots are fixed and run in this
// order; within a slot, phases keep the order in which they were built.
type Slot uint8

// The slots.
const (
	Arrive   Slot = iota // before it is known who calls: CORS, address rules
	Identify             // authentication
	Admit                // limits and quotas
	Shape                // rewrites of the request
	Recall               // cache look-up
)

// String returns the slot's name as explain prints it.
func (s Slot) String() string {
	return [...]string{"arrive", "identify", "admit", "shape", "recall"}[s]
}

// Verdict is what a request phase decided.
type Verdict uint8

// The verdicts.
const (
	// Continue goes on with the line.
	Continue Verdict = iota
	// Respond ends the way in: the phase has filled the response, or set
	// Exchange.Err.
	Respond
)

// RequestPhase is a step on the way in. One value serves all requests of a
// route, so it must be safe for concurrent use, and it must not allocate.
type RequestPhase interface {
	Enter(x *Exchange) Verdict
}

// ResponsePhase is a step on the way out, over the response in x.Ctx. It also
// runs for answers that the gateway makes itself.
type ResponsePhase interface {
	Leave(x *Exchange)
}

// Phase is a part of a route's policy: what it does on the way in, on the way
// out, or both.
type Phase struct {
	Slot     Slot
	Name     string // for explain and the management API
	Request  RequestPhase
	Response ResponsePhase
}
