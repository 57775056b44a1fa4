package outlier

import (
	"sync/atomic"

	"github.com/salgue441/velocity/balancer"
)

// Result is how a request to an endpoint ended.
type Result uint8

// The results of a request. An answer that says that the client is at fault is a
// success, and so is one that the client did not wait for: neither blames the
// endpoint. Who knows nothing about the endpoint observes nothing.
const (
	// Success is an answer below 500.
	Success Result = iota
	// ServerError is a 5xx answer but 502, 503 and 504.
	ServerError
	// GatewayError is an answer of 502, 503 or 504.
	GatewayError
	// LocalError is no answer: the connection could not be made or was reset, or
	// time ran out.
	LocalError
)

// ResultOf returns the result of a request that was answered with a status code.
func ResultOf(status int) Result {
	switch {
	case status < 500 || status > 599:
		return Success
	case 502 <= status && status <= 504:
		return GatewayError
	}
	return ServerError
}

// Passive is what requests tell about one endpoint. It is made together with the
// endpoint, kept beside it and lives exactly as long, whether a Detector watches
// it or not: a reload that switches detection on or off changes no pointer. In its
// life it knows one Detector. A nil *Passive observes nothing. Make one with
// NewPassive; it must not be copied.
type Passive struct {
	endpoint *balancer.Endpoint
	limits   atomic.Pointer[limits]
	watch    watch // the detector's, under its lock
	_        [64]byte

	// What requests write, at least a cache line away from the rest. The first
	// three only grow: the detector takes differences.
	successes    atomic.Uint64
	serverErrors atomic.Uint64 // gateway errors included
	localErrors  atomic.Uint64
	row5xx       atomic.Uint32
	rowGateway   atomic.Uint32
	rowLocal     atomic.Uint32
	tripped      atomic.Uint32 // causes for the detector to look at, as bits
	next         *Passive      // in the detector's stack, while tripped is not 0
	_            [64]byte
}

// NewPassive returns the observations of an endpoint. Nobody watches them until a
// Detector is told to.
func NewPassive(endpoint *balancer.Endpoint) *Passive {
	return &Passive{endpoint: endpoint}
}

// Endpoint is the endpoint that p is about.
func (p *Passive) Endpoint() *balancer.Endpoint { return p.endpoint }

// Observe counts how one request ended. It is safe for concurrent use, takes no
// lock, waits for nothing and allocates nothing.
func (p *Passive) Observe(result Result) {
	if p == nil {
		return
	}
	l := p.limits.Load()
	if l == nil {
		return
	}
	if result == Success {
		p.successes.Add(1)
		p.resetRows()
		return
	}
	p.failed(l, result)
}

// resetRows ends the rows of failures. It writes only what changes: most requests
// succeed after a success.
func (p *Passive) resetRows() {
	reset(&p.row5xx)
	reset(&p.rowGateway)
	reset(&p.rowLocal)
}

func reset(row *atomic.Uint32) {
	if row.Load() != 0 {
		row.Store(0)
	}
}

func (p *Passive) failed(l *limits, result Result) {
	var causes uint32
	switch {
	case result == LocalError && l.split:
		p.localErrors.Add(1)
		causes = count(&p.rowLocal, l.unanswered, ConsecutiveLocal)
	case result == ServerError:
		p.serverErrors.Add(1)
		reset(&p.rowGateway)
		causes = count(&p.row5xx, l.any5xx, Consecutive5xx)
		reset(&p.rowLocal)
	default:
		if result == LocalError {
			p.localErrors.Add(1)
		} else {
			p.serverErrors.Add(1)
			reset(&p.rowLocal)
		}
		causes = count(&p.rowGateway, l.gateway, ConsecutiveGateway) | count(&p.row5xx, l.any5xx, Consecutive5xx)
	}
	// Who finds it clear is the one that hands p over.
	if causes != 0 && p.tripped.Or(causes) == 0 {
		l.detector.push(p)
	}
}

// count counts one more failure in a row and returns the cause's bit at the limit.
func count(row *atomic.Uint32, limit uint32, cause Cause) uint32 {
	if row.Add(1) < limit {
		return 0
	}
	return 1 << cause
}
