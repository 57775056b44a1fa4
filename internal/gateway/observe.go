package gateway

import (
	"slices"

	"github.com/salgue441/velocity/balancer/breaker"
	"github.com/salgue441/velocity/balancer/discovery"
	"github.com/salgue441/velocity/balancer/health"
	"github.com/salgue441/velocity/balancer/health/outlier"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/upstream"
)

// endpointState is what metrics show of an endpoint.
func (g *Gateway) endpointState(e *upstream.Endpoint) telemetry.EndpointState {
	open, _ := e.Connections()
	s := telemetry.EndpointState{
		Up: e.Live.Available(), Ejected: e.Live.Ejected(), Weight: e.Live.Weight(), Connections: open,
		Latency: e.Live.Latency(g.proxy.Now()),
	}
	s.Breaker, s.BreakerOpened = g.breakerState(e.Breaker.Load())
	return s
}

func (g *Gateway) breakerState(b *breaker.Breaker) (telemetry.BreakerState, uint64) {
	if b == nil {
		return telemetry.BreakerNone, 0
	}
	s := b.Status(g.proxy.Now())
	switch s.State {
	case breaker.Open:
		return telemetry.BreakerOpen, s.Opened
	case breaker.HalfOpen:
		return telemetry.BreakerHalfOpen, s.Opened
	}
	return telemetry.BreakerClosed, s.Opened
}

// upstreamState is what metrics show of an upstream.
func (g *Gateway) upstreamState(u *upstream.Upstream) telemetry.UpstreamState {
	state := u.State()
	s := telemetry.UpstreamState{Panicking: state.Panicking(), Waiting: u.Waiting(), InFlight: state.InFlight()}
	if a := u.Adaptive(); a != nil {
		status := a.Status()
		s.Limit, s.LimitRejected = status.Limit, status.Rejected
	}
	s.Breaker, s.BreakerOpened = g.breakerState(u.Breaker.Load())
	if g.outliers.Status(u.Name()) != nil {
		counters := g.outliers.Counters(u.Name())
		for c := range outlier.Causes {
			if c != outlier.NoCause {
				s.Ejections = append(s.Ejections, telemetry.Ejections{
					Cause: c.String(), Enforced: counters.Ejected[c], Observed: counters.Detected[c] - counters.Ejected[c],
				})
			}
		}
	}
	if r := g.running.Load(); r != nil {
		at := slices.IndexFunc(r.plan.upstreams, func(p plannedUpstream) bool { return p.upstream == u })
		if at >= 0 {
			s.Discovery = g.discoveryState(r.plan.upstreams[at].watch)
		}
	}
	return s
}

// discoveryState is what metrics show of an upstream's discovery, nil without one.
func (g *Gateway) discoveryState(w *discovery.Watch) *telemetry.DiscoveryState {
	if w == nil {
		return nil
	}
	s := w.Status()
	g.changedMu.Lock()
	failures := g.sourceFailures[s.Source]
	g.changedMu.Unlock()
	return &telemetry.DiscoveryState{Targets: s.Targets, Updated: s.Updated, Failures: failures, Stale: s.Stale}
}

// probed counts a health check.
func (g *Gateway) probed(r health.Result) {
	g.registry.Endpoint(r.Upstream, r.Target.URL).Probed(r.Err == nil)
}
