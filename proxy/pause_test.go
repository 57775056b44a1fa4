package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/proxy/upstream"
)

// uploadParts are the beginnings of bodies that stream, each ending where a client
// may pause, with what follows.
var uploadParts = []struct{ name, framing, part, rest string }{
	{"with a length", "Content-Length: 150000", strings.Repeat("x", 100_000), strings.Repeat("x", 50_000)},
	{"with a length, nothing sent", "Content-Length: 150000", "", strings.Repeat("x", 150_000)},
	{"inside a chunk", "Transfer-Encoding: chunked", "249f0\r\n" + strings.Repeat("x", 100_000), strings.Repeat("x", 50_000) + "\r\n0\r\n\r\n"},
	{"behind a chunk", "Transfer-Encoding: chunked", "186a0\r\n" + strings.Repeat("x", 100_000) + "\r\n", "c350\r\n" + strings.Repeat("x", 50_000) + "\r\n0\r\n\r\n"},
	{"inside the end of a chunk", "Transfer-Encoding: chunked", "186a0\r\n" + strings.Repeat("x", 100_000) + "\r", "\nc350\r\n" + strings.Repeat("x", 50_000) + "\r\n0\r\n\r\n"},
	{"inside a size", "Transfer-Encoding: chunked", "186a0\r\n" + strings.Repeat("x", 100_000) + "\r\nc3", "50\r\n" + strings.Repeat("x", 50_000) + "\r\n0\r\n\r\n"},
}

// TestAnswerToPause has the endpoint answer, or end, while the client pauses
// inside its body and would go on for ever.
func TestAnswerToPause(t *testing.T) {
	const reply = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	t.Cleanup(web.Close)
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())

	f := func(name, framing, part string, secure bool, answer string, wantStatus int, wantReason string) {
		t.Helper()
		stop := make(chan struct{})
		b := newBackend(t, func(p *peer) {
			if secure {
				tc := tls.Server(p.Conn, &tls.Config{Certificates: web.TLS.Certificates})
				p.Conn, p.br = tc, bufio.NewReader(tc)
			}
			for line := ""; line != "\r\n"; {
				var err error
				if line, err = p.br.ReadString('\n'); err != nil {
					return
				}
			}
			if _, err := io.CopyN(io.Discard, p.br, int64(len(part))*9/10); err != nil {
				return
			}
			if answer != "" {
				p.write(answer)
				<-stop
			}
		})
		defer close(stop)
		s := newSite(t, "upstream u $1\nroute r /* upstream=u reply=1m\nlimits read=1m", b.url)
		if secure {
			s.point("u", strings.Replace(b.url, "http:", "https:", 1),
				upstream.Settings{TLS: &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12}})
		}
		c := s.dial()
		began := time.Now()
		c.send("POST / HTTP/1.1\r\nHost: h\r\n" + framing + "\r\n\r\n" + part)
		if status, _, _ := c.response(); status != wantStatus {
			t.Errorf("%s: got %d, want %d", name, status, wantStatus)
		}
		if took := time.Since(began); took > patience/2 {
			t.Errorf("%s: answered after %v", name, took)
		}
		_ = c.Close()
		s.settle(1)
		if e := s.last(); e.Reason != wantReason {
			t.Errorf("%s: recorded reason %q, want %q", name, e.Reason, wantReason)
		}
	}
	for _, u := range uploadParts {
		if u.part == "" {
			continue // fasthttp waits for the first byte of a body before the line sees it
		}
		f(u.name, u.framing, u.part, false, reply, 413, "")
		f(u.name+", over TLS", u.framing, u.part, true, reply, 413, "")
		f(u.name+", dies", u.framing, u.part, false, "", 502, ErrReset.Code)
	}
}

// TestPausedUpload has the client pause for longer than the endpoint is left
// unobserved: the body arrives whole, and the connection goes on.
func TestPausedUpload(t *testing.T) {
	const size = 150_000
	b := newBackend(t, func(p *peer) {
		for {
			var req fasthttp.Request
			if err := req.Read(p.br); err != nil {
				return
			}
			p.reply(fmt.Sprint(len(req.Body()), bytes.Count(req.Body(), []byte("x"))))
		}
	})
	s := newSite(t, "upstream u $1\nroute r /* upstream=u", b.url)
	c := s.dial()
	for _, u := range uploadParts {
		began := time.Now()
		c.send("POST / HTTP/1.1\r\nHost: h\r\n" + u.framing + "\r\n\r\n" + u.part)
		waitUntil(t, "the endpoint was looked at twice", func() bool { return time.Since(began) > 4*firstLook })
		c.send(u.rest)
		if status, _, body := c.response(); status != 200 || body != fmt.Sprint(size, size) {
			t.Errorf("%s: got %d, the endpoint %s bytes", u.name, status, body)
		}
	}
	if n := b.connections(); n != 1 {
		t.Errorf("%d connections to the endpoint, want 1", n)
	}
}
