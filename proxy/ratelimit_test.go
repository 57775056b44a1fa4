package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/limiter"
)

// limited gives the routes of a site a limit with the rules given.
func (s *site) limited(l *RateLimit, rules ...limiter.Rule) *RateLimit {
	s.t.Helper()
	if len(rules) > 0 {
		var err error
		if l.Default.Rate, err = limiter.New(rules, limiter.Options{Start: s.proxy.Instant(time.Now())}); err != nil {
			s.t.Fatal(err)
		}
		var policy []string
		for _, r := range rules {
			l.Default.Names = append(l.Default.Names, r.Name)
			policy = append(policy, fmt.Sprintf("%q;q=%d;w=%d", r.Name, r.Limit, r.Window/time.Second))
		}
		l.Default.Policy = []byte(strings.Join(policy, ", "))
	}
	l.Refusal, l.Counts, l.Standard = ErrRateLimited, new(LimitCounts), true
	if l.Cost == 0 {
		l.Cost = 1
	}
	for _, r := range s.routes {
		r.SetPhases(append(r.phases, NewRateLimitPhase("limit", l)))
	}
	return l
}

func perHour(name string, limit int64) limiter.Rule {
	return limiter.Rule{Name: name, Algorithm: limiter.FixedWindow, Limit: limit, Window: 24 * 365 * 10 * time.Hour}
}

// ask2 sends a request with header fields and returns status, header and body.
func (s *site) askWith(fields string) (status int, header func(name string) string) {
	s.t.Helper()
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n")
	status, h, _ := c.response()
	_ = c.Close()
	return status, func(name string) string { return string(h.Peek(name)) }
}

func (s *site) wantStatuses(what, fields string, want ...int) {
	s.t.Helper()
	for i, w := range want {
		if got, _ := s.askWith(fields); got != w {
			s.t.Errorf("%s: request %d got %d, want %d", what, i, got, w)
		}
	}
}

func TestRateLimitAnswers(t *testing.T) {
	b := newBackend(t, answering("ok"))
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	l := s.limited(new(RateLimit), perHour("burst", 2), perHour("day", 5))
	l.Legacy = true
	status, h := s.askWith("")
	if status != 200 || h("RateLimit-Policy") != `"burst";q=2;w=315360000, "day";q=5;w=315360000` ||
		!strings.HasPrefix(h("RateLimit"), `"burst";r=1;t=`) || !strings.Contains(h("RateLimit"), `, "day";r=4;t=`) ||
		h("X-RateLimit-Limit") != "2" || h("X-RateLimit-Remaining") != "1" {
		t.Errorf("admitted: %d, %q, %q, %q of %q", status, h("RateLimit-Policy"), h("RateLimit"), h("X-RateLimit-Remaining"), h("X-RateLimit-Limit"))
	}
	s.wantStatuses("admitted", "", 200)
	status, h = s.askWith("")
	if status != 429 || h("Retry-After") == "" || !strings.HasPrefix(h("RateLimit"), `"burst";r=0;`) || h("Content-Type") != "application/problem+json" {
		t.Errorf("refused: %d, Retry-After %q, RateLimit %q, %q", status, h("Retry-After"), h("RateLimit"), h("Content-Type"))
	}
	if e := s.last(); e.Reason != "rate_limited" || e.Attempts != 0 {
		t.Errorf("recorded %q after %d attempts", e.Reason, e.Attempts)
	}
}

func TestRateLimitKeys(t *testing.T) {
	b := newBackend(t, answering("ok"))
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	s.limited(&RateLimit{Key: *template(t, "${header.X-Tenant}/${client_net}")}, perHour("a", 1))
	s.wantStatuses("one tenant", "X-Tenant: 1\r\n", 200, 429)
	s.wantStatuses("another", "X-Tenant: 2\r\n", 200, 429)
	s.wantStatuses("none", "", 200, 429)
}

// Keys spread evenly over all that a table goes by.
func TestHashKey(t *testing.T) {
	var l RateLimit
	var bits [128]int
	const n = 4000
	for i := range n {
		k := l.HashKey(fmt.Append(nil, i))
		for bit := range 64 {
			bits[bit] += int(k.Lo >> bit & 1)
			bits[64+bit] += int(k.Hi >> bit & 1)
		}
	}
	for bit, ones := range bits {
		if ones < n*2/5 || ones > n*3/5 {
			t.Errorf("bit %d is set in %d of %d keys", bit, ones, n)
		}
	}
}

func TestClientNet(t *testing.T) {
	f := func(addr string, bits int, want string) {
		t.Helper()
		if got := string(appendClientNet(nil, netip.MustParseAddr(addr), bits)); got != want {
			t.Errorf("%s by %d bits: %q, want %q", addr, bits, got, want)
		}
	}
	f("192.0.2.7", 64, "192.0.2.7")
	f("::ffff:192.0.2.7", 64, "192.0.2.7")
	f("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::/64")
	f("2001:db8:1:2:3:4:5:6", 56, "2001:db8:1::/56")
	f("fe80::1%eth0", 64, "fe80::/64")
	f("2001:db8::1", 128, "2001:db8::1")
}

func TestRateLimitPlans(t *testing.T) {
	b := newBackend(t, answering("ok"))
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	l := s.limited(&RateLimit{Plan: *template(t, "${header.X-Plan}")}, perHour("free", 1))
	gold, err := limiter.New([]limiter.Rule{perHour("gold", 3)}, limiter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.Plans = []LimitPlan{{Name: "gold", Rate: gold, Names: []string{"gold"}, Policy: []byte(`"gold";q=3;w=1`)}, {Name: "all"}}
	s.wantStatuses("gold", "X-Plan: gold\r\n", 200, 200, 200, 429)
	s.wantStatuses("no plan", "", 200, 429)
	s.wantStatuses("a plan that is none", "X-Plan: silver\r\n", 429)
	s.wantStatuses("a plan without limits", "X-Plan: all\r\n", 200, 200, 200, 200, 200)
}

// What a request costs is known before it, from its own fields, or after it, from
// the response.
func TestRateLimitCost(t *testing.T) {
	b := newBackend(t, func(p *peer) {
		for {
			head, ok := p.request()
			if !ok {
				return
			}
			status, cost := "200 OK", ""
			if strings.Contains(head, "X-Fail") {
				status = "500 Oops"
			}
			if strings.Contains(head, "X-Dear") {
				cost = "X-Cost: 5\r\n"
			}
			if strings.Contains(head, "X-Cheap") {
				cost = "X-Cost: 0\r\n"
			}
			p.write("HTTP/1.1 " + status + "\r\n" + cost + "Content-Length: 0\r\n\r\n")
		}
	})
	f := func(name string, l *RateLimit, limit int64, fields string, want ...int) {
		t.Helper()
		s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
		s.limited(l, perHour("a", limit))
		s.wantStatuses(name, fields, want...)
		if _, h := s.askWith(fields); len(l.CostField) > 0 && h("X-Cost") != "" {
			t.Errorf("%s: the response says what it cost", name)
		}
	}
	f("fixed", &RateLimit{Cost: 2}, 5, "", 200, 200, 429)
	f("from the request", &RateLimit{CostFrom: *template(t, "${header.X-Units}")}, 5, "X-Units: 3\r\n", 200, 429)
	f("not a number", &RateLimit{CostFrom: *template(t, "${header.X-Units}")}, 2, "X-Units: -3\r\n", 200, 200, 429)
	f("refunded", &RateLimit{Refunds: statuses(500, 599)}, 1, "X-Fail: 1\r\n", 500, 500, 500)
	f("not refunded", &RateLimit{Refunds: statuses(500, 599)}, 1, "", 200, 429)
	f("dearer", &RateLimit{CostField: []byte("X-Cost")}, 6, "X-Dear: 1\r\n", 200, 200, 429)
	f("cheaper", &RateLimit{CostField: []byte("X-Cost")}, 1, "X-Cheap: 1\r\n", 200, 200, 200)
}

func statuses(first, last int) (s StatusSet) {
	s.Add(first, last)
	return s
}

// Of two limits, one that refuses gives back what the other has taken.
func TestRefusalCostsNothing(t *testing.T) {
	b := newBackend(t, answering("ok"))
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	s.limited(&RateLimit{Key: *template(t, "${client_ip}")}, perHour("outer", 3))
	s.limited(&RateLimit{Key: *template(t, "${header.X-Inner}")}, perHour("inner", 1))
	s.wantStatuses("first", "X-Inner: 1\r\n", 200, 429, 429, 429)
	s.wantStatuses("others", "X-Inner: 2\r\n", 200)
	s.wantStatuses("others", "X-Inner: 3\r\n", 200)
	s.wantStatuses("the outer is used up", "X-Inner: 4\r\n", 429)
}

// Places are held until the last byte of the answer, and given back however the
// request ends.
func TestConcurrencyLimit(t *testing.T) {
	release := make(chan struct{})
	b := newBackend(t, func(p *peer) {
		for {
			head, ok := p.request()
			if !ok {
				return
			}
			if strings.Contains(head, "GET /slow") {
				p.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
				<-release
				p.write("0\r\n\r\n")
				continue
			}
			p.reply("ok")
		}
	})
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	l := s.limited(&RateLimit{Key: *template(t, "${client_ip}")})
	var err error
	if l.Default.Held, err = limiter.New([]limiter.Rule{{Name: "c", Algorithm: limiter.Concurrency, Limit: 1}}, limiter.Options{}); err != nil {
		t.Fatal(err)
	}
	slow := s.dial()
	slow.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
	slow.head()
	status, h := s.askWith("")
	if status != 429 || h("Retry-After") != "1" {
		t.Errorf("beside a stream: %d, Retry-After %q", status, h("Retry-After"))
	}
	close(release)
	waitUntil(t, "the place to be free", func() bool { status, _ := s.askWith(""); return status == 200 })
	s.wantStatuses("afterwards", "", 200, 200)
}

// A request that would be refused waits if that is soon, and few do.
func TestRateLimitDelays(t *testing.T) {
	b := newBackend(t, answering("ok"))
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	l := s.limited(&RateLimit{MaxWait: 10 * time.Second, MaxWaiting: 1},
		limiter.Rule{Name: "a", Algorithm: limiter.GCRA, Limit: 1, Window: 200 * time.Millisecond})
	began := time.Now()
	s.wantStatuses("delayed", "", 200, 200, 200)
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("three requests at 5 a second took %v", took)
	}
	if n := l.Counts.Delayed.Load(); n != 2 {
		t.Errorf("%d were delayed, want 2", n)
	}
	c := s.dial()
	c.send(plainRequest)
	waitUntil(t, "one to wait", func() bool { return l.Counts.Waiting.Load() == 1 })
	s.wantStatuses("too many wait", "", 429)
	if status, _, _ := c.response(); status != 200 {
		t.Errorf("the one that waited got %d", status)
	}
	l.MaxWait = time.Millisecond
	s.wantStatuses("too long", "", 429)
	if n := l.Counts.Waiting.Load(); n != 0 {
		t.Errorf("%d wait", n)
	}
}
