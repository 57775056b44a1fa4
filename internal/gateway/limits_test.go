package gateway

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/internal/testkit"
)

func limiting(limit string) string {
	return settings + "routes: [{name: a, path: /a, respond: {body: a}, rate_limit: " + limit + "}]\n"
}

func (g *gatewayIn) statuses(t *testing.T, path string, n int) string {
	t.Helper()
	var out []string
	for range n {
		out = append(out, fmt.Sprint(testkit.Get(t, g.addr, path).Status))
	}
	return strings.Join(out, " ")
}

// Counts of rules that did not change live over reloads; those of one that did
// begin anew.
func TestLimitsOverReloads(t *testing.T) {
	const minute = "{name: minute, requests: 2, window: 1h}"
	g := run(t, limiting("{rules: ["+minute+", {name: day, requests: 100, period: day}]}"))
	f := func(what, want string) {
		t.Helper()
		if got := g.statuses(t, "/a", 3); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	f("at first", "200 200 429")
	g.reload(t, limiting("{headers: false, rules: ["+minute+", {name: day, requests: 90, period: day}]}"))
	f("another rule changed", "429 429 429")
	g.reload(t, limiting("{headers: false, rules: [{name: minute, requests: 1, window: 1h}]}"))
	f("the rule changed", "200 429 429")
	g.reload(t, limiting("{rules: [{name: minute, requests: 1, window: 1h, observe: true}]}"))
	f("it only observes", "200 200 200")
	v := g.RateLimits()[0]
	if v.Name != "route:a" || v.Mode != admin.LimitLocal || v.Keys != 1 || v.Rules[0].Observed != 3 || v.Rules[0].Refused != 2 || v.Routes[0] != "a" {
		t.Errorf("shown as %+v", v)
	}
	g.reload(t, settings+"routes: [{name: a, path: /a, respond: {body: a}}]\n")
	f("without", "200 200 200")
	if n := len(g.RateLimits()); n != 0 {
		t.Errorf("%d limits", n)
	}
}

// What may be a credential shows nowhere.
func TestLimitHidesCredentials(t *testing.T) {
	g := run(t, limiting(`{requests: 1, window: 1h, key: "${header.X-Api-Key}"}`))
	for range 3 {
		c := testkit.Dial(t, g.addr)
		c.Send(t, "GET /a HTTP/1.1\r\nHost: h\r\nX-Api-Key: secret-key\r\n\r\n")
		c.Receive(t, "GET")
	}
	if top := g.RateLimits()[0].TopRefused; len(top) != 1 || !strings.HasPrefix(top[0].Key, "#") || strings.Contains(top[0].Key, "secret") {
		t.Errorf("top refused: %+v", top)
	}
	if s, err := g.RateLimitKey("route:a", "", "secret-key"); err != nil || s.Rules[0].Remaining != 0 {
		t.Errorf("RateLimitKey: %+v, %v", s, err)
	}
}

// The plugin limits all routes that have no limit of their own together.
func TestLimiterPlugin(t *testing.T) {
	g := run(t, settings+`plugins: [{name: rate-limiter, enabled: true, config: {requests: 3, window: 1h}}]
routes:
  - {name: a, path: /a, respond: {body: a}}
  - {name: b, path: /b, respond: {body: b}}
  - {name: own, path: /own, respond: {body: own}, rate_limit: {requests: 1, window: 1h}}
`)
	got := g.statuses(t, "/a", 2) + ", " + g.statuses(t, "/b", 2) + ", " + g.statuses(t, "/own", 2)
	if want := "200 200, 200 429, 200 429"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if r := testkit.Get(t, g.addr, "/health"); r.Status != 200 {
		t.Errorf("/health: %d", r.Status)
	}
	g.reload(t, settings+"plugins: [{name: rate-limiter, enabled: true}]\nroutes: [{name: a, path: /a, respond: {body: a}}]\n")
	if r := testkit.Get(t, g.addr, "/a"); r.Status != 200 || r.Header.Get("RateLimit-Policy") != `"default";q=1000;w=60` {
		t.Errorf("without settings: %d, policy %q", r.Status, r.Header.Get("RateLimit-Policy"))
	}
	if routes := g.RateLimits()[0].Routes; len(routes) != 1 || routes[0] != "a" {
		t.Errorf("used by %v", routes)
	}
}

// An operator reads what is left for a key, and gives it back.
func TestLimitKeys(t *testing.T) {
	g := run(t, limiting(`{requests: 2, window: 1h, key: "${client_ip}", plan: "${header.X-Plan}", plans: [{name: gold, max_concurrent: 5}]}`))
	if got := g.statuses(t, "/a", 3); got != "200 200 429" {
		t.Fatal(got)
	}
	s, err := g.RateLimitKey("route:a", "", "127.0.0.1")
	if err != nil || len(s.Rules) != 1 || s.Rules[0].Remaining != 0 || s.Rules[0].RetryAfterSeconds == nil || *s.Rules[0].RetryAfterSeconds < 1 {
		t.Errorf("RateLimitKey: %+v, %v", s, err)
	}
	if top := g.RateLimits()[0].TopRefused; len(top) != 1 || top[0].Key != "127.0.0.1" || top[0].Refused != 1 {
		t.Errorf("top refused: %+v", top)
	}
	if err := g.ResetRateLimitKey("route:a", "", "127.0.0.1"); err != nil {
		t.Error(err)
	}
	if got := g.statuses(t, "/a", 3); got != "200 200 429" {
		t.Errorf("after a reset: %s", got)
	}
	for _, missing := range [][3]string{{"route:b", "", "127.0.0.1"}, {"route:a", "silver", "127.0.0.1"}, {"route:a", "", "192.0.2.1"}, {"route:a", "gold", "192.0.2.1"}} {
		if _, err := g.RateLimitKey(missing[0], missing[1], missing[2]); !errors.As(err, new(*admin.NotFound)) {
			t.Errorf("%v: %v", missing, err)
		}
	}
	var metrics strings.Builder
	g.WriteMetrics(&metrics)
	for _, want := range []string{
		`velocity_rate_limit_requests_total{limit="route:a",rule="default",result="refused"} 2`,
		`velocity_requests_limited_total{limit="rate"} 2`,
	} {
		if !strings.Contains(metrics.String(), want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}
