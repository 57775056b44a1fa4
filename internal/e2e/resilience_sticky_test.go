package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

const stickyOptions = `
balance: {algorithm: round_robin, sticky: {secret: 0123456789abcdef0123456789abcdef}}
outlier_detection: {base_ejection_time: 1s, ejection_jitter: 0s}
` + checkedOften

// binding is a client with its cookie.
type binding struct{ server, cookie string }

// ask sends a request with the cookie, if there is one, and keeps what the
// answer sets. It reports whether it set one.
func (b *binding) ask(t *testing.T, g *testkit.Process) (set bool) {
	t.Helper()
	var headers []string
	if b.cookie != "" {
		headers = []string{"Cookie: other=1; " + b.cookie}
	}
	r := testkit.Get(t, g.Addr, "/plain", headers...)
	if r.Status != 200 {
		t.Fatalf("status %d: %s", r.Status, r.Body)
	}
	b.server = r.Header.Get("X-Echo-Instance")
	line := r.Header.Get("Set-Cookie")
	if line == "" {
		return false
	}
	b.cookie, _, _ = strings.Cut(line, ";")
	if !strings.HasPrefix(b.cookie, "velocity_server=") {
		t.Fatalf("Set-Cookie: %s", line)
	}
	return true
}

// bind makes clients, each bound to the server that it got.
func bind(t *testing.T, g *testkit.Process, n int) []binding {
	t.Helper()
	clients := make([]binding, n)
	for i := range clients {
		if !clients[i].ask(t, g) {
			t.Fatal("a client without a cookie gets none")
		}
	}
	return clients
}

// wantBound fails unless every client that keep chooses still gets its server and
// no other cookie.
func wantBound(t *testing.T, when string, g *testkit.Process, clients []binding, keep func(binding) bool) {
	t.Helper()
	for i, b := range clients {
		was := b.server
		if set := b.ask(t, g); keep(clients[i]) && (b.server != was || set) {
			t.Errorf("%s: client %d gets %s, another cookie: %v; want %s and none", when, i, b.server, set, was)
		}
	}
}

func anyBinding(binding) bool { return true }

func notOf(server string) func(binding) bool {
	return func(b binding) bool { return b.server != server }
}

// boundTraffic is load of clients that send the cookies they had at first.
func boundTraffic(g *testkit.Process, clients []binding) testkit.Traffic {
	traffic := usualTraffic(g)
	traffic.Headers = func(client, _ int) []string { return []string{"Cookie: " + clients[client].cookie} }
	return traffic
}

// wantOwn fails unless the clients that keep chooses got their own servers.
func wantOwn(t *testing.T, s testkit.Samples, clients []binding, keep func(binding) bool) {
	t.Helper()
	astray := s.Where(func(x *testkit.Sample) bool {
		return keep(clients[x.Client]) && x.Instance != clients[x.Client].server
	})
	if len(astray) > 0 {
		t.Errorf("%d of %d requests of bound clients went elsewhere, the first of %s to %s after %v",
			len(astray), len(s), clients[astray[0].Client].server, astray[0].Instance, astray[0].At)
	}
}

// A cookie binds a client to its server: through reloads, at other gateways with
// the same secret, and until the server is gone.
func stickySessions(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	document := fleetDocument(f, stickyOptions, retriedOften)
	g, path := start(t, document)
	second, _ := start(t, document)
	clients := bind(t, g, 24)
	for _, s := range f {
		if n := boundTo(clients, s.name); n < 6 || n > 10 {
			t.Errorf("%d of 24 clients are bound to %s, want a third", n, s.name)
		}
	}
	l := testkit.StartLoad(t, boundTraffic(g, clients))
	wantBound(t, "at once", g, clients, anyBinding)
	testkit.ReplaceFile(t, path, document+"  - {path: /new, respond: {body: new}}\n")
	reload(t, g)
	wantBound(t, "after a reload", g, clients, anyBinding)
	wantBound(t, "at a second gateway", second, clients, anyBinding)
	bound := l.Run(300 * time.Millisecond)
	wantOwn(t, bound, clients, anyBinding)

	f[2].kill(t)
	noticed := f[2].waitState(t, g, "down", "ejected")
	f[2].waitState(t, second, "down")
	wantBound(t, "after a death", g, clients, notOf("c"))
	moved := 0
	for _, b := range clients {
		if b.server != "c" {
			continue
		}
		if set := b.ask(t, g); !set || b.server == "c" {
			t.Errorf("a client of a dead server gets %s, another cookie: %v", b.server, set)
		}
		moved++
		wantBound(t, "with the new cookie", g, []binding{b}, anyBinding)
		wantBound(t, "with the new cookie at a second gateway", second, []binding{b}, anyBinding)
	}
	l.Run(300 * time.Millisecond)
	all := l.Stop()
	wantOwn(t, all, clients, notOf("c"))
	table.add(t, scenarioFigures{
		"sticky, kill -9 of one of three", all, none, noticed, 0,
		fmt.Sprintf("%d of 24 clients get another server and cookie, the others keep theirs", moved),
	})
	wantNoneLost(t, all)
	wantWithin(t, "noticing", noticed, 700*time.Millisecond)
}

func boundTo(clients []binding, server string) (n int) {
	for _, b := range clients {
		if b.server == server {
			n++
		}
	}
	return n
}

// A drained server keeps the clients that are bound to it and gets no others; a
// disabled one gets none.
func stickyDrain(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	g, _ := start(t, fleetDocument(f, stickyOptions, retriedOften))
	clients := bind(t, g, 24)
	l := testkit.StartLoad(t, boundTraffic(g, clients))
	l.Run(200 * time.Millisecond)

	f[2].setMode(t, g, "drained")
	wantBound(t, "while drained", g, clients, anyBinding)
	for _, b := range bind(t, g, 12) {
		if b.server == "c" {
			t.Error("a new client is bound to a drained server")
		}
	}
	l.Run(300 * time.Millisecond)
	wantOwn(t, l.Samples(), clients, anyBinding)

	f[2].setMode(t, g, "disabled")
	disabled := l.Now()
	wantBound(t, "while one is disabled", g, clients, notOf("c"))
	for _, b := range clients {
		if b.server == "c" && (!b.ask(t, g) || b.server == "c") {
			t.Errorf("a client of a disabled server gets %s", b.server)
		}
	}
	without := l.Run(300 * time.Millisecond)

	f[2].setMode(t, g, "enabled")
	back := f[2].waitAnswering(t, l, l.Now())
	wantBound(t, "after all", g, clients, anyBinding)
	all := l.Stop()
	table.add(t, scenarioFigures{"sticky, one drained, then disabled", all, without.Share("c"), 0, back, "drained: keeps its clients, gets no new ones"})
	wantNoneLost(t, all)
	if n := len(all.Between(disabled+50*time.Millisecond, disabled+300*time.Millisecond).Of("c")); n > 0 {
		t.Errorf("a disabled server got %d requests", n)
	}
	wantWithin(t, "coming back", back, 1500*time.Millisecond)
}

// setMode has the management API change a server's mode.
func (s *server) setMode(t *testing.T, g *testkit.Process, mode string) {
	t.Helper()
	body := `{"mode":"` + mode + `"}`
	c := testkit.Dial(t, g.Admin)
	c.Send(t, fmt.Sprintf("PATCH /admin/v1/upstreams/fleet/endpoints/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		s.view(t, g).ID, g.Admin, len(body), body))
	if r := c.Receive(t, "PATCH"); r.Status != 200 {
		t.Fatalf("set %s %s: status %d: %s", s.name, mode, r.Status, r.Body)
	}
	if got := s.view(t, g).Mode; got != mode {
		t.Fatalf("%s is %s, want %s", s.name, got, mode)
	}
}
