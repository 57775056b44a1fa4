package proxy

import (
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/upstream"
)

// observeReply tells the balancer how long the endpoint took to answer. A status
// that says that the endpoint cannot serve counts as a failure: those come
// quickly, and would draw traffic by it.
func (x *Exchange) observeReply(took time.Duration, now time.Time) {
	x.pick.Now = x.server.nanos(now)
	switch x.reply.Status {
	case fasthttp.StatusBadGateway, fasthttp.StatusServiceUnavailable, fasthttp.StatusGatewayTimeout:
		x.endpoint.Live.ObserveFailure(took, x.pick.Now)
	default:
		x.endpoint.Live.Observe(took, x.pick.Now)
	}
}

// observeFailure tells the balancer of an attempt that brought no reply. Who was
// waited for in vain takes at least that long to answer. What ended sooner is
// held against the endpoint, but not that it had closed an idle connection, nor
// that the gateway had used up those it may open.
func observeFailure(ep *upstream.Endpoint, e *Error, failure telemetry.FailureKind, waited time.Duration, now int64) {
	switch {
	case failure == noFailure, failure == telemetry.FailureOverflow, e == ErrStale:
	case failure == telemetry.FailureTimeout:
		ep.Live.Observe(waited, now)
	default:
		ep.Live.ObserveFailure(waited, now)
	}
}
