package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/salgue441/velocity/balancer/discovery"
	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy"
	"github.com/salgue441/velocity/proxy/upstream"
)

// These bound the wait for the first probes of new endpoints before a swap. A
// process that takes over has time: until it is ready the one before serves,
// with endpoints whose state it knows.
const (
	warmTime         = time.Second
	warmTimeTakeover = 10 * time.Second
)

// reloadTry is how the last attempt to load a configuration ended.
type reloadTry struct {
	at       time.Time
	err      error
	problems config.Problems
}

// Reload reads the configuration again and applies it. It reports whether
// anything changed. An error, config.Problems when the document is bad, leaves
// the running configuration in place. Calls are serialised; one that finds
// nothing new is cheap.
func (g *Gateway) Reload(ctx context.Context) (changed bool, err error) {
	g.applying.Lock()
	defer g.applying.Unlock()
	if g.draining.Load() {
		return false, errDraining
	}
	started := time.Now()
	defer func() {
		result := telemetry.ReloadApplied
		switch {
		case err != nil:
			result = telemetry.ReloadFailed
		case !changed:
			result = telemetry.ReloadUnchanged
		}
		g.metrics.Reloaded(result, time.Now())
	}()
	var c *config.Config
	err = aside(func() (err error) {
		c, err = config.Load(g.options.ConfigPath, g.options.Env)
		return err
	})
	if err != nil {
		g.failReload(err)
		return false, err
	}
	// Watched before it is applied, which takes time and may fail.
	g.watchFiles(c)
	if running := g.running.Load(); running != nil && running.plan.config.Hash() == c.Hash() {
		g.noteReload(nil, nil)
		return false, nil
	}
	if err := g.apply(ctx, c); err != nil {
		g.failReload(err)
		return false, err
	}
	g.log.Info("configuration applied",
		zap.String("hash", c.Hash()), zap.Int("routes", len(c.Routes)), zap.Duration("took", time.Since(started)))
	return true, nil
}

var errDraining = errors.New("reload configuration: the gateway is stopping")

func (g *Gateway) failReload(err error) {
	var problems config.Problems
	errors.As(err, &problems)
	if r := g.running.Load(); r != nil && r.plan.config.Server.Watch {
		for _, p := range problems {
			g.watch.add(p.File) // its author is about to mend it
		}
	}
	g.noteReload(err, problems)
	g.log.Error("configuration refused, the running one stays", zap.Error(err))
}

func (g *Gateway) noteReload(err error, problems config.Problems) {
	g.lastReload.Store(&reloadTry{at: time.Now(), err: err, problems: problems})
}

// apply builds, warms and swaps. Nothing before the swap changes what runs,
// and nothing after it can fail.
func (g *Gateway) apply(ctx context.Context, c *config.Config) (err error) {
	defer func() {
		if err != nil {
			g.retainMetrics() // forget handles of what will not run
		}
	}()
	limit := warmTime
	if g.running.Load() == nil && g.takeover != nil {
		limit = warmTimeTakeover
	}
	watches := g.discover(ctx, c, limit)
	defer func() {
		if err != nil {
			closeWatches(watches)
		}
	}()
	living := g.living
	living.watches, living.now = watches, g.proxy.Instant(time.Now())
	var p *plan
	err = aside(func() (err error) {
		p, err = build(c, living, g.registry)
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			closeVerifiers(p.verifiers, g.living.verifiers)
		}
	}()
	sockets, err := g.planSockets(c)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			sockets.abandon()
		}
	}()
	store, err := g.planStore(c.Database.Redis)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && store != g.living.store {
			g.closeStore(store)
		}
	}()
	next := &running{plan: p, at: time.Now(), revision: 1, since: make(map[*upstream.Endpoint]time.Time, len(p.endpoints))}
	for _, e := range p.endpoints {
		next.since[e] = next.at
	}
	before := g.running.Load()
	if before != nil {
		next.revision = before.revision + 1
		for e, since := range before.since {
			if _, stays := next.since[e]; stays {
				next.since[e] = since
			}
		}
	}
	handler, exposed, err := g.adminHandlers(c)
	if err != nil {
		return err
	}
	p.snapshot.Local = local(c, g.isReady, exposed)
	// Last of what can fail, since it opens a file.
	if err := g.openAccessLog(c, before, next); err != nil {
		return err
	}

	for i := range p.upstreams {
		g.observeHealth(&p.upstreams[i])
	}
	g.warmVerifiers(ctx, p, limit)
	warmed, cancel := context.WithTimeout(ctx, limit)
	if err := g.checker.Round(warmed); err != nil && ctx.Err() == nil {
		g.log.Warn("not every new endpoint was probed before the swap", zap.Duration("waited", limit))
	}
	cancel()

	for i := range p.upstreams {
		g.install(&p.upstreams[i], before != nil)
	}
	if err := g.shareLimits(p, store); err != nil {
		g.log.Error("BUG: limits are not shared", zap.Error(err))
	}
	g.proxy.Swap(p.snapshot)
	g.adoptStore(store)
	g.adminServing.Store(&handler)
	g.running.Store(next)

	g.retire(p, watches)
	g.retainMetrics()
	g.metrics.SetConfig(c.Hash())
	if err := g.level.UnmarshalText([]byte(c.Observability.Log.Level)); err != nil {
		return fmt.Errorf("BUG: validated log level: %w", err)
	}
	if before != nil && before.accessLog != next.accessLog {
		g.retireAccessLog(before.accessLog)
	}
	g.door.setLimit(c.Server.MaxConnections)
	g.door.clients.rule.Store(&clientRule{most: c.Server.MaxConnectionsPerClient, exempt: c.Server.TrustedProxies})
	g.setMemoryLimit(c.Server.MemoryLimit)
	g.ensureServer(settingsOf(&c.Server))
	g.useSockets(sockets)
	for _, rule := range p.freshLimits {
		g.log.Info("rate limit changed; its counts begin anew", zap.String("rule", rule))
	}
	for _, w := range g.warnings(p, before) {
		g.log.Warn("configuration: " + w)
	}
	g.noteReload(nil, nil)
	return nil
}

// watchFiles watches what the configuration was read from, if it asks for that.
func (g *Gateway) watchFiles(c *config.Config) {
	if c.Server.Watch {
		g.watch.set(config.Files(c), config.Dirs(c))
	} else {
		g.watch.set(nil, nil)
	}
}

// retire replaces the living table by what the plan has, but for endpoints.
func (g *Gateway) retire(p *plan, watches map[string]*discovery.Watch) {
	inFlight := make(map[string]*proxy.InFlight, len(p.routes))
	for _, r := range p.routes {
		inFlight[r.Name] = r.InFlight
	}
	upstreams := make(map[string]*upstream.Upstream, len(p.upstreams))
	for _, u := range p.upstreams {
		upstreams[u.upstream.Name()] = u.upstream
	}
	for name, u := range g.living.upstreams {
		if upstreams[name] == nil {
			g.checker.Remove(name)
			g.outliers.Remove(name)
			g.slowStarts.Delete(name)
			g.dropUpstreamBreaker(u)
			delete(g.living.discovered, name)
		}
	}
	for name, u := range upstreams {
		if g.living.upstreams[name] == nil {
			g.registry.Upstream(name).Observe(func() telemetry.UpstreamState { return g.upstreamState(u) })
		}
	}
	closeVerifiers(g.living.verifiers, p.verifiers)
	g.living.verifiers = p.verifiers
	closeWatches(g.living.watches)
	g.living.inFlight, g.living.upstreams, g.living.watches = inFlight, upstreams, watches
	g.living.limiters, g.living.limitCounts = p.limiters, make(map[string]*proxy.LimitCounts, len(p.limits))
	for _, l := range p.limits {
		g.living.limitCounts[l.name] = l.limit.Counts
		g.registry.Limit(l.name).Observe(func() telemetry.LimitState { return g.limitState(l.name) })
	}
	g.retireEndpoints(p.endpoints)
}

// retireEndpoints replaces the living endpoints. Those that are no longer wanted
// take no new requests; what they have finishes, and their connections close.
func (g *Gateway) retireEndpoints(wanted map[endpointKey]*upstream.Endpoint) {
	for key, e := range g.living.endpoints {
		if wanted[key] == nil {
			e.Live.Retire()
			e.CloseIdle()
			g.ramps.Stop(e.Live)
			g.dropServerBreaker(e)
		}
	}
	for key, e := range wanted {
		if g.living.endpoints[key] == nil {
			e.Metrics.Observe(func() telemetry.EndpointState { return g.endpointState(e) })
		}
	}
	g.living.endpoints = wanted
	g.living.forget()
}

// retainMetrics unregisters the handles of routes, upstreams and endpoints that
// are gone.
func (g *Gateway) retainMetrics() {
	r := g.running.Load()
	if r == nil {
		return
	}
	routes := make([]string, len(r.plan.routes))
	for i, route := range r.plan.routes {
		routes[i] = route.Name
	}
	upstreams := make([]string, len(r.plan.upstreams))
	for i, u := range r.plan.upstreams {
		upstreams[i] = u.upstream.Name()
	}
	endpoints := make([][2]string, 0, len(r.plan.endpoints))
	for key := range r.plan.endpoints {
		endpoints = append(endpoints, [2]string{key.upstream, key.target})
	}
	limits := make([]string, len(r.plan.limits))
	for i, l := range r.plan.limits {
		limits[i] = l.name
	}
	g.registry.Retain(telemetry.Retained{Routes: routes, Upstreams: upstreams, Limits: limits, Endpoints: endpoints})
}

// warnings are the plan's, and those about settings that wait for a restart.
func (g *Gateway) warnings(p *plan, before *running) []string {
	var out []string
	for _, w := range p.warnings {
		out = append(out, w.String())
	}
	if before == nil {
		return out
	}
	was, is := before.plan.config, p.config
	for _, s := range []struct {
		what    string
		changed bool
	}{
		{"server.takeover_socket", was.Server.TakeoverSocket != is.Server.TakeoverSocket},
		{"admin.enabled, admin.host, admin.port and admin.tls", was.Admin.Enabled != is.Admin.Enabled || was.Admin.Host != is.Admin.Host ||
			was.Admin.Port != is.Admin.Port || was.Admin.TLS != is.Admin.TLS},
		{"observability.log.format", was.Observability.Log.Format != is.Observability.Log.Format},
	} {
		if s.changed {
			out = append(out, s.what+" changed: the new value takes effect at the next start")
		}
	}
	return out
}
