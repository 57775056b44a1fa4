package proxy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// settleHedges waits for the hedges that lost, which outlive their requests, and
// checks that nothing is left of them.
func (s *site) settleHedges(requests int) {
	s.t.Helper()
	end := time.Now().Add(patience)
	for _, u := range s.upstreams {
		for !u.BeginHedge(0, 1) {
			if time.Now().After(end) {
				s.t.Fatal("a hedge did not end")
			}
			runtime.Gosched()
		}
		u.EndHedge()
	}
	for running := true; running; {
		var stacks bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 1); err != nil {
			s.t.Fatal(err)
		}
		running = strings.Contains(stacks.String(), "(*hedge).run")
		if running && time.Now().After(end) {
			s.t.Fatal("the goroutine of a hedge did not end")
		}
	}
	s.settle(requests)
	for _, u := range s.upstreams {
		for _, e := range u.State().Endpoints {
			if open, idle := e.Connections(); open != idle {
				s.t.Errorf("%d connections to %s are open, %d of them idle", open, e.Target, idle)
			}
		}
	}
}

// TestHedge sends one request to two servers: the first is asked at once, the
// second if the first is late.
func TestHedge(t *testing.T) {
	const get, post = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
	f := func(name, policy, request string, first, second string, status int, body, code string, hedges, won int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			hedged, closed := make(chan struct{}), make(chan struct{}, 2) // the second was asked; a connection ended
			once := sync.OnceFunc(func() { close(hedged) })
			script := func(does string) func(*peer) {
				return func(p *peer) {
					for {
						if _, ok := p.request(); !ok {
							closed <- struct{}{}
							return
						}
						if does == second {
							once()
						}
						switch does {
						case "well 1", "well 2":
							p.reply(does)
						case "well 1 once hedged":
							<-hedged
							p.reply("well 1")
						case "well 1 soon": // later than a hedge would come
							select {
							case <-hedged:
								t.Error("there was a hedge")
							case <-time.After(20 * time.Millisecond):
							}
							p.reply("well 1")
						case "close":
							return
						case "close once hedged":
							<-hedged
							return
						case "early hints 2":
							p.write("HTTP/1.1 103 Early Hints\r\n\r\n")
							p.reply("well 2")
						case "bad":
							p.write("HTTP/1.1 abc\r\n\r\n")
						}
					}
				}
			}
			targets := []string{newBackend(t, script(first)).url, refusing(t)}
			if second != "refuse" {
				targets[1] = newBackend(t, script(second)).url
			}
			s := newSite(t, "upstream u $1 $2\nroute r /* upstream=u hedge=2ms hedge-floor=1 "+policy, targets...)
			s.startAtFirst("u")
			c := s.dial()
			c.send(request)
			got, _, text := c.response()
			if won == 1 && first == "mute" || hedges == 1 && second == "mute" {
				<-closed // the loser's server sees that nobody waits for it
			}
			_ = c.Close()
			s.settleHedges(1)
			if got != status || body != "" && text != body {
				t.Errorf("answered %d %q, want %d %q", got, text, status, body)
			}
			e := s.taken()[0]
			if e.Reason != code || e.Attempts != 1+hedges {
				t.Errorf("reason %q, %d attempts; want %q, %d", e.Reason, e.Attempts, code, 1+hedges)
			}
			if body != "" && e.Endpoint != targets[int(body[5]-'1')] {
				t.Errorf("the endpoint is %s, of %s", e.Endpoint, targets)
			}
			s.wantMetric(`velocity_hedges_total{route="r"}`, hedges)
			s.wantMetric(`velocity_hedges_won_total{route="r"}`, won)
		})
	}
	f("the first is in time", "hedge=20s", get, "well 1", "well 2", 200, "well 1", "", 0, 0)
	f("the hedge wins", "", get, "mute", "well 2", 200, "well 2", "", 1, 1)
	f("the hedge wins after an interim reply", "", get, "mute", "early hints 2", 200, "well 2", "", 1, 1)
	f("the hedge loses", "", get, "well 1 once hedged", "mute", 200, "well 1", "", 1, 0)
	f("the hedge is reset", "reply=20s", get, "well 1 once hedged", "close", 200, "well 1", "", 1, 0)
	f("the hedge is refused", "reply=20s", get, "well 1 soon", "refuse", 200, "well 1", "", 1, 0)
	f("the first is reset", "", get, "close once hedged", "well 2", 200, "well 2", "", 1, 1)
	f("both are reset", "", get, "close once hedged", "close", 502, "", "upstream_reset", 1, 0)
	f("the first is malformed, the hedge reset", "", get, "bad", "close", 502, "", "upstream_bad_reply", 0, 0)
	f("nobody answers", "reply=30ms", get, "mute", "mute 2", 504, "", "upstream_timeout", 1, 0)
	f("nobody answers for the route", "timeout=30ms", get, "mute", "mute 2", 504, "", "request_deadline", 1, 0)
	f("nobody answers the attempts", "per=30ms", get, "mute", "mute 2", 504, "", "upstream_timeout", 1, 0)
	f("the limit comes before the hedge", "reply=20ms hedge=10s", get, "mute", "well 2", 504, "", "upstream_timeout", 0, 0)
	f("POST", "", post, "well 1 soon", "well 2", 200, "well 1", "", 0, 0)
	f("POST with an Idempotency-Key", "", strings.Replace(post, "Host", "Idempotency-Key: k\r\nHost", 1), "well 1 soon", "well 2", 200, "well 1", "", 0, 0)
	f("a budget without room", "hedge-floor=0", get, "well 1 soon", "well 2", 200, "well 1", "", 0, 0)
	f("a body in the buffer", "", strings.Replace(post, "POST", "GET", 1), "mute", "well 2", 200, "well 2", "", 1, 1)
	f("a streamed body", "", "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n"+strings.Repeat("b", 70000), "well 1 soon", "well 2", 200, "well 1", "", 0, 0)
	f("a percentile of nothing", "hedge=p95", get, "well 1 soon", "well 2", 200, "well 1", "", 0, 0)
}

// echoing is a backend that answers with the path of the request, after what
// delay says; below zero it closes instead.
func echoing(t testing.TB, delay func() time.Duration) *backend {
	return newBackend(t, func(p *peer) {
		for {
			request, ok := p.request()
			if !ok {
				return
			}
			d := delay()
			if d < 0 {
				return
			}
			if d > 0 {
				<-time.After(d)
			}
			p.reply(strings.Fields(request)[1])
		}
	})
}

// TestHedgeRaces makes both attempts end at about the same time, in every way,
// and checks that each client gets its own answer and nothing is left over.
func TestHedgeRaces(t *testing.T) {
	const clients, each = 8, 100
	delay := func() time.Duration {
		if rand.IntN(20) == 0 {
			return -1
		}
		return rand.N(4 * time.Millisecond)
	}
	s := newSite(t, "upstream u $1 $2 $3\nroute r /* upstream=u hedge=1ms hedge-floor=8 retries=2 floor=100 on=connect,reset",
		echoing(t, delay).url, echoing(t, delay).url, echoing(t, delay).url)
	var running sync.WaitGroup
	var failed atomic.Int32
	for client := range clients {
		running.Go(func() {
			c := s.dial()
			defer c.Close()
			for i := range each {
				path := fmt.Sprintf("/%d/%d", client, i)
				c.send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
				status, _, body := c.response()
				if status == 502 {
					failed.Add(1) // all three servers closed
				} else if status != 200 || body != path {
					t.Errorf("%s was answered %d %q", path, status, body)
				}
			}
		})
	}
	running.Wait()
	s.settleHedges(clients)
	if n := failed.Load(); n > clients*each/20 {
		t.Errorf("%d requests failed", n)
	}
	for _, metric := range []string{"velocity_hedges_total", "velocity_hedges_won_total"} {
		if !strings.Contains(s.metrics(), metric+`{route="r"} `) {
			t.Errorf("no %s", metric)
		}
	}
}

// TestHedgeBudgetUnderConcurrency holds all attempts at the servers.
func TestHedgeBudgetUnderConcurrency(t *testing.T) {
	const requests, floor = 30, 3
	release := make(chan struct{})
	var arrived atomic.Int32
	all := make(chan struct{})
	b := func() string {
		return newBackend(t, func(p *peer) {
			for {
				if _, ok := p.request(); !ok {
					return
				}
				if arrived.Add(1) == requests+floor {
					close(all)
				}
				<-release
				p.reply("well")
			}
		}).url
	}
	s := newSite(t, fmt.Sprintf("upstream u $1 $2\nroute r /* upstream=u hedge=1ms hedge-floor=%d", floor), b(), b())
	var clients sync.WaitGroup
	for range requests {
		clients.Go(func() {
			c := s.dial()
			defer c.Close()
			c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
			if status, _, _ := c.response(); status != 200 {
				t.Errorf("status %d", status)
			}
		})
	}
	<-all
	<-time.After(30 * time.Millisecond) // in which any other hedge would come
	if n := arrived.Load(); n != requests+floor {
		t.Errorf("%d attempts for %d requests and %d hedges", n, requests, floor)
	}
	close(release)
	clients.Wait()
	s.settleHedges(requests)
	s.wantMetric(`velocity_hedges_total{route="r"}`, floor)
}

// TestHedgingCutsTheTail compares the slowest answers with and without: one
// server of two takes 40 ms for every tenth request.
func TestHedgingCutsTheTail(t *testing.T) {
	measure := func(policy string) (p50, p99 time.Duration, hedges string) {
		var n atomic.Int32
		slow := echoing(t, func() time.Duration {
			if n.Add(1)%10 == 0 {
				return 40 * time.Millisecond
			}
			return 0
		})
		s := newSite(t, "upstream u $1 $2\nroute r /* upstream=u "+policy, slow.url, echoing(t, func() time.Duration { return 0 }).url)
		c := s.dial()
		took := make([]time.Duration, 400)
		for i := range took {
			start := time.Now()
			c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
			c.response()
			took[i] = time.Since(start)
		}
		_ = c.Close()
		s.settleHedges(1)
		took = took[minWarm:]
		slices.Sort(took)
		for line := range strings.Lines(s.metrics()) {
			if strings.HasPrefix(line, "velocity_hedges_") {
				hedges += strings.TrimSpace(line) + " "
			}
		}
		return took[len(took)/2], took[len(took)*99/100], hedges
	}
	p50, p99, _ := measure("")
	t.Logf("without hedges: p50 %v, p99 %v", p50, p99)
	for _, after := range []string{"3ms", "p90"} {
		p50, hedged, hedges := measure("hedge=" + after + " hedge-floor=4")
		t.Logf("hedge after %s: p50 %v, p99 %v; %s", after, p50, hedged, hedges)
		if hedged > p99/2 {
			t.Errorf("hedging after %s leaves the 99th percentile at %v, of %v", after, hedged, p99)
		}
	}
}

// minWarm is how many requests come before a percentile is known.
const minWarm = 110
