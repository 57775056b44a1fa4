package e2e

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// server is a sample upstream in a process of its own.
type server struct {
	name, addr string
	process    *testkit.Process
}

// fleet are the servers of an upstream, named a, b, c and so on.
type fleet []*server

// serverHost is where servers listen. Ports that the kernel chooses for
// connections belong to 127.0.0.1, so that nothing takes the port of a server
// while it is down.
func serverHost() string {
	if runtime.GOOS == "linux" {
		return "127.0.0.2"
	}
	return "127.0.0.1"
}

func newFleet(t *testing.T, n int) fleet {
	t.Helper()
	f := make(fleet, n)
	for i := range f {
		f[i] = newServer(t, string(rune('a'+i)), serverHost()+":0")
	}
	return f
}

func newServer(t *testing.T, name, addr string) *server {
	t.Helper()
	s := &server{name: name, process: testkit.StartEchoAt(t, addr, name)}
	s.addr = s.process.Addr
	return s
}

func (s *server) url() string { return "http://" + s.addr }

// restart runs a killed server again, at the same address.
func (s *server) restart(t *testing.T) {
	t.Helper()
	s.process = testkit.StartEchoAt(t, s.addr, s.name)
}

func (s *server) kill(t *testing.T) { t.Helper(); s.process.Kill(t) }

func (s *server) freeze(t *testing.T) { t.Helper(); s.process.Signal(t, syscall.SIGSTOP) }

func (s *server) thaw(t *testing.T) { t.Helper(); s.process.Signal(t, syscall.SIGCONT) }

// behave changes what the server's answers are like; without words they are as
// usual again.
func (s *server) behave(t *testing.T, how string) {
	t.Helper()
	s.post(t, "/behavior?"+how)
}

// setHealthy chooses the answer to probes; requests are served in any case.
func (s *server) setHealthy(t *testing.T, ok bool) {
	t.Helper()
	s.post(t, fmt.Sprintf("/health?up=%v", ok))
}

func (s *server) post(t *testing.T, target string) {
	t.Helper()
	if r := testkit.Do(t, s.addr, "POST", target, "Content-Length: 0"); r.Status != 200 {
		t.Fatalf("POST %s to %s: status %d: %s", target, s.name, r.Status, r.Body)
	}
}

// targets is the list of the servers as configuration.
func (f fleet) targets() string {
	urls := make([]string, len(f))
	for i, s := range f {
		urls[i] = `{url: "` + s.url() + `"}`
	}
	return "[" + strings.Join(urls, ", ") + "]"
}

// fleetDocument is a gateway with one upstream of these servers and options, and
// one route for everything. What is appended to it are more routes.
func fleetDocument(f fleet, upstream, route string) string {
	return documentOf("targets: "+f.targets()+"\n"+strings.TrimSpace(upstream), "", route)
}

// documentOf is the same with all options of the upstream, and with more
// upstreams, as items of a list.
func documentOf(upstream, more, route string) string {
	return unwatched + `
upstreams:
  - name: fleet` + indent(upstream) + "\n" + more + `
routes:
  - name: all
    path: /*
    upstream: fleet` + indent(route) + "\n"
}

// indent puts the lines of a section's options below it.
func indent(lines string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		b.WriteString("\n    " + strings.TrimRight(line, "\n"))
	}
	return b.String()
}

// usualTraffic is constant load of a few dozen clients that keep their
// connections and may be asked again.
func usualTraffic(g *testkit.Process) testkit.Traffic {
	return testkit.Traffic{Addr: g.Addr, Clients: 24, Pause: 10 * time.Millisecond}
}

// upstreamView is what tests ask of GET /admin/v1/upstreams.
type upstreamView struct {
	Name           string
	Panic          bool
	Endpoints      []endpointView
	CircuitBreaker *breakerView `json:"circuit_breaker"`
	Concurrency    *struct {
		Limit    int
		Rejected uint64
	}
	Discovery *struct {
		State, Error string
		Found        int
	}
}

type endpointView struct {
	ID, URL, State, Mode string
	Ejected              *struct {
		Since, Until time.Time
		Times        int
	}
	CircuitBreaker *breakerView `json:"circuit_breaker"`
}

type breakerView struct {
	State   string
	Opened  uint64
	Since   *time.Time
	RetryAt *time.Time `json:"retry_at"`
}

func viewOf(t *testing.T, g *testkit.Process, upstream string) upstreamView {
	t.Helper()
	var list struct{ Upstreams []upstreamView }
	testkit.Get(t, g.Admin, "/admin/v1/upstreams").JSON(t, &list)
	for _, u := range list.Upstreams {
		if u.Name == upstream {
			return u
		}
	}
	t.Fatalf("no upstream %s", upstream)
	return upstreamView{}
}

// endpointView is a server as the gateway sees it.
func (s *server) view(t *testing.T, g *testkit.Process) endpointView {
	t.Helper()
	for _, e := range viewOf(t, g, "fleet").Endpoints {
		if e.URL == s.url() {
			return e
		}
	}
	t.Fatalf("no endpoint %s", s.url())
	return endpointView{}
}

// waitState waits until the gateway sees a server in one of the states, and
// returns how long that took.
func (s *server) waitState(t *testing.T, g *testkit.Process, states ...string) time.Duration {
	t.Helper()
	began := time.Now()
	what := s.name + " to be " + strings.Join(states, " or ")
	testkit.Eventually(t, testkit.Patience, what, func() bool {
		state := s.view(t, g).State
		for _, want := range states {
			if state == want {
				return true
			}
		}
		return false
	})
	return time.Since(began)
}

// waitAnswering waits until a server answers requests that were sent after since,
// and returns how long after it the first such answer came.
func (s *server) waitAnswering(t *testing.T, l *testkit.Load, since time.Duration) time.Duration {
	t.Helper()
	first := time.Duration(-1)
	testkit.Eventually(t, testkit.Patience, s.name+" to answer again", func() bool {
		for _, x := range l.Samples().Of(s.name) {
			if end := x.At + x.Took - since; x.At >= since && (first < 0 || end < first) {
				first = end
			}
		}
		return first >= 0
	})
	return first
}
