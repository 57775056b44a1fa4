package proxy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// BenchmarkLine measures a request through the gateway over loopback, client
// and upstream included.
func BenchmarkLine(b *testing.B) {
	const plain = "upstream u $1\nroute r /v1/* upstream=u\nforward x-forwarded"
	f := func(name, config, request, reply string) {
		b.Run(name, func(b *testing.B) {
			w := newWire(b, config, request, reply)
			w.roundTrip(b)
			b.ReportAllocs()
			for b.Loop() {
				w.roundTrip(b)
			}
		})
	}
	fixed := func(n int) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", n))
	}
	get := "GET /v1/a?q=abc HTTP/1.1\r\nHost: h\r\n\r\n"
	f("GET", plain, get, fixed(13))
	f("GET-browser-everything-on", fullConfig, "GET /v1/a?q=abc HTTP/1.1\r\n"+browser+"\r\n", fixed(13))
	f("GET-16KiB", plain, get, fixed(16<<10))
	f("GET-256KiB", plain, get, fixed(256<<10))
	f("GET-1MiB", plain, get, fixed(1<<20))
	f("GET-chunked-256KiB", plain, get, fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", 256<<10, strings.Repeat("x", 256<<10)))
	f("POST-1KiB", plain, "POST /v1/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1024\r\n\r\n"+strings.Repeat("x", 1024), fixed(13))
}

// BenchmarkStages measures what the gateway itself does to a request, without
// any connection.
func BenchmarkStages(b *testing.B) {
	s := prepareSite(b, fullConfig, "http://127.0.0.1:1")
	ep := s.upstreams["u"].State().Endpoints[0]
	request := "GET /v1/users/7?q=abc HTTP/1.1\r\n" + browser + "\r\n"
	ctx := new(fasthttp.RequestCtx)
	ctx.Init2(fakeConn{addr: s.snapshot.Trusted[0].Addr()}, nil, false)
	if err := ctx.Request.Header.Read(readerOf(request)); err != nil {
		b.Fatal(err)
	}
	x := s.proxy.acquire(ctx)
	raw := ctx.Request.Header.RawHeaders()
	parse := func() {
		if err := x.fields.parse(raw); err != nil {
			b.Fatal(err)
		}
	}
	if !x.readRequest() || !x.matchRoute() {
		b.Fatal(x.Err)
	}
	f := func(name string, op func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				op()
			}
		})
	}
	f("parse", parse)
	f("match", func() { x.findRoute() })
	f("phases-in", func() {
		parse()
		x.arena, x.entered = x.arena[:0], 0
		x.enterPhases()
	})
	f("phases-out", func() {
		OwnResponse(ctx)
		x.arena = x.arena[:0]
		x.leavePhases()
	})
	f("rewrite", func() {
		x.arena = x.arena[:0]
		x.rewritePath()
	})
	f("writeHead", func() { x.writeHead(ep) })
	f("error", func() {
		x.Err = ErrConnect
		x.answerError()
	})
}
