package proxy

import (
	"testing"
	"time"

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/upstream"
)

// TestObserve looks at what the balancer learns of an endpoint from one request.
func TestObserve(t *testing.T) {
	replies := func(reply string) func(*peer) {
		return func(p *peer) {
			for {
				if _, ok := p.request(); !ok {
					return
				}
				p.write(reply)
			}
		}
	}
	const leastFailure, anything = 10 * time.Millisecond, time.Minute
	f := func(name, policy, server string, least, most time.Duration) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var target string
			if server == "refuse" {
				target = refusing(t)
			} else {
				target = newBackend(t, map[string]func(*peer){
					"well":      answering("well"),
					"broken":    replies("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"),
					"busy":      replies("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
					"malformed": replies("HTTP/1.1 abc\r\n\r\n"),
					"mute":      replies(""),
					"close":     func(p *peer) { p.request() },
					"late": func(p *peer) {
						for {
							if _, ok := p.request(); !ok {
								return
							}
							<-time.After(30 * time.Millisecond)
							p.reply("late")
						}
					},
				}[server]).url
			}
			s := newSite(t, "upstream u $1\nroute r /* upstream=u "+policy, target)
			s.ask("GET", "/", "")
			live := s.upstreams["u"].State().Endpoints[0].Live
			if got := live.Latency(s.proxy.nanos(time.Now())); got < least*9/10 || got > most {
				t.Errorf("latency %v, want %v to %v", got, least, most)
			}
		})
	}
	f("answered", "", "well", 1, anything)
	f("answered late", "", "late", 30*time.Millisecond, anything)
	f("an error of the application", "", "broken", 1, anything)
	f("an error in front of it", "", "busy", leastFailure, anything)
	f("refused", "", "refuse", leastFailure, anything)
	f("closed", "", "close", leastFailure, anything)
	f("malformed", "", "malformed", leastFailure, anything)
	f("attempt's timeout", "per=40ms", "mute", 40*time.Millisecond, anything)
	f("reply timeout", "reply=40ms", "mute", 40*time.Millisecond, anything)
	f("route's timeout", "timeout=40ms", "mute", 40*time.Millisecond, anything)
}

// TestObserveFailure: what says nothing of the server is not held against it.
func TestObserveFailure(t *testing.T) {
	f := func(e *Error, failure telemetry.FailureKind, want time.Duration) {
		t.Helper()
		ep := &upstream.Endpoint{Live: balancer.NewEndpoint(1, true)}
		var trial trial
		trial.begin(ep, 0)
		trial.failed(e, failure, 20*time.Second, 0)
		if got := ep.Live.Latency(0); got < want*99/100 || got > want*101/100 {
			t.Errorf("%s: latency %v, want %v", e.Code, got, want)
		}
	}
	f(ErrConnect, telemetry.FailureConnect, 20*time.Second)
	f(ErrReset, telemetry.FailureReset, 20*time.Second)
	f(ErrReplyTimeout, telemetry.FailureTimeout, 20*time.Second)
	f(ErrStale, telemetry.FailureReset, 0)
	f(ErrExhausted, telemetry.FailureOverflow, 0)
	f(ErrClientClosed, noFailure, 0)
}

// TestObserveLostAttempt: an attempt whose hedge is answered first took at least
// as long as it was waited for.
func TestObserveLostAttempt(t *testing.T) {
	mute := newBackend(t, func(p *peer) {
		for {
			if _, ok := p.request(); !ok {
				return
			}
		}
	})
	well := newBackend(t, answering("well"))
	s := newSite(t, "upstream u $1 $2\nroute r /* upstream=u hedge=30ms hedge-floor=1", mute.url, well.url)
	s.startAtFirst("u")
	if status, _ := s.ask("GET", "/", ""); status != 200 {
		t.Fatalf("status %d", status)
	}
	now := s.proxy.nanos(time.Now())
	for i, least := range []time.Duration{29 * time.Millisecond, 1} {
		if got := s.upstreams["u"].State().Endpoints[i].Live.Latency(now); got < least {
			t.Errorf("endpoint %d: latency %v, want at least %v", i, got, least)
		}
	}
}
