package proxy

import (
	"time"

	"github.com/salgue441/velocity/balancer/breaker"
	"github.com/salgue441/velocity/balancer/health/outlier"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/upstream"
)

// trial is one attempt as those see it that judge endpoints: the balancer by
// latency, outlier detection and the endpoint's circuit breaker. Each begin that
// is granted is followed by one of answered, failed and dropped.
type trial struct {
	endpoint *upstream.Endpoint
	breaker  *breaker.Breaker // nil for none
	permit   breaker.Permit
}

// begin asks the circuit breaker. now is that of the server.
func (t *trial) begin(ep *upstream.Endpoint, now int64) bool {
	*t = trial{endpoint: ep, breaker: ep.Breaker.Load()}
	if t.breaker == nil {
		return true
	}
	var ok bool
	t.permit, ok = t.breaker.Allow(now)
	return ok
}

// answered is the end of a trial with a reply. A status that says that the
// endpoint cannot serve counts as a failure to the balancer: those come quickly,
// and would draw traffic by it.
func (t *trial) answered(status int, took time.Duration, now int64) {
	result := outlier.ResultOf(status)
	t.endpoint.Passive.Observe(result)
	if result == outlier.GatewayError {
		t.endpoint.Live.ObserveFailure(took, now)
	} else {
		t.endpoint.Live.Observe(took, now)
	}
	if result == outlier.Success {
		t.record(breaker.Success, took, now)
	} else {
		t.record(breaker.Failure, took, now)
	}
}

// failed is the end of a trial that brought no reply. What is not the endpoint's
// fault is none of its failures: that it had closed an idle connection, or that
// the gateway had used up those it may open. Who was waited for in vain takes at
// least that long to answer.
func (t *trial) failed(e *Error, failure telemetry.FailureKind, waited time.Duration, now int64) {
	if failure == noFailure || failure == telemetry.FailureOverflow || e == ErrStale {
		t.dropped(now)
		return
	}
	if failure == telemetry.FailureTimeout {
		t.endpoint.Live.Observe(waited, now)
	} else {
		t.endpoint.Live.ObserveFailure(waited, now)
	}
	t.endpoint.Passive.Observe(outlier.LocalError)
	t.record(breaker.Failure, waited, now)
}

// dropped is the end of a trial that says nothing about the endpoint.
func (t *trial) dropped(now int64) { t.record(breaker.Ignored, 0, now) }

func (t *trial) record(outcome breaker.Outcome, took time.Duration, now int64) {
	if t.breaker != nil {
		t.breaker.Record(now, t.permit, outcome, took)
	}
	*t = trial{}
}
