//go:build !race

package echo

import (
	"testing"

	"github.com/valyala/fasthttp"
)

// The benchmark's backend must not be what the benchmark measures.
func TestPlainAllocatesNothing(t *testing.T) {
	s := New(Options{Name: "a"})
	var ctx fasthttp.RequestCtx
	ctx.Request.SetRequestURI("/plain")
	allocations := testing.AllocsPerRun(1000, func() {
		ctx.Response.Reset()
		s.Handle(&ctx)
	})
	if allocations != 0 {
		t.Errorf("GET /plain allocates %v times, want 0", allocations)
	}
	if got := string(ctx.Response.Body()); got != plainBody {
		t.Errorf("body %q, want %q", got, plainBody)
	}
}

func BenchmarkPlain(b *testing.B) {
	s := New(Options{Name: "a"})
	var ctx fasthttp.RequestCtx
	ctx.Request.SetRequestURI("/plain")
	b.ReportAllocs()
	for b.Loop() {
		ctx.Response.Reset()
		s.Handle(&ctx)
	}
}
