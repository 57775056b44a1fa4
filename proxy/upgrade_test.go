package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
)

const (
	testKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	testAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" // RFC 6455 section 1.3

	handshake = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + testKey + "\r\n\r\n"
	agreement = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + testAccept + "\r\n\r\n"
)

// newUpgradeSite starts a gateway with one route that allows upgrades.
func newUpgradeSite(t testing.TB, p UpgradePolicy, target string) *site {
	t.Helper()
	s := prepareSite(t, "limits write=20s\nupstream u $1\nroute r /* upstream=u reply=20s", target)
	if p.Protocols == nil {
		p.Protocols = []string{"websocket", "tcp"}
	}
	s.routes["r"].Upgrade = p
	s.serve()
	return s
}

// switching is the script of a backend that agrees to every handshake and hands
// over to talk.
func switching(talk func(p *peer)) func(*peer) {
	return func(p *peer) {
		if _, ok := p.request(); ok {
			p.write(agreement)
			talk(p)
		}
	}
}

func echo(p *peer) {
	_, _ = io.Copy(p, p.br) // the gateway may be gone
	_ = p.Conn.(*net.TCPConn).CloseWrite()
}

// open does a handshake.
func (s *site) open() *client {
	s.t.Helper()
	c := s.dial()
	c.send(handshake)
	if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		s.t.Fatalf("not switched: %q", head)
	}
	return c
}

// only waits for the one event and returns it.
func (s *site) only() event {
	s.t.Helper()
	e := s.taken()
	if len(e) != 1 {
		s.t.Fatalf("%d events, want 1: %+v", len(e), e)
	}
	return e[0]
}

func TestHandshakes(t *testing.T) {
	const chat = "GET /chat HTTP/1.1\r\nHost: h\r\n"
	const both = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	const key = "Sec-WebSocket-Key: " + testKey + "\r\n"
	const v13 = "Sec-WebSocket-Version: 13\r\n"
	f := func(name, request, want string) {
		t.Helper()
		seen := make(chan string, 1)
		b := newBackend(t, func(p *peer) {
			head, ok := p.request()
			if !ok {
				return
			}
			seen <- head
			if strings.Contains(head, "Upgrade: websocket\r\n") {
				p.write(agreement)
			} else if strings.Contains(head, "Upgrade: tcp\r\n") {
				p.write("HTTP/1.1 101 Up\r\nUpgrade: TCP\r\nConnection: upgrade\r\n\r\n")
			} else {
				p.reply("ordinary")
			}
		})
		s := newUpgradeSite(t, UpgradePolicy{}, b.url)
		c := s.dial()
		c.send(request)
		head := c.head()
		got := head[len("HTTP/1.1 "):12]
		switch got {
		case "200", "101":
			if upstream := <-seen; strings.Contains(upstream, "Upgrade: ") != (got == "101") {
				t.Errorf("%s: the upstream saw %q", name, upstream)
			}
		default:
			body := make([]byte, 4<<10)
			n, _ := c.br.Read(body)
			_, code, _ := strings.Cut(string(body[:n]), `"code":"`)
			code, _, _ = strings.Cut(code, `"`)
			got += " " + code
		}
		if strings.Contains(head, "Connection: close\r\n") {
			got += " closed"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q\n%s", name, got, want, head)
		}
		says := strings.Contains(head, "\r\nSec-Websocket-Version: 13\r\n") &&
			strings.Contains(head, "\r\nUpgrade: websocket\r\n") && strings.Contains(head, "\r\nConnection: Upgrade\r\n")
		if strings.HasPrefix(got, "426") && !says {
			t.Errorf("%s: the answer does not say what would do: %q", name, head)
		}
		_ = c.Close()
		s.settle(1)
	}
	const bad = "400 bad_handshake closed"
	f("good", chat+both+key+v13+"\r\n", "101")
	f("any case", chat+"Connection: foo, UPGRADE\r\nUpgrade: WebSocket\r\n"+key+v13+"\r\n", "101")
	f("the client would close", chat+"Connection: Upgrade, close\r\nUpgrade: websocket\r\n"+key+v13+"\r\n", "101")
	f("the second protocol", chat+"Connection: Upgrade\r\nUpgrade: foo/1, websocket\r\n"+key+v13+"\r\n", "101")
	f("empty body", chat+both+key+v13+"Content-Length: 0\r\n\r\n", "101")
	f("absolute form", "GET http://h/chat HTTP/1.1\r\nHost: h\r\n"+both+key+v13+"\r\n", "101")
	f("no key", chat+both+v13+"\r\n", bad)
	f("two keys", chat+both+v13+key+key+"\r\n", bad)
	f("short key", chat+both+v13+"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n\r\n", bad)
	f("key of 17 bytes", chat+both+v13+"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTA=\r\n\r\n", bad)
	f("key with a space", chat+both+v13+"Sec-WebSocket-Key: dGhlIHNhbXBs ZSBub25jZ==\r\n\r\n", bad)
	f("nominated key", chat+"Connection: Upgrade, Sec-WebSocket-Key\r\nUpgrade: websocket\r\n"+key+v13+"\r\n", bad)
	f("no Connection", chat+"Upgrade: websocket\r\n"+key+v13+"\r\n", bad)
	f("other Connection", chat+"Connection: keep-alive\r\nUpgrade: websocket\r\n"+key+v13+"\r\n", bad)
	f("POST", "POST /chat HTTP/1.1\r\nHost: h\r\n"+both+key+v13+"\r\n", bad)
	f("HEAD", "HEAD /chat HTTP/1.1\r\nHost: h\r\n"+both+key+v13+"\r\n", "400  closed")
	f("body", chat+both+key+v13+"Content-Length: 2\r\n\r\nhi", bad)
	f("chunked body", chat+both+key+v13+"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad)
	f("version 8", chat+both+key+"Sec-WebSocket-Version: 8\r\n\r\n", "426 websocket_version")
	f("no version", chat+both+key+"\r\n", "426 websocket_version")
	f("two versions", chat+both+key+v13+v13+"\r\n", "426 websocket_version")
	f("HTTP/1.0", "GET /chat HTTP/1.0\r\nHost: h\r\n"+both+key+v13+"\r\n", "200 closed")
	f("no Upgrade", chat+"Connection: Upgrade\r\n"+key+v13+"\r\n", "200")
	f("h2c", chat+"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", "200")
	f("not listed", chat+"Connection: Upgrade\r\nUpgrade: irc/6.9\r\n\r\n", "200")
	f("no protocol", chat+"Connection: Upgrade\r\nUpgrade: ,,\r\n\r\n", "200")
	f("tcp by POST", "POST /attach HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", "101")
	f("tcp without Connection", chat+"Upgrade: tcp\r\n\r\n", "200")
	f("tcp with a body", "POST /attach HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\nhi", "200")
}

func TestUpgradeReplies(t *testing.T) {
	f := func(name, reply, want, reason string) {
		t.Helper()
		b := newBackend(t, func(p *peer) {
			if _, ok := p.request(); ok {
				p.write(reply)
				_ = p.Conn.(*net.TCPConn).CloseWrite()
				_, _ = p.br.ReadByte() // until the gateway closes
			}
		})
		s := newUpgradeSite(t, UpgradePolicy{}, b.url)
		c := s.dial()
		c.send(handshake)
		head := c.head()
		if strings.HasPrefix(head, "HTTP/1.1 103 ") { // passed on
			head = c.head()
		}
		if got := head[len("HTTP/1.1 "):12]; got != want {
			t.Errorf("%s: status %s, want %s", name, got, want)
		}
		if closed := strings.Contains(head, "\r\nConnection: close\r\n"); closed != (want != "101") {
			t.Errorf("%s: %q", name, head)
		}
		if want == "101" {
			_ = c.CloseWrite()
		}
		if _, err := io.ReadAll(c.br); err != nil {
			t.Errorf("%s: read to the end: %v", name, err)
		}
		_ = c.Close()
		s.settle(1)
		if e := s.only(); e.Reason != reason {
			t.Errorf("%s: reason %q, want %q", name, e.Reason, reason)
		}
	}
	const accept = "Sec-WebSocket-Accept: " + testAccept + "\r\n"
	const head = "HTTP/1.1 101 Switching Protocols\r\n"
	f("agreed", agreement, "101", "")
	f("agreed after hints", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+agreement, "101", "")
	f("any case", head+"upgrade: WebSocket\r\nconnection: UPGRADE\r\n"+accept+"\r\n", "101", "")
	f("with lengths", head+"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n"+accept+"\r\n", "101", "")
	f("refused", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "403", "")
	f("refused at length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", "200", "")
	f("no accept", head+"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "502", "upstream_bad_reply")
	f("wrong accept", head+"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+testKey+"\r\n\r\n", "502", "upstream_bad_reply")
	f("other protocol", head+"Upgrade: tcp\r\nConnection: Upgrade\r\n"+accept+"\r\n", "502", "upstream_bad_reply")
	f("no protocol", head+accept+"\r\n", "502", "upstream_bad_reply")
	f("cut short", head, "502", "upstream_bad_reply")
}

// A 101 that nobody asked for is no answer, and its connection is not used
// again.
func TestUnaskedSwitch(t *testing.T) {
	b := newBackend(t, func(p *peer) {
		if _, ok := p.request(); ok {
			p.write(agreement)
			_, _ = p.br.ReadByte()
		}
	})
	s := newUpgradeSite(t, UpgradePolicy{}, b.url)
	c := s.dial()
	for range 2 {
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if status, _, body := c.response(); status != 502 || !strings.Contains(body, "upstream_bad_reply") {
			t.Errorf("status %d, body %s", status, body)
		}
	}
	if n := b.connections(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// An attempt that finds no connection is followed by one at another endpoint.
func TestUpgradeRetries(t *testing.T) {
	b := newBackend(t, switching(echo))
	s := prepareSite(t, "upstream u $1 $2\nroute r /* upstream=u retries=1 floor=1", refusing(t), b.url)
	s.routes["r"].Upgrade.Protocols = []string{"websocket"}
	s.serve()
	for range 4 {
		c := s.open()
		c.send("hello")
		c.expect("hello")
		_ = c.Close()
	}
}
