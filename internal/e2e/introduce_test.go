package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/salgue441/velocity/internal/proxyproto"
	"github.com/salgue441/velocity/internal/testkit"
)

// introduced is a server that answers with the PROXY header of the connection,
// "none" without one, and the number of the request on it, in X-Client.
type introduced struct {
	url string

	mu     sync.Mutex
	probed string // the header of the last request to /health
}

func newIntroduced(t *testing.T) *introduced {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &introduced{url: "http://" + ln.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { // after the gateway, which ends the connections
		ln.Close()
		running.Wait()
	})
	return s
}

func (s *introduced) serve(conn net.Conn) {
	defer conn.Close()
	br := bufio.NewReader(conn)
	header, err := introduction(br)
	for n := 1; err == nil; n++ {
		r, bad := http.ReadRequest(br)
		if bad != nil {
			return
		}
		if r.URL.Path == "/health" {
			s.mu.Lock()
			s.probed = header
			s.mu.Unlock()
		}
		_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Client: %s, request %d\r\n\r\n", header, n)
	}
}

// introduction reads a connection's PROXY header, if it has one.
func introduction(br *bufio.Reader) (string, error) {
	for size := 1; ; size++ {
		b, err := br.Peek(size)
		if err != nil {
			return "", err
		}
		h, n, err := proxyproto.Parse(b)
		switch {
		case err == nil && h.Local:
			_, err = br.Discard(n)
			return fmt.Sprintf("v%d for nobody", h.Version), err
		case err == nil:
			_, err = br.Discard(n)
			return fmt.Sprintf("v%d %v %v", h.Version, h.Source, h.Destination), err
		case !errors.Is(err, proxyproto.ErrIncomplete):
			return "none", nil
		}
	}
}

func (s *introduced) lastProbe() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probed
}

// Servers learn from the PROXY header who the client of each request is,
// wherever the gateway has that from.
func TestProxyProtocolToUpstreams(t *testing.T) {
	t.Parallel()
	one, two, none := newIntroduced(t), newIntroduced(t), newIntroduced(t)
	path := t.TempDir() + "/v.sock"
	document := listening(`{address: "127.0.0.1:0", proxy_protocol: {trusted: [127.0.0.0/8]}}, {address: "[::1]:0"}, {address: "unix:` + path + `"}`)
	for _, u := range []struct{ name, url, option string }{
		{"one", one.url, "proxy_protocol: v1"}, {"two", two.url, "proxy_protocol: v2"}, {"none", none.url, ""},
	} {
		if u.name == "one" {
			document += "upstreams:\n"
		}
		document += "  - {name: " + u.name + ", targets: [{url: \"" + u.url + "\"}], health_check: {path: /health}, " + u.option + "}\n"
	}
	document += "routes: [{path: /v1, upstream: one}, {path: /v2, upstream: two}, {path: /none, upstream: none}]\n"
	g, file := start(t, document)
	addresses := addressesOf(t, g)

	f := func(network, address, before, wanted string) {
		t.Helper()
		for _, version := range []string{"v1", "v2"} {
			conn := dial(t, network, address)
			want := version + " " + strings.NewReplacer("CLIENT", conn.LocalAddr().String(), "LOCAL", address).Replace(wanted) + ", request 1"
			status, got, err := over(conn, before, "/"+version)
			if err != nil || status != 200 || got != want {
				t.Errorf("%q: status %d, header %q, %v; want %q", before, status, got, err, want)
			}
		}
	}
	f("tcp", addresses[0], "PROXY TCP4 192.0.2.9 198.51.100.1 4711 80\r\n", "192.0.2.9:4711 198.51.100.1:80")
	f("tcp", addresses[0], "PROXY TCP4 203.0.113.7 198.51.100.2 4712 81\r\n", "203.0.113.7:4712 198.51.100.2:81")
	f("tcp", addresses[0], "PROXY TCP6 2001:db8::9 2001:db8::1 4711 80\r\n", "[2001:db8::9]:4711 [2001:db8::1]:80")
	f("tcp", addresses[0], "PROXY UNKNOWN\r\n", "CLIENT LOCAL")
	f("tcp", addresses[1], "", "CLIENT LOCAL") // [::1]
	f("unix", path, "", "127.0.0.1:0 0.0.0.0:0")

	// Two clients' requests over the connection that they share.
	for request := 1; request <= 2; request++ {
		want := fmt.Sprintf("none, request %d", request)
		if status, got, err := over(dial(t, "tcp", addresses[1]), "", "/none"); err != nil || status != 200 || got != want {
			t.Errorf("without the option: status %d, header %q, %v; want %q", status, got, err, want)
		}
	}
	for want, s := range map[string]*introduced{"v1 for nobody": one, "v2 for nobody": two, "none": none} {
		if got := s.lastProbe(); got != want {
			t.Errorf("a probe begins with %q, want %q", got, want)
		}
	}

	// A reload follows the option.
	for _, now := range []struct{ option, begins string }{
		{"proxy_protocol: v2", "v2 [::1]:"}, {"pool: {keep_alive: true}", "none"},
	} {
		testkit.ReplaceFile(t, file, strings.Replace(document, "proxy_protocol: v1", now.option, 1))
		g.Signal(t, syscall.SIGHUP)
		testkit.Eventually(t, testkit.Patience, "a request under "+now.option, func() bool {
			_, got, err := over(dial(t, "tcp", addresses[1]), "", "/v1")
			return err == nil && strings.HasPrefix(got, now.begins)
		})
	}
}
