package proxy

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/salgue441/velocity/internal/proxyproto"
	"github.com/salgue441/velocity/proxy/upstream"
)

// introduction reads the PROXY header that a connection begins with and says
// what is in it.
func (p *peer) introduction() string {
	for size := 1; ; size++ {
		b, err := p.br.Peek(size)
		if err != nil {
			return err.Error()
		}
		h, n, err := proxyproto.Parse(b)
		if errors.Is(err, proxyproto.ErrIncomplete) {
			continue
		}
		if err != nil {
			return "none"
		}
		_, _ = p.br.Discard(n)
		return fmt.Sprintf("v%d %v %v", h.Version, h.Source, h.Destination)
	}
}

// introduced is the script of a server that answers with what the header of the
// connection says, and how many requests came over it.
func introduced(p *peer) {
	header := p.introduction()
	for n := 1; ; n++ {
		if _, ok := p.request(); !ok {
			return
		}
		p.reply(fmt.Sprintf("%s, request %d", header, n))
	}
}

// The server learns of the client who it is, over one connection for each
// request, and where it connected to.
func TestIntroduce(t *testing.T) {
	f := func(settings, fields, want string) {
		t.Helper()
		s := newSite(t, "trust 127.0.0.0/8\nupstream u $1 "+settings+"\nroute r /* upstream=u", newBackend(t, introduced).url)
		c := s.dial()
		want = strings.NewReplacer("CLIENT", c.LocalAddr().String(), "LOCAL", s.address).Replace(want)
		for range 2 {
			c.send("GET /a HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n")
			if status, _, body := c.response(); status != 200 || body != want {
				t.Errorf("%s: %d %q, want %q", settings, status, body, want)
			}
		}
		_ = c.Close()
		s.settle(1)
		for _, e := range s.upstreams["u"].State().Endpoints {
			if open, _ := e.Connections(); open != 0 {
				t.Errorf("%s: %d connections are kept", settings, open)
			}
		}
	}
	f("proxy-protocol=1", "", "v1 CLIENT LOCAL, request 1")
	f("proxy-protocol=2", "", "v2 CLIENT LOCAL, request 1")
	f("proxy-protocol=2 connect=10s", "", "v2 CLIENT LOCAL, request 1")
	// Whom a trusted proxy names has no port.
	f("proxy-protocol=1", "X-Forwarded-For: 192.0.2.7\r\n", "v1 192.0.2.7:0 LOCAL, request 1")
	f("proxy-protocol=2", "X-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n", "v2 192.0.2.7:0 LOCAL, request 1")
	// The other address is written in the client's family.
	f("proxy-protocol=1", "X-Forwarded-For: 2001:db8::7\r\n", "v1 [2001:db8::7]:0 LOCAL, request 1")
	f("proxy-protocol=2", "X-Forwarded-For: 2001:db8::7\r\n", "v2 [2001:db8::7]:0 LOCAL, request 1")
}

func TestNoIntroduction(t *testing.T) {
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", newBackend(t, introduced).url)
	c := s.dial()
	for _, want := range []string{"none, request 1", "none, request 2"} {
		c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, _, body := c.response(); body != want {
			t.Errorf("%q, want %q", body, want)
		}
	}
	_ = c.Close()
	s.settle(1)
}

// A retry introduces the client to the other server as well.
func TestIntroduceAgain(t *testing.T) {
	first := make(chan string, 1)
	resets := func(p *peer) {
		first <- p.introduction()
		p.request()
		p.reset()
	}
	s := newSite(t, "upstream u $1 $2 proxy-protocol=2\nroute r /* upstream=u retries=1 floor=1 on=reset", newBackend(t, resets).url, newBackend(t, introduced).url)
	s.startAtFirst("u")
	c := s.dial()
	want := fmt.Sprintf("v2 %v %s", c.LocalAddr(), s.address)
	c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
	if status, _, body := c.response(); status != 200 || body != want+", request 1" {
		t.Errorf("the second server: %d %q, want %q", status, body, want)
	}
	if got := <-first; got != want {
		t.Errorf("the first server: %q, want %q", got, want)
	}
	_ = c.Close()
	s.settle(1)
}

func TestIntroduceHedge(t *testing.T) {
	first := make(chan string, 1)
	mute := func(p *peer) {
		first <- p.introduction()
		_, _ = p.br.WriteTo(io.Discard) // until the hedge has won
	}
	s := newSite(t, "upstream u $1 $2 proxy-protocol=1\nroute r /* upstream=u hedge=1ms hedge-floor=1", newBackend(t, mute).url, newBackend(t, introduced).url)
	s.startAtFirst("u")
	c := s.dial()
	want := fmt.Sprintf("v1 %v %s", c.LocalAddr(), s.address)
	c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
	if status, _, body := c.response(); status != 200 || body != want+", request 1" {
		t.Errorf("the hedge: %d %q, want %q", status, body, want)
	}
	if got := <-first; got != want {
		t.Errorf("the first attempt: %q, want %q", got, want)
	}
	_ = c.Close()
	s.settleHedges(1)
}

func TestIntroduceUpgrade(t *testing.T) {
	b := newBackend(t, func(p *peer) {
		header := p.introduction()
		if _, ok := p.request(); ok {
			p.write(agreement + header + "\n")
			echo(p)
		}
	})
	s := newUpgradeSite(t, UpgradePolicy{}, b.url)
	s.point("u", b.url, upstream.Settings{ProxyProtocol: 2})
	c := s.open()
	c.expect(fmt.Sprintf("v2 %v %s\n", c.LocalAddr(), s.address))
	c.send("hello")
	c.expect("hello")
	_ = c.Close()
	s.settle(1)
}

// buffered is a connection of whose bytes some have been read.
type buffered struct {
	net.Conn
	br *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.br.Read(p) }

// Over TLS the header comes first, in the clear.
func TestIntroduceOverTLS(t *testing.T) {
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	t.Cleanup(web.Close)
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	b := newBackend(t, func(p *peer) {
		header := p.introduction()
		tc := tls.Server(buffered{p.Conn, p.br}, &tls.Config{Certificates: web.TLS.Certificates})
		p.Conn, p.br = tc, bufio.NewReader(tc)
		if _, ok := p.request(); ok {
			p.reply(header)
		}
	})
	target := strings.Replace(b.url, "http:", "https:", 1)
	f := func(settings upstream.Settings, status int, code string) {
		t.Helper()
		s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
		s.point("u", target, settings)
		c := s.dial()
		want := fmt.Sprintf("v%d %v %s", settings.ProxyProtocol, c.LocalAddr(), s.address)
		c.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
		got, _, body := c.response()
		if got != status || status == 200 && body != want {
			t.Errorf("%d %q, want %d %q", got, body, status, want)
		}
		_ = c.Close()
		s.settle(1)
		if e := s.taken()[0]; e.Reason != code {
			t.Errorf("reason %q, want %q", e.Reason, code)
		}
	}
	trusting := &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12}
	f(upstream.Settings{ProxyProtocol: 1, TLS: trusting}, 200, "")
	f(upstream.Settings{ProxyProtocol: 2, TLS: trusting, ConnectTimeout: patience}, 200, "")
	f(upstream.Settings{ProxyProtocol: 2}, 502, ErrConnect.Code) // a certificate that nobody vouches for
}

// A server that never answers the handshake costs the connect timeout, and the
// request is tried elsewhere whatever its method: nothing of it was sent.
func TestIntroduceTimesOut(t *testing.T) {
	headers := make(chan string, 2)
	silent := newBackend(t, func(p *peer) {
		headers <- p.introduction()
		_, _ = p.br.WriteTo(io.Discard)
	})
	f := func(retries, body string, status int, code string) {
		t.Helper()
		s := newSite(t, "upstream u $1 $2 proxy-protocol=2 connect=250ms\nroute r /* upstream=u floor=1 "+retries,
			strings.Replace(silent.url, "http:", "https:", 1), newBackend(t, introduced).url)
		s.startAtFirst("u")
		c := s.dial()
		want := fmt.Sprintf("v2 %v %s", c.LocalAddr(), s.address)
		c.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
		if got, _, text := c.response(); got != status || status == 200 && text != want+body {
			t.Errorf("%q: %d %q, want %d", retries, got, text, status)
		}
		if got := <-headers; got != want {
			t.Errorf("%q: the silent server was told %q, want %q", retries, got, want)
		}
		_ = c.Close()
		s.settle(1)
		if e := s.taken()[0]; e.Reason != code {
			t.Errorf("%q: reason %q, want %q", retries, e.Reason, code)
		}
	}
	f("", "", 504, ErrConnectTimeout.Code)
	f("retries=1", ", request 1", 200, "")
}
