package proxy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestRetryConditions sends one request to an upstream whose servers each fail
// in one way until one is well.
func TestRetryConditions(t *testing.T) {
	const get, post = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
	servers := map[string]func(*peer){
		"well":  answering("well"),
		"close": func(p *peer) { p.request() },
		"part":  func(p *peer) { p.request(); p.write("HTTP/1.1 200 OK\r\n") },
		"late": func(p *peer) {
			p.request()
			<-time.After(60 * time.Millisecond)
			p.reply("late")
			p.request()
		},
		"mute": func(p *peer) {
			for ok := true; ok; {
				_, ok = p.request()
			}
		},
		"busy": func(p *peer) {
			for {
				if _, ok := p.request(); !ok {
					return
				}
				p.write("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
			}
		},
	}
	f := func(name, policy, request string, upstreams []string, status int, body, code, cause string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var targets []string
			for _, u := range upstreams {
				if u == "refuse" {
					targets = append(targets, refusing(t))
				} else {
					targets = append(targets, newBackend(t, servers[u]).url)
				}
			}
			text := "upstream u"
			for i := range targets {
				text += fmt.Sprintf(" $%d", i+1)
			}
			s := newSite(t, text+"\nroute r /* upstream=u retries=1 floor=3 "+policy, targets...)
			s.startAtFirst("u")
			c := s.dial()
			c.send(request)
			got, _, text := c.response()
			_ = c.Close()
			s.settle(1)
			if got != status || body != "" && text != body {
				t.Errorf("answered %d %q, want %d %q", got, text, status, body)
			}
			if e := s.taken()[0]; e.Reason != code {
				t.Errorf("reason %q, want %q", e.Reason, code)
			}
			attempts := 1
			if cause != "" {
				attempts = 2
				s.wantMetric(`velocity_retries_total{route="r",cause="`+cause+`"}`, 1)
			} else if strings.Contains(s.metrics(), "velocity_retries_total{") {
				t.Error("a retry was counted")
			}
			if e := s.taken()[0]; e.Attempts != attempts {
				t.Errorf("%d attempts, want %d", e.Attempts, attempts)
			}
		})
	}
	well := func(first string) []string { return []string{first, "well"} }

	f("refused", "", get, well("refuse"), 200, "well", "", "connect_failure")
	f("refused, POST: nothing was sent", "", post, well("refuse"), 200, "well", "", "connect_failure")
	f("refused, not listed", "on=reset", get, well("refuse"), 502, "", "upstream_connect_failed", "")
	f("refused, no attempts", "retries=0", get, well("refuse"), 502, "", "upstream_connect_failed", "")
	f("refused twice", "", get, []string{"refuse", "refuse", "well"}, 502, "", "upstream_connect_failed", "connect_failure")
	f("reset", "on=reset", get, well("close"), 200, "well", "", "reset_before_response")
	f("reset, not listed", "", get, well("close"), 502, "", "upstream_reset", "")
	f("reset, POST", "on=reset", post, well("close"), 502, "", "upstream_reset", "")
	f("part of a header", "on=reset", get, well("part"), 502, "", "upstream_bad_reply", "")
	f("reply timeout", "on=timeout reply=30ms", get, well("mute"), 200, "well", "", "timeout")
	f("reply timeout, not listed", "reply=30ms", get, well("mute"), 504, "", "upstream_timeout", "")
	f("reply timeout, POST", "on=timeout reply=30ms", post, well("mute"), 504, "", "upstream_timeout", "")
	f("attempt's timeout", "on=timeout per=30ms reply=20s", get, well("mute"), 200, "well", "", "timeout")
	f("attempt's timeout, not listed", "per=30ms reply=20s", get, well("mute"), 504, "", "upstream_timeout", "")
	f("attempt's timeout of the last", "on=timeout per=30ms", get, []string{"mute", "mute"}, 504, "", "upstream_timeout", "timeout")
	f("attempt's timeout, streamed body", "on=timeout per=30ms", "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n"+strings.Repeat("b", 70000),
		well("late"), 200, "late", "", "")
	f("route's timeout is not an attempt's", "on=timeout timeout=50ms per=20s", get, well("mute"), 504, "", "request_deadline", "")
	f("route's timeout without an attempt's", "on=timeout timeout=50ms", get, well("mute"), 504, "", "request_deadline", "")
	f("status", "statuses=503", get, well("busy"), 200, "well", "", "status")
	f("status, then refused", "statuses=503", get, []string{"busy", "refuse"}, 502, "", "upstream_connect_failed", "status")
	f("status, and no room to wait", "statuses=503 back-off=20s back-off-max=20s timeout=1ms", get, well("busy"), 503, "busy", "", "")
}

// TestRetryOfStaleConnections: connections that a server closed while they were
// idle are replaced for nothing, but not for ever.
func TestRetryOfStaleConnections(t *testing.T) {
	var requests atomic.Int32
	b := newBackend(t, func(p *peer) {
		if _, ok := p.request(); !ok {
			return
		}
		requests.Add(1)
		p.reply("well")
		p.request() // and closes upon it
	})
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	c := s.dial()
	for range 3 {
		c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
		if status, _, _ := c.response(); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	_ = c.Close()
	s.settle(1)
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests were answered, want 3", n)
	}
	s.wantMetric(`velocity_retries_total{route="r",cause="stale_connection"}`, 2)
}

// TestRetryVisitsEachServerOnce counts who was asked.
func TestRetryVisitsEachServerOnce(t *testing.T) {
	f := func(policy string, want []int) {
		t.Helper()
		asked := make([]atomic.Int32, 3)
		var targets []string
		for i := range asked {
			targets = append(targets, newBackend(t, func(p *peer) {
				for {
					if _, ok := p.request(); !ok {
						return
					}
					asked[i].Add(1)
					p.write("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
				}
			}).url)
		}
		s := newSite(t, "upstream u $1 $2 $3\nroute r /* upstream=u floor=3 statuses=503 "+policy, targets...)
		c := s.dial()
		c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
		if status, _, _ := c.response(); status != 503 {
			t.Errorf("status %d", status)
		}
		_ = c.Close()
		s.settle(1)
		var got []int
		for i := range asked {
			got = append(got, int(asked[i].Load()))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: servers were asked %v times, want %v", policy, got, want)
		}
	}
	f("retries=2", []int{1, 1, 1})
	f("retries=9", []int{1, 1, 1})
	f("retries=5 repeat", []int{2, 2, 2})
}

// TestRetryBudgetUnderConcurrency holds all requests in their back-off at once:
// only as many as the budget allows get there.
func TestRetryBudgetUnderConcurrency(t *testing.T) {
	const requests, floor = 40, 4
	var arrived sync.WaitGroup
	arrived.Add(requests)
	var first atomic.Int32
	b := newBackend(t, func(p *peer) {
		for {
			if _, ok := p.request(); !ok {
				return
			}
			if first.Add(1) <= requests {
				arrived.Done()
				arrived.Wait() // all are in flight before any fails
				p.write("HTTP/1.1 503 X\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n")
				continue
			}
			p.reply("well")
		}
	})
	s := newSite(t, fmt.Sprintf("upstream u $1\nroute r /* upstream=u repeat retries=1 floor=%d statuses=503 retry-after=1s", floor), b.url)
	var well atomic.Int32
	var clients sync.WaitGroup
	for range requests {
		clients.Go(func() {
			c := s.dial()
			defer c.Close()
			c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
			if status, _, _ := c.response(); status == 200 {
				well.Add(1)
			}
		})
	}
	clients.Wait()
	s.settle(requests)
	if n := well.Load(); n != floor {
		t.Errorf("%d requests were tried again, want %d", n, floor)
	}
	s.wantMetric(`velocity_retries_total{route="r",cause="status"}`, floor)
}

// TestDrainEndsBackOff: a gateway that stops does not let its requests wait.
func TestDrainEndsBackOff(t *testing.T) {
	failed := make(chan struct{}, 1)
	b := newBackend(t, func(p *peer) {
		for n := 0; ; n++ {
			if _, ok := p.request(); !ok {
				return
			}
			if n == 0 {
				p.write("HTTP/1.1 503 X\r\nContent-Length: 0\r\nRetry-After: 3600\r\n\r\n")
				failed <- struct{}{}
				continue
			}
			p.reply("well")
		}
	})
	s := newSite(t, "upstream u $1\nroute r /* upstream=u repeat retries=1 floor=1 statuses=503 retry-after=2h", b.url)
	c := s.dial()
	c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
	<-failed
	s.proxy.Drain()
	s.proxy.Drain() // a second time changes nothing
	if status, h, _ := c.response(); status != 200 || !h.ConnectionClose() {
		t.Errorf("status %d, closing %v", status, h.ConnectionClose())
	}
	_ = c.Close()
	s.settle(1)
}

func TestBackOffDoublesUpToItsLimit(t *testing.T) {
	var got []time.Duration
	for retries := range 6 {
		got = append(got, backOff(25*time.Millisecond, 250*time.Millisecond, retries)/time.Millisecond)
	}
	if want := []time.Duration{25, 50, 100, 200, 250, 250}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if d := backOff(1<<62, 1<<62+1, 10); d != 1<<62+1 {
		t.Errorf("overflow: %v", d)
	}
	if jitter(0) != 0 || backOff(0, time.Second, 3) != 0 {
		t.Error("a back-off of zero waits")
	}
}

// TestJitterIsUniform: each tenth of the range gets its share, by a chi-squared
// test at a level that fails once in ten million runs.
func TestJitterIsUniform(t *testing.T) {
	const n, bound = 20_000, 100 * time.Millisecond
	var tenths [10]int
	for range n {
		d := jitter(bound)
		if d < 0 || d > bound {
			t.Fatalf("%v is out of range", d)
		}
		tenths[min(int(10*d/bound), 9)]++
	}
	var x2 float64
	for _, seen := range tenths {
		x2 += float64(seen-n/10) * float64(seen-n/10) / (n / 10)
	}
	if x2 > 50 { // 9 degrees of freedom
		t.Errorf("not uniform: %v, chi-squared %.1f", tenths, x2)
	}
}

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, "120": 2 * time.Minute, "-1": 0, "1.5": 1 << 31 * time.Second, "soon": 0,
		"99999999999999999999":          1 << 31 * time.Second,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT": 0,
		"Fri, 02 Jan 2026":              0,
	} {
		if got := retryAfter([]byte(value), now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestStatusSet(t *testing.T) {
	var s StatusSet
	s.Add(502, 502)
	s.Add(520, 529)
	s.Add(0, 100)
	s.Add(599, 900)
	var got []int
	for status := range 1000 {
		if s.Has(status) {
			got = append(got, status)
		}
	}
	if want := []int{100, 502, 520, 521, 522, 523, 524, 525, 526, 527, 528, 529, 599}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
