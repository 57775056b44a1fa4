package health

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answering reads a line and answers in the given pieces, then closes.
func answering(pieces ...string) func(net.Conn) {
	return func(conn net.Conn) {
		defer conn.Close()
		b := make([]byte, 1)
		for n, err := conn.Read(b); n == 1 && b[0] != '\n'; n, err = conn.Read(b) {
			if err != nil {
				return
			}
		}
		for _, piece := range pieces {
			if _, err := io.WriteString(conn, piece); err != nil {
				return
			}
		}
	}
}

func TestTCPProbe(t *testing.T) {
	f := func(name string, probe Probe, handle func(net.Conn), want string) {
		t.Helper()
		probe.Kind = TCP
		probe.Timeout = time.Minute
		if got := probeOnce(t, probe, Target{URL: serveRaw(t, handle)}); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: cause %q, want %q", name, got, want)
		}
	}
	silent := func(net.Conn) {}
	ping := Probe{Send: "PING\r\n", Receive: "+PONG"}
	f("accepts", Probe{}, silent, "")
	f("accepts and closes", Probe{}, func(conn net.Conn) { conn.Close() }, "")
	f("sent only", Probe{Send: "PING\r\n"}, silent, "")
	f("answers", ping, answering("+PONG\r\n"), "")
	f("answers with more before", ping, answering("-LOADING\r\n", "+PO", "N", "G"), "")
	f("answers something else", ping, answering("-LOADING\r\n"), `answer does not contain "+PONG": "-LOADING\r\n"`)
	f("answers nothing", ping, answering(), `answer does not contain "+PONG": ""`)
	f("answers too much", ping, answering(strings.Repeat("+PO", maxBodyBytes)), `answer does not contain "+PONG": "+PO+PO`)
	f("greets", Probe{Receive: "220 "}, func(conn net.Conn) { io.WriteString(conn, "220 smtp ready\r\n") }, "")
}

// pieces is a connection of which each piece is read by itself.
type pieces struct {
	net.Conn
	left []string
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[0])
	p.left = p.left[1:]
	return n, nil
}

func TestTCPProbeInPieces(t *testing.T) {
	f := func(want bool, left ...string) {
		t.Helper()
		if err := exchangeTCP(&pieces{left: left}, Probe{Receive: "+PONG"}); (err == nil) != want {
			t.Errorf("%q: %v", left, err)
		}
	}
	f(true, "+PONG")
	f(true, "+", "P", "O", "N", "G")
	f(true, "xx+PO", "NGxx")
	f(true, "+PO+PO", "NG")
	f(true, "+P", "+P", "ONG")
	f(false, "+P", "ON", "+G")
	f(false)
}

func TestTCPProbeFails(t *testing.T) {
	if cause := probeOnce(t, Probe{Kind: TCP}, Target{URL: refusing(t)}); !strings.Contains(cause, "refused") {
		t.Errorf("cause %q, want refused", cause)
	}
	silent := serveRaw(t, func(net.Conn) {})
	if cause := probeOnce(t, Probe{Kind: TCP, Receive: "x", Timeout: 30 * time.Millisecond}, Target{URL: silent}); cause == "" {
		t.Error("an endpoint that says nothing is a success")
	}
	secure := strings.Replace(silent, "http:", "https:", 1)
	if cause := probeOnce(t, Probe{Kind: TCP, Timeout: 30 * time.Millisecond}, Target{URL: secure}); !strings.Contains(cause, "tls handshake") {
		t.Errorf("cause %q, want the handshake", cause)
	}
}

func TestTCPProbeTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = discardLog()
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	f := func(config *tls.Config, probe Probe, want string) {
		t.Helper()
		probe.Kind = TCP
		if got := probeOnce(t, probe, Target{URL: server.URL, TLS: config}); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("cause %q, want %q", got, want)
		}
	}
	f(&tls.Config{RootCAs: roots}, Probe{}, "")
	f(&tls.Config{RootCAs: roots}, Probe{Send: "GET / HTTP/1.0\r\n\r\n", Receive: "200 OK"}, "")
	f(nil, Probe{}, "certificate")
}
