package admin

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// reportOf asks for the health and returns the overall state and what is listed.
func reportOf(t *testing.T, a *api, query string) (status string, names []string) {
	t.Helper()
	got := a.ask(t, "GET /admin/v1/health"+query)
	var r report
	if err := json.Unmarshal([]byte(got.body), &r); err != nil || got.status != 200 {
		t.Fatalf("%s: %d %s: %v", query, got.status, got.body, err)
	}
	for _, d := range r.Dependencies {
		names = append(names, d.Kind+" "+d.Name)
	}
	return r.Status, names
}

func TestHealthIsFilteredAndOrdered(t *testing.T) {
	g := newGateway()
	before := append([]Dependency(nil), g.outside...)
	a := start(t, g, open(), nil)
	f := func(query string, want ...string) {
		t.Helper()
		if status, names := reportOf(t, a, query); status != "degraded" || !reflect.DeepEqual(names, want) {
			t.Errorf("%s: %s %q\nwant degraded %q", query, status, names, want)
		}
	}
	const one, two, redis, users = "endpoint users/127.0.0.1:3000", "endpoint users/127.0.0.1:3001", "redis 127.0.0.1:6379", "upstream users"
	f("", one, two, redis, users)
	f("?kind=endpoint", one, two)
	f("?kind=upstream&kind=redis", redis, users)
	f("?state=degraded", two, users)
	f("?kind=endpoint&state=up", one)
	f("?kind=tape_drive")
	f("?state=down&state=unknown")
	if !reflect.DeepEqual(g.outside, before) {
		t.Errorf("the runtime's list has changed to %+v", g.outside)
	}
	if got := a.ask(t, "GET /admin/v1/health?kind=x"); !strings.Contains(got.body, `"dependencies": []`) {
		t.Errorf("none: %s", got.body)
	}
}

func TestHealthOverall(t *testing.T) {
	g := newGateway()
	a := start(t, g, open(), nil)
	f := func(want string, outside ...Dependency) {
		t.Helper()
		g.outside = outside
		if status, _ := reportOf(t, a, "?state=up"); status != want {
			t.Errorf("%+v: %s, want %s", outside, status, want)
		}
	}
	of := func(state string, required bool) Dependency {
		return Dependency{Kind: KindKeySet, Name: state, State: state, Required: required}
	}
	f("ok")
	f("ok", of("up", true), of("up", false), of("unknown", false))
	f("degraded", of("degraded", false), of("up", true))
	f("degraded", of("down", false), of("up", true))
	f("degraded", of("degraded", true))
	f("degraded", of("unknown", true))
	f("down", of("down", true), of("up", false))
	f("down", of("degraded", false), of("down", true), of("down", false))
}

func TestHealthChecksTheQuestion(t *testing.T) {
	a := start(t, newGateway(), open(), nil)
	f := func(query, detail string) {
		t.Helper()
		got := a.ask(t, "GET /admin/v1/health?"+query)
		wantProblem(t, query, got, 400, "invalid_request")
		if !strings.Contains(got.body, `"detail": "`+detail+`"`) {
			t.Errorf("%s: %s\nwant detail %s", query, got.body, detail)
		}
	}
	f("state=bad", "state: must be one of up, degraded, down, unknown")
	f("state=", "state: must be one of up, degraded, down, unknown")
	f("require=live", "require: must be ready")
	f("kinds=redis", `unknown parameter \"kinds\"`)
}

func TestReadyNamesWhatIsMissing(t *testing.T) {
	g := newGateway()
	a := start(t, g, open(), nil)
	f := func(detail string, reasons ...string) {
		t.Helper()
		for _, request := range []string{"GET /ready", "GET /admin/v1/health?require=ready"} {
			got := a.ask(t, request)
			if detail == "" {
				if got.status != 200 {
					t.Errorf("%s: %d %s", request, got.status, got.body)
				}
				continue
			}
			wantProblem(t, request, got, 503, "not_ready")
			var p problem
			if err := json.Unmarshal([]byte(got.body), &p); err != nil || p.Detail != detail || !reflect.DeepEqual(p.Reasons, reasons) {
				t.Errorf("%s: %s\nwant detail %q and reasons %q", request, got.body, detail, reasons)
			}
		}
	}
	f("")
	one, two := "upstream:users has no available endpoint", "discovery:orders has found no endpoint"
	g.state.NotReady = []string{one}
	f("1 required dependency is missing", one)
	g.state.Ready, g.state.NotReady = false, []string{one, two}
	f("2 required dependencies are missing", one, two)
	g.state.Draining = true
	f("the gateway is draining", one, two)
	g.state.Draining, g.state.NotReady = false, nil
	f("the gateway is starting")
	if got := a.ask(t, "GET /admin/v1/health"); got.status != 200 {
		t.Errorf("a report of a starting gateway: %d %s", got.status, got.body)
	}
}

// The documents' optional parts appear when they are there, and not otherwise.
func TestUpstreamDocument(t *testing.T) {
	g := newGateway()
	full := &g.groups[0]
	at := full.Endpoints[0].Since
	full.Panic, full.Queue.Waiting = true, 4
	full.Concurrency = &Concurrency{Limit: 40, Min: 3, Max: 1000, InFlight: 38, LatencyMS: 12.5, BaseLatencyMS: 10, Rejected: 7}
	full.Discovery = &Discovery{Type: "dns", State: DependencyDegraded, UpdatedAt: &at, Error: "no such host", Found: 2}
	full.Endpoints[0].RampPercent, full.Endpoints[0].Zone, full.Endpoints[0].Priority = 40, "eu-1a", 1
	full.Endpoints[0].CircuitBreaker = &CircuitBreaker{State: BreakerHalfOpen, Since: &at, SharePercent: 25, Opened: 2, Cause: "a probe failed"}
	a := start(t, g, open(), nil)
	compact := func() string {
		return strings.Join(strings.Fields(a.ask(t, "GET /admin/v1/upstreams").body), "")
	}
	got := compact()
	for _, want := range []string{
		`"panic":true,"in_flight":3,"queue":{"waiting":4,"size":100,"max_in_flight":200},"concurrency":{"limit":40,"min":3,"max":1000,` +
			`"in_flight":38,"latency_ms":12.5,"base_latency_ms":10,"measuring":false,"rejected":7},`,
		`"discovery":{"type":"dns","state":"degraded","updated_at":"2026-05-04T08:00:01Z","error":"nosuchhost","found":2},"endpoints":[`,
		`"priority":1,"zone":"eu-1a","ramp_percent":40,`,
		`"circuit_breaker":{"state":"half_open","since":"2026-05-04T08:00:01Z","share_percent":25,"requests":0,"failed":0,"slow":0,"opened":2,"cause":"aprobefailed"},`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nlacks %s", got, want)
		}
	}
	g.groups = []Upstream{{Name: "plain", Endpoints: []Endpoint{{URL: "http://h"}}}}
	got = compact()
	for _, absent := range []string{"concurrency", "circuit_breaker", "discovery", "zone", "ramp_percent", "ejected", "probe", "latency_ms", "null"} {
		if strings.Contains(got, absent) {
			t.Errorf("%s\nhas %s", got, absent)
		}
	}
}
