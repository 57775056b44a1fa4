package telemetry

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe" //nolint:depguard // measures the layout
)

func TestBucketBounds(t *testing.T) {
	f := func(d time.Duration, want int) {
		t.Helper()
		if got := bucketOf(d); got != want {
			t.Errorf("bucketOf(%v) = %d, want %d", d, got, want)
		}
	}
	f(math.MinInt64, 0)
	f(0, 0)
	f(1, 0)
	for i := range boundCount {
		bound := firstBound << i
		f(bound, i)
		f(bound+1, i+1)
	}
	f(math.MaxInt64, boundCount)
	if last := firstBound << (boundCount - 1); last < 60*time.Second {
		t.Errorf("last bound is %v, want at least a minute", last)
	}
}

func TestShardSizes(t *testing.T) {
	const cacheLine = 64
	if size := unsafe.Sizeof(routeShard{}); size%cacheLine != 0 {
		t.Errorf("routeShard has %d bytes, not whole cache lines", size)
	}
	if size := unsafe.Sizeof(endpointShard{}); size%cacheLine != 0 {
		t.Errorf("endpointShard has %d bytes, not whole cache lines", size)
	}
	if size := unsafe.Sizeof(slot{}); size%cacheLine != 0 {
		t.Errorf("slot has %d bytes, not whole cache lines", size)
	}
	// The busiest possible route: every shard and every class in use.
	route := unsafe.Sizeof(RouteMetrics{}) + maxShards*unsafe.Sizeof(routeShard{}) + (classCount-1)*unsafe.Sizeof(histogram{})
	if route > 4<<10 {
		t.Errorf("a busy route takes %d bytes, want at most 4096", route)
	}
}

func TestHandlesAreStable(t *testing.T) {
	r := NewRegistry("test")
	a, b := r.Route("a"), r.Route("b")
	none := r.Route(NoRoute)
	e := r.Endpoint("u", "e")
	other := r.Endpoint("u", "f")
	u, v := r.Upstream("u"), r.Upstream("v")
	u.Observe(fullState)
	v.Observe(fullState)
	l, m := r.Limit("l"), r.Limit("m")
	l.Observe(fullLimit)
	m.Observe(fullLimit)
	if a == b || u == v || l == m || r.Limit("l") != l || r.Route("a") != a || r.Upstream("u") != u || r.Endpoint("u", "e") != e || e == other {
		t.Fatal("handles are not one per label")
	}
	a.Begin(0)
	b.Record(&Event{Status: 200})
	r.Retain(Retained{Routes: []string{"a"}, Upstreams: []string{"u"}, Limits: []string{"l"}, Endpoints: [][2]string{{"u", "e"}}})
	if r.Route("a") != a || r.Upstream("u") != u || r.Limit("l") != l || r.Endpoint("u", "e") != e || r.Route(NoRoute) != none {
		t.Error("Retain replaced a handle that was listed")
	}
	b.Record(&Event{Status: 200}) // a request that outlives its route
	other.End(3)
	page := render(r)
	if strings.Contains(page, `route="b"`) || strings.Contains(page, `upstream="v"`) || strings.Contains(page, `limit="m"`) {
		t.Error("a retired handle is still exposed")
	}
	if !strings.Contains(page, `velocity_upstream_panic{upstream="u"}`) {
		t.Error("a listed upstream is not exposed")
	}
	if !strings.Contains(page, `velocity_rate_limit_keys{limit="l"}`) {
		t.Error("a listed rate limit is not exposed")
	}
	if r.Route("b") == b || r.Upstream("v") == v || r.Limit("m") == m || r.Endpoint("u", "f") == other {
		t.Error("a retired handle came back")
	}
}

func TestRouteMetrics(t *testing.T) {
	r := NewRegistry("test")
	m := r.Route("api")
	for shard := range uint32(8) {
		m.Begin(shard)
		m.Begin(shard)
		m.UpgradeBegin()
		m.UpgradeReceived(2)
		m.UpgradeSent(3)
		m.Record(&Event{Shard: shard, Status: 204, Duration: 30 * time.Microsecond, UpstreamDuration: 25 * time.Microsecond, BytesIn: 1, BytesOut: 10, Attempts: 3})
	}
	m.UpgradeEnd()
	m.Begin(0)
	m.Record(&Event{Status: 0, Duration: time.Second})
	m.Retried(RetryReset)
	m.Retried(RetryReset)
	m.Retried(RetryHeader)
	m.Hedged()
	m.FellBack(0)
	m.FellBack(1)
	p := parse(t, render(r))
	for series, want := range map[string]float64{
		`velocity_requests_total{route="api",code="2xx"}`:                             8,
		`velocity_requests_total{route="api",code="other"}`:                           1,
		`velocity_requests_in_flight{route="api"}`:                                    8,
		`velocity_request_body_bytes_total{route="api"}`:                              8,
		`velocity_response_body_bytes_total{route="api"}`:                             80,
		`velocity_retries_total{route="api",cause="reset_before_response"}`:           2,
		`velocity_retries_total{route="api",cause="header"}`:                          1,
		`velocity_hedges_total{route="api"}`:                                          1,
		`velocity_hedges_won_total{route="api"}`:                                      0,
		`velocity_fallbacks_total{route="api"}`:                                       2,
		`velocity_upgrades_total{route="api"}`:                                        8,
		`velocity_upgrades_open{route="api"}`:                                         7,
		`velocity_upgrade_received_bytes_total{route="api"}`:                          16,
		`velocity_upgrade_sent_bytes_total{route="api"}`:                              24,
		`velocity_request_duration_seconds_bucket{route="api",code="2xx",le="2e-05"}`: 0,
		`velocity_request_duration_seconds_bucket{route="api",code="2xx",le="4e-05"}`: 8,
		`velocity_request_duration_seconds_bucket{route="api",code="2xx",le="+Inf"}`:  8,
		`velocity_request_duration_seconds_count{route="api",code="2xx"}`:             8,
		`velocity_request_duration_seconds_sum{route="api",code="2xx"}`:               0.00024,
		`velocity_gateway_duration_seconds_bucket{route="api",le="1e-05"}`:            8,
		`velocity_gateway_duration_seconds_sum{route="api"}`:                          1.00004,
	} {
		got, ok := p.samples[series]
		if !ok || math.Abs(got-want) > 1e-12 {
			t.Errorf("%s = %v (exists %v), want %v", series, got, ok, want)
		}
	}
}

func TestEndpointAndGatewayMetrics(t *testing.T) {
	r := populated()
	p := parse(t, render(r))
	for series, want := range map[string]float64{
		`velocity_upstream_requests_total{upstream="u",endpoint="10.0.0.1:80",code="5xx"}`:         1,
		`velocity_upstream_requests_in_flight{upstream="u",endpoint="10.0.0.1:80"}`:                1,
		`velocity_upstream_duration_seconds_count{upstream="u",endpoint="10.0.0.1:80"}`:            1,
		`velocity_upstream_connections_opened_total{upstream="u",endpoint="10.0.0.1:80"}`:          1,
		`velocity_upstream_connections_reused_total{upstream="u",endpoint="10.0.0.1:80"}`:          2,
		`velocity_upstream_failures_total{upstream="u",endpoint="10.0.0.1:80",kind="reset"}`:       1,
		`velocity_upstream_connections_open{upstream="u",endpoint="10.0.0.1:80"}`:                  7,
		`velocity_upstream_endpoint_up{upstream="u",endpoint="10.0.0.1:80"}`:                       1,
		`velocity_config_reloads_total{result="failed"}`:                                           1,
		`velocity_config_reloads_total{result="unchanged"}`:                                        0,
		`velocity_config_last_reload_success`:                                                      0,
		`velocity_config_last_reload_success_timestamp_seconds`:                                    1.7e9,
		`velocity_config_info{hash="abc"}`:                                                         1,
		`velocity_connections_accepted_total`:                                                      2,
		`velocity_connections_open`:                                                                1,
		`velocity_connections_refused_total`:                                                       1,
		`velocity_proxy_protocol_errors_total`:                                                     1,
		`velocity_panics_total`:                                                                    1,
		`velocity_requests_limited_total{limit="upstream_queue"}`:                                  0,
		`velocity_requests_limited_total{limit="circuit"}`:                                         1,
		`velocity_requests_limited_total{limit="send_rate"}`:                                       2,
		`velocity_access_log_lines_dropped_total`:                                                  0,
		`velocity_build_info{version="v1\"\\\nx",go_version="` + goVersion(p) + `"}`:               1,
		`velocity_requests_total{route="a\"b",code="2xx"}`:                                         1,
		`velocity_requests_total{route="` + "\ufffd" + `",code="4xx"}`:                             1,
		`velocity_request_duration_seconds_bucket{route="a\"b",code="2xx",le="0.00128"}`:           1,
		`velocity_request_duration_seconds_bucket{route="` + "\ufffd" + `",code="4xx",le="1e-05"}`: 1,
	} {
		if got, ok := p.samples[strings.ReplaceAll(series, "\n", `\n`)]; !ok || got != want {
			t.Errorf("%s = %v (exists %v), want %v", series, got, ok, want)
		}
	}
	r.Gateway().Reloaded(ReloadApplied, time.Unix(1_800_000_000, 0))
	if got := parse(t, render(r)).samples["velocity_config_last_reload_success"]; got != 1 {
		t.Errorf("last_reload_success = %v after a good reload, want 1", got)
	}
}

// TestPageIsValid checks the page as Prometheus would: every family once, its
// samples beneath it, buckets cumulative.
func TestPageIsValid(t *testing.T) {
	p := parse(t, render(populated()))
	for i := range families {
		f := &families[i]
		if p.types[f.name] != f.kind {
			t.Errorf("%s has type %q, want %q", f.name, p.types[f.name], f.kind)
		}
		if p.count[f.name] == 0 {
			t.Errorf("%s has no sample although everything was used", f.name)
		}
	}
	ours := 0
	for name := range p.types {
		if strings.HasPrefix(name, "velocity_") {
			ours++
		}
	}
	if ours != len(families) {
		t.Errorf("the page has %d families, %d are known", ours, len(families))
	}
	if p.count["go_goroutines"] == 0 || p.count["process_start_time_seconds"] == 0 {
		t.Error("metrics of the Go runtime or of the process are missing")
	}
}

func TestUnusedHandlesHaveNoSeries(t *testing.T) {
	r := NewRegistry("test")
	r.Route("idle")
	r.Upstream("idle")
	r.Endpoint("u", "idle")
	if strings.Contains(render(r), `"idle"`) {
		t.Error("an unused handle has series")
	}
}

func TestPageStopsAtFailedWrite(t *testing.T) {
	r := NewRegistry("test")
	for i := range 200 {
		r.Route(strconv.Itoa(i)).Record(&Event{Status: 200})
	}
	w := &failingWriter{}
	r.WritePrometheus(w)
	if w.calls != 1 {
		t.Errorf("%d writes after the first failed, want none", w.calls-1)
	}
}

type failingWriter struct{ calls int }

func (w *failingWriter) Write([]byte) (int, error) {
	w.calls++
	return 0, fmt.Errorf("gone")
}

// TestConcurrentUse is for the race detector, and checks that no count is lost.
func TestConcurrentUse(t *testing.T) {
	const workers, each = 8, 500
	r := NewRegistry("test")
	var wg sync.WaitGroup
	for w := range uint32(workers) {
		wg.Go(func() {
			for i := range each {
				m := r.Route("shared")
				m.Begin(w)
				m.Record(&Event{Shard: w, Status: 200 + 100*(i%4)})
				e := r.Endpoint("u", "e")
				e.Answered(w, 200, time.Millisecond)
				e.Probed(i%2 == 0)
				e.Observe(func() EndpointState { return EndpointState{Weight: i} })
				r.Upstream("u").Observe(fullState)
				r.Limit("l").Observe(fullLimit)
				r.Gateway().ObserveStore(fullStore)
				if i%50 == 0 {
					r.Retain(Retained{Routes: []string{"shared"}, Upstreams: []string{"u"}, Limits: []string{"l"}, Endpoints: [][2]string{{"u", "e"}}})
					r.WritePrometheus(&bytes.Buffer{})
				}
			}
		})
	}
	wg.Wait()
	p := parse(t, render(r))
	var total float64
	for class := range classCount {
		total += p.samples[`velocity_requests_total{route="shared",code="`+classLabels[class]+`"}`]
	}
	if total != workers*each {
		t.Errorf("counted %v requests, want %d", total, workers*each)
	}
	passed, failed := p.samples[`velocity_health_probes_total{upstream="u",endpoint="e",result="success"}`], p.samples[`velocity_health_probes_total{upstream="u",endpoint="e",result="failure"}`]
	if passed != workers*each/2 || failed != workers*each/2 {
		t.Errorf("counted %v and %v probes, want %d of each", passed, failed, workers*each/2)
	}
	if n := p.samples[`velocity_requests_in_flight{route="shared"}`]; n != 0 {
		t.Errorf("%v requests in flight at the end", n)
	}
}

// populated has at least one sample of every family.
func populated() *Registry {
	r := NewRegistry("v1\"\\\nx")
	r.Route(`a"b`).UpgradeBegin()
	r.Route(`a"b`).Record(&Event{Status: 200, Duration: time.Millisecond, BytesIn: 1, BytesOut: 1, Attempts: 2})
	r.Route(`a"b`).Retried(RetryConnect)
	r.Route(`a"b`).HedgeWon()
	r.Route("\xff").Record(&Event{Status: 404})
	e := r.Endpoint("u", "10.0.0.1:80")
	e.Begin(0)
	e.Connected(0, false)
	e.Answered(0, 503, time.Millisecond)
	e.End(0)
	e.Begin(1)
	e.Connected(1, true)
	e.Failed(1, FailureReset)
	e.End(1)
	e.Begin(2)
	e.Connected(2, true)
	e.Probed(true)
	e.Observe(func() EndpointState {
		return EndpointState{Up: true, Weight: 100, Connections: 7, Latency: 12 * time.Millisecond, Breaker: BreakerClosed}
	})
	r.Upstream("u").Observe(fullState)
	r.Limit("l").Observe(fullLimit)
	g := r.Gateway()
	g.ObserveStore(fullStore)
	g.Reloaded(ReloadApplied, time.Unix(1_700_000_000, 0))
	g.Reloaded(ReloadFailed, time.Unix(1_700_000_001, 0))
	g.SetConfig("abc")
	g.ConnectionAccepted()
	g.ConnectionAccepted()
	g.ConnectionClosed()
	g.ConnectionRefused()
	g.ProxyHeaderBad()
	g.Panicked()
	g.Limited(LimitCircuit)
	g.Limited(LimitSendRate)
	g.Limited(LimitSendRate)
	return r
}
