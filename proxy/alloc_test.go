//go:build !race

package proxy

import (
	"fmt"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/balancer/breaker"
	"github.com/salgue441/velocity/balancer/health/outlier"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/proxy/transform"
	"github.com/salgue441/velocity/proxy/upstream"
)

// staged is an exchange that has come as far as its route.
func staged(t testing.TB, s *site, request string) *Exchange {
	t.Helper()
	ctx := contextFor(t, request)
	x := s.proxy.acquire(ctx)
	if !x.readRequest() || !x.matchRoute() {
		t.Fatal(x.Err)
	}
	return x
}

// TestAllocStages asserts that no stage of the line allocates by itself.
func TestAllocStages(t *testing.T) {
	s := prepareSite(t, fullConfig, "http://127.0.0.1:1")
	request := "GET /v1/users/7?q=abc HTTP/1.1\r\n" + browser + "\r\n"
	x := staged(t, s, request)
	raw := x.Ctx.Request.Header.RawHeaders()
	ep := s.upstreams["u"].State().Endpoints[0]
	f := func(name string, op func()) {
		t.Helper()
		op() // what grows has grown afterwards
		if n := testing.AllocsPerRun(200, op); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	f("parse", func() {
		if err := x.fields.parse(raw, 100, DropUnderscores); err != nil {
			t.Fatal(err)
		}
	})
	f("readRequest", func() {
		x.arena = x.arena[:0]
		if !x.readRequest() {
			t.Fatal(x.Err)
		}
	})
	f("match", func() {
		if !x.findRoute() {
			t.Fatal(x.Err)
		}
	})
	f("phases", func() {
		x.arena, x.entered = x.arena[:0], 0
		if err := x.fields.parse(raw, 100, DropUnderscores); err != nil || !x.enterPhases() {
			t.Fatal(err)
		}
		OwnResponse(x.Ctx)
		x.leavePhases()
	})
	f("rewrite", func() {
		x.arena = x.arena[:0]
		if !x.rewritePath() {
			t.Fatal(x.Err)
		}
	})
	f("writeHead", func() { x.writeHead(ep) })
	f("error answer", func() {
		x.Err = ErrConnect
		x.answerError()
		x.finishResponse()
	})
	f("record", func() {
		x.Route.Metrics.Begin(x.shard())
		x.snap.Sinks = x.snap.Sinks[:0]
		s.proxy.record(x)
	})
	f("dropNominated", func() { x.fields.dropNominated() })
}

// TestAllocAnswers asserts the same for what the gateway answers itself.
func TestAllocAnswers(t *testing.T) {
	s := prepareSite(t, `
		trust 127.0.0.0/8
		route to /to/{x}
		redirect to 301 scheme=https host=new.example port=8443 path=/items/${param.x}
		route fixed /fixed
		respond fixed 200 text/plain hello
		route pre /pre methods=PUT
		respond pre 200 text/plain hello
		cors pre origins=https://*.example.com methods=PUT headers=* credentials max-age=1m private`)
	s.snapshot.Sinks = []telemetry.Sink{silentSink(t)}
	f := func(name, request string, want int) {
		t.Helper()
		ctx := contextFor(t, request)
		op := func() {
			ctx.Response.Reset()
			s.proxy.Handle(ctx)
			if got := ctx.Response.StatusCode(); got != want {
				t.Fatalf("%s: got %d", name, got)
			}
		}
		if n := fewest(func() float64 { return testing.AllocsPerRun(200, op) }); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	f("redirect", "GET /to/7?a=1 HTTP/1.1\r\n"+browser+"\r\n", 301)
	f("fixed response", "GET /fixed HTTP/1.1\r\n"+browser+"\r\n", 200)
	f("preflight", "OPTIONS /pre HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example.com\r\nAccess-Control-Request-Method: PUT\r\n"+
		"Access-Control-Request-Headers: x-a\r\nAccess-Control-Request-Private-Network: true\r\n\r\n", 204)
	f("local answer", "GET "+endPath+" HTTP/1.1\r\n"+browser+"\r\n", 299)
	f("404", "GET /none HTTP/1.1\r\n"+browser+"\r\n", 404)
	f("405", "GET /pre HTTP/1.1\r\n"+browser+"\r\n", 405)
	f("400", "GET /%zz HTTP/1.1\r\n"+browser+"\r\n", 400)
}

// TestAllocHeaderPhase asserts that a program over a response with duplicates
// allocates nothing.
func TestAllocHeaderPhase(t *testing.T) {
	program := compile(t, []transform.Op{
		{Verb: transform.Remove, Name: "X-A"},
		{Verb: transform.Set, Name: "X-B", Value: "${method} ${path}"},
		{Verb: transform.Set, Name: "Cache-Control", Value: "no-store"},
		{Verb: transform.Add, Name: "X-C", Value: "${client_ip}"},
	})
	s := prepareSite(t, fullConfig, "http://127.0.0.1:1")
	x := staged(t, s, "GET /v1/users/7 HTTP/1.1\r\n"+browser+"\r\n")
	var h fasthttp.ResponseHeader
	op := func() {
		h.Reset()
		h.Add("X-A", "1")
		h.Add("X-A", "2")
		h.Add("X-B", "3")
		h.Add("X-B", "4")
		x.arena = program.Apply((*responseEditor)(&h), x, x.arena[:0])
	}
	op()
	if n := testing.AllocsPerRun(200, op); n != 0 {
		t.Errorf("allocates %v times", n)
	}
}

// TestAllocLine counts the allocations of the whole process, from the client's
// bytes to the upstream and back, over sockets and with all of fullConfig,
// metrics and the access log. Client and upstream allocate nothing either.
func TestAllocLine(t *testing.T) {
	get := func(path string) string { return "GET /v1/" + path + "?q=abc HTTP/1.1\r\n" + browser + "\r\n" }
	post := func(body string) string {
		return fmt.Sprintf("POST /v1/small?q=abc HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", browser, len(body), body)
	}
	chunked := func(body string) string {
		return fmt.Sprintf("POST /v1/small?q=abc HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", browser, len(body), body)
	}
	kib := func(n int) string { return strings.Repeat("x", n<<10) }
	f := func(name, request, reply string) {
		t.Run(name, func(t *testing.T) {
			most := 0.01
			if strings.HasPrefix(request, "POST") {
				// fasthttp makes sure with io.CopyN that nothing of a body is
				// left, which allocates its reader.
				most = 1.01
			}
			l := newWire(t, fullConfig, request, reply)
			if n := fewest(func() float64 { return l.allocs(t, 300) }); n > most {
				t.Errorf("%.3f allocations a request", n)
			}
		})
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: inner\r\nSet-Cookie: a=1\r\n"
	fixed := func(body string) string { return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", ok, len(body), body) }
	f("GET", get("small"), fixed("hello, world\n"))
	f("GET with the upstream's date", get("small"), strings.Replace(fixed("hello"), "Server:", "Date: Mon, 02 Jan 2034 03:04:05 GMT\r\nServer:", 1))
	f("GET 16 KiB", get("16"), fixed(kib(16)))
	f("GET 64 KiB", get("64"), fixed(kib(64)))
	f("GET chunked", get("c"), ok+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
	f("GET chunked 40 KiB", get("c"), ok+fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", 40<<10, kib(40)))
	f("GET chunked 256 KiB", get("c"), ok+fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", 256<<10, kib(256)))
	f("GET 256 KiB", get("256"), fixed(kib(256)))
	f("GET 1 MiB", get("1024"), fixed(kib(1024)))
	f("GET with hop-by-hop fields", get("small"), strings.Replace(fixed("hello"), "Server:", "Connection: keep-alive, X-P\r\nKeep-Alive: timeout=5\r\nX-P: 1\r\nServer:", 1))
	f("POST 1 KiB", post(kib(1)), fixed("ok"))
	f("POST 40 KiB", post(kib(40)), fixed("ok"))
	f("POST 256 KiB", post(kib(256)), fixed("ok"))
	f("POST chunked 1 KiB", chunked(kib(1)), fixed("ok"))
	f("POST chunked 256 KiB", chunked(kib(256)), fixed("ok"))
}

// TestAllocDestination counts them with circuit breakers, a limit that follows the
// latency and outlier detection on, for each way of choosing the endpoint.
func TestAllocDestination(t *testing.T) {
	watch := outlier.New(outlier.Options{})
	t.Cleanup(watch.Close)
	f := func(name, algorithm, cookie, hashOn string) {
		t.Run(name, func(t *testing.T) {
			request := "GET /v1/small?q=abc HTTP/1.1\r\nHost: h\r\nCookie: x=1; srv=" + cookie + "\r\n\r\n"
			l := newWire(t, fullConfig, request, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
			state := l.balance("u", balancer.Settings{Algorithm: algorithm})
			u, ep := l.upstreams["u"], state.Endpoints[0]
			u.Breaker.Store(breaker.New(breaker.Settings{ErrorRatio: 50}, nil))
			ep.Breaker.Store(breaker.New(breaker.Settings{ErrorRatio: 50, LatencyLimit: time.Second}, nil))
			u.SetLimits(upstream.Limits{Adaptive: breaker.NewLimit(breaker.LimitSettings{})})
			watch.Set("u", outlier.Settings{}, []outlier.Target{{URL: ep.Target, Passive: ep.Passive}})
			for _, r := range l.routes {
				r.HashOn = *template(t, hashOn)
				r.Sticky = &Sticky{Name: "srv", Attributes: "; Path=/; HttpOnly"}
			}
			l.size = l.responseSize(t)
			if n := fewest(func() float64 { return l.allocs(t, 300) }); n > 0.01 {
				t.Errorf("%.3f allocations a request", n)
			}
		})
	}
	f("p2c", balancer.P2C, "a", "")
	f("maglev", balancer.Maglev, "none", "${client_ip}/${header.Host}")
	f("ring", balancer.Ring, "none", "${cookie.x}")
	f("sticky", balancer.RoundRobin, "a", "")
	f("a new cookie", balancer.LeastConnections, "none", "")
}

// TestAllocRateLimit counts them with limits of each kind.
func TestAllocRateLimit(t *testing.T) {
	f := func(name string, l *RateLimit, concurrency bool, rules ...limiter.Rule) {
		t.Run(name, func(t *testing.T) {
			request := "GET /v1/small?q=abc HTTP/1.1\r\nHost: h\r\nX-Key: 12345\r\n\r\n"
			w := newWire(t, fullConfig, request, "HTTP/1.1 200 OK\r\nX-Cost: 2\r\nContent-Length: 5\r\n\r\nhello")
			w.limited(l, rules...)
			l.Legacy = true
			if concurrency {
				var err error
				if l.Default.Held, err = limiter.New([]limiter.Rule{{Name: "c", Algorithm: limiter.Concurrency, Limit: 10}}, limiter.Options{}); err != nil {
					t.Fatal(err)
				}
			}
			w.size = w.responseSize(t)
			if n := fewest(func() float64 { return w.allocs(t, 300) }); n > 0.01 {
				t.Errorf("%.3f allocations a request", n)
			}
		})
	}
	// As many digits of what is left throughout, lest the response change its size.
	minute := limiter.Rule{Name: "minute", Algorithm: limiter.SlidingWindow, Limit: 1 << 40, Window: 1000 * time.Hour}
	bucket := limiter.Rule{Name: "bucket", Algorithm: limiter.TokenBucket, Limit: 1 << 40, Window: time.Minute}
	f("whole route", &RateLimit{}, false, bucket)
	f("key", &RateLimit{Key: *template(t, "${client_net}/${header.X-Key}")}, false, bucket)
	f("several rules, charged after", &RateLimit{Key: *template(t, "${client_net}"), CostField: []byte("X-Cost")}, true, minute, bucket)
}

// fewest runs a measurement several times: what others in the process allocate
// by chance is not in all of them.
func fewest(measure func() float64) float64 {
	least := math.Inf(1)
	for range 5 {
		if least = min(least, measure()); least == 0 {
			break
		}
	}
	return least
}

// allocs returns the allocations of the process per request.
func (l *wire) allocs(t testing.TB, n int) float64 {
	t.Helper()
	for range 20 {
		l.roundTrip(t)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		l.roundTrip(t)
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n)
}

// staticConn has a remote address that is made once, like a socket's.
type staticConn struct {
	net.Conn
	remote net.Addr
}

func (c staticConn) RemoteAddr() net.Addr { return c.remote }
func (c staticConn) LocalAddr() net.Addr  { return c.remote }

func (c staticConn) SetWriteDeadline(time.Time) error { return nil }

func contextFor(t testing.TB, request string) *fasthttp.RequestCtx {
	t.Helper()
	ctx := new(fasthttp.RequestCtx)
	ctx.Init2(&staticConn{remote: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4}}, nil, false)
	if err := ctx.Request.Header.Read(readerOf(request)); err != nil {
		t.Fatal(err)
	}
	return ctx
}
