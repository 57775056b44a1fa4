package gateway

import (
	"go.uber.org/zap"

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/balancer/breaker"
	"github.com/salgue441/velocity/balancer/health"
	"github.com/salgue441/velocity/balancer/health/outlier"
	"github.com/salgue441/velocity/proxy/upstream"
)

// observeHealth points the health checker at an upstream's endpoints. Those that
// stay keep their state and schedule.
func (g *Gateway) observeHealth(u *plannedUpstream) {
	if u.probe == nil {
		g.checker.Remove(u.upstream.Name())
		return
	}
	targets := make([]health.Target, len(u.state.Endpoints))
	for i, e := range u.state.Endpoints {
		targets[i] = health.Target{URL: e.Target, Endpoint: e.Live, TLS: e.TLSConfig(), Preface: e.ProbePreface()}
	}
	g.checker.Set(u.upstream.Name(), *u.probe, targets)
}

// install puts an upstream's new state and settings in place: nothing of it can
// fail. warm tells that others serve already, so that what is new begins slowly.
func (g *Gateway) install(u *plannedUpstream, warm bool) {
	name := u.upstream.Name()
	g.slowStarts.Store(name, u.slowStart)
	g.living.discovered[name] = u.found
	targets := make([]outlier.Target, len(u.state.Endpoints))
	for i, e := range u.state.Endpoints {
		g.living.override(overrideKey{name, e.Target}, e.Live, u.members[i].Weight)
		if u.probe == nil {
			e.Live.SetUp(true) // it may have had a check before
		}
		if _, lives := g.living.endpoints[u.keys[i]]; !lives && warm && u.probe == nil {
			g.ramps.Start(e.Live, u.slowStart)
		}
		g.setServerBreaker(name, e, u.serverBreaker)
		targets[i] = outlier.Target{URL: e.Target, Passive: e.Passive}
	}
	g.setUpstreamBreaker(u)
	limits := u.limits
	if limits.Adaptive = u.upstream.Adaptive(); u.adaptive == nil {
		limits.Adaptive = nil
	} else if limits.Adaptive == nil {
		limits.Adaptive = breaker.NewLimit(*u.adaptive)
	} else {
		limits.Adaptive.Set(*u.adaptive)
	}
	u.upstream.Set(u.state)
	u.upstream.SetLimits(limits)
	if u.outliers == nil {
		g.outliers.Remove(name)
	} else {
		g.outliers.Set(name, *u.outliers, targets)
	}
}

// setServerBreaker gives an endpoint a circuit breaker, new settings for the one
// that it has, or none.
func (g *Gateway) setServerBreaker(name string, e *upstream.Endpoint, s *breaker.Settings) {
	b := e.Breaker.Load()
	switch {
	case s == nil:
		g.dropServerBreaker(e)
	case b != nil:
		b.Set(*s)
	default:
		b = breaker.New(*s, func(from, to breaker.State) {
			e.Live.SetBroken(to == breaker.Open)
			g.breakerChanged(name, e.Target, e.Breaker.Load(), from, to)
		})
		e.Breaker.Store(b)
		g.breakers.Add(b)
	}
}

func (g *Gateway) dropServerBreaker(e *upstream.Endpoint) {
	if b := e.Breaker.Swap(nil); b != nil {
		g.breakers.Remove(b)
		e.Live.SetBroken(false)
	}
}

func (g *Gateway) setUpstreamBreaker(u *plannedUpstream) {
	b := u.upstream.Breaker.Load()
	switch {
	case u.breaker == nil:
		g.dropUpstreamBreaker(u.upstream)
	case b != nil:
		b.Set(*u.breaker)
	default:
		b = breaker.New(*u.breaker, func(from, to breaker.State) {
			g.breakerChanged(u.upstream.Name(), "", u.upstream.Breaker.Load(), from, to)
		})
		u.upstream.Breaker.Store(b)
		g.breakers.Add(b)
	}
}

func (g *Gateway) dropUpstreamBreaker(u *upstream.Upstream) {
	if b := u.Breaker.Swap(nil); b != nil {
		g.breakers.Remove(b)
	}
}

// breakerChanged logs a change of a circuit breaker, the endpoint's or, without
// one, the upstream's.
func (g *Gateway) breakerChanged(name, endpoint string, b *breaker.Breaker, from, to breaker.State) {
	if b == nil {
		return // it is just being taken away
	}
	fields := []zap.Field{zap.String("upstream", name), zap.Stringer("from", from), zap.Stringer("to", to)}
	if endpoint != "" {
		fields = append(fields, zap.String("endpoint", endpoint))
	}
	if to == breaker.Open {
		g.log.Warn("circuit breaker opened", append(fields, zap.String("cause", b.Status(g.proxy.Now()).Cause))...)
		return
	}
	g.log.Info("circuit breaker changed", fields...)
}

// healthChanged logs what the checker found, and warms up who comes back.
func (g *Gateway) healthChanged(e health.Event) {
	fields := []zap.Field{zap.String("upstream", e.Upstream), zap.String("endpoint", e.Target.URL)}
	if e.Up {
		g.warmUp(e.Upstream, e.Target.Endpoint)
		g.log.Info("endpoint is up", fields...)
	} else {
		g.ramps.Stop(e.Target.Endpoint)
		g.log.Warn("endpoint is down", append(fields, zap.String("cause", e.Cause))...)
	}
}

// warmUp begins an endpoint's slow start, if its upstream has one.
func (g *Gateway) warmUp(name string, e *balancer.Endpoint) {
	if s, ok := g.slowStarts.Load(name); ok {
		g.ramps.Start(e, s.(balancer.SlowStart))
	}
}

func (g *Gateway) ejected(e outlier.Ejection) {
	fields := []zap.Field{
		zap.String("upstream", e.Upstream), zap.String("endpoint", e.URL), zap.Stringer("cause", e.Cause), zap.String("detail", e.Detail),
		zap.Time("until", e.Until), zap.Int("times", e.Times),
	}
	if e.Enforced {
		g.log.Warn("endpoint is ejected", fields...)
	} else {
		g.log.Info("endpoint would be ejected", fields...)
	}
}

func (g *Gateway) returned(r outlier.Return) {
	if !r.Enforced {
		return
	}
	g.warmUp(r.Upstream, r.Endpoint)
	g.log.Info("endpoint is no longer ejected",
		zap.String("upstream", r.Upstream), zap.String("endpoint", r.URL), zap.Stringer("reason", r.Reason))
}
