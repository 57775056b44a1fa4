package telemetry

import (
	"testing"
	"time"
)

// fullState has a value of every series of an upstream.
func fullState() UpstreamState {
	return UpstreamState{
		Panicking:     true,
		Waiting:       3,
		InFlight:      20,
		Limit:         24,
		LimitRejected: 5,
		Breaker:       BreakerHalfOpen,
		BreakerOpened: 2,
		Ejections: []Ejections{
			{Cause: "consecutive_5xx", Enforced: 4, Observed: 1},
			{Cause: "success_rate"},
		},
		Discovery: &DiscoveryState{Targets: 6, Updated: time.UnixMilli(1_700_000_000_500), Failures: 7, Stale: true},
	}
}

func TestUpstreamState(t *testing.T) {
	r := NewRegistry("test")
	r.Upstream("a").Observe(fullState)
	r.Upstream("b").Observe(func() UpstreamState { return UpstreamState{Waiting: -1, InFlight: -1} })
	r.Upstream("c").Observe(func() UpstreamState { return UpstreamState{Breaker: BreakerOpen, Discovery: &DiscoveryState{}} })
	r.Upstream("d") // is not observed
	page := render(r)
	parse(t, page)
	got := section(page, "velocity_circuit_", "velocity_upstream_", "velocity_discovery_")
	const want = `velocity_circuit_breaker_state{upstream="a",endpoint=""} 2
velocity_circuit_breaker_state{upstream="c",endpoint=""} 1
velocity_circuit_breaker_opened_total{upstream="a",endpoint=""} 2
velocity_circuit_breaker_opened_total{upstream="c",endpoint=""} 0
velocity_upstream_panic{upstream="a"} 1
velocity_upstream_panic{upstream="b"} 0
velocity_upstream_panic{upstream="c"} 0
velocity_upstream_queue_length{upstream="a"} 3
velocity_upstream_queue_length{upstream="b"} 0
velocity_upstream_queue_length{upstream="c"} 0
velocity_upstream_concurrency{upstream="a"} 20
velocity_upstream_concurrency{upstream="b"} 0
velocity_upstream_concurrency{upstream="c"} 0
velocity_upstream_concurrency_limit{upstream="a"} 24
velocity_upstream_concurrency_rejected_total{upstream="a"} 5
velocity_upstream_ejections_total{upstream="a",cause="consecutive_5xx",enforced="true"} 4
velocity_upstream_ejections_total{upstream="a",cause="consecutive_5xx",enforced="false"} 1
velocity_upstream_ejections_total{upstream="a",cause="success_rate",enforced="true"} 0
velocity_upstream_ejections_total{upstream="a",cause="success_rate",enforced="false"} 0
velocity_discovery_targets{upstream="a"} 6
velocity_discovery_targets{upstream="c"} 0
velocity_discovery_stale{upstream="a"} 1
velocity_discovery_stale{upstream="c"} 0
velocity_discovery_last_update_timestamp_seconds{upstream="a"} 1.7000000005e+09
velocity_discovery_failures_total{upstream="a"} 7
velocity_discovery_failures_total{upstream="c"} 0
`
	if got != want {
		t.Errorf("the page has\n%s\nwant\n%s", got, want)
	}
}

func TestEndpointState(t *testing.T) {
	r := NewRegistry("test")
	r.Endpoint("u", "a").Observe(func() EndpointState {
		return EndpointState{Up: true, Ejected: true, Weight: 50, Connections: 2, Latency: 1500 * time.Microsecond, Breaker: BreakerHalfOpen, BreakerOpened: 3}
	})
	r.Endpoint("u", "b").Observe(func() EndpointState {
		return EndpointState{Weight: -1, Connections: -1, Latency: -1, Breaker: BreakerClosed}
	})
	r.Endpoint("u", "c").Observe(func() EndpointState { return EndpointState{} })
	r.Endpoint("u", "d") // is not observed
	r.Endpoint("u", "b").Probed(false)
	r.Endpoint("u", "d").Probed(true)
	r.Endpoint("u", "d").Probed(true)
	r.Upstream("u").Observe(func() UpstreamState { return UpstreamState{Breaker: BreakerOpen, BreakerOpened: 1} })
	page := render(r)
	parse(t, page)
	got := section(page, "velocity_upstream_connections_open{", "velocity_upstream_endpoint_", "velocity_health_", "velocity_circuit_")
	const want = `velocity_upstream_connections_open{upstream="u",endpoint="a"} 2
velocity_upstream_connections_open{upstream="u",endpoint="b"} 0
velocity_upstream_connections_open{upstream="u",endpoint="c"} 0
velocity_upstream_endpoint_up{upstream="u",endpoint="a"} 1
velocity_upstream_endpoint_up{upstream="u",endpoint="b"} 0
velocity_upstream_endpoint_up{upstream="u",endpoint="c"} 0
velocity_upstream_endpoint_ejected{upstream="u",endpoint="a"} 1
velocity_upstream_endpoint_ejected{upstream="u",endpoint="b"} 0
velocity_upstream_endpoint_ejected{upstream="u",endpoint="c"} 0
velocity_upstream_endpoint_weight{upstream="u",endpoint="a"} 50
velocity_upstream_endpoint_weight{upstream="u",endpoint="b"} 0
velocity_upstream_endpoint_weight{upstream="u",endpoint="c"} 0
velocity_upstream_endpoint_latency_seconds{upstream="u",endpoint="a"} 0.0015
velocity_health_probes_total{upstream="u",endpoint="b",result="success"} 0
velocity_health_probes_total{upstream="u",endpoint="b",result="failure"} 1
velocity_health_probes_total{upstream="u",endpoint="d",result="success"} 2
velocity_health_probes_total{upstream="u",endpoint="d",result="failure"} 0
velocity_circuit_breaker_state{upstream="u",endpoint=""} 1
velocity_circuit_breaker_state{upstream="u",endpoint="a"} 2
velocity_circuit_breaker_state{upstream="u",endpoint="b"} 0
velocity_circuit_breaker_opened_total{upstream="u",endpoint=""} 1
velocity_circuit_breaker_opened_total{upstream="u",endpoint="a"} 3
velocity_circuit_breaker_opened_total{upstream="u",endpoint="b"} 0
`
	if got != want {
		t.Errorf("the page has\n%s\nwant\n%s", got, want)
	}
}

// TestStateIsReadOnce: a page whose series disagree would be believed, and what
// is behind a state may be a lock.
func TestStateIsReadOnce(t *testing.T) {
	r := NewRegistry("test")
	endpoints, upstreams := 0, 0
	r.Endpoint("u", "e").Observe(func() EndpointState { endpoints++; return EndpointState{} })
	r.Upstream("u").Observe(func() UpstreamState { t.Error("the observer that was replaced is read"); return UpstreamState{} })
	r.Upstream("u").Observe(func() UpstreamState { upstreams++; return UpstreamState{} })
	limits, stores := 0, 0
	r.Limit("l").Observe(func() LimitState { limits++; return LimitState{} })
	r.Gateway().ObserveStore(func() StoreState { stores++; return StoreState{} })
	render(r)
	for what, n := range map[string]int{"an endpoint": endpoints, "an upstream": upstreams, "a rate limit": limits, "the store": stores} {
		if n != 1 {
			t.Errorf("a scrape read the state of %s %d times, want once", what, n)
		}
	}
}
