package health

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log" //nolint:depguard // net/http takes no other logger
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// grpcAnswer is what the server of these tests answers with: frames and trailers
// are net/http's, the messages are spelled out.
type grpcAnswer struct {
	status      int    // default 200
	contentType string // default application/grpc
	body        string
	grpcStatus  string // in the trailer, or in the header if there is no body; "-" for none
	message     string // grpc-message, beside it
}

func (a grpcAnswer) serve(w http.ResponseWriter) {
	kind := a.contentType
	if kind == "" {
		kind = "application/grpc"
	}
	w.Header().Set("Content-Type", kind)
	prefix := http.TrailerPrefix
	if a.body == "" {
		prefix = ""
	}
	if a.grpcStatus != "-" {
		w.Header().Set(prefix+"Grpc-Status", a.grpcStatus)
		w.Header().Set(prefix+"Grpc-Message", a.message)
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	io.WriteString(w, a.body)
}

// serveGRPC serves HTTP/2 over TLS, or with prior knowledge and nothing else.
func serveGRPC(t *testing.T, secure bool, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = discardLog()
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP2(secure)
	server.Config.Protocols.SetUnencryptedHTTP2(!secure)
	if secure {
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server
}

func trusting(server *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &tls.Config{RootCAs: roots}
}

const (
	grpcServing    = "\x00\x00\x00\x00\x02\x08\x01"
	grpcNotServing = "\x00\x00\x00\x00\x02\x08\x02"
	grpcNoService  = "\x00\x00\x00\x00\x02\x08\x03"
)

func TestGRPCProbeJudges(t *testing.T) {
	answers := make(chan grpcAnswer, 1)
	server := serveGRPC(t, false, func(w http.ResponseWriter, _ *http.Request) { (<-answers).serve(w) })
	f := func(answer grpcAnswer, want string) {
		t.Helper()
		answers <- answer
		if got := probeOnce(t, Probe{Kind: GRPC, Service: "users", Timeout: time.Minute}, Target{URL: server.URL}); got != want {
			t.Errorf("%+v: cause %q, want %q", answer, got, want)
		}
	}
	f(grpcAnswer{body: grpcServing, grpcStatus: "0"}, "")
	f(grpcAnswer{body: grpcServing, grpcStatus: "0", contentType: "application/grpc+proto"}, "")
	f(grpcAnswer{body: grpcNotServing, grpcStatus: "0"}, "NOT_SERVING")
	f(grpcAnswer{body: grpcNoService, grpcStatus: "0"}, "SERVICE_UNKNOWN")
	f(grpcAnswer{body: "\x00\x00\x00\x00\x00", grpcStatus: "0"}, "UNKNOWN")
	f(grpcAnswer{grpcStatus: "5", message: "unknown service"}, `grpc status NOT_FOUND: the endpoint does not know service "users"`)
	f(grpcAnswer{grpcStatus: "12"}, "grpc status UNIMPLEMENTED: the endpoint does not serve grpc.health.v1.Health")
	f(grpcAnswer{grpcStatus: "14"}, "grpc status UNAVAILABLE")
	f(grpcAnswer{grpcStatus: "14", message: "shutting%20down%0A"}, `grpc status UNAVAILABLE: "shutting down\n"`)
	f(grpcAnswer{grpcStatus: "14", message: "100%"}, `grpc status UNAVAILABLE: "100%"`)
	f(grpcAnswer{grpcStatus: "99"}, "grpc status 99")
	f(grpcAnswer{grpcStatus: "x"}, `malformed grpc-status "x"`)
	f(grpcAnswer{body: grpcServing, grpcStatus: "2"}, "grpc status UNKNOWN") // a message does not outweigh it
	f(grpcAnswer{body: grpcServing, grpcStatus: "-"}, "answer without grpc-status")
	f(grpcAnswer{grpcStatus: "0"}, "read answer: message is cut short")
	f(grpcAnswer{body: "\x01" + grpcServing[1:], grpcStatus: "0"}, "read answer: message is compressed")
	f(grpcAnswer{body: "\x00\x00\x00\x00\x01\x08", grpcStatus: "0"}, "read answer: malformed message")
	f(grpcAnswer{status: 503, body: "down", grpcStatus: "-"}, "status 503")
	f(grpcAnswer{contentType: "text/html", body: "<html>", grpcStatus: "-"}, `content type "text/html" is not gRPC`)
}

func TestGRPCProbeSendsWhatItIsTold(t *testing.T) {
	type seen struct {
		request *http.Request
		body    string
	}
	requests := make(chan seen, 1)
	for _, secure := range []bool{false, true} {
		server := serveGRPC(t, secure, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			requests <- seen{r, string(body)}
			grpcAnswer{body: grpcServing, grpcStatus: "0"}.serve(w)
		})
		target := Target{URL: server.URL}
		if secure {
			target.TLS = trusting(server)
		}
		probe := Probe{Kind: GRPC, Service: "users.v1.Users", Host: "users.internal", Headers: [][2]string{{"X-A", "1"}}}
		if cause := probeOnce(t, probe, target); cause != "" {
			t.Fatalf("secure %v: %s", secure, cause)
		}
		got := <-requests
		r := got.request
		if line := r.Method + " " + r.RequestURI + " " + r.Proto; line != "POST /grpc.health.v1.Health/Check HTTP/2.0" {
			t.Errorf("secure %v: request %q", secure, line)
		}
		if r.Host != "users.internal" || (r.TLS != nil) != secure || got.body != "\x00\x00\x00\x00\x10\x0a\x0eusers.v1.Users" {
			t.Errorf("secure %v: host %q, body %q", secure, r.Host, got.body)
		}
		for name, want := range map[string]string{"Content-Type": "application/grpc", "Te": "trailers", "X-A": "1", "User-Agent": "velocity-health"} {
			if r.Header.Get(name) != want {
				t.Errorf("secure %v: %s is %q, want %q", secure, name, r.Header.Get(name), want)
			}
		}
	}
}

func TestGRPCProbeTLSFails(t *testing.T) {
	server := serveGRPC(t, true, func(http.ResponseWriter, *http.Request) {})
	if cause := probeOnce(t, Probe{Kind: GRPC}, Target{URL: server.URL}); !strings.Contains(cause, "certificate") {
		t.Errorf("unknown certificate: cause %q", cause)
	}
	old := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	old.Config.ErrorLog = discardLog()
	old.StartTLS()
	t.Cleanup(old.Close)
	// Whether the server refuses the handshake or goes on without ALPN is up to it.
	if cause := probeOnce(t, Probe{Kind: GRPC}, Target{URL: old.URL, TLS: trusting(old)}); !strings.Contains(cause, "tls handshake") {
		t.Errorf("no HTTP/2: cause %q", cause)
	}
}

func TestGRPCProbeOddEndpoints(t *testing.T) {
	f := func(name string, handle func(net.Conn)) {
		t.Helper()
		begun := time.Now()
		cause := probeOnce(t, Probe{Kind: GRPC, Timeout: 100 * time.Millisecond}, Target{URL: serveRaw(t, handle)})
		if cause == "" {
			t.Errorf("%s: succeeded", name)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
	f("says nothing", func(net.Conn) {})
	f("closes", func(conn net.Conn) { conn.Close() })
	f("speaks HTTP/1.1", reply("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f("only settings", func(conn net.Conn) { io.WriteString(conn, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") })
	f("garbage", func(conn net.Conn) { io.WriteString(conn, strings.Repeat("\xff", 1<<16)) })
	if cause := probeOnce(t, Probe{Kind: GRPC}, Target{URL: refusing(t)}); !strings.Contains(cause, "refused") {
		t.Errorf("cause %q, want refused", cause)
	}
}

// TestGRPCProbeTimeLimitCoversAnswer has an endpoint begin an answer and stop.
func TestGRPCProbeTimeLimitCoversAnswer(t *testing.T) {
	ended := make(chan struct{})
	server := serveGRPC(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(http.StatusOK)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done() // the probe's end is seen here
		close(ended)
	})
	if cause := probeOnce(t, Probe{Kind: GRPC, Timeout: 50 * time.Millisecond}, Target{URL: server.URL}); cause == "" {
		t.Error("succeeded")
	}
	<-ended
}
