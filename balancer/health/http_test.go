package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log" //nolint:depguard // net/http takes no other logger
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// probeOnce probes a URL and returns the cause of failure, or "".
func probeOnce(t *testing.T, probe Probe, target Target) string {
	t.Helper()
	probe = probe.withDefaults()
	ctx, cancel := context.WithTimeout(t.Context(), probe.Timeout)
	defer cancel()
	if err := (netProber{}).Probe(ctx, probe, target); err != nil {
		return err.Error()
	}
	return ""
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// serveRaw accepts connections and gives each to handle, which need not return
// before the test ends: its connection is closed then.
func serveRaw(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go handle(conn)
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return "http://" + listener.Addr().String()
}

// reply answers with fixed bytes once the request's header has been read.
func reply(text string) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		io.WriteString(conn, text)
	}
}

func TestHTTPProbeSendsWhatItIsTold(t *testing.T) {
	requests := make(chan *http.Request, 1)
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { requests <- r })
	f := func(probe Probe, wantLine, wantHost, wantAgent string) *http.Request {
		t.Helper()
		if cause := probeOnce(t, probe, Target{URL: server.URL}); cause != "" {
			t.Fatalf("probe failed: %s", cause)
		}
		r := <-requests
		if line := r.Method + " " + r.RequestURI; line != wantLine {
			t.Errorf("request line %q, want %q", line, wantLine)
		}
		if r.Host != wantHost {
			t.Errorf("host %q, want %q", r.Host, wantHost)
		}
		if agent := r.UserAgent(); agent != wantAgent {
			t.Errorf("user agent %q, want %q", agent, wantAgent)
		}
		return r
	}
	address := strings.TrimPrefix(server.URL, "http://")
	r := f(Probe{}, "GET /", address, "velocity-health")
	if !r.Close {
		t.Error("the probe did not announce that it closes its connection")
	}
	f(Probe{Method: "HEAD", Path: "/health?deep=1", Host: "users.internal"}, "HEAD /health?deep=1", "users.internal", "velocity-health")
	r = f(Probe{Method: "POST", Headers: [][2]string{{"user-agent", "probe/1"}, {"X-A", "1"}, {"X-A", "2"}}}, "POST /", address, "probe/1")
	if got := strings.Join(r.Header["X-A"], ","); got != "1,2" {
		t.Errorf("X-A is %q, want 1,2", got)
	}
}

func TestHTTPProbeJudgesStatus(t *testing.T) {
	var status atomic.Int64
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(int(status.Load()))
	})
	f := func(code int, expect []StatusRange, want string) {
		t.Helper()
		status.Store(int64(code))
		if got := probeOnce(t, Probe{Expect: expect}, Target{URL: server.URL}); got != want {
			t.Errorf("status %d: cause %q, want %q", code, got, want)
		}
	}
	f(200, nil, "")
	f(204, nil, "")
	f(302, nil, "") // not followed, or it would not end
	f(399, nil, "")
	f(400, nil, "status 400")
	f(500, nil, "status 500")
	f(302, []StatusRange{{200, 299}}, "status 302")
	f(404, []StatusRange{{200, 200}, {404, 404}}, "")
	f(405, []StatusRange{{200, 200}, {404, 404}}, "status 405")
}

func TestHTTPProbeReadsBoundedBody(t *testing.T) {
	endless := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 16<<10)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	if cause := probeOnce(t, Probe{Timeout: time.Minute}, Target{URL: endless.URL}); cause != "" {
		t.Errorf("endless body: %s", cause)
	}
}

func TestHTTPProbeOpensConnectionEachTime(t *testing.T) {
	var opened atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	for range 3 {
		if cause := probeOnce(t, Probe{}, Target{URL: server.URL}); cause != "" {
			t.Fatal(cause)
		}
	}
	if got := opened.Load(); got != 3 {
		t.Errorf("%d connections for 3 probes", got)
	}
}

func TestHTTPProbeOddAnswers(t *testing.T) {
	f := func(answer string, want string) {
		t.Helper()
		got := probeOnce(t, Probe{Timeout: time.Minute}, Target{URL: serveRaw(t, func(conn net.Conn) {
			reply(answer)(conn)
			conn.Close()
		})})
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("answer %.40q: cause %q, want %q", answer, got, want)
		}
	}
	f("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "")
	f("HTTP/1.0 200 OK\r\n\r\nok", "")
	f("HTTP/1.1 101 Switching Protocols\r\n\r\n", "status 101")
	f("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "read body: unexpected EOF")
	f("", "read response: unexpected EOF")
	f("220 smtp ready\r\n", "read response: malformed HTTP")
	f("HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat("a", 2*maxHeaderBytes)+"\r\n\r\n", "response header too large")
}

// TestHTTPProbeTimeLimitCoversAll has an endpoint stop at each step.
func TestHTTPProbeTimeLimitCoversAll(t *testing.T) {
	f := func(name, url string) {
		t.Helper()
		begun := time.Now()
		cause := probeOnce(t, Probe{Timeout: 30 * time.Millisecond}, Target{URL: url})
		if cause == "" {
			t.Errorf("%s: succeeded", name)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
	silent := serveRaw(t, func(net.Conn) {})
	f("no answer", silent)
	f("no handshake", strings.Replace(silent, "http:", "https:", 1))
	f("half a header", serveRaw(t, reply("HTTP/1.1 200 OK\r\nContent-")))
	f("half a body", serveRaw(t, reply("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok")))
}

// refusing returns a URL at which nothing listens.
func refusing(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return "http://" + listener.Addr().String()
}

func TestHTTPProbeRefused(t *testing.T) {
	if cause := probeOnce(t, Probe{}, Target{URL: refusing(t)}); !strings.Contains(cause, "refused") {
		t.Errorf("cause %q, want refused", cause)
	}
}

func TestHTTPProbeRejectsBadTargets(t *testing.T) {
	f := func(url string, probe Probe, want string) {
		t.Helper()
		if got := probeOnce(t, probe, Target{URL: url}); !strings.Contains(got, want) {
			t.Errorf("%s: cause %q, want %q", url, got, want)
		}
	}
	f("http://a b", Probe{}, "parse target")
	f("ftp://127.0.0.1", Probe{}, `unsupported scheme "ftp"`)
	f("http://127.0.0.1", Probe{Method: "A B"}, "build request")
}

func TestHTTPProbeTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.EnableHTTP2 = true // the probe must not fall into it
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())

	trusting := &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}}
	if cause := probeOnce(t, Probe{}, Target{URL: server.URL, TLS: trusting}); cause != "" {
		t.Errorf("trusted certificate: %s", cause)
	}
	if cause := probeOnce(t, Probe{}, Target{URL: server.URL}); !strings.Contains(cause, "certificate") {
		t.Errorf("unknown certificate: cause %q", cause)
	}
	if len(trusting.NextProtos) != 1 || trusting.ServerName != "" {
		t.Error("the probe changed the configuration that it was given")
	}
}
