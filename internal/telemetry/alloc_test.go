//go:build !race

package telemetry

import (
	"io"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

func TestRecordAllocatesNothing(t *testing.T) {
	f := func(name string, op func()) {
		t.Helper()
		op() // the first use of a shard, class or second may allocate
		if n := testing.AllocsPerRun(2000, op); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	r := NewRegistry("test")
	route, endpoint, gateway := r.Route("a"), r.Endpoint("u", "e"), r.Gateway()
	e := fullEvent()
	f("RouteMetrics", func() {
		for class := range 6 {
			e.Status = 100 * (class + 1)
			e.Shard++
			route.Begin(e.Shard)
			route.FellBack(e.Shard)
			route.Record(e)
		}
	})
	f("EndpointMetrics", func() {
		e.Shard++
		endpoint.Begin(e.Shard)
		endpoint.Connected(e.Shard, true)
		endpoint.Answered(e.Shard, 200, time.Millisecond)
		endpoint.Failed(e.Shard, FailureTimeout)
		endpoint.Probed(false)
		endpoint.End(e.Shard)
	})
	f("GatewayMetrics", func() {
		gateway.ConnectionAccepted()
		gateway.ConnectionClosed()
		gateway.Panicked()
		gateway.Limited(LimitCircuit)
		gateway.Reloaded(ReloadApplied, e.Start)
	})

	l := NewAccessLog(AccessLogOptions{
		Writer:          zapcore.AddSync(io.Discard),
		Sample:          0.9,
		Query:           true,
		RequestHeaders:  []string{"X-Tenant", "Authorization"},
		ResponseHeaders: []string{"Content-Type", "Location"},
		Metrics:         gateway.AccessLog(),
	})
	defer closeLog(t, l)
	e.RequestHeaders, e.ResponseHeaders = anyHeader("a\"b\xffc€?token=d"), anyHeader("/x?code=y#z")
	f("AccessLog", func() {
		e.Start = e.Start.Add(-time.Millisecond) // never the cached second for long
		l.Record(e)
	})
}
