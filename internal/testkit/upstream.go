package testkit

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// Upstream is a server in the test's own process that answers every request
// with its name, and can be stopped, made unhealthy, and made to hang.
type Upstream struct {
	// Name is what it answers with, in the body and in X-Upstream.
	Name string
	// Addr is its address, which survives Stop and Restart.
	Addr string

	accepted atomic.Int64
	requests atomic.Int64
	sick     atomic.Bool
	last     atomic.Pointer[http.Request]
	hold     chan struct{} // requests to /hang wait for it

	mu     sync.Mutex
	server *http.Server
}

// NewUpstream starts an upstream on a free port; it ends with the test.
//
//	GET /health   200, or 503 after SetHealthy(false)
//	GET /hang     answers when Release is called
//	else          200 and the name
func NewUpstream(tb testing.TB, name string) *Upstream {
	tb.Helper()
	u := &Upstream{Name: name, hold: make(chan struct{})}
	u.listen(tb, "127.0.0.1:0")
	tb.Cleanup(u.Stop)
	return u
}

// URL is where it is reached.
func (u *Upstream) URL() string { return "http://" + u.Addr }

// Accepted counts the connections so far.
func (u *Upstream) Accepted() int64 { return u.accepted.Load() }

// Requests counts the requests so far, without those to /health.
func (u *Upstream) Requests() int64 { return u.requests.Load() }

// Last is the latest request, without its body, nil before the first. Those to
// /health do not count.
func (u *Upstream) Last() *http.Request { return u.last.Load() }

// SetHealthy chooses the answer of /health.
func (u *Upstream) SetHealthy(ok bool) { u.sick.Store(!ok) }

// Release lets the requests to /hang go, now and from now on. It may be called
// once.
func (u *Upstream) Release() { close(u.hold) }

// Stop ends it as a killed process ends: the port is closed and every
// connection is cut.
func (u *Upstream) Stop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.server != nil {
		_ = u.server.Close() // the listener was open
		u.server = nil
	}
}

// Restart listens on the same address again.
func (u *Upstream) Restart(tb testing.TB) {
	tb.Helper()
	u.listen(tb, u.Addr)
}

func (u *Upstream) listen(tb testing.TB, addr string) {
	tb.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatalf("start upstream: %v", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.Addr = ln.Addr().String()
	s := &http.Server{Handler: http.HandlerFunc(u.serve), ReadHeaderTimeout: Patience}
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			u.accepted.Add(1)
		}
	}
	u.server = s
	go func() { _ = s.Serve(ln) }() // it says that it was closed
}

func (u *Upstream) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/health" {
		if u.sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	u.requests.Add(1)
	u.last.Store(r)
	if r.URL.Path == "/hang" {
		select {
		case <-u.hold:
		case <-r.Context().Done(): // the connection has ended
			return
		}
	}
	w.Header().Set("X-Upstream", u.Name)
	fmt.Fprintln(w, u.Name)
}
