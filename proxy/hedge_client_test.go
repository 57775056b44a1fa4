package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const plainGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

// A client that leaves ends both attempts of its request, wherever they are, and
// the wait before a retry.
func TestClientLeavesWhileAttemptsRace(t *testing.T) {
	asked, closed := make(chan struct{}, 4), make(chan struct{}, 4)
	scripts := map[string]func(*peer){
		"mute": func(p *peer) {
			if _, ok := p.request(); ok {
				asked <- struct{}{}
				p.request() // until the gateway closes
				closed <- struct{}{}
			}
		},
		"reset once hedged": func(p *peer) {
			p.request()
			asked <- struct{}{}
			for len(asked) < 2 {
				<-time.After(time.Millisecond)
			}
		},
		"busy": func(p *peer) {
			p.request()
			p.write("HTTP/1.1 503 X\r\nContent-Length: 0\r\nRetry-After: 1000\r\n\r\n")
			asked <- struct{}{}
			p.request()
		},
	}
	f := func(name, policy, first, second string, begun, cancelled, attempts int) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "upstream u $1 $2\nroute r /* upstream=u reply=20s "+policy,
				newBackend(t, scripts[first]).url, newBackend(t, scripts[second]).url)
			s.startAtFirst("u")
			c := s.dial()
			c.send(plainGet)
			for len(asked) < begun {
				<-time.After(time.Millisecond)
			}
			_ = c.Close()
			for range cancelled {
				select {
				case <-closed:
				case <-time.After(patience):
					t.Fatal("an attempt goes on")
				}
			}
			for range begun {
				<-asked
			}
			s.settleHedges(1)
			e := s.taken()[0]
			if e.Status != 499 || e.Reason != "client_closed" || e.Source != "client" || e.Attempts != attempts {
				t.Errorf("status %d, reason %q, source %q, %d attempts", e.Status, e.Reason, e.Source, e.Attempts)
			}
			if strings.Contains(s.metrics(), "velocity_retries_total{") {
				t.Error("a retry was counted")
			}
		})
	}
	f("before the hedge", "hedge=10s hedge-floor=1", "mute", "mute", 1, 1, 1)
	f("in the race", "hedge=2ms hedge-floor=1", "mute", "mute", 2, 2, 2)
	f("after the first was reset", "hedge=2ms hedge-floor=1", "reset once hedged", "mute", 2, 1, 2)
	f("before a retry", "statuses=503 retries=1 floor=1 retry-after=2000s", "busy", "busy", 1, 0, 1)
}

// The winner's interim replies are passed on, and not the loser's.
func TestHintsOfRacingAttempts(t *testing.T) {
	hint := func(which int) string {
		return fmt.Sprintf("HTTP/1.1 103 Early Hints\r\nLink: </%d>\r\n\r\n", which)
	}
	f := func(name, policy string, winner int) {
		t.Run(name, func(t *testing.T) {
			hedged := make(chan struct{}, 1)
			first := newBackend(t, func(p *peer) {
				p.request()
				p.write(hint(1))
				if winner == 2 {
					p.request()
					return
				}
				if policy == "hedge=2ms" {
					<-hedged
				}
				p.reply("well 1")
				p.request()
			})
			second := newBackend(t, func(p *peer) {
				p.request()
				p.write(hint(2))
				hedged <- struct{}{}
				if winner == 2 {
					p.reply("well 2")
				}
				p.request()
			})
			s := newSite(t, "upstream u $1 $2\nroute r /* upstream=u hedge-floor=1 reply=20s "+policy, first.url, second.url)
			s.startAtFirst("u")
			c := s.dial()
			c.send(plainGet)
			c.expect(hint(winner))
			if status, _, body := c.response(); status != 200 || body != fmt.Sprintf("well %d", winner) {
				t.Errorf("answered %d %q", status, body)
			}
			_ = c.Close()
			s.settleHedges(1)
		})
	}
	f("no hedge", "hedge=10s", 1)
	f("the hedge wins", "hedge=2ms", 2)
	f("the hedge loses", "hedge=2ms", 1)
}

// A hedge sends the trailer fields of a buffered body as well.
func TestHedgeSendsTrailer(t *testing.T) {
	requests := make(chan string, 2)
	mute := func(p *peer) {
		r, _ := p.request()
		requests <- r
		p.request()
	}
	well := func(p *peer) {
		r, _ := p.request()
		requests <- r
		p.reply("well")
		p.request()
	}
	s := newSite(t, "upstream u $1 $2\nroute r /* upstream=u hedge=2ms hedge-floor=1 to-host=target", newBackend(t, mute).url, newBackend(t, well).url)
	s.startAtFirst("u")
	c := s.dial()
	c.send("GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n")
	if status, _, body := c.response(); status != 200 || body != "well" {
		t.Errorf("answered %d %q", status, body)
	}
	_ = c.Close()
	s.settleHedges(1)
	_, first, _ := strings.Cut(<-requests, "\r\n\r\n")
	_, second, _ := strings.Cut(<-requests, "\r\n\r\n")
	if !strings.Contains(first, "X-Sum: 1") || first != second {
		t.Errorf("the first was sent %q, the hedge %q", first, second)
	}
}

// A request to switch protocols is not hedged, however slow its server is.
func TestUpgradeIsNotHedged(t *testing.T) {
	slow := func(p *peer) {
		p.request()
		<-time.After(30 * time.Millisecond)
		p.write(agreement)
		echo(p)
	}
	s := prepareSite(t, "upstream u $1 $2\nroute r /* upstream=u hedge=1ms hedge-floor=1 reply=20s", newBackend(t, slow).url, newBackend(t, slow).url)
	s.routes["r"].Upgrade = UpgradePolicy{Protocols: []string{"websocket"}}
	s.serve()
	c := s.open()
	c.send("hello")
	c.expect("hello")
	_ = c.Close()
	s.settle(1)
	if e := s.taken()[0]; e.Attempts != 1 || e.Status != 101 {
		t.Errorf("status %d after %d attempts", e.Status, e.Attempts)
	}
}
