package telemetry

import (
	"testing"
	"time"
)

// fullLimit has a value of every series of a rate limit.
func fullLimit() LimitState {
	return LimitState{
		Keys: 12, Bytes: 4096, Admitted: 900, Evicted: 3, Overflowed: 2, Delayed: 40, Waiting: 1,
		Rules: []LimitRule{{Name: "second", Refused: 7}, {Name: "day", Observed: 5}},
	}
}

// fullStore has a value of every series of the store.
func fullStore() StoreState {
	return StoreState{Connected: true, Degraded: true, Lag: 1500 * time.Millisecond, RoundTrip: 250 * time.Microsecond, Errors: 6, Nodes: 3}
}

func TestLimitState(t *testing.T) {
	r := NewRegistry("test")
	r.Limit("api").Observe(fullLimit)
	r.Limit("b").Observe(func() LimitState { return LimitState{Keys: -1, Bytes: -1, Waiting: -1} })
	r.Limit("c") // is not observed
	page := render(r)
	parse(t, page)
	got := section(page, "velocity_rate_limit_")
	const want = `velocity_rate_limit_requests_total{limit="api",rule="",result="admitted"} 900
velocity_rate_limit_requests_total{limit="api",rule="second",result="refused"} 7
velocity_rate_limit_requests_total{limit="api",rule="second",result="observed"} 0
velocity_rate_limit_requests_total{limit="api",rule="day",result="refused"} 0
velocity_rate_limit_requests_total{limit="api",rule="day",result="observed"} 5
velocity_rate_limit_requests_total{limit="b",rule="",result="admitted"} 0
velocity_rate_limit_keys{limit="api"} 12
velocity_rate_limit_keys{limit="b"} 0
velocity_rate_limit_bytes{limit="api"} 4096
velocity_rate_limit_bytes{limit="b"} 0
velocity_rate_limit_evictions_total{limit="api"} 3
velocity_rate_limit_evictions_total{limit="b"} 0
velocity_rate_limit_overflows_total{limit="api"} 2
velocity_rate_limit_overflows_total{limit="b"} 0
velocity_rate_limit_delayed_total{limit="api"} 40
velocity_rate_limit_delayed_total{limit="b"} 0
velocity_rate_limit_waiting{limit="api"} 1
velocity_rate_limit_waiting{limit="b"} 0
`
	if got != want {
		t.Errorf("the page has\n%s\nwant\n%s", got, want)
	}
}

// TestRulesOfSameNameAreAddedUp: the rules of plans may have one name, and a
// series that is there twice would cost the whole page.
func TestRulesOfSameNameAreAddedUp(t *testing.T) {
	r := NewRegistry("test")
	r.Limit("api").Observe(func() LimitState {
		return LimitState{Rules: []LimitRule{{Name: "a", Refused: 1}, {Name: "b", Refused: 2}, {Name: "a", Refused: 4, Observed: 8}}}
	})
	p := parse(t, render(r))
	for series, want := range map[string]float64{
		`velocity_rate_limit_requests_total{limit="api",rule="a",result="refused"}`:  5,
		`velocity_rate_limit_requests_total{limit="api",rule="a",result="observed"}`: 8,
		`velocity_rate_limit_requests_total{limit="api",rule="b",result="refused"}`:  2,
	} {
		if got, ok := p.samples[series]; !ok || got != want {
			t.Errorf("%s = %v (exists %v), want %v", series, got, ok, want)
		}
	}
}

func TestStoreState(t *testing.T) {
	r := NewRegistry("test")
	f := func(what, want string) {
		t.Helper()
		page := render(r)
		parse(t, page)
		if got := section(page, "velocity_rate_limit_store_"); got != want {
			t.Errorf("%s: the page has\n%s\nwant\n%s", what, got, want)
		}
	}
	f("no store", "")
	r.Gateway().ObserveStore(fullStore)
	f("all", `velocity_rate_limit_store_connected 1
velocity_rate_limit_store_degraded 1
velocity_rate_limit_store_sync_lag_seconds 1.5
velocity_rate_limit_store_sync_errors_total 6
velocity_rate_limit_store_round_trip_seconds 0.00025
velocity_rate_limit_store_nodes 3
`)
	r.Gateway().ObserveStore(func() StoreState { return StoreState{Lag: -1, RoundTrip: -1, Nodes: -1} })
	f("nothing known", `velocity_rate_limit_store_connected 0
velocity_rate_limit_store_degraded 0
velocity_rate_limit_store_sync_lag_seconds 0
velocity_rate_limit_store_sync_errors_total 0
velocity_rate_limit_store_nodes 0
`)
	r.Gateway().ObserveStore(nil)
	f("the store is gone", "")
}
