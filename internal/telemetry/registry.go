package telemetry

import (
	"cmp"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// NoRoute is the route label of requests that matched none (404, 405), were
// malformed, or were answered by the gateway's own endpoints. Its handle is
// never retired, and a configured route must not take the name.
const NoRoute = "none"

// Registry hands out metric handles by label and writes them for Prometheus.
// Handles live as long as their labels are in use, across any number of reloads.
// All methods are safe for concurrent use; none belongs on the request path.
type Registry struct {
	version string
	mask    uint32
	gateway GatewayMetrics

	mu        sync.Mutex
	routes    map[string]*RouteMetrics
	upstreams map[string]*UpstreamMetrics
	limits    map[string]*LimitMetrics
	endpoints map[[2]string]*EndpointMetrics // by upstream, endpoint
}

// NewRegistry returns a registry without handles. The version becomes a label
// of velocity_build_info.
func NewRegistry(version string) *Registry {
	// No more shards than cores: one that no core needs is memory only.
	shards := uint32(1)
	for shards < maxShards && int(shards) < runtime.GOMAXPROCS(0) {
		shards *= 2
	}
	return &Registry{
		version:   version,
		mask:      shards - 1,
		routes:    map[string]*RouteMetrics{},
		upstreams: map[string]*UpstreamMetrics{},
		limits:    map[string]*LimitMetrics{},
		endpoints: map[[2]string]*EndpointMetrics{},
	}
}

// Route returns the handle of the named route, always the same one until Retain
// leaves the name out.
func (r *Registry) Route(name string) *RouteMetrics {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.routes[name]
	if m == nil {
		m = &RouteMetrics{striped: striped[routeShard]{labels: label("route", name), mask: r.mask}}
		r.routes[name] = m
	}
	return m
}

// Upstream returns the handle of the named upstream, always the same one until
// Retain leaves the name out.
func (r *Registry) Upstream(name string) *UpstreamMetrics {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.upstreams[name]
	if m == nil {
		m = &UpstreamMetrics{labels: label("upstream", name)}
		r.upstreams[name] = m
	}
	return m
}

// Limit returns the handle of the named rate limit, always the same one until
// Retain leaves the name out.
func (r *Registry) Limit(name string) *LimitMetrics {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.limits[name]
	if m == nil {
		m = &LimitMetrics{labels: label("limit", name)}
		r.limits[name] = m
	}
	return m
}

// Endpoint returns the handle of an endpoint of an upstream, always the same
// one until Retain leaves the pair out.
func (r *Registry) Endpoint(upstream, endpoint string) *EndpointMetrics {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]string{upstream, endpoint}
	m := r.endpoints[key]
	if m == nil {
		labels := label("upstream", upstream) + "," + label("endpoint", endpoint)
		m = &EndpointMetrics{striped: striped[endpointShard]{labels: labels, mask: r.mask}}
		r.endpoints[key] = m
	}
	return m
}

// Gateway returns the handle of the process itself.
func (r *Registry) Gateway() *GatewayMetrics { return &r.gateway }

// Retained lists the handles that stay. The zero value keeps those only that are
// never retired.
type Retained struct {
	// Routes, Upstreams and Limits are names.
	Routes, Upstreams, Limits []string
	// Endpoints are pairs of an upstream and an endpoint.
	Endpoints [][2]string
}

// Retain retires every handle that is not listed. Call it after a swap, or after
// a build that failed, with what is then running. Requests still in flight may go
// on using a retired handle; what they record is no longer exposed, and a later
// handle of the same name starts from zero.
func (r *Registry) Retain(list Retained) {
	r.mu.Lock()
	defer r.mu.Unlock()
	retain(r.routes, append(slices.Clone(list.Routes), NoRoute))
	retain(r.upstreams, list.Upstreams)
	retain(r.limits, list.Limits)
	retain(r.endpoints, list.Endpoints)
}

func retain[K comparable, H any](handles map[K]H, listed []K) {
	keep := make(map[K]bool, len(listed))
	for _, key := range listed {
		keep[key] = true
	}
	maps.DeleteFunc(handles, func(key K, _ H) bool { return !keep[key] })
}

// handles are the live ones, in the order of their labels.
type handles struct {
	routes    []*RouteMetrics
	upstreams []*UpstreamMetrics
	limits    []*LimitMetrics
	endpoints []*EndpointMetrics
}

// handles copies them, so that a scrape holds no lock while it writes.
func (r *Registry) handles() handles {
	r.mu.Lock()
	h := handles{
		routes:    slices.Collect(maps.Values(r.routes)),
		upstreams: slices.Collect(maps.Values(r.upstreams)),
		limits:    slices.Collect(maps.Values(r.limits)),
		endpoints: slices.Collect(maps.Values(r.endpoints)),
	}
	r.mu.Unlock()
	slices.SortFunc(h.routes, func(a, b *RouteMetrics) int { return cmp.Compare(a.labels, b.labels) })
	slices.SortFunc(h.upstreams, func(a, b *UpstreamMetrics) int { return cmp.Compare(a.labels, b.labels) })
	slices.SortFunc(h.limits, func(a, b *LimitMetrics) int { return cmp.Compare(a.labels, b.labels) })
	slices.SortFunc(h.endpoints, func(a, b *EndpointMetrics) int { return cmp.Compare(a.labels, b.labels) })
	return h
}

// escaper makes a label value of the text format, which escapes three characters
// and nothing else.
var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// label formats one label.
func label(name, value string) string {
	return name + `="` + escaper.Replace(strings.ToValidUTF8(value, "\ufffd")) + `"`
}
