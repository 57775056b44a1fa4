package gateway

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/balancer/health"
	"github.com/salgue441/velocity/proxy/upstream"
)

// override is what the operator has decided about an endpoint while the process
// runs. It is kept by address and not with the endpoint: settings of its
// connections that change make another endpoint, which must not begin to serve
// because of that.
type override struct {
	mode       balancer.Mode
	weight     *int // nil for the configured one
	configured int  // when weight was set; it ends when this changes
}

// overrideKey is a target of an upstream.
type overrideKey struct{ upstream, target string }

// override applies what was decided about an endpoint whose configured weight is
// given. The gateway's lock is held.
func (l *living) override(key overrideKey, e *balancer.Endpoint, configured int) {
	o, ok := l.overrides[key]
	if ok && o.weight != nil && o.configured != configured {
		o.weight = nil
		l.overrides[key] = o
	}
	weight := configured
	if o.weight != nil {
		weight = *o.weight
	}
	e.SetWeight(weight)
	e.SetMode(o.mode)
}

// forget drops what was decided about endpoints that the plan does not have.
func (l *living) forget(p *plan) {
	kept := make(map[overrideKey]override, len(l.overrides))
	for key := range p.endpoints {
		k := overrideKey{key.upstream, key.target}
		if o, ok := l.overrides[k]; ok {
			kept[k] = o
		}
	}
	l.overrides = kept
}

// find returns a planned upstream and the index of an endpoint in it.
func (p *plan) find(upstream, endpoint string) (*plannedUpstream, int, error) {
	u, err := p.findUpstream(upstream)
	if err != nil {
		return nil, 0, err
	}
	i, err := admin.FindEndpoint(targetsOf(u.upstream.State()), endpoint)
	if err != nil {
		return nil, 0, err
	}
	return u, i, nil
}

func (p *plan) findUpstream(name string) (*plannedUpstream, error) {
	names := make([]string, len(p.upstreams))
	for i := range p.upstreams {
		u := &p.upstreams[i]
		if names[i] = u.upstream.Name(); names[i] == name {
			return u, nil
		}
	}
	return nil, &admin.NotFound{Kind: "upstream", Name: name, Known: names}
}

func targetsOf(s *upstream.State) []string {
	targets := make([]string, len(s.Endpoints))
	for i, e := range s.Endpoints {
		targets[i] = e.Target
	}
	return targets
}

// SetEndpoint implements admin.Runtime.
func (g *Gateway) SetEndpoint(upstream, endpoint string, change admin.EndpointChange) (before, after admin.Endpoint, err error) {
	g.applying.Lock() // a reload sets weights too
	defer g.applying.Unlock()
	r := g.running.Load()
	u, i, err := r.plan.find(upstream, endpoint)
	if err != nil {
		return before, after, err
	}
	before = g.upstreamView(r, u).Endpoints[i]
	e := u.upstream.State().Endpoints[i]
	key := overrideKey{upstream, e.Target}
	o := g.living.overrides[key]
	switch change.Mode {
	case admin.ModeEnabled:
		o.mode = balancer.Enabled
	case admin.ModeDrained:
		o.mode = balancer.Drained
	case admin.ModeDisabled:
		o.mode = balancer.Disabled
	}
	switch {
	case change.ResetWeight:
		o.weight = nil
	case change.Weight != nil:
		o.weight, o.configured = change.Weight, u.weights[i]
	}
	g.living.overrides[key] = o
	g.living.override(key, e.Live, u.weights[i])
	g.checker.Wake(upstream, e.Live)
	return before, g.upstreamView(r, u).Endpoints[i], nil
}

// ResetEndpoint implements admin.Runtime. Endpoints have neither ejections nor
// breakers that it could end.
func (g *Gateway) ResetEndpoint(upstream, endpoint string) (before, after admin.Endpoint, err error) {
	r := g.running.Load()
	u, i, err := r.plan.find(upstream, endpoint)
	if err != nil {
		return before, after, err
	}
	v := g.upstreamView(r, u).Endpoints[i]
	return v, v, nil
}

// SetBreaker implements admin.Runtime. No upstream has a breaker.
func (g *Gateway) SetBreaker(upstream string, _ admin.BreakerChange) (before, after admin.CircuitBreaker, err error) {
	if _, err = g.running.Load().plan.findUpstream(upstream); err == nil {
		err = admin.ErrNoBreaker
	}
	return before, after, err
}

// Upstreams implements admin.Runtime.
func (g *Gateway) Upstreams() []admin.Upstream {
	r := g.running.Load()
	out := make([]admin.Upstream, len(r.plan.upstreams))
	for i := range r.plan.upstreams {
		out[i] = g.upstreamView(r, &r.plan.upstreams[i])
	}
	return out
}

func (g *Gateway) upstreamView(r *running, u *plannedUpstream) admin.Upstream {
	state := u.upstream.State()
	v := admin.Upstream{
		Name: u.upstream.Name(), Algorithm: state.Algorithm, Panic: state.Panicking(), InFlight: state.InFlight(),
		Queue:     admin.Queue{Waiting: u.upstream.Waiting(), Size: u.limits.QueueSize, MaxInFlight: u.limits.MaxInFlight},
		Endpoints: make([]admin.Endpoint, len(state.Endpoints)),
	}
	checks := g.checker.Status(v.Name)
	ids := admin.EndpointIDs(targetsOf(state))
	for i, e := range state.Endpoints {
		v.Endpoints[i] = endpointView(e, r.since[e], checks)
		v.Endpoints[i].ID, v.Endpoints[i].ConfiguredWeight = ids[i], u.weights[i]
	}
	return v
}

func endpointView(e *upstream.Endpoint, since time.Time, checks []health.Status) admin.Endpoint {
	open, idle := e.Connections()
	v := admin.Endpoint{
		URL: e.Target, Mode: e.Live.Mode().String(), State: stateOf(e.Live), Weight: e.Live.Weight(),
		Up: e.Live.Up(), Since: since, Draining: e.Live.Retired() || e.Live.Mode() != balancer.Enabled,
		InFlight: e.Live.InFlight(), Connections: admin.Connections{Open: open, Idle: idle},
	}
	if ramp := e.Live.Ramp(); ramp < balancer.FullRamp {
		v.RampPercent = max(1, 100*ramp/balancer.FullRamp)
	}
	for _, c := range checks {
		if c.URL != e.Target {
			continue
		}
		v.Since = c.Since
		if !c.Up {
			v.Cause = c.Cause
		}
		if !c.Probed.IsZero() {
			v.Probe = &admin.Probe{
				At: c.Probed, LatencyMS: milliseconds(c.Latency), Error: c.Cause, Succeeded: c.Succeeded, Failed: c.Failed,
			}
		}
	}
	return v
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// stateOf is what a request meets at an endpoint, in a word.
func stateOf(e *balancer.Endpoint) string {
	switch mode := e.Mode(); {
	case e.Retired():
		return admin.StateRetired
	case mode == balancer.Disabled:
		return admin.StateDisabled
	case mode == balancer.Drained || e.Weight() == 0:
		return admin.StateDrained
	case !e.Up():
		return admin.StateDown
	case e.Ejected():
		return admin.StateEjected
	case e.Broken():
		return admin.StateBroken
	case e.Ramp() < balancer.FullRamp:
		return admin.StateWarming
	}
	return admin.StateUp
}

// Dependencies implements admin.Runtime.
func (g *Gateway) Dependencies() []admin.Dependency {
	r := g.running.Load()
	var out []admin.Dependency
	for i := range r.plan.upstreams {
		v := g.upstreamView(r, &r.plan.upstreams[i])
		out = append(out, admin.Dependency{
			Kind: admin.KindUpstream, Name: v.Name, State: upstreamHealth(&v),
			Required: slices.Contains(r.plan.config.Server.ReadyRequires, "upstream:"+v.Name),
			Details:  map[string]any{"endpoints": len(v.Endpoints), "endpoints_up": countUp(&v), "in_flight": v.InFlight},
		})
		for j := range v.Endpoints {
			out = append(out, endpointDependency(v.Name, &v.Endpoints[j]))
		}
	}
	return out
}

// notReady says which of the required upstreams has nothing available.
func (g *Gateway) notReady(r *running) []string {
	reasons := []string{}
	for _, requirement := range r.plan.config.Server.ReadyRequires {
		name, isUpstream := strings.CutPrefix(requirement, "upstream:")
		if !isUpstream {
			continue
		}
		u, err := r.plan.findUpstream(name)
		if err != nil {
			continue // the configuration is checked for it
		}
		if !slices.ContainsFunc(u.upstream.State().Endpoints, func(e *upstream.Endpoint) bool { return e.Live.Available() }) {
			reasons = append(reasons, requirement+" has no available endpoint")
		}
	}
	return reasons
}

// serves reports whether an endpoint takes requests.
func serves(e *admin.Endpoint) bool { return e.State == admin.StateUp || e.State == admin.StateWarming }

func countUp(v *admin.Upstream) int {
	n := 0
	for i := range v.Endpoints {
		if serves(&v.Endpoints[i]) {
			n++
		}
	}
	return n
}

// upstreamHealth leaves out what the operator has taken out of service.
func upstreamHealth(v *admin.Upstream) string {
	up, wanted := countUp(v), 0
	for i := range v.Endpoints {
		switch v.Endpoints[i].State {
		case admin.StateDrained, admin.StateDisabled, admin.StateRetired:
		default:
			wanted++
		}
	}
	switch {
	case up == 0:
		return admin.DependencyDown
	case up < wanted:
		return admin.DependencyDegraded
	}
	return admin.DependencyUp
}

func endpointDependency(upstream string, e *admin.Endpoint) admin.Dependency {
	d := admin.Dependency{
		Kind: admin.KindEndpoint, Name: upstream + "/" + e.ID, State: admin.DependencyUp, Since: &e.Since, Error: e.Cause,
		Details: map[string]any{"state": e.State, "in_flight": e.InFlight},
	}
	if e.Probe != nil {
		d.Details["probe_latency_ms"] = e.Probe.LatencyMS
		d.Error = cmp.Or(d.Error, e.Probe.Error)
	}
	switch e.State {
	case admin.StateWarming, admin.StateBroken, admin.StateEjected:
		d.State = admin.DependencyDegraded
	case admin.StateDisabled:
		d.State = admin.DependencyUnknown // it is not probed
		return d
	}
	if !e.Up {
		d.State = admin.DependencyDown
	}
	return d
}
