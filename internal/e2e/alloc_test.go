//go:build !race

package e2e

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// The whole gateway, over real sockets, with everything on that a request
// meets: the process's own counter of heap objects does not move.
func TestAllocsOverSockets(t *testing.T) {
	const (
		connections = 4
		warmUp      = 20_000
		measured    = 100_000
		limit       = 0.01 // objects a request
	)
	up := testkit.StartEcho(t)
	file := filepath.Join(t.TempDir(), "access.log")
	g, _ := start(t, strings.Replace(settings, "access_log: {enabled: false}", "access_log: {output: "+file+", buffer: 65536}", 1)+`
plugins:
  - {name: cors, config: {allowed_origins: ["https://app.example"]}}
routes:
  - name: users
    path: "/{version}/users/*"
    methods: [GET]
    match: {headers: [{name: X-Request-Id, present: true}]}
    auth: {type: jwt, secret: "`+testkit.TokenSecret+`", scopes: {all: [users.read]}}
    headers:
      request: {set: {X-Client: "${client_ip}", X-Version: "${param.version}", X-User: "${identity}", X-Tenant: "${claim.tenant}"}, remove: [X-None]}
      response: {set: {X-Route: "${route}"}}
    targets: [{url: "http://`+up.Addr+`"}]
    health_check: {path: /health}
  - {name: plain, path: /plain, targets: [{url: "http://`+up.Addr+`"}]}
`)
	token := testkit.Token(t, map[string]any{"sub": "ann", "scope": "users.read", "tenant": "t1", "exp": time.Now().Add(time.Hour).Unix()})
	line := strings.Replace(request("/v1/users/plain?size=13"), "\r\n\r\n", "\r\nAuthorization: Bearer "+token+"\r\n\r\n", 1)
	conns := make([]*testkit.Conn, connections)
	answer := 0
	for i := range conns {
		conns[i] = testkit.Dial(t, g.Addr)
		answer = len(rawRequest(t, conns[i], line))
	}
	send := func(n int) {
		t.Helper()
		var running sync.WaitGroup
		for _, c := range conns {
			running.Go(func() {
				line := []byte(line)
				buf := make([]byte, answer)
				for range n / connections {
					_, err := c.Write(line)
					if err == nil {
						_, err = io.ReadFull(c, buf)
					}
					if err != nil || string(buf[:15]) != "HTTP/1.1 200 OK" {
						t.Errorf("answer: %v, %q", err, buf)
						return
					}
				}
			})
		}
		running.Wait()
	}
	mallocs := func() float64 { return testkit.Scrape(t, g.Admin).Value(t, "go_memstats_mallocs_total") }

	send(warmUp)
	mallocs() // the first scrapes cost more
	scraped := mallocs()
	before := mallocs()
	send(measured)
	after := mallocs()
	perRequest := (after - before - (before - scraped)) / measured

	m := testkit.Scrape(t, g.Admin)
	t.Logf("%.5f heap objects a request (a scrape costs %v); access log: %v lines, %v dropped", perRequest, before-scraped,
		m.Value(t, "velocity_access_log_lines_written_total"), m.Value(t, "velocity_access_log_lines_dropped_total"))
	if perRequest >= limit {
		t.Errorf("%.5f heap objects a request, want less than %v", perRequest, limit)
	}
	if n := m.Value(t, `velocity_requests_total{route="users",code="2xx"}`); n != warmUp+measured+connections {
		t.Errorf("%v requests were counted, want %d", n, warmUp+measured+connections)
	}
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Errorf("the access log: %v, %v", info, err)
	}
}
