package health

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// prefixed is a listener that takes some bytes from each connection before it
// is served, and tells what they were.
type prefixed struct {
	net.Listener
	size int
	told chan string
}

func (p prefixed) Accept() (net.Conn, error) {
	conn, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	b := make([]byte, p.size)
	n, _ := io.ReadFull(conn, b)
	p.told <- string(b[:n])
	return conn, nil
}

func TestHTTPProbeSendsItsPreface(t *testing.T) {
	const preface = "PROXY UNKNOWN\r\n"
	plain := make(chan string, 1)
	url := serveRaw(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		line, _ := br.ReadString('\n')
		plain <- line
		if _, err := http.ReadRequest(br); err == nil {
			io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	if cause := probeOnce(t, Probe{}, Target{URL: url, Preface: preface}); cause != "" {
		t.Errorf("probe failed: %s", cause)
	}
	if got := <-plain; got != preface {
		t.Errorf("begins with %q", got)
	}

	secure := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Listener = prefixed{server.Listener, len(preface), secure}
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	if cause := probeOnce(t, Probe{}, Target{URL: server.URL, TLS: &tls.Config{RootCAs: roots}, Preface: preface}); cause != "" {
		t.Errorf("over TLS the probe failed: %s", cause)
	}
	if got := <-secure; got != preface {
		t.Errorf("over TLS it begins with %q", got)
	}
}
