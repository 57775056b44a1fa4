package gateway

import (
	"reflect"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/proxy"
)

// routeOf loads a route with the given lines beside its targets.
func routeOf(t *testing.T, lines string) *config.Route {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte("routes:\n  - path: /\n    targets: [{url: \"http://127.0.0.1:1\"}]\n"+lines), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &c.Routes[0]
}

func TestRetryPolicy(t *testing.T) {
	f := func(lines string, want proxy.RetryPolicy) {
		t.Helper()
		if got := retryPolicy(&routeOf(t, lines).Retries); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n%+v, want\n%+v", lines, got, want)
		}
	}
	f("", proxy.RetryPolicy{
		Attempts: 1, On: proxy.OnConnectFailure, Methods: proxy.IdempotentMethods(), IdempotencyKey: true,
		BackOff: 25 * time.Millisecond, MaxBackOff: 250 * time.Millisecond, MaxRetryAfter: time.Second, BudgetPercent: 20, BudgetFloor: 3,
	})
	want := proxy.RetryPolicy{
		Attempts: 2, On: proxy.OnReset | proxy.OnTimeout, Methods: []string{"GET"}, Headers: []proxy.RetriableHeader{{Name: "X-A", Value: "1"}, {Name: "X-B"}},
		PerAttempt: 3 * time.Second, BackOff: time.Millisecond, MaxBackOff: time.Second, MaxRetryAfter: 2 * time.Second,
		RepeatEndpoints: true, BudgetPercent: 1, BudgetFloor: 2,
	}
	want.Statuses.Add(500, 599)
	want.Statuses.Add(429, 429)
	f(`    retries:
      attempts: 2
      on: [reset_before_response, timeout, 5xx]
      statuses: [429]
      retriable_headers: [{name: X-A, value: "1"}, {name: X-B}]
      methods: [GET]
      idempotency_key: false
      per_attempt_timeout: 3s
      back_off: {base: 1ms, max: 1s}
      max_retry_after: 2s
      repeat_servers: true
      budget: {percent: 1, min: 2}
`, want)
}

func TestHedgePolicy(t *testing.T) {
	f := func(lines string, want proxy.HedgePolicy) {
		t.Helper()
		got, err := hedgePolicy(routeOf(t, lines).Hedge)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n%+v, %v, want\n%+v", lines, got, err, want)
		}
	}
	safe := []string{"GET", "HEAD", "OPTIONS"}
	f("", proxy.HedgePolicy{})
	f("    hedge: {after: p90}", proxy.HedgePolicy{Percentile: 90, Methods: safe, BudgetPercent: 5, BudgetFloor: 1})
	f("    hedge: {after: 50ms, methods: [PUT], budget: {percent: 1, min: 0}}",
		proxy.HedgePolicy{After: 50 * time.Millisecond, Methods: []string{"PUT"}, BudgetPercent: 1})
}
