package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp refreshes the Date header once per process, and each stopped
		// server's pool cleaner sleeps up to ten seconds before it sees the stop.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const token = "correct-horse-battery-staple"

// gateway is a Runtime with one route and one upstream, as docs/admin.md shows
// them. Tests change its fields before they ask.
type gateway struct {
	state     Status
	yaml      string
	configErr error
	table     []Route
	groups    []Upstream
	outside   []Dependency
	limits    []RateLimit
	known     map[limitKey]KeyState                   // keys that are remembered
	broken    error                                   // of every change
	reloads   []func(context.Context) (Reload, error) // used up one by one
	explained [4]any                                  // the arguments of the last Explain
	refusal   error                                   // of Explain
}

func newGateway() *gateway {
	at := func(hour, minute, second int) time.Time {
		return time.Date(2026, 5, 4, hour, minute, second, 0, time.UTC)
	}
	return &gateway{
		state: Status{
			Version: "1.0.0", Commit: "4f2c9e1", GoVersion: "go1.26.8",
			StartedAt: at(8, 0, 0), UptimeSeconds: 3600, Ready: true,
			Config: ConfigView{
				Hash: "9b1f6a02", Files: []string{"configs/gateway.yaml", "configs/routes.yaml"},
				LoadedAt: at(8, 30, 0), Revision: 2,
				LastReload: &ReloadTry{At: at(8, 30, 0), Success: true},
			},
			Counts:      Counts{Routes: 1, Upstreams: 1, Endpoints: 2, EndpointsUp: 1},
			Connections: 12,
			Listeners:   []Listener{{"gateway", "0.0.0.0:8080", false}, {"admin", "127.0.0.1:8081", false}},
		},
		yaml: "server:\n  host: 0.0.0.0\n  port: 8080\nroutes:\n  - name: users\n    path: /api/v1/*\n" +
			"    targets:\n      - url: http://127.0.0.1:3000\n",
		table: []Route{{
			Name: "users", Origin: "configs/routes.yaml:3", Hosts: []string{"api.example.com"}, Path: "/api/v1/*",
			Methods: []string{"GET", "POST"}, Predicates: []string{"header X-Tenant is present"},
			Action: Action{Type: "forward", Upstream: "users"},
			Phases: []string{"arrive: cors", "shape: headers", "forward: users"},
		}},
		groups: []Upstream{{
			Name: "users", Algorithm: "round_robin", InFlight: 3, Queue: Queue{Size: 100, MaxInFlight: 200},
			CircuitBreaker: &CircuitBreaker{State: BreakerClosed, SharePercent: 100, Requests: 840, Failed: 12},
			Endpoints: []Endpoint{
				{
					ID: "127.0.0.1:3000", URL: "http://127.0.0.1:3000", Mode: ModeEnabled, State: StateUp,
					Weight: 100, ConfiguredWeight: 100, Up: true, Since: at(8, 0, 1), InFlight: 3, LatencyMS: 12.5,
					Connections: Connections{8, 5},
					Probe:       &Probe{At: at(8, 59, 58), LatencyMS: 1.25, Succeeded: 1799},
				},
				{
					ID: "127.0.0.1:3001", URL: "http://127.0.0.1:3001", Mode: ModeEnabled, State: StateEjected,
					Weight: 50, ConfiguredWeight: 50, Up: true, Since: at(8, 45, 0),
					Ejected: &Ejection{
						Since: at(8, 59, 50), Until: at(9, 0, 20), Cause: "consecutive_5xx", Detail: "5 in a row",
						Times: 1, Enforced: true,
					},
					Probe: &Probe{At: at(8, 59, 59), LatencyMS: 2, Succeeded: 450},
				},
			},
		}},
		outside: []Dependency{
			{Kind: KindUpstream, Name: "users", State: DependencyDegraded, Since: new(at(8, 59, 50)), Required: true, Details: map[string]any{
				"endpoints": 2, "endpoints_up": 1,
			}},
			{Kind: KindRedis, Name: "127.0.0.1:6379", State: DependencyUp, Since: new(at(8, 0, 0))},
			{
				Kind: KindEndpoint, Name: "users/127.0.0.1:3001", State: DependencyDegraded, Since: new(at(8, 59, 50)), Error: "ejected: 5 in a row",
				Details: map[string]any{"state": StateEjected, "in_flight": 0},
			},
			{
				Kind: KindEndpoint, Name: "users/127.0.0.1:3000", State: DependencyUp, Since: new(at(8, 0, 1)),
				Details: map[string]any{"state": StateUp, "in_flight": 3},
			},
		},
		limits: newLimits(),
		known:  newKeys(),
		reloads: []func(context.Context) (Reload, error){
			func(context.Context) (Reload, error) { return Reload{Changed: true, Hash: "c07d55e4"}, nil },
			func(context.Context) (Reload, error) {
				return Reload{}, &InvalidConfig{Problems: []ConfigProblem{
					{File: "configs/gateway.yaml", Line: 4, Column: 3, Path: "server.prot", Message: "unknown key", Suggestion: "port"},
					{File: "configs/routes.yaml", Line: 9, Column: 15, Path: "routes[0].retries.attempts", Message: "must not be negative"},
				}}
			},
		},
	}
}

func (g *gateway) Status() Status          { return g.state }
func (g *gateway) Config() ([]byte, error) { return []byte(g.yaml), g.configErr }
func (g *gateway) Routes() []Route         { return g.table }
func (g *gateway) Upstreams() []Upstream   { return g.groups }
func (g *gateway) Dependencies() []Dependency {
	return g.outside
}

func (g *gateway) WriteMetrics(w io.Writer) {
	io.WriteString(w, "velocity_config_last_reload_success 1\n")
}

func (g *gateway) upstream(name string) (*Upstream, error) {
	var known []string
	for i := range g.groups {
		if g.groups[i].Name == name {
			return &g.groups[i], g.broken
		}
		known = append(known, g.groups[i].Name)
	}
	return nil, &NotFound{Kind: "upstream", Name: name, Known: known}
}

func (g *gateway) endpoint(upstream, name string) (*Endpoint, error) {
	u, err := g.upstream(upstream)
	if err != nil {
		return nil, err
	}
	urls := make([]string, len(u.Endpoints))
	for i := range u.Endpoints {
		urls[i] = u.Endpoints[i].URL
	}
	i, err := FindEndpoint(urls, name)
	if err != nil {
		return nil, err
	}
	return &u.Endpoints[i], nil
}

func (g *gateway) SetEndpoint(upstream, endpoint string, change EndpointChange) (before, after Endpoint, err error) {
	e, err := g.endpoint(upstream, endpoint)
	if err != nil {
		return before, after, err
	}
	before = *e
	if change.Mode != "" {
		e.Mode, e.State = change.Mode, change.Mode
		e.Draining = change.Mode != ModeEnabled
		if change.Mode == ModeEnabled {
			e.State = StateUp
		}
	}
	switch {
	case change.ResetWeight:
		e.Weight = e.ConfiguredWeight
	case change.Weight != nil:
		e.Weight = *change.Weight
	}
	return before, *e, nil
}

func (g *gateway) ResetEndpoint(upstream, endpoint string) (before, after Endpoint, err error) {
	e, err := g.endpoint(upstream, endpoint)
	if err != nil {
		return before, after, err
	}
	before = *e
	e.Ejected, e.State = nil, StateUp
	return before, *e, nil
}

func (g *gateway) SetBreaker(upstream string, change BreakerChange) (before, after CircuitBreaker, err error) {
	u, err := g.upstream(upstream)
	if err != nil {
		return before, after, err
	}
	if u.CircuitBreaker == nil {
		return before, after, ErrNoBreaker
	}
	b := u.CircuitBreaker
	before = *b
	now := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	*b = CircuitBreaker{State: BreakerClosed, Since: &now, SharePercent: 100}
	if change.Open {
		*b = CircuitBreaker{State: BreakerOpen, Since: &now, Requests: before.Requests, Failed: before.Failed, Opened: 1, Cause: "opened by the operator"}
		if change.For > 0 {
			b.RetryAt = new(now.Add(change.For))
		}
	}
	return before, *b, nil
}

func (g *gateway) Reload(ctx context.Context) (Reload, error) {
	if len(g.reloads) == 0 {
		return Reload{}, errors.New("reload was not expected")
	}
	next := g.reloads[0]
	g.reloads = g.reloads[1:]
	return next(ctx)
}

func (g *gateway) Explain(method, url string, headers [][2]string, clientIP string) (Explanation, error) {
	g.explained = [4]any{method, url, headers, clientIP}
	r := g.table[0]
	return Explanation{
		Method: method, URL: url, CanonicalPath: "/api/v1/users", Route: r.Name, Action: &r.Action, Phases: r.Phases,
		Candidates: []Candidate{
			{Route: r.Name, Origin: r.Origin, Won: true, Reason: "host api.example.com, path /api/v1/* and all else match"},
			{Route: "fallback", Origin: "configs/routes.yaml:12", Reason: `matches, but host less specific than that of "users"`},
		},
	}, g.refusal
}

// api is a handler behind an in-memory listener, and a client for it.
type api struct {
	ln     *fasthttputil.InmemoryListener
	client *http.Client
	logs   *observer.ObservedLogs

	mu    sync.Mutex
	peer  net.Addr // of the requests to come; nil means that of the connection
	clock time.Time
}

func (a *api) now() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.clock
}

func (a *api) advance(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clock = a.clock.Add(d)
}

func (a *api) from(ip string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.peer = &net.TCPAddr{IP: net.ParseIP(ip), Port: 50000}
}

// start serves the API. wrap, which may be nil, puts a listener around the
// in-memory one.
func start(t *testing.T, rt Runtime, o Options, wrap func(net.Listener) net.Listener) *api {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	a := &api{ln: fasthttputil.NewInmemoryListener(), logs: logs, clock: time.Unix(1_800_000_000, 0)}
	o.Logger, o.Now = zap.New(core), a.now
	handle, err := NewHandler(rt, o)
	if err != nil {
		t.Fatal(err)
	}
	server := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		a.mu.Lock()
		if a.peer != nil {
			ctx.SetRemoteAddr(a.peer)
		}
		a.mu.Unlock()
		handle(ctx)
	}}
	var ln net.Listener = a.ln
	if wrap != nil {
		ln = wrap(ln)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	transport := &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return a.ln.Dial() },
		DisableCompression: true,
	}
	a.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := server.Shutdown(); err != nil {
			t.Errorf("shut down: %v", err)
		}
		<-served //nolint:errcheck // what it said is the test's business
	})
	return a
}

type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends "METHOD /target" with the given "Name: value" headers. A Host header
// replaces localhost.
func (a *api) ask(t *testing.T, request string, headers ...string) answer {
	t.Helper()
	return a.tell(t, request, "", headers...)
}

// tell is ask with a body.
func (a *api) tell(t *testing.T, request, body string, headers ...string) answer {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, "http://localhost"+target, content)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	return a.do(t, req)
}

func (a *api) do(t *testing.T, req *http.Request) answer {
	t.Helper()
	resp, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// wantProblem checks that an answer is a problem document with the code.
func wantProblem(t *testing.T, what string, got answer, status int, code string) {
	t.Helper()
	if got.status != status || !strings.Contains(got.body, `"code": "`+code+`"`) {
		t.Errorf("%s: %d %s\nwant %d with code %s", what, got.status, got.body, status, code)
	}
	if ct := got.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("%s: content type %q, want application/problem+json", what, ct)
	}
}
