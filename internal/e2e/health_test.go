package e2e

import (
	"strings"
	"testing"

	"github.com/salgue441/velocity/internal/testkit"
)

func checked(up ...*testkit.Upstream) string {
	var b strings.Builder
	b.WriteString(settings + `
upstreams:
  - name: checked
    balance: {algorithm: round_robin}
    health_check: {path: /health, interval: 100ms, timeout: 80ms, rise: 2, fall: 2}
    targets:
`)
	for _, u := range up {
		b.WriteString("      - url: " + u.URL() + "\n")
	}
	b.WriteString("routes: [{path: \"/*\", upstream: checked}]\n")
	return b.String()
}

func TestHealthChecks(t *testing.T) {
	t.Parallel()
	a, b := testkit.NewUpstream(t, "a"), testkit.NewUpstream(t, "b")
	b.SetHealthy(false)
	g, _ := start(t, checked(a, b))

	up := func(which int) bool { return endpointsOf(t, g, "checked")[which].Up }
	answers := func() (seen string) {
		for range 4 {
			r := testkit.Get(t, g.Addr, "/x")
			if r.Status != 200 {
				t.Fatalf("status %d: %s", r.Status, r.Body)
			}
			seen += strings.TrimSpace(r.Body)
		}
		return seen
	}

	// A new endpoint is down until a probe succeeds.
	if !up(0) || up(1) {
		t.Fatalf("endpoints at the start: %+v", endpointsOf(t, g, "checked"))
	}
	if cause := endpointsOf(t, g, "checked")[1].Cause; !strings.Contains(cause, "503") {
		t.Errorf("cause %q", cause)
	}
	if got := answers(); got != "aaaa" {
		t.Errorf("answers %q, want only a", got)
	}
	b.SetHealthy(true)
	testkit.Eventually(t, testkit.Patience, "b to come up", func() bool { return up(1) })
	if got := answers(); strings.Count(got, "a") != 2 {
		t.Errorf("answers %q, want both in turn", got)
	}

	// One that is killed goes down, and its traffic moves.
	a.Stop()
	testkit.Eventually(t, testkit.Patience, "a to go down", func() bool { return !up(0) })
	if got := answers(); got != "bbbb" {
		t.Errorf("answers %q, want only b", got)
	}
	if v := testkit.Scrape(t, g.Admin).Value(t, `velocity_upstream_endpoint_up{upstream="checked",endpoint="`+a.URL()+`"}`); v != 0 {
		t.Errorf("the metric says %v", v)
	}
	g.WaitLog(t, "endpoint is down")

	// It comes back.
	a.Restart(t)
	testkit.Eventually(t, testkit.Patience, "a to come back", func() bool { return up(0) })
	if got := answers(); strings.Count(got, "a") != 2 {
		t.Errorf("answers %q, want both in turn", got)
	}
}

// A dead endpoint without a check costs no request: the connection that fails
// is tried again elsewhere.
func TestRetryElsewhere(t *testing.T) {
	t.Parallel()
	alive, dead := testkit.NewUpstream(t, "alive"), testkit.NewUpstream(t, "dead")
	dead.Stop()
	g, _ := start(t, settings+`routes: [{name: both, path: "/*", balance: {algorithm: round_robin}, targets: [{url: "`+dead.URL()+`"}, {url: "`+alive.URL()+`"}]}]`+"\n")
	c := testkit.Dial(t, g.Addr)
	for i := range 10 {
		if r := c.Do(t, "GET", "/x"); r.Status != 200 || r.Body != "alive\n" {
			t.Fatalf("request %d: status %d, body %q", i, r.Status, r.Body)
		}
	}
	if v := testkit.Scrape(t, g.Admin).Value(t, `velocity_retries_total{route="both",cause="connect_failure"}`); v == 0 {
		t.Error("no retry was counted")
	}
}
