// Package discoverykit is what tests of discovery share: a source that is watched,
// and the running of name servers.
package discoverykit

import (
	"context"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/salgue441/velocity/balancer/discovery"
)

// Watched is a source that is watched, and what is reported of it.
type Watched struct {
	*discovery.Watch
	reports chan discovery.Status
}

// Watch watches a source until the end of the test, with pauses of a millisecond
// after failures and none before an empty list is believed.
func Watch(tb testing.TB, s discovery.Source) Watched {
	tb.Helper()
	reports := make(chan discovery.Status, 10_000)
	g := discovery.NewGroup(discovery.Options{
		Report: func(s discovery.Status) { reports <- s }, MinRetry: time.Millisecond, MaxRetry: time.Millisecond, HoldEmpty: -1,
	})
	tb.Cleanup(g.Close)
	return Watched{g.Watch(s, nil), reports}
}

// Until waits for a report that says what the test is looking for.
func (w Watched) Until(tb testing.TB, what string, is func(discovery.Status) bool) {
	tb.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case s := <-w.reports:
			if is(s) {
				return
			}
		case <-limit:
			tb.Fatalf("no report says %s; the last is %+v", what, w.Status())
		}
	}
}

// ServeDNS runs a name server until the end of the test; it answers on return.
func ServeDNS(tb testing.TB, server *dns.Server) {
	tb.Helper()
	started, done := make(chan struct{}), make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() {
		defer close(done)
		if err := server.ActivateAndServe(); err != nil {
			tb.Error(err)
		}
	}()
	<-started
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.ShutdownContext(ctx); err != nil {
			tb.Error(err)
		}
		<-done
	})
}
