package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// TestTakeOverKeepsLimits replaces the process four times under constant traffic, with
// reloads in between. All that the processes admit together is the limit, to a unit: for
// each of several keys, and for a route as a whole.
func TestTakeOverKeepsLimits(t *testing.T) {
	const (
		limit = 3000
		year  = "window: 8760h" // hardly ends while the test runs
		users = 3
	)
	document := func(other string) string {
		return listening(`{address: "127.0.0.1:0"}`) + fmt.Sprintf(`routes:
  - {name: user, path: /user, respond: {body: one}, rate_limit: {key: "${header.X-User}", requests: %[1]d, %[2]s, algorithm: fixed_window}}
  - {name: whole, path: /whole, respond: {body: one}, rate_limit: {requests: %[1]d, %[2]s}}
  - {name: other, path: /other, respond: {body: %[3]s}}
`, limit, year, other)
	}
	l := newLineage(t, document("one"))
	l.start(t)
	first := l.wait(t, "ready", 1)
	user := func(client, _ int) []string { return []string{fmt.Sprintf("X-User: user%d", client%users)} }
	traffic := []testkit.Traffic{
		{Addr: first.Address, Clients: 2 * users, Pause: 4 * time.Millisecond, Target: "/user", Headers: user},
		{Addr: first.Address, Clients: 3, Pause: 3 * time.Millisecond, Target: "/whole"},
	}
	counts := newAdmitted(traffic)
	replace := func(n int) {
		t.Helper()
		if n%2 == 0 {
			l.start(t, "--takeover")
		} else if err := syscall.Kill(l.lines(t, "ready")[n-1].PID, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		next := l.wait(t, "ready", n+1)
		if n%2 == 0 { // the next process has reloaded what the one before may have
			testkit.ReplaceFile(t, l.config, document(fmt.Sprintf("reload%d", n)))
			if err := syscall.Kill(next.PID, syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			l.wait(t, "configuration applied", n/2)
		}
		l.wait(t, "stopped", n)
	}

	counts.during(t, traffic, func() {
		replace(1)
		replace(2)
		replace(3)
	})
	counts.all(t, first.Address, users)
	for who, n := range counts.admitted {
		if n != limit {
			t.Errorf("%s: %d requests were admitted, of %d", who, n, limit)
		}
	}
	counts.during(t, traffic, func() { replace(4) })
	for who, n := range counts.admitted {
		if n != limit {
			t.Errorf("%s: %d requests were admitted after the limit was reached, of %d", who, n, limit)
		}
	}
	if n := len(l.lines(t, "rate limits taken over")); n != 4 {
		t.Errorf("%d processes took over limits, want 4", n)
	}
	for _, line := range []string{"take over: rate limits begin anew", "rate limits: what the process before still admits is not counted"} {
		if n := len(l.lines(t, line)); n != 0 {
			t.Errorf("%d times: %s", n, line)
		}
	}
	t.Logf("admitted under traffic: %v", counts.under)
	l.killLast(t)
}

// admitted counts requests that were, by who sent them.
type admitted struct {
	admitted, under map[string]int
}

func newAdmitted(traffic []testkit.Traffic) *admitted {
	a := &admitted{admitted: map[string]int{}, under: map[string]int{}}
	for i := range traffic {
		for client := range traffic[i].Clients {
			a.admitted[who(&traffic[i], client)] = 0
		}
	}
	return a
}

// who is what a client's requests are counted as.
func who(traffic *testkit.Traffic, client int) string {
	if traffic.Headers == nil {
		return traffic.Target
	}
	_, name, _ := strings.Cut(traffic.Headers(client, 0)[0], ": ")
	return name
}

// during sends traffic while something happens. No request may fail, but for those
// that are refused.
func (a *admitted) during(t *testing.T, traffic []testkit.Traffic, something func()) {
	t.Helper()
	loads := make([]*testkit.Load, len(traffic))
	for i := range traffic {
		loads[i] = testkit.StartLoad(t, traffic[i])
	}
	something()
	for i := range loads {
		for _, s := range loads[i].Stop() {
			switch {
			case s.Status == 200:
				a.admitted[who(&traffic[i], s.Client)]++
				a.under[who(&traffic[i], s.Client)]++
			case s.Status != 429:
				t.Errorf("%s: status %d, %v", traffic[i].Target, s.Status, s.Err)
			}
		}
	}
}

// all takes what is left of every limit.
func (a *admitted) all(t *testing.T, addr string, users int) {
	t.Helper()
	conn := testkit.Dial(t, addr)
	until429 := func(who, target string, headers ...string) {
		t.Helper()
		for conn.Do(t, "GET", target, headers...).Status == 200 {
			a.admitted[who]++
		}
	}
	for n := range users {
		name := fmt.Sprintf("user%d", n)
		until429(name, "/user", "X-User: "+name)
	}
	until429("/whole", "/whole")
}
