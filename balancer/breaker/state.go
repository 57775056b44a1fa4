package breaker

// State is what a breaker does with requests.
type State uint8

// The states of a breaker.
const (
	// Closed lets every request through.
	Closed State = iota
	// Open lets none through.
	Open
	// HalfOpen lets some through to find out about the others.
	HalfOpen
)

// String returns closed, open or half_open.
func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case HalfOpen:
		return "half_open"
	}
	return "closed"
}

// Outcome is how a request ended.
type Outcome uint8

// The outcomes of a request.
const (
	// Success is an answer that the endpoint is not to be blamed for.
	Success Outcome = iota
	// Failure is an answer, or the lack of one, that the endpoint is blamed for.
	Failure
	// Ignored says nothing about the endpoint: the client went away, or the request
	// was not sent after all. It counts nowhere; a probe's place is free again.
	Ignored
)

// Permit is what Allow gave a request, for Record. The zero value is no permit,
// and to record it does nothing.
type Permit uint64

// A breaker's phase and generation share one word, which a permit is a copy of.
// The generation changes with every phase whose requests must be told from those
// before.
const (
	phaseBits = 2
	phaseMask = 1<<phaseBits - 1

	firstGeneration = 1 << phaseBits
)

// phase is a State in which half-open is two.
type phase uint8

const (
	closed phase = iota
	open
	probing
	ramping
)

func (p phase) state() State {
	switch p {
	case open:
		return Open
	case probing, ramping:
		return HalfOpen
	}
	return Closed
}

func phaseOf(word uint64) phase { return phase(word & phaseMask) }

func generationOf(word uint64) uint64 { return word >> phaseBits }
