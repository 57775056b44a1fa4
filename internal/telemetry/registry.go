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

// Retain retires every handle that is not listed: routes by name, endpoints by
// upstream and endpoint. Call it after a swap, or after a build that failed, with
// what is then running. Requests still in flight may go on using a retired
// handle; what they record is no longer exposed, and a later handle of the same
// name starts from zero.
func (r *Registry) Retain(routes []string, endpoints [][2]string) {
	keepRoutes := make(map[string]bool, len(routes)+1)
	keepRoutes[NoRoute] = true
	for _, name := range routes {
		keepRoutes[name] = true
	}
	keepEndpoints := make(map[[2]string]bool, len(endpoints))
	for _, pair := range endpoints {
		keepEndpoints[pair] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.routes, func(name string, _ *RouteMetrics) bool { return !keepRoutes[name] })
	maps.DeleteFunc(r.endpoints, func(pair [2]string, _ *EndpointMetrics) bool { return !keepEndpoints[pair] })
}

// handles copies the live handles, in the order of their labels, so that a
// scrape holds no lock while it writes.
func (r *Registry) handles() ([]*RouteMetrics, []*EndpointMetrics) {
	r.mu.Lock()
	routes := slices.Collect(maps.Values(r.routes))
	endpoints := slices.Collect(maps.Values(r.endpoints))
	r.mu.Unlock()
	slices.SortFunc(routes, func(a, b *RouteMetrics) int { return cmp.Compare(a.labels, b.labels) })
	slices.SortFunc(endpoints, func(a, b *EndpointMetrics) int { return cmp.Compare(a.labels, b.labels) })
	return routes, endpoints
}

// label formats one label of the text format, which escapes three characters
// and nothing else.
func label(name, value string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	return name + `="` + escape.Replace(strings.ToValidUTF8(value, "\ufffd")) + `"`
}
