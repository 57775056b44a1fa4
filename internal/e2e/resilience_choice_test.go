package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// keyOf is the key of a client's n-th request, one of 240.
func keyOf(client, n int) string { return fmt.Sprintf("tenant-%d", client*10+n%10) }

// serversOf asks for every key once.
func serversOf(t *testing.T, g *testkit.Process) map[string]string {
	t.Helper()
	servers := map[string]string{}
	c := testkit.Dial(t, g.Addr)
	for client := range 24 {
		for n := range 10 {
			key := keyOf(client, n)
			r := c.Do(t, "GET", "/plain", "X-Key: "+key)
			if r.Status != 200 {
				t.Fatalf("status %d: %s", r.Status, r.Body)
			}
			servers[key] = r.Header.Get("X-Echo-Instance")
		}
	}
	return servers
}

// differing counts the keys of server, or of any but it, that have another
// server in b than in a.
func differing(a, b map[string]string, of func(server string) bool) (n int) {
	for key, s := range a {
		if of(s) && b[key] != s {
			n++
		}
	}
	return n
}

// With maglev every gateway sends a key to the same server, and the death of one
// moves its keys only.
func maglevKeys(t *testing.T, table *figuresTable) {
	f := newFleet(t, 4)
	document := fleetDocument(f, `
balance: {algorithm: maglev, hash_on: "${header.X-Key}"}
outlier_detection: {base_ejection_time: 1s, ejection_jitter: 0s}
`+checkedOften, retriedOften)
	g, _ := start(t, document)
	second, _ := start(t, document)
	traffic := usualTraffic(g)
	traffic.Headers = func(client, n int) []string { return []string{"X-Key: " + keyOf(client, n)} }
	l := testkit.StartLoad(t, traffic)

	before := serversOf(t, g)
	isD := func(s string) bool { return s == "d" }
	isOther := func(s string) bool { return s != "d" }
	all := func(string) bool { return true }
	if n := differing(before, serversOf(t, second), all); n > 0 {
		t.Errorf("a second gateway sends %d of 240 keys to other servers", n)
	}
	if n := differing(before, map[string]string{}, isD); n < 30 || n > 90 {
		t.Errorf("%d of 240 keys are those of one server of four", n)
	}
	f[3].kill(t)
	noticed := f[3].waitState(t, g, "down", "ejected")
	f[3].waitState(t, second, "down")
	after, also := serversOf(t, g), serversOf(t, second)
	if n := differing(before, after, isOther); n > 0 {
		t.Errorf("%d keys of living servers have moved", n)
	}
	moved := differing(before, after, isD)
	if n := differing(before, map[string]string{}, isD); moved != n {
		t.Errorf("%d of the %d keys of the dead server have moved", moved, n)
	}
	if n := differing(after, also, all); n > 0 {
		t.Errorf("a second gateway sends %d of 240 keys to other servers after the death", n)
	}
	f[3].restart(t)
	back := f[3].waitAnswering(t, l, l.Now())
	f[3].waitState(t, g, "up")
	if n := differing(before, serversOf(t, g), all); n > 0 {
		t.Errorf("%d keys are elsewhere once the server is back", n)
	}
	s := l.Stop()
	table.add(t, scenarioFigures{
		"maglev, kill -9 of one of four", s, none, noticed, back,
		fmt.Sprintf("%d of 240 keys move, all of them the dead server's, and back again", moved),
	})
	wantNoneLost(t, s)
}

// Servers of the next priority serve what those of the first cannot carry.
func priorities(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	g, _ := start(t, documentOf(fmt.Sprintf(`
targets: [{url: %q}, {url: %q}, {url: %q, priority: 1}]
balance: {algorithm: round_robin}
outlier_detection: {base_ejection_time: 200ms, ejection_jitter: 0s}
`, f[0].url(), f[1].url(), f[2].url())+checkedOften, "", retriedOften))
	l := testkit.StartLoad(t, usualTraffic(g))
	whole := l.Run(500 * time.Millisecond)
	wantShare(t, whole, "c", 0, 0)

	f[0].kill(t)
	noticed := f[0].waitState(t, g, "down")
	half := l.Run(500 * time.Millisecond)
	wantShare(t, half, "c", 0.25, 0.35) // one of two at 140 %: 70 % stays

	f[1].kill(t)
	f[1].waitState(t, g, "down")
	backup := l.Run(500 * time.Millisecond)
	wantShare(t, backup, "c", 1, 1)

	f[0].restart(t)
	f[1].restart(t)
	back := f[0].waitAnswering(t, l, l.Now())
	f[0].waitState(t, g, "up")
	f[1].waitState(t, g, "up")
	again := l.Run(500 * time.Millisecond)
	wantShare(t, again, "c", 0, 0)
	all := l.Stop()
	table.add(t, scenarioFigures{
		"two servers and a backup, both killed in turn", all, none, noticed, back,
		fmt.Sprintf("the backup has %.0f, %.0f, %.0f, then %.0f %%", 100*whole.Share("c"), 100*half.Share("c"), 100*backup.Share("c"), 100*again.Share("c")),
	})
	wantNoneLost(t, all)
}

// A server that is back gets more and more.
func slowStart(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	g, _ := start(t, fleetDocument(f, `
balance: {algorithm: round_robin, slow_start: {window: 2s, min_percent: 10}}
outlier_detection: {enabled: false}
`+checkedOften, retriedOften))
	l := testkit.StartLoad(t, usualTraffic(g))
	l.Run(300 * time.Millisecond)
	f[2].kill(t)
	f[2].waitState(t, g, "down")
	f[2].restart(t)
	back := f[2].waitAnswering(t, l, l.Now())
	var shares []float64
	for range 4 {
		shares = append(shares, l.Run(500*time.Millisecond).Share("c"))
	}
	f[2].waitState(t, g, "up")
	shares = append(shares, l.Run(500*time.Millisecond).Share("c"))
	all := l.Stop()
	note := "share per half second:"
	for _, s := range shares {
		note += fmt.Sprintf(" %.0f", 100*s)
	}
	table.add(t, scenarioFigures{"slow start over 2 s", all, none, 0, back, note + " %"})
	wantNoneLost(t, all)
	for i := range shares[1:] {
		if shares[i+1] <= shares[i] {
			t.Errorf("the share of half second %d is not above that of the one before: %v", i+2, shares)
		}
	}
	if shares[0] > 0.2 || shares[4] < 0.30 {
		t.Errorf("shares %v, want less than 20 %% at first and a third at last", shares)
	}
}
