package proxy

import (
	"testing"

	"github.com/salgue441/velocity/proxy/upstream"
)

// TestPickAfterReload has a reload retire a request's endpoints after the
// request has found its route and before it picks.
func TestPickAfterReload(t *testing.T) {
	f := func(name, want string, reload func(s *site, old *upstream.State)) {
		t.Helper()
		before, after := newBackend(t, answering("before")), newBackend(t, answering("after"))
		s := prepareSite(t, "upstream u $1\nupstream v $2\nroute r /* upstream=u", before.url, after.url)
		once := false
		s.routes["r"].SetPhases([]Phase{{Name: "reload", Request: enter(func(*Exchange) Verdict {
			if !once {
				once = true
				reload(s, s.upstreams["u"].State())
			}
			return Continue
		})}})
		s.serve()
		if status, answer := s.ask("GET", "/", ""); status != 200 || answer != want {
			t.Errorf("%s: got %d %q, want %q", name, status, answer, want)
		}
	}
	swap := func(s *site) {
		next := *s.snapshot
		s.proxy.Swap(&next)
	}
	f("replaced", "after", func(s *site, old *upstream.State) {
		s.upstreams["u"].Set(s.upstreams["v"].State())
		swap(s)
		old.Endpoints[0].Live.Retire()
	})
	f("gone with its route", "before", func(s *site, old *upstream.State) {
		swap(s)
		old.Endpoints[0].Live.Retire()
	})
}

// TestPickOfRetired does not take what is down, and nothing without a reload.
func TestPickOfRetired(t *testing.T) {
	f := func(up, drain, reloaded bool, want int) {
		t.Helper()
		b := newBackend(t, answering("ok"))
		s := prepareSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
		s.routes["r"].SetPhases([]Phase{{Name: "retire", Request: enter(func(*Exchange) Verdict {
			live := s.upstreams["u"].State().Endpoints[0].Live
			live.SetUp(up)
			if drain {
				live.Retire()
			}
			if reloaded {
				next := *s.snapshot
				s.proxy.Swap(&next)
			}
			return Continue
		})}})
		s.serve()
		if status, _ := s.ask("GET", "/", ""); status != want {
			t.Errorf("up %v, drain %v, reloaded %v: got %d, want %d", up, drain, reloaded, status, want)
		}
	}
	f(true, true, true, 200)
	f(true, true, false, 503)
	f(false, true, true, 503)
	f(false, false, true, 503)
}
