package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/balancer/breaker"
	"github.com/salgue441/velocity/proxy/upstream"
)

// numbered are backends that answer with their number.
func numbered(t testing.TB, n int) []*backend {
	list := make([]*backend, n)
	for i := range list {
		list[i] = newBackend(t, answering(fmt.Sprint(i)))
	}
	return list
}

// balance gives an upstream of the site other settings and tags its endpoints a,
// b and so on.
func (s *site) balance(name string, settings balancer.Settings) *upstream.State {
	s.t.Helper()
	u := s.upstreams[name]
	members := upstream.Members(u.State().Endpoints...)
	for i := range members {
		members[i].Tag = string(rune('a' + i))
	}
	state, err := upstream.NewState(settings, members...)
	if err != nil {
		s.t.Fatal(err)
	}
	u.Set(state)
	return state
}

func (s *site) wantAnswer(what string, request string, wantStatus int, want string) (cookie string) {
	s.t.Helper()
	c := s.dial()
	c.send(request)
	status, h, body := c.response()
	if status != wantStatus || !strings.Contains(body, want) {
		s.t.Errorf("%s: got %d %q, want %d with %q", what, status, body, wantStatus, want)
	}
	_ = c.Close()
	return string(h.Peek("Set-Cookie"))
}

const plainRequest = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

// trip opens a breaker for good.
func trip(s *site) *breaker.Breaker {
	b := breaker.New(breaker.Settings{}, nil)
	b.Trip(s.proxy.Now(), 0)
	return b
}

// TestServerBreaker: an endpoint whose breaker is open is passed over without an
// attempt, whatever the policy on retries, and without another there is an error.
func TestServerBreaker(t *testing.T) {
	list := numbered(t, 2)
	s := newSite(t, "upstream u $1 $2\nroute r /* upstream=u", list[0].url, list[1].url)
	endpoints := s.upstreams["u"].State().Endpoints
	endpoints[0].Breaker.Store(trip(s))
	for range 4 {
		s.wantAnswer("one is open", plainRequest, 200, "1")
	}
	if e := s.last(); e.Attempts != 1 || list[0].connections() != 0 {
		t.Errorf("%d attempts, %d connections to the endpoint that is open", e.Attempts, list[0].connections())
	}
	endpoints[1].Breaker.Store(trip(s))
	s.wantAnswer("both are open", plainRequest, 503, `"code":"circuit_open"`)
	for _, e := range endpoints {
		e.Live.SetBroken(true) // as the gateway does
	}
	s.wantAnswer("both are flagged", plainRequest, 503, `"code":"circuit_open"`)
	s.settle(6)
}

// TestBreakerCounts looks at what breakers, of an endpoint and of its upstream,
// learn from one request.
func TestBreakerCounts(t *testing.T) {
	const second = int(time.Second)
	replying := func(reply string) func(*peer) {
		return func(p *peer) {
			for {
				if _, ok := p.request(); !ok {
					return
				}
				p.write(reply)
			}
		}
	}
	type counts struct{ requests, failed int }
	f := func(name, policy string, script func(*peer), request string, server, whole counts) {
		t.Helper()
		b := newBackend(t, script)
		s := newSite(t, "upstream u $1\nroute r /* upstream=u "+policy, b.url)
		u := s.upstreams["u"]
		ofServer, ofAll := breaker.New(breaker.Settings{MinRequests: second}, nil), breaker.New(breaker.Settings{MinRequests: second}, nil)
		u.State().Endpoints[0].Breaker.Store(ofServer)
		u.Breaker.Store(ofAll)
		c := s.dial()
		c.send(request)
		c.response()
		_ = c.Close()
		s.settle(1)
		for _, k := range []struct {
			of   string
			b    *breaker.Breaker
			want counts
		}{{"server", ofServer, server}, {"upstream", ofAll, whole}} {
			if got := k.b.Status(s.proxy.Now()); got.Requests != k.want.requests || got.Failed != k.want.failed {
				t.Errorf("%s: %s: %d requests, %d failed; want %+v", name, k.of, got.Requests, got.Failed, k.want)
			}
		}
	}
	f("answered", "", answering("ok"), plainRequest, counts{1, 0}, counts{1, 0})
	f("not found", "", replying("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), plainRequest, counts{1, 0}, counts{1, 0})
	f("failed", "", replying("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), plainRequest, counts{1, 1}, counts{1, 1})
	f("malformed", "", replying("garbage\r\n\r\n"), plainRequest, counts{1, 1}, counts{1, 1})
	f("silent", "reply=30ms", func(p *peer) { p.request(); p.request() }, plainRequest, counts{1, 1}, counts{1, 1})
	f("bad body", "", answering("ok"), "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", counts{0, 0}, counts{0, 0})
}

// TestUpstreamBreaker: while it is open nothing is sent.
func TestUpstreamBreaker(t *testing.T) {
	b := numbered(t, 1)[0]
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	open := trip(s)
	s.upstreams["u"].Breaker.Store(open)
	s.wantAnswer("open", plainRequest, 503, `"code":"circuit_open"`)
	if b.connections() != 0 {
		t.Error("the endpoint was asked")
	}
	open.Reset(s.proxy.Now())
	s.wantAnswer("closed", plainRequest, 200, "0")
}

// TestFallback answers what the destination could not.
func TestFallback(t *testing.T) {
	other := newBackend(t, answering("other"))
	dead := refusing(t)
	reset := newBackend(t, func(p *peer) { p.request(); p.reset() })
	f := func(name, target string, on []*Error, answers bool, request string, wantStatus int, want string) {
		t.Helper()
		s := newSite(t, "upstream u $1\nupstream v $2\nroute r /* upstream=u", target, other.url)
		fallback := &Fallback{On: on, Destination: Destination{Upstream: s.upstreams["v"]}}
		if answers {
			fallback = &Fallback{On: on, Answer: &FixedResponse{Status: 203, ContentType: "text/plain", Body: []byte("instead")}}
		}
		s.routes["r"].Fallback = fallback
		s.wantAnswer(name, request, wantStatus, want)
		s.settle(1)
		if e := s.last(); wantStatus == 200 && (e.Upstream != "v" || e.Reason != "") {
			t.Errorf("%s: recorded upstream %q, reason %q", name, e.Upstream, e.Reason)
		}
	}
	post := "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"
	f("another upstream", dead, []*Error{ErrConnect}, false, plainRequest, 200, "other")
	f("another upstream, nothing was sent", dead, []*Error{ErrConnect}, false, post, 200, "other")
	f("another upstream, sent but safe to repeat", reset.url, []*Error{ErrReset, ErrStale}, false, plainRequest, 200, "other")
	f("another error", dead, []*Error{ErrReset}, false, plainRequest, 502, "upstream_connect_failed")
	f("an answer", dead, []*Error{ErrConnect}, true, plainRequest, 203, "instead")
	f("an answer, whatever was sent", reset.url, []*Error{ErrReset, ErrStale}, true, post, 203, "instead")
	f("another upstream must not repeat", reset.url, []*Error{ErrReset, ErrStale}, false, post, 502, "upstream_reset")

	s := newSite(t, "upstream u $1\nupstream v $2\nroute r /* upstream=u", reset.url, other.url)
	s.routes["r"].Fallback = &Fallback{On: []*Error{ErrCircuitOpen}, Destination: Destination{Upstream: s.upstreams["v"]}}
	s.upstreams["u"].Breaker.Store(trip(s))
	s.wantAnswer("open circuit", post, 200, "other")
}

// TestSticky: a client goes where its cookie says, as long as that serves, and is
// given a cookie when it goes elsewhere.
func TestSticky(t *testing.T) {
	list := numbered(t, 3)
	s := newSite(t, "upstream u $1 $2 $3\nroute r /* upstream=u", list[0].url, list[1].url, list[2].url)
	state := s.balance("u", balancer.Settings{Algorithm: balancer.RoundRobin})
	s.routes["r"].Sticky = &Sticky{Name: "srv", Attributes: "; Path=/; HttpOnly"}
	with := func(cookie string) string {
		return "GET / HTTP/1.1\r\nHost: h\r\nCookie: x=1; srv=" + cookie + "\r\n\r\n"
	}

	cookie := s.wantAnswer("first", plainRequest, 200, "")
	if cookie != "srv=a; Path=/; HttpOnly" && cookie != "srv=b; Path=/; HttpOnly" && cookie != "srv=c; Path=/; HttpOnly" {
		t.Errorf("cookie %q", cookie)
	}
	for range 5 {
		if cookie := s.wantAnswer("bound", with("b"), 200, "1"); cookie != "" {
			t.Errorf("bound: another cookie %q", cookie)
		}
	}
	for _, unknown := range []string{"", "d", "bb"} {
		if cookie := s.wantAnswer("unknown "+unknown, with(unknown), 200, ""); cookie == "" {
			t.Errorf("unknown %q: no cookie", unknown)
		}
	}
	live := state.Endpoints[1].Live
	live.SetMode(balancer.Drained)
	s.wantAnswer("drained keeps", with("b"), 200, "1")
	for range 5 {
		if cookie := s.wantAnswer("drained takes no one new", plainRequest, 200, ""); strings.HasPrefix(cookie, "srv=b") {
			t.Error("a new client was bound to a drained endpoint")
		}
	}
	live.SetMode(balancer.Disabled)
	if cookie := s.wantAnswer("disabled", with("b"), 200, ""); cookie == "" || strings.HasPrefix(cookie, "srv=b") {
		t.Errorf("disabled: cookie %q", cookie)
	}
	live.SetMode(balancer.Enabled)
	live.SetUp(false)
	if cookie := s.wantAnswer("down", with("b"), 200, ""); cookie == "" || strings.HasPrefix(cookie, "srv=b") {
		t.Errorf("down: cookie %q", cookie)
	}
}

// TestHashOn: requests with the same key reach the same endpoint, and those
// without one any.
func TestHashOn(t *testing.T) {
	list := numbered(t, 3)
	s := newSite(t, "upstream u $1 $2 $3\nroute r /* upstream=u", list[0].url, list[1].url, list[2].url)
	for _, algorithm := range []string{balancer.Ring, balancer.Maglev} {
		s.balance("u", balancer.Settings{Algorithm: algorithm})
		s.routes["r"].HashOn = *template(t, "${header.X-User}")
		at := func(user string) string {
			c := s.dial()
			c.send("GET / HTTP/1.1\r\nHost: h\r\nX-User: " + user + "\r\n\r\n")
			_, _, body := c.response()
			return body
		}
		var reached []string
		for user := range 20 {
			first := at(fmt.Sprint(user))
			for range 3 {
				if got := at(fmt.Sprint(user)); got != first {
					t.Errorf("%s: user %d reached %s and %s", algorithm, user, first, got)
				}
			}
			reached = append(reached, first)
		}
		slices.Sort(reached)
		if n := len(slices.Compact(reached)); n != 3 {
			t.Errorf("%s: users reached %d of 3 endpoints", algorithm, n)
		}
		reached = nil
		for range 40 {
			reached = append(reached, at(""))
		}
		slices.Sort(reached)
		if n := len(slices.Compact(reached)); n != 3 {
			t.Errorf("%s: requests without a key reached %d of 3 endpoints", algorithm, n)
		}
	}
}

// TestAdaptiveLimit: the limit that follows the latency holds requests back like
// the fixed one.
func TestAdaptiveLimit(t *testing.T) {
	release := make(chan struct{})
	b := newBackend(t, func(p *peer) {
		if _, ok := p.request(); ok {
			<-release
			p.reply("ok")
		}
	})
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	u := s.upstreams["u"]
	u.SetLimits(upstream.Limits{Adaptive: breaker.NewLimit(breaker.LimitSettings{Min: 1, Max: 1, Initial: 1}), QueueSize: 1})
	first, second := s.dial(), s.dial()
	first.send(plainRequest)
	waitUntil(t, "the first is in flight", func() bool { return u.Entered() == 1 })
	second.send(plainRequest)
	waitUntil(t, "the second waits", func() bool { return u.Waiting() == 1 })
	s.wantAnswer("no room", plainRequest, 503, "upstream_in_flight")
	close(release)
	for _, c := range []*client{first, second} {
		if status, _, _ := c.response(); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	_, _ = first.Close(), second.Close()
	s.settle(3)
	if n := u.Adaptive().InFlight(); n != 0 || u.Entered() != 0 {
		t.Errorf("%d are left in the adaptive limit, %d in the other", n, u.Entered())
	}
}

// What a request waited in the queue is not the latency of the upstream.
func TestQueueIsNoLatency(t *testing.T) {
	release := make(chan struct{})
	b := newBackend(t, func(p *peer) {
		for {
			if _, ok := p.request(); !ok {
				return
			}
			<-release
			p.reply("ok")
		}
	})
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	u := s.upstreams["u"]
	u.SetLimits(upstream.Limits{MaxInFlight: 1, QueueSize: 1})
	slow := breaker.New(breaker.Settings{LatencyLimit: 100 * time.Millisecond}, nil)
	first, second := s.dial(), s.dial()
	first.send(plainRequest)
	waitUntil(t, "the first is in flight", func() bool { return u.Entered() == 1 })
	u.Breaker.Store(slow) // for the second alone
	began := time.Now()
	second.send(plainRequest)
	waitUntil(t, "the second waits", func() bool { return u.Waiting() == 1 && time.Since(began) > 200*time.Millisecond })
	close(release)
	for _, c := range []*client{first, second} {
		if status, _, _ := c.response(); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	if got := slow.Status(s.proxy.Now()); got.Requests != 1 || got.Slow != 0 {
		t.Errorf("%d requests, of which %d are slow", got.Requests, got.Slow)
	}
}
