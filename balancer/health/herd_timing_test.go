//go:build unix

package health

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/salgue441/velocity/balancer"
)

// counting is a Prober whose probes take no time.
type counting struct{ probed chan struct{} }

func (c counting) Probe(ctx context.Context, _ Probe, _ Target) error {
	select {
	case c.probed <- struct{}{}:
	case <-ctx.Done():
	}
	return nil
}

// BenchmarkTenThousandEndpoints measures what scheduling costs: 10 000 endpoints are
// probed every 2 s by a stub. One operation is one probe; cpu-% is of one core.
func BenchmarkTenThousandEndpoints(b *testing.B) {
	s := counting{probed: make(chan struct{}, 1024)}
	c := New(Options{Prober: s})
	defer c.Close()
	targets := make([]Target, 10_000)
	for i := range targets {
		targets[i] = Target{Endpoint: balancer.NewEndpoint(1, false)}
	}
	c.Set("users", Probe{Interval: 2 * time.Second}, targets)
	for range targets {
		<-s.probed
	}
	begun, used := time.Now(), cpuTime()
	for b.Loop() {
		<-s.probed
	}
	b.ReportMetric(100*float64(cpuTime()-used)/float64(time.Since(begun)), "cpu-%")
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
