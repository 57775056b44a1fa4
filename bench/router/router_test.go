// Package router compares the data plane's route table with the routers that Go
// programs use most, in one run and on the same 10,000 routes. It has a module of
// its own so that none of them becomes a dependency of Velocity.
package router

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"testing"

	fasthttprouter "github.com/fasthttp/router"
	"github.com/go-chi/chi/v5"
	"github.com/julienschmidt/httprouter"
	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/proxy/router"
)

const routes = 10_000

func pattern(i int) string { return fmt.Sprintf("/svc%d/v1/users/{id}/orders/{order}", i) }

// order is the order of requests: to go through the routes in the order they were
// built would flatter every router's use of the caches.
func order() []int { return rand.New(rand.NewPCG(1, 2)).Perm(routes) }

// paths are one for each route. Their text lies in the order of use, so that it
// is as near as that of a request just read.
func paths() []string {
	all := make([]string, routes)
	for n, i := range order() {
		all[n] = fmt.Sprintf("/svc%d/v1/users/%d/orders/%d", i, i*7, i*13)
	}
	return all
}

// run measures lookup, which reports a hit, over all paths.
func run(b *testing.B, lookup func(i int) bool) {
	for i := range routes {
		if !lookup(i) {
			b.Fatalf("path %d was not found", i)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i == routes {
			i = 0
		}
		lookup(i)
	}
}

func BenchmarkHit(b *testing.B) {
	b.Run("velocity", func(b *testing.B) { benchmarkVelocity(b, "", "api.example.com") })
	b.Run("velocity-exact-host", func(b *testing.B) { benchmarkVelocity(b, "api.example.com", "api.example.com") })
	b.Run("velocity-wildcard-host", func(b *testing.B) { benchmarkVelocity(b, "*.example.com", "api.example.com") })
	b.Run("velocity-1000-hosts", benchmarkVelocityHosts)
	b.Run("velocity-priorities", benchmarkVelocityPriorities)
	b.Run("velocity-canonical", benchmarkVelocityCanonical)
	b.Run("fasthttp-router", benchmarkFasthttpRouter)
	b.Run("chi", benchmarkChi)
	b.Run("servemux", benchmarkServeMux)
	b.Run("httprouter", benchmarkHTTPRouter)
}

func table(b *testing.B, pattern func(i int) router.Pattern) *router.Table[int] {
	var builder router.Builder[int]
	for i := range routes {
		if err := builder.Add(pattern(i), i); err != nil {
			b.Fatal(err)
		}
	}
	t, problems := builder.Build()
	if len(problems) > 0 {
		b.Fatalf("%d problems, the first: %s", len(problems), problems[0].Message)
	}
	return t
}

func bytesOf(texts []string) [][]byte {
	all := make([][]byte, len(texts))
	for i, s := range texts {
		all[i] = []byte(s)
	}
	return all
}

func match(t *router.Table[int], r *router.Request, ps *router.Params) bool {
	_, outcome, _ := t.Match(r, ps)
	return outcome == router.Found && ps.Len() == 2
}

func benchmarkVelocity(b *testing.B, patternHost, host string) {
	var hosts []string
	if patternHost != "" {
		hosts = []string{patternHost}
	}
	t := table(b, func(i int) router.Pattern {
		return router.Pattern{Hosts: hosts, Path: pattern(i), Methods: []string{"GET"}}
	})
	r := &router.Request{Host: []byte(host), Method: []byte("GET")}
	paths := bytesOf(paths())
	var ps router.Params
	run(b, func(i int) bool {
		r.Path = paths[i]
		return match(t, r, &ps)
	})
}

// Ten routes on each of a thousand hosts.
func benchmarkVelocityHosts(b *testing.B) {
	const each = 10
	host := func(i int) string { return fmt.Sprintf("host%d.example.com", i/each) }
	t := table(b, func(i int) router.Pattern {
		return router.Pattern{Hosts: []string{host(i)}, Path: pattern(i % each), Methods: []string{"GET"}}
	})
	requests := make([]router.Request, routes)
	for n, i := range order() {
		requests[n] = router.Request{
			Host:   []byte(host(i)),
			Method: []byte("GET"),
			Path:   fmt.Appendf(nil, "/svc%d/v1/users/%d/orders/%d", i%each, i*7, i*13),
		}
	}
	var ps router.Params
	run(b, func(i int) bool { return match(t, &requests[i], &ps) })
}

// Every route has a priority of its own.
func benchmarkVelocityPriorities(b *testing.B) {
	t := table(b, func(i int) router.Pattern {
		return router.Pattern{Path: pattern(i), Methods: []string{"GET"}, Priority: i}
	})
	r := &router.Request{Host: []byte("api.example.com"), Method: []byte("GET")}
	paths := bytesOf(paths())
	var ps router.Params
	run(b, func(i int) bool {
		r.Path = paths[i]
		return match(t, r, &ps)
	})
}

// With the path's canonical form, which the others do not have.
func benchmarkVelocityCanonical(b *testing.B) {
	t := table(b, func(i int) router.Pattern {
		return router.Pattern{Path: pattern(i), Methods: []string{"GET"}}
	})
	r := &router.Request{Host: []byte("api.example.com"), Method: []byte("GET")}
	paths := bytesOf(paths())
	room := make([]byte, 0, 1024)
	var ps router.Params
	run(b, func(i int) bool {
		var err error
		r.Path, _, err = router.AppendCanonical(room, paths[i])
		return err == nil && match(t, r, &ps)
	})
}

func benchmarkFasthttpRouter(b *testing.B) {
	t := fasthttprouter.New()
	for i := range routes {
		t.GET(pattern(i), func(*fasthttp.RequestCtx) {})
	}
	paths := paths()
	ctx := &fasthttp.RequestCtx{}
	run(b, func(i int) bool {
		handler, _ := t.Lookup("GET", paths[i], ctx)
		return handler != nil
	})
}

func benchmarkChi(b *testing.B) {
	t := chi.NewRouter()
	for i := range routes {
		t.Get(pattern(i), func(http.ResponseWriter, *http.Request) {})
	}
	paths := paths()
	ctx := chi.NewRouteContext()
	run(b, func(i int) bool {
		ctx.Reset()
		return t.Match(ctx, "GET", paths[i])
	})
}

func benchmarkServeMux(b *testing.B) {
	t := http.NewServeMux()
	for i := range routes {
		t.HandleFunc("GET "+pattern(i), func(http.ResponseWriter, *http.Request) {})
	}
	paths := paths()
	r, err := http.NewRequest("GET", "http://api.example.com/", nil)
	if err != nil {
		b.Fatal(err)
	}
	run(b, func(i int) bool {
		r.URL.Path = paths[i]
		_, found := t.Handler(r)
		return found != ""
	})
}

func benchmarkHTTPRouter(b *testing.B) {
	t := httprouter.New()
	for i := range routes {
		t.GET(fmt.Sprintf("/svc%d/v1/users/:id/orders/:order", i), func(http.ResponseWriter, *http.Request, httprouter.Params) {})
	}
	paths := paths()
	run(b, func(i int) bool {
		handle, params, _ := t.Lookup("GET", paths[i])
		return handle != nil && len(params) == 2
	})
}

// BenchmarkBuild includes Add, the search for problems and, as B/route, the memory
// that a table keeps.
func BenchmarkBuild(b *testing.B) {
	b.ReportAllocs()
	var kept *router.Table[int]
	before := heap()
	for b.Loop() {
		kept = table(b, func(i int) router.Pattern {
			return router.Pattern{Path: pattern(i), Methods: []string{"GET"}}
		})
	}
	b.ReportMetric(float64(heap()-before)/routes, "B/route")
	runtime.KeepAlive(kept)
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
