package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// limitFleet is gateways that share their limits by one Redis.
type limitFleet struct {
	t        *testing.T
	redis    *testkit.Redis
	gateways []*testkit.Process
}

func startLimitFleet(t *testing.T, n int, routes, redis string) *limitFleet {
	t.Helper()
	f := &limitFleet{t: t, redis: testkit.StartRedis(t)}
	host, port, _ := strings.Cut(f.redis.Addr, ":")
	document := settings + fmt.Sprintf("database: {redis: {host: %s, port: %s%s}}\n", host, port, redis) + "routes:\n" + routes
	for range n {
		g, _ := start(t, document)
		f.gateways = append(f.gateways, g)
	}
	f.await("all gateways to know each other", func(connected bool, nodes int) bool { return connected && nodes == n })
	return f
}

// await waits until all gateways see the store so.
func (f *limitFleet) await(what string, is func(connected bool, nodes int) bool) {
	f.t.Helper()
	testkit.Eventually(f.t, testkit.Patience, what, func() bool {
		for _, g := range f.gateways {
			var list struct {
				RateLimits []struct {
					Store struct {
						Connected bool
						Nodes     int
					}
				} `json:"rate_limits"`
			}
			r := testkit.Get(f.t, g.Admin, "/admin/v1/rate-limits")
			if err := json.Unmarshal([]byte(r.Body), &list); err != nil {
				f.t.Fatal(err)
			}
			if len(list.RateLimits) == 0 || !is(list.RateLimits[0].Store.Connected, list.RateLimits[0].Store.Nodes) {
				return false
			}
		}
		return true
	})
}

// load sends through all gateways, to the first by more clients than to the others,
// and returns what they answered.
func (f *limitFleet) load(target string, first, others int, pause, d time.Duration) testkit.Samples {
	f.t.Helper()
	var mu sync.Mutex
	var all testkit.Samples
	var running sync.WaitGroup
	for i, g := range f.gateways {
		clients := others
		if i == 0 {
			clients = first
		}
		l := testkit.StartLoad(f.t, testkit.Traffic{Addr: g.Addr, Clients: clients, Pause: pause, Target: target})
		running.Go(func() {
			l.Run(d)
			samples := l.Stop()
			mu.Lock()
			defer mu.Unlock()
			all = append(all, samples...)
		})
	}
	running.Wait()
	return all
}

func admittedOf(s testkit.Samples) int {
	return len(s.Where(func(x *testkit.Sample) bool { return x.Status == 200 }))
}

// strange returns those that were neither admitted nor refused.
func strange(s testkit.Samples) testkit.Samples {
	return s.Where(func(x *testkit.Sample) bool { return x.Err != nil || x.Status != 200 && x.Status != 429 })
}

// TestLimitsAcrossGateways holds the bound on what several gateways admit together
// above a limit, when one of them gets nearly all requests. With T the interval of
// exchanges, P the longest that one takes, and Λ the requests of all in a second, it
// is Λ(2T+P) for windows, and rate·T more for buckets (see package limiter/redis).
func TestLimitsAcrossGateways(t *testing.T) {
	const (
		interval = 100 * time.Millisecond
		longest  = 250 * time.Millisecond // of an exchange: its time limit
		limit    = 200
		rate     = 100.0 // of buckets, a second
		duration = 2 * time.Second
	)
	routes := fmt.Sprintf(`  - {path: /fixed_window, respond: {}, rate_limit: {key: "", requests: %[1]d, window: 1h, algorithm: fixed_window}}
  - {path: /sliding_window, respond: {}, rate_limit: {key: "", requests: %[1]d, window: 1h}}
  - {path: /token_bucket, respond: {}, rate_limit: {key: "", requests: 100, window: 1s, burst: %[1]d, algorithm: token_bucket}}
  - {path: /gcra, respond: {}, rate_limit: {key: "", requests: 100, window: 1s, burst: %[1]d, algorithm: gcra}}
  - {path: /sliding_log, respond: {}, rate_limit: {key: "", requests: %[1]d, window: 1h, algorithm: sliding_log}}
`, limit)
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "gateways\talgorithm\toffered\tadmitted\tlimit\tabove\tbound\t")
	for _, n := range []int{3, 8} {
		f := startLimitFleet(t, n, routes, "")
		for _, algorithm := range []string{"fixed_window", "sliding_window", "token_bucket", "gcra", "sliding_log"} {
			samples := f.load("/"+algorithm, 8, 1, 20*time.Millisecond, duration)
			if bad := strange(samples); len(bad) > 0 {
				t.Errorf("%d gateways, %s: %d requests got neither 200 nor 429, the first %+v", n, algorithm, len(bad), bad[0])
			}
			seconds := duration.Seconds()
			offered := float64(len(samples)) / seconds
			allowed, bound := float64(limit), offered*(2*interval+longest).Seconds()
			switch algorithm {
			case "token_bucket", "gcra":
				allowed += rate * seconds
				bound += rate * interval.Seconds()
			case "sliding_log": // divided, not exchanged
				bound = 0
			}
			got := float64(admittedOf(samples))
			fmt.Fprintf(table, "%d\t%s\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t\n", n, algorithm, len(samples), got, allowed, max(0, got-allowed), bound)
			if got > allowed+bound {
				t.Errorf("%d gateways, %s: %.0f of %d admitted, limit %.0f and bound %.0f", n, algorithm, got, len(samples), allowed, bound)
			}
			if least := allowed * 0.5; got < least && algorithm != "sliding_log" {
				t.Errorf("%d gateways, %s: only %.0f of %d admitted, limit %.0f", n, algorithm, got, len(samples), allowed)
			}
		}
	}
	_ = table.Flush()
	t.Logf("%d requests at most and, for buckets, %.0f a second; exchanges each %v\n%s", limit, rate, interval, text.String())
}

// TestLimitsWithoutRedis kills, freezes and restarts the server under load: requests are
// always answered, and the gateways together never admit much more than the limit.
func TestLimitsWithoutRedis(t *testing.T) {
	const rate, phase = 300.0, 2 * time.Second
	f := startLimitFleet(t, 3, fmt.Sprintf(
		"  - {path: /a, respond: {}, rate_limit: {key: \"\", requests: %.0f, window: 1s, burst: 30, algorithm: token_bucket}}\n", rate), "")
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "Redis\tadmitted a second\tlimit\tp99\t")
	f2 := func(what string) {
		t.Helper()
		samples := f.load("/a", 6, 6, 20*time.Millisecond, phase)
		if bad := strange(samples); len(bad) > 0 {
			t.Errorf("%s: %d requests got neither 200 nor 429, the first %+v", what, len(bad), bad[0])
		}
		got := float64(admittedOf(samples)) / phase.Seconds()
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%v\t\n", what, got, rate, samples.Percentile(99).Round(100*time.Microsecond))
		if got > 1.4*rate || got < 0.5*rate {
			t.Errorf("%s: %.0f a second admitted, limit %.0f", what, got, rate)
		}
	}
	f2("up")
	f.redis.Kill(t)
	f2("killed")
	f.await("all to notice", func(connected bool, _ int) bool { return !connected })
	f2("down")
	f.redis.Restart(t)
	f.await("all to be back", func(connected bool, nodes int) bool { return connected && nodes == 3 })
	f2("up again, without its data")
	f.redis.Freeze(t)
	f2("frozen")
	f.redis.Thaw(t)
	f.await("all to be back", func(connected bool, _ int) bool { return connected })
	f2("up again")
	_ = table.Flush()
	t.Logf("three gateways under even load\n%s", text.String())
}

// TestExactLimits: with mode exact nothing at all is admitted above the limit, and
// on_failure: deny admits nothing without Redis.
func TestExactLimits(t *testing.T) {
	f := startLimitFleet(t, 3, "  - {path: /a, respond: {}, rate_limit: {key: \"\", requests: 100, window: 1h}}\n", ", mode: exact, exact_timeout: 2s, on_failure: deny")
	samples := f.load("/a", 4, 2, 10*time.Millisecond, time.Second)
	if got := admittedOf(samples); got != 100 || len(strange(samples)) > 0 {
		t.Errorf("%d of %d admitted, %d strange, limit 100", got, len(samples), len(strange(samples)))
	}
	f.redis.Kill(t)
	f.await("all to notice", func(connected bool, _ int) bool { return !connected })
	if r := testkit.Get(t, f.gateways[0].Addr, "/a"); r.Status != 503 || !strings.Contains(r.Body, `"code":"rate_limit_store"`) {
		t.Errorf("denied: %d %s", r.Status, r.Body)
	}
}
