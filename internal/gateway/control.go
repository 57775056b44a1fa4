package gateway

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/balancer/breaker"
	"github.com/salgue441/velocity/balancer/discovery"
	"github.com/salgue441/velocity/balancer/health"
	"github.com/salgue441/velocity/balancer/health/outlier"
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

// forget drops what was decided about endpoints that live no more.
func (l *living) forget() {
	if len(l.overrides) == 0 {
		return
	}
	kept := make(map[overrideKey]override, len(l.overrides))
	for key := range l.endpoints {
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
		o.weight, o.configured = change.Weight, u.members[i].Weight
	}
	g.living.overrides[key] = o
	g.living.override(key, e.Live, u.members[i].Weight)
	g.checker.Wake(upstream, e.Live)
	return before, g.upstreamView(r, u).Endpoints[i], nil
}

// ResetEndpoint implements admin.Runtime: it ends an ejection and closes the
// circuit breaker.
func (g *Gateway) ResetEndpoint(upstream, endpoint string) (before, after admin.Endpoint, err error) {
	r := g.running.Load()
	u, i, err := r.plan.find(upstream, endpoint)
	if err != nil {
		return before, after, err
	}
	before = g.upstreamView(r, u).Endpoints[i]
	e := u.upstream.State().Endpoints[i]
	g.outliers.Return(e.Passive)
	if b := e.Breaker.Load(); b != nil {
		b.Reset(g.proxy.Now())
	}
	return before, g.upstreamView(r, u).Endpoints[i], nil
}

// SetBreaker implements admin.Runtime.
func (g *Gateway) SetBreaker(upstream string, change admin.BreakerChange) (before, after admin.CircuitBreaker, err error) {
	u, err := g.running.Load().plan.findUpstream(upstream)
	if err != nil {
		return before, after, err
	}
	b := u.upstream.Breaker.Load()
	if b == nil {
		return before, after, admin.ErrNoBreaker
	}
	before = *g.breakerView(b)
	if change.Open {
		b.Trip(g.proxy.Now(), change.For)
	} else {
		b.Reset(g.proxy.Now())
	}
	return before, *g.breakerView(b), nil
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
		Queue:          admin.Queue{Waiting: u.upstream.Waiting(), Size: u.limits.QueueSize, MaxInFlight: u.limits.MaxInFlight},
		CircuitBreaker: g.breakerView(u.upstream.Breaker.Load()),
		Discovery:      g.discoveryView(u),
		Endpoints:      make([]admin.Endpoint, len(state.Endpoints)),
	}
	if a := u.upstream.Adaptive(); a != nil {
		s, settings := a.Status(), a.Settings()
		v.Concurrency = &admin.Concurrency{
			Limit: s.Limit, Min: settings.Min, Max: settings.Max, InFlight: s.InFlight, LatencyMS: milliseconds(s.Latency),
			BaseLatencyMS: milliseconds(s.Base), Measuring: s.Measuring, Rejected: s.Rejected,
		}
	}
	checks, ejections := statusesByURL(g.checker.Status(v.Name)), ejectionsByURL(g.outliers.Status(v.Name))
	ids := admin.EndpointIDs(targetsOf(state))
	for i, e := range state.Endpoints {
		x := &v.Endpoints[i]
		*x = g.endpointView(e, r.since[e], checks[e.Target])
		x.ID, x.ConfiguredWeight, x.Priority, x.Zone = ids[i], u.members[i].Weight, u.members[i].Priority, u.members[i].Zone
		if s, ok := ejections[e.Target]; ok && s.Ejected {
			x.Ejected = &admin.Ejection{
				Since: s.Since, Until: s.Until, Cause: s.Cause.String(), Detail: s.Detail, Times: s.Times, Enforced: s.Enforced,
			}
		}
	}
	return v
}

func statusesByURL(list []health.Status) map[string]health.Status {
	m := make(map[string]health.Status, len(list))
	for _, s := range list {
		m[s.URL] = s
	}
	return m
}

func ejectionsByURL(list []outlier.Status) map[string]outlier.Status {
	m := make(map[string]outlier.Status, len(list))
	for _, s := range list {
		m[s.URL] = s
	}
	return m
}

// endpointView is an endpoint as management shows it. The zero check is none.
func (g *Gateway) endpointView(e *upstream.Endpoint, since time.Time, check health.Status) admin.Endpoint {
	open, idle := e.Connections()
	v := admin.Endpoint{
		URL: e.Target, Mode: e.Live.Mode().String(), State: stateOf(e.Live), Weight: e.Live.Weight(),
		Up: e.Live.Up(), Since: since, Draining: e.Live.Retired() || e.Live.Mode() != balancer.Enabled,
		InFlight: e.Live.InFlight(), Connections: admin.Connections{Open: open, Idle: idle},
		LatencyMS: milliseconds(e.Live.Latency(g.proxy.Now())), CircuitBreaker: g.breakerView(e.Breaker.Load()),
	}
	if ramp := e.Live.Ramp(); ramp < balancer.FullRamp {
		v.RampPercent = max(1, 100*ramp/balancer.FullRamp)
	}
	if check.URL == "" {
		return v
	}
	v.Since = check.Since
	if !check.Up {
		v.Cause = check.Cause
	}
	if !check.Probed.IsZero() {
		v.Probe = &admin.Probe{
			At: check.Probed, LatencyMS: milliseconds(check.Latency), Error: check.Cause, Succeeded: check.Succeeded, Failed: check.Failed,
		}
	}
	return v
}

// breakerView is a circuit breaker as management shows it, nil for none.
func (g *Gateway) breakerView(b *breaker.Breaker) *admin.CircuitBreaker {
	if b == nil {
		return nil
	}
	now := g.proxy.Now()
	s := b.Status(now)
	return &admin.CircuitBreaker{
		State: s.State.String(), Since: wallTime(s.Since, now), RetryAt: wallTime(s.RetryAt, now), SharePercent: s.Share,
		Requests: s.Requests, Failed: s.Failed, Slow: s.Slow, Opened: s.Opened, Cause: s.Cause,
	}
}

// wallTime is the time of a moment of the monotonic clock, nil for none.
func wallTime(at, now int64) *time.Time {
	if at == 0 {
		return nil
	}
	t := time.Now().Add(time.Duration(at - now))
	return &t
}

// discoveryView is an upstream's discovery as management shows it, nil for none.
func (g *Gateway) discoveryView(u *plannedUpstream) *admin.Discovery {
	if u.watch == nil {
		return nil
	}
	s := u.watch.Status()
	v := &admin.Discovery{Type: discoveryType(u.config.Discovery), State: discoveryHealth(&s), Found: s.Targets}
	if !s.Updated.IsZero() {
		v.UpdatedAt = &s.Updated
	}
	if s.Err != nil {
		v.Error = s.Err.Error()
	}
	return v
}

func discoveryHealth(s *discovery.Status) string {
	switch {
	case s.Updated.IsZero() && s.Failed.IsZero():
		return admin.DependencyUnknown
	case s.Updated.IsZero():
		return admin.DependencyDown
	case s.Stale || s.Held:
		return admin.DependencyDegraded
	case s.Targets == 0:
		return admin.DependencyDown
	}
	return admin.DependencyUp
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
	if d, ok := g.storeDependency(); ok {
		out = append(out, d)
	}
	out = append(out, g.keyDependencies(r.plan)...)
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
		if d := v.Discovery; d != nil {
			out = append(out, admin.Dependency{
				Kind: admin.KindDiscovery, Name: v.Name, State: d.State, Error: d.Error,
				Required: slices.Contains(r.plan.config.Server.ReadyRequires, "discovery:"+v.Name),
				Details:  map[string]any{"type": d.Type, "found": d.Found},
			})
		}
	}
	return out
}

// isReady reports whether the gateway takes traffic and has what it requires.
func (g *Gateway) isReady() bool {
	r := g.running.Load()
	return g.ready.Load() && r != nil && len(g.notReady(r)) == 0
}

// notReady says what is missing of what server.ready_requires names.
func (g *Gateway) notReady(r *running) []string {
	reasons := []string{}
	for _, requirement := range r.plan.config.Server.ReadyRequires {
		kind, name, _ := strings.Cut(requirement, ":")
		u, err := r.plan.findUpstream(name)
		if err != nil {
			continue // the configuration is checked for it
		}
		switch {
		case kind == "discovery":
			if u.watch == nil || len(u.watch.Targets()) == 0 {
				reasons = append(reasons, requirement+" has found no server")
			}
		case !slices.ContainsFunc(u.upstream.State().Endpoints, func(e *upstream.Endpoint) bool { return e.Live.Available() }):
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
