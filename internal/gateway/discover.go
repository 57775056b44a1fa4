package gateway

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/salgue441/velocity/balancer/discovery"
	"github.com/salgue441/velocity/balancer/discovery/consul"
	"github.com/salgue441/velocity/balancer/discovery/dns"
	"github.com/salgue441/velocity/balancer/discovery/file"
	"github.com/salgue441/velocity/balancer/discovery/kubernetes"
	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/proxy/upstream"
)

// discoverySource is where the targets of an upstream come from.
func discoverySource(c *config.Discovery) (discovery.Source, error) {
	switch {
	case c.DNS != nil:
		return dnsSource(c.DNS)
	case c.File != nil:
		return file.New(file.Settings{Path: c.File.Path})
	case c.Consul != nil:
		k := c.Consul
		return consul.New(consul.Settings{
			Address: k.Address, Service: k.Service, Tags: k.Tags, Datacenter: k.Datacenter, Namespace: k.Namespace, Partition: k.Partition,
			Filter: k.Filter, Warning: k.IncludeWarning,
			Token: discovery.Token{Value: k.Token.Reveal(), File: k.TokenFile}, TLS: discovery.TLS{CAFile: k.CAFile},
		})
	}
	k := c.Kubernetes
	return kubernetes.New(kubernetes.Settings{
		Service: k.Service, Namespace: k.Namespace, Port: k.Port, Server: k.Server,
		Token: discovery.Token{File: k.TokenFile}, TLS: discovery.TLS{CAFile: k.CAFile},
	})
}

// discoveryType is the key of a source in the configuration.
func discoveryType(c *config.Discovery) string {
	switch {
	case c.DNS != nil:
		return "dns"
	case c.File != nil:
		return "file"
	case c.Consul != nil:
		return "consul"
	}
	return "kubernetes"
}

func dnsSource(c *config.DNSDiscovery) (discovery.Source, error) {
	s := dns.Settings{
		Name: c.Name, Port: c.Port, Servers: c.Servers, Timeout: time.Duration(c.Timeout),
		MinRefresh: time.Duration(c.MinRefresh), MaxRefresh: time.Duration(c.MaxRefresh),
	}
	if c.Type == "srv" {
		s.Type = dns.Service
	}
	switch c.Family {
	case "ipv4":
		s.Family = dns.IPv4
	case "ipv6":
		s.Family = dns.IPv6
	case "all":
		s.Family = dns.All
	}
	return dns.New(s)
}

// discover watches the sources of a configuration that is about to be built, and
// gives new ones a bounded time to answer: an upstream may begin without targets.
// Sources that stay have their targets at hand. The caller closes what it does
// not put in the living table.
func (g *Gateway) discover(ctx context.Context, c *config.Config, limit time.Duration) map[string]*discovery.Watch {
	watches := make(map[string]*discovery.Watch)
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		if u.Discovery == nil {
			continue
		}
		if source, err := discoverySource(u.Discovery); err == nil { // else build says what is wrong
			watches[u.Name] = g.sources.Watch(source, func(*discovery.Watch) { g.wantRediscovery(u.Name) })
		}
	}
	if len(watches) == 0 {
		return watches
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := g.sources.Ready(limited); err != nil && ctx.Err() == nil {
		g.log.Warn("discovery has not answered before the swap; its servers come when it does", zap.Error(err), zap.Duration("waited", limit))
	}
	return watches
}

func closeWatches(watches map[string]*discovery.Watch) {
	for _, w := range watches {
		w.Close()
	}
}

// found is what an upstream's discovery knows or, as long as it has not answered,
// what the one before did.
func (b *builder) found(c *config.Upstream) []discovery.Target {
	w := b.living.watches[c.Name]
	switch {
	case c.Discovery == nil || w == nil:
		return nil
	case w.Status().Updated.IsZero():
		return b.living.discovered[c.Name]
	}
	return w.Targets()
}

// targets are an upstream's own and those that discovery has found, at most one
// for each address.
func targets(c *config.Upstream, found []discovery.Target) []config.Target {
	if len(found) == 0 {
		return c.Targets
	}
	targets := make([]config.Target, len(c.Targets), len(c.Targets)+len(found))
	copy(targets, c.Targets)
	own := make(map[string]bool, len(c.Targets))
	for _, t := range c.Targets {
		own[t.URL] = true
	}
	for _, f := range found {
		t := config.Target{URL: c.Discovery.Scheme + "://" + f.Address, Weight: f.Weight, Priority: min(f.Priority, maxPriority), Zone: f.Zone}
		if t.Weight == 0 {
			t.Weight = c.Discovery.Weight
		}
		if f.Draining {
			t.Weight = 0
		}
		if !own[t.URL] {
			targets = append(targets, t)
		}
	}
	return targets
}

// maxPriority bounds the levels of a list: SRV records have priorities up to 65535,
// but only their order matters. Those beyond share the last level.
const maxPriority = 1 << 16

// wantRediscovery has an upstream's endpoints follow its discovery, soon and on
// another goroutine.
func (g *Gateway) wantRediscovery(name string) {
	g.changedMu.Lock()
	g.changed[name] = true
	g.changedMu.Unlock()
	select {
	case g.rediscover <- struct{}{}:
	default: // whoever is awake sees this change too
	}
}

// rediscoverLoop follows the changes that discovery reports, until Run ends.
func (g *Gateway) rediscoverLoop() {
	for {
		select {
		case <-g.stopped:
			return
		case <-g.rediscover:
		}
		g.changedMu.Lock()
		changed := g.changed
		g.changed = make(map[string]bool)
		g.changedMu.Unlock()
		for name := range changed {
			g.applying.Lock()
			g.followDiscovery(name)
			g.applying.Unlock()
		}
	}
}

// followDiscovery gives one upstream of the running configuration the endpoints
// that discovery knows now: nothing else changes. The caller holds the lock.
func (g *Gateway) followDiscovery(name string) {
	before := g.running.Load()
	if before == nil || g.closed {
		return
	}
	at := -1
	for i := range before.plan.upstreams {
		if before.plan.upstreams[i].upstream.Name() == name {
			at = i
		}
	}
	if at < 0 || g.living.watches[name] == nil {
		return // a reload was faster
	}
	old := before.plan.upstreams[at]
	b := &builder{config: before.plan.config, living: g.living, registry: g.registry}
	b.plan.endpoints = make(map[endpointKey]*upstream.Endpoint)
	var problem error
	b.buildUpstream(old.config, func(field, message string) { problem = fmt.Errorf("%s: %s", field, message) })
	if problem != nil {
		g.log.Error("discovered servers cannot be used, the ones before stay", zap.String("upstream", name), zap.Error(problem))
		return
	}
	next := b.plan.upstreams[0]

	plan := *before.plan
	plan.upstreams = append([]plannedUpstream(nil), before.plan.upstreams...)
	plan.upstreams[at] = next
	plan.endpoints = make(map[endpointKey]*upstream.Endpoint, len(before.plan.endpoints))
	for key, e := range before.plan.endpoints {
		if key.upstream != name {
			plan.endpoints[key] = e
		}
	}
	for key, e := range b.plan.endpoints {
		plan.endpoints[key] = e
	}
	after := *before
	after.plan = &plan
	after.since = make(map[*upstream.Endpoint]time.Time, len(plan.endpoints))
	now := time.Now()
	for _, e := range plan.endpoints {
		after.since[e] = now
		if since, stays := before.since[e]; stays {
			after.since[e] = since
		}
	}
	g.observeHealth(&next)
	g.install(&next, true)
	g.running.Store(&after)
	g.retireEndpoints(plan.endpoints)
	g.retainMetrics()
	g.log.Info("discovery changed the servers of an upstream",
		zap.String("upstream", name), zap.Int("servers", len(next.members)), zap.Int("before", len(old.members)))
}

// sourceReported logs when a source begins to fail and when it answers again.
func (g *Gateway) sourceReported(s discovery.Status) {
	g.changedMu.Lock()
	was := g.failing[s.Source]
	if g.failing[s.Source] = s.Err != nil; s.Err != nil {
		g.sourceFailures[s.Source]++
	}
	g.changedMu.Unlock()
	switch {
	case s.Err != nil && !was:
		g.log.Warn("discovery fails; the last servers it knew stay", zap.String("source", s.Source), zap.Int("servers", s.Targets), zap.Error(s.Err))
	case s.Err == nil && was:
		g.log.Info("discovery answers again", zap.String("source", s.Source), zap.Int("servers", s.Targets))
	}
}
