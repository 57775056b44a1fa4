package e2e

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/salgue441/velocity/internal/testkit"
)

// discoveryHealth is what GET /admin/v1/health says of the fleet's discovery.
func discoveryHealth(t *testing.T, g *testkit.Process) (state, problem string) {
	t.Helper()
	var report struct {
		Dependencies []struct{ Kind, Name, State, Error string }
	}
	testkit.Get(t, g.Admin, "/admin/v1/health").JSON(t, &report)
	for _, d := range report.Dependencies {
		if d.Kind == "discovery" && d.Name == "fleet" {
			return d.State, d.Error
		}
	}
	t.Fatalf("no discovery in %+v", report)
	return "", ""
}

// waitServers waits until the gateway knows exactly these servers, and returns
// how long that took.
func waitServers(t *testing.T, g *testkit.Process, f ...*server) time.Duration {
	t.Helper()
	began := time.Now()
	testkit.Eventually(t, testkit.Patience, fmt.Sprintf("%d servers to be discovered", len(f)), func() bool {
		known := map[string]bool{}
		endpoints := viewOf(t, g, "fleet").Endpoints
		for _, e := range endpoints {
			known[e.URL] = true
		}
		for _, s := range f {
			if !known[s.url()] {
				return false
			}
		}
		return len(endpoints) == len(f)
	})
	return time.Since(began)
}

// A list of servers in a file is followed under load; a broken one is not.
func fileDiscovery(t *testing.T, table *figuresTable) {
	f := newFleet(t, 3)
	list := filepath.Join(t.TempDir(), "servers.yaml")
	write := func(servers ...*server) {
		t.Helper()
		var b strings.Builder
		for _, s := range servers {
			b.WriteString("- " + s.url() + "\n")
		}
		testkit.ReplaceFile(t, list, b.String())
	}
	write(f[0], f[1])
	g, _ := start(t, documentOf("discovery: {file: {path: "+list+"}}\nbalance: {algorithm: round_robin}", "", ""))
	waitServers(t, g, f[0], f[1])
	l := testkit.StartLoad(t, usualTraffic(g))
	wantShare(t, l.Run(300*time.Millisecond), "c", 0, 0)

	added := l.Now()
	write(f...)
	noticed := f[2].waitAnswering(t, l, added)
	wantShare(t, l.Run(300*time.Millisecond), "c", 0.30, 0.37)

	write(f[1], f[2])
	removed := waitServers(t, g, f[1], f[2])
	without := l.Run(300 * time.Millisecond)
	wantShare(t, without, "a", 0, 0)
	f[0].kill(t) // nobody misses it

	testkit.ReplaceFile(t, list, "- \"http://[broken\"\n")
	var problem string
	testkit.Eventually(t, testkit.Patience, "the broken file to be reported", func() bool {
		var state string
		state, problem = discoveryHealth(t, g)
		return state == "degraded" && strings.Contains(problem, "servers.yaml")
	})
	waitServers(t, g, f[1], f[2])
	wantShare(t, l.Run(300*time.Millisecond), "c", 0.45, 0.55)
	if v := testkit.Scrape(t, g.Admin).Value(t, `velocity_discovery_stale{upstream="fleet"}`); v != 1 {
		t.Errorf("the metric of staleness says %v", v)
	}

	write(f[1])
	mended := waitServers(t, g, f[1])
	testkit.Eventually(t, testkit.Patience, "discovery to be well", func() bool {
		state, _ := discoveryHealth(t, g)
		return state == "up"
	})
	all := l.Stop()
	table.add(t, scenarioFigures{
		"file discovery: one added, one removed, broken, mended", all, without.Share("a"), noticed, mended,
		fmt.Sprintf("removed after %s; a broken file changes nothing", millis(removed)),
	})
	wantNoneLost(t, all)
	wantWithin(t, "adding", noticed, 2*time.Second)
	wantWithin(t, "removing", removed, 2*time.Second)
}

// zone is a name server of one name. It fails while it has no addresses.
type zone struct {
	addr string

	mu        sync.Mutex
	addresses []string
}

func newZone(t *testing.T, addresses ...string) *zone {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{addr: conn.LocalAddr().String(), addresses: addresses}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: conn, Handler: z, NotifyStartedFunc: func() { close(started) }}
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.ActivateAndServe(); err != nil {
			t.Error(err)
		}
	})
	<-started
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		defer cancel()
		if err := s.ShutdownContext(ctx); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return z
}

func (z *zone) set(addresses ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addresses = addresses
}

// ServeDNS implements dns.Handler.
func (z *zone) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	answer := new(dns.Msg).SetReply(question)
	if len(z.addresses) == 0 {
		answer.SetRcode(question, dns.RcodeServerFailure)
	} else if q := question.Question[0]; q.Qtype == dns.TypeA {
		for _, a := range z.addresses {
			answer.Answer = append(answer.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 0}, A: net.ParseIP(a),
			})
		}
	}
	_ = w.WriteMsg(answer) // who asked may be gone
}

// The servers are those that a name has addresses of; while the name server
// fails, those it had.
func dnsDiscovery(t *testing.T, table *figuresTable) {
	if runtime.GOOS != "linux" {
		t.Skip("needs more than one address on loopback")
	}
	f := fleet{newServer(t, "a", "127.0.0.2:0")}
	_, port, err := net.SplitHostPort(f[0].addr)
	if err != nil {
		t.Fatal(err)
	}
	f = append(f, newServer(t, "b", "127.0.0.3:"+port), newServer(t, "c", "127.0.0.4:"+port))
	z := newZone(t, "127.0.0.2", "127.0.0.3")
	g, _ := start(t, documentOf("discovery: {dns: {name: fleet.test, port: "+port+", servers: [\""+z.addr+
		"\"], min_refresh: 50ms, max_refresh: 100ms}}\nbalance: {algorithm: round_robin}", "", ""))
	waitServers(t, g, f[0], f[1])
	l := testkit.StartLoad(t, usualTraffic(g))
	wantShare(t, l.Run(300*time.Millisecond), "c", 0, 0)

	added := l.Now()
	z.set("127.0.0.2", "127.0.0.3", "127.0.0.4")
	noticed := f[2].waitAnswering(t, l, added)
	wantShare(t, l.Run(300*time.Millisecond), "c", 0.30, 0.37)

	z.set()
	testkit.Eventually(t, testkit.Patience, "the name server's failure to be reported", func() bool {
		state, problem := discoveryHealth(t, g)
		return state == "degraded" && problem != ""
	})
	waitServers(t, g, f...)
	wantShare(t, l.Run(300*time.Millisecond), "c", 0.30, 0.37)

	z.set("127.0.0.3", "127.0.0.4")
	mended := waitServers(t, g, f[1], f[2])
	without := l.Run(300 * time.Millisecond)
	all := l.Stop()
	table.add(t, scenarioFigures{"DNS discovery: one added, name server fails, one removed", all, without.Share("a"), noticed, mended, "looked up every 50 to 100 ms"})
	wantNoneLost(t, all)
	wantShare(t, without, "a", 0, 0)
	wantWithin(t, "adding", noticed, time.Second)
}
