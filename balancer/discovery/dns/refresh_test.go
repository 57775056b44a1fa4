package dns

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"

	"github.com/salgue441/velocity/balancer/discovery"
)

// These tests run in bubbles of testing/synctest: time stands still while a
// question is on its way to the server, which is outside, and jumps to the next
// refresh when the source waits.

// watched is a source that is watched in a bubble.
type watched struct {
	*discovery.Watch
	zone *zone
}

func watch(t *testing.T, z *zone, settings Settings, test func(t *testing.T, w watched)) {
	t.Helper()
	s, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		g := discovery.NewGroup(discovery.Options{})
		defer g.Close()
		w := watched{g.Watch(s, nil), z}
		<-w.Ready()
		w.zone.questions()
		test(t, w)
	})
}

// pass lets time pass, and all refreshes that fall into it happen.
func (w watched) pass(d time.Duration) {
	for end := time.Now().Add(d); ; {
		next := w.Status().Next
		if next.IsZero() || next.After(end) {
			<-time.After(time.Until(end))
			return
		}
		<-time.After(time.Until(next) + time.Nanosecond)
		for w.Status().Next.Equal(next) {
			<-time.After(time.Nanosecond) // the server's answer is under way
		}
	}
}

func (w watched) want(t *testing.T, targets, asked string) {
	t.Helper()
	if got := show(w.Targets()); got != targets {
		t.Errorf("targets are %q, want %q (%+v)", got, targets, w.Status())
	}
	if got := w.zone.questions(); got != asked {
		t.Errorf("asked %q, want %q", got, asked)
	}
}

func TestRefreshWhenTheAnswerExpires(t *testing.T) {
	z := serve(t, "users.example. 60 A 10.0.0.1")
	watch(t, z, z.settings(t, "users.example."), func(t *testing.T, w watched) {
		z.set(t, "users.example. 60 A 10.0.0.2")
		w.pass(59 * time.Second)
		w.want(t, "10.0.0.1:80", "")
		w.pass(8 * time.Second) // the TTL and up to a tenth
		w.want(t, "10.0.0.2:80", "udp A users.example.")
	})
}

func TestRefreshKeepsTargetsThroughFailures(t *testing.T) {
	z := serve(t, "users.example. 30 A 10.0.0.1")
	settings := z.settings(t, "users.example.")
	settings.Attempts, settings.Timeout = 1, 10*time.Millisecond
	watch(t, z, settings, func(t *testing.T, w watched) {
		for _, failure := range []func(w wire.ResponseWriter, r, reply *wire.Msg){
			fail(wire.RcodeServerFailure), fail(wire.RcodeRefused), silence,
		} {
			z.script(failure)
			w.pass(5 * time.Minute)
			s := w.Status()
			if show(w.Targets()) != "10.0.0.1:80" || !s.Stale || s.Failures < 8 || s.Err == nil {
				t.Errorf("while the server fails: targets %q, %+v", show(w.Targets()), s)
			}
			z.script(nil)
			w.pass(discovery.DefaultMaxRetry)
			if s := w.Status(); s.Stale || s.Failures != 0 {
				t.Errorf("after recovery: %+v", s)
			}
		}
		asked := strings.Count(z.questions(), "users")
		if asked < 30 || asked > 100 {
			t.Errorf("%d questions in 15 minutes of failures, want about 2 a minute", asked)
		}
	})
}

func TestRefreshOfANameThatGoes(t *testing.T) {
	z := serve(t, "users.example. 30 A 10.0.0.1", soa+"20")
	watch(t, z, z.settings(t, "users.example."), func(t *testing.T, w watched) {
		z.set(t, soa+"20")
		w.pass(33 * time.Second)
		if s := w.Status(); !s.Held || s.Stale {
			t.Errorf("after NXDOMAIN: %+v", s)
		}
		w.want(t, "10.0.0.1:80", "udp A users.example.")
		w.pass(16 * time.Second)
		w.want(t, "10.0.0.1:80", "") // the denial holds for 20 s
		w.pass(20 * time.Second)
		w.want(t, "", "udp A users.example.")
		z.set(t, "users.example. 30 A 10.0.0.2", soa+"20")
		w.pass(22 * time.Second)
		w.want(t, "10.0.0.2:80", "udp A users.example.")
	})
}

func TestRefreshAsksForWhatHasExpired(t *testing.T) {
	z := serve(t, "_http._tcp.example. 300 SRV 0 1 80 a.example.", "_http._tcp.example. 300 SRV 0 1 80 b.example.",
		"a.example. 30 A 10.0.0.1", "b.example. 200 A 10.0.0.2")
	settings := z.settings(t, "_http._tcp.example.")
	settings.Type, settings.Port = Service, 0
	watch(t, z, settings, func(t *testing.T, w watched) {
		z.set(t, "_http._tcp.example. 300 SRV 0 1 80 a.example.", "_http._tcp.example. 300 SRV 0 1 80 b.example.",
			"a.example. 30 A 10.0.0.3", "b.example. 200 A 10.0.0.4")
		w.pass(34 * time.Second)
		w.want(t, "10.0.0.2:80 10.0.0.3:80", "udp A a.example.")
	})
}

func TestRefreshKeepsTheHostThatFails(t *testing.T) {
	z := serve(t, "_http._tcp.example. 30 SRV 0 1 80 a.example.", "_http._tcp.example. 30 SRV 0 1 80 b.example.",
		"a.example. 30 A 10.0.0.1", "b.example. 30 A 10.0.0.2")
	settings := z.settings(t, "_http._tcp.example.")
	settings.Type, settings.Port = Service, 0
	watch(t, z, settings, func(t *testing.T, w watched) {
		z.set(t, "_http._tcp.example. 30 SRV 0 1 80 a.example.", "_http._tcp.example. 30 SRV 0 1 80 b.example.",
			"_http._tcp.example. 30 SRV 0 1 80 c.example.", "c.example. 30 A 10.0.0.3", "b.example. 30 A 10.0.0.4")
		z.script(func(w wire.ResponseWriter, r, reply *wire.Msg) {
			if r.Question[0].Name == "a.example." {
				reply = new(wire.Msg).SetRcode(r, wire.RcodeServerFailure)
			}
			send(w, reply)
		})
		w.pass(33 * time.Second)
		if got := show(w.Targets()); got != "10.0.0.1:80 10.0.0.3:80 10.0.0.4:80" {
			t.Errorf("targets %q, want the old one of the host that fails and the new ones of the others", got)
		}
		if s := w.Status(); !s.Stale || s.Err == nil || s.Updated.IsZero() {
			t.Errorf("status is %+v", s)
		}
		w.pass(10 * time.Minute) // what is old stays through many rounds
		if got := show(w.Targets()); got != "10.0.0.1:80 10.0.0.3:80 10.0.0.4:80" {
			t.Errorf("targets %q after a while", got)
		}
	})
}

func TestCloseDoesNotWaitForTheServer(t *testing.T) {
	z := serve(t)
	asked := make(chan struct{})
	z.script(func(wire.ResponseWriter, *wire.Msg, *wire.Msg) { close(asked) })
	settings := z.settings(t, "users.example.")
	settings.Timeout = time.Hour
	s, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	g := discovery.NewGroup(discovery.Options{})
	g.Watch(s, nil)
	<-asked
	g.Close()
}
