package health

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/salgue441/velocity/balancer"
)

// endpoint is something to probe that can be well and sick.
type endpoint struct {
	url  string
	sick atomic.Bool
}

// kinds are all kinds of probes, each with an endpoint to its liking.
func kinds(t *testing.T) map[Kind]func() (*endpoint, Probe) {
	return map[Kind]func() (*endpoint, Probe){
		HTTP: func() (*endpoint, Probe) {
			e := new(endpoint)
			e.url = serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if e.sick.Load() {
					w.WriteHeader(http.StatusInternalServerError)
				}
			}).URL
			return e, Probe{Kind: HTTP}
		},
		TCP: func() (*endpoint, Probe) {
			e := new(endpoint)
			e.url = serveRaw(t, func(conn net.Conn) {
				if !e.sick.Load() {
					io.WriteString(conn, "ready\n")
				}
				conn.Close()
			})
			return e, Probe{Kind: TCP, Receive: "ready"}
		},
		GRPC: func() (*endpoint, Probe) {
			e := new(endpoint)
			e.url = serveGRPC(t, false, func(w http.ResponseWriter, _ *http.Request) {
				body := grpcServing
				if e.sick.Load() {
					body = grpcNotServing
				}
				grpcAnswer{body: body, grpcStatus: "0"}.serve(w)
			}).URL
			return e, Probe{Kind: GRPC}
		},
	}
}

// forKinds runs a test for each kind of probe, with a checker over the network.
// next waits for the next result.
func forKinds(t *testing.T, test func(t *testing.T, c *Checker, e *endpoint, probe Probe, next func() Result)) {
	t.Helper()
	for kind, build := range kinds(t) {
		t.Run(kind.String(), func(t *testing.T) {
			results := make(chan Result)
			closing := make(chan struct{})
			c := New(Options{OnProbe: func(r Result) {
				select {
				case results <- r:
				case <-closing:
				}
			}})
			defer c.Close()
			defer close(closing)
			e, probe := build()
			probe.Interval, probe.Timeout = 5*time.Millisecond, time.Minute
			test(t, c, e, probe, func() Result { return <-results })
		})
	}
}

// TestKindsRiseAndFall: a new endpoint is down until its first success, whatever
// the kind of the probe.
func TestKindsRiseAndFall(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Checker, e *endpoint, probe Probe, next func() Result) {
		target := Target{URL: e.url, Endpoint: balancer.NewEndpoint(1, false)}
		up := func(want bool) {
			t.Helper()
			if target.Endpoint.Up() != want {
				t.Errorf("up %v, want %v", !want, want)
			}
		}
		e.sick.Store(true)
		c.Set("users", probe, []Target{target})
		if r := next(); r.Err == nil {
			t.Fatal("a sick endpoint passed")
		}
		up(false)
		e.sick.Store(false)
		for next().Err != nil {
		}
		up(true)
		e.sick.Store(true)
		for range DefaultFall {
			for next().Err == nil {
			}
		}
		up(false)
	})
}

// TestKindsKeepStateOnReload: a reload changes the probe, not what is known.
func TestKindsKeepStateOnReload(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Checker, e *endpoint, probe Probe, next func() Result) {
		target := Target{URL: e.url, Endpoint: balancer.NewEndpoint(1, false)}
		c.Set("users", probe, []Target{target})
		if r := next(); r.Err != nil {
			t.Fatal(r.Err)
		}
		before := c.Status("users")[0]
		for i := range 20 {
			probe.Service, probe.Path, probe.Fall = fmt.Sprint(i), fmt.Sprint("/", i), i+1
			c.Set("users", probe, []Target{target})
			if got := c.Status("users")[0]; !got.Up || got.Since != before.Since || got.Succeeded < before.Succeeded {
				t.Fatalf("after a reload %+v, before %+v", got, before)
			}
			next()
		}
		if !target.Endpoint.Up() {
			t.Error("down")
		}
	})
}

// TestKindsProbeElsewhere: the endpoint that takes traffic is not the one that
// tells its health.
func TestKindsProbeElsewhere(t *testing.T) {
	for kind, build := range kinds(t) {
		e, probe := build()
		traffic := refusing(t)
		if cause := probeOnce(t, probe, Target{URL: traffic}); cause == "" {
			t.Errorf("%v: probed something", kind)
		}
		if cause := probeOnce(t, probe, Target{URL: traffic, ProbeURL: e.url}); cause != "" {
			t.Errorf("%v: by URL: %s", kind, cause)
		}
		u, err := url.Parse(e.url)
		if err != nil {
			t.Fatal(err)
		}
		if probe.Port, err = strconv.Atoi(u.Port()); err != nil {
			t.Fatal(err)
		}
		if cause := probeOnce(t, probe, Target{URL: traffic}); cause != "" {
			t.Errorf("%v: by port: %s", kind, cause)
		}
		if cause := probeOnce(t, probe, Target{URL: "http://127.0.0.1"}); cause != "" {
			t.Errorf("%v: by port, without one before: %s", kind, cause)
		}
	}
}

func TestUnknownKind(t *testing.T) {
	if cause := probeOnce(t, Probe{Kind: 9}, Target{URL: refusing(t)}); cause != "unknown kind of probe 9" {
		t.Errorf("cause %q", cause)
	}
}

func TestPortOfIPv6(t *testing.T) {
	base, err := address(Probe{Port: 81}, Target{URL: "http://[::1]:80"})
	if err != nil || base.Host != "[::1]:81" {
		t.Errorf("%v, %v", base, err)
	}
}

func TestProbeEqual(t *testing.T) {
	full := func() Probe {
		return Probe{
			Kind: TCP, Headers: [][2]string{{"a", "b"}}, Expect: []StatusRange{{200, 200}},
			ExpectBodyRegex: regexp.MustCompile("a|b"), Send: "x", DownInterval: time.Second,
		}.withDefaults()
	}
	f := func(name string, change func(*Probe)) {
		t.Helper()
		p := full()
		change(&p)
		if full().equal(p) || p.equal(full()) {
			t.Errorf("%s: a change is not noticed", name)
		}
	}
	if !full().equal(full()) {
		t.Error("equal probes differ")
	}
	f("kind", func(p *Probe) { p.Kind = GRPC })
	f("headers", func(p *Probe) { p.Headers[0][1] = "c" })
	f("expression", func(p *Probe) { p.ExpectBodyRegex = regexp.MustCompile("a|c") })
	f("no expression", func(p *Probe) { p.ExpectBodyRegex = nil })
	f("port", func(p *Probe) { p.Port = 1 })
	f("fast interval", func(p *Probe) { p.FastInterval = 1 })
}

// TestPrefaceOfKinds: what comes first comes first, whatever follows.
func TestPrefaceOfKinds(t *testing.T) {
	const preface = "PROXY UNKNOWN\r\n"
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		grpcAnswer{body: grpcServing, grpcStatus: "0"}.serve(w)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	told := make(chan string, 1)
	server.Listener = prefixed{server.Listener, len(preface), told}
	server.Start()
	t.Cleanup(server.Close)
	if cause := probeOnce(t, Probe{Kind: GRPC}, Target{URL: server.URL, Preface: preface}); cause != "" || <-told != preface {
		t.Errorf("gRPC: %s", cause)
	}
	echo := serveRaw(t, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
	if cause := probeOnce(t, Probe{Kind: TCP, Send: "x", Receive: preface + "x"}, Target{URL: echo, Preface: preface}); cause != "" {
		t.Errorf("TCP: %s", cause)
	}
	if !strings.HasPrefix(GRPC.String()+HTTP.String()+TCP.String(), "grpchttptcp") {
		t.Error("names of kinds")
	}
}
