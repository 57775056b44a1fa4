//go:build !race

package proxy

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The race detector allocates by itself, so these are built without it. Client
// and servers here allocate nothing, so what is counted is the gateway's.

// quietBackend answers requests without a body in turn with the given replies.
func quietBackend(t testing.TB, replies ...string) string {
	t.Helper()
	ln := listen(t)
	var running sync.WaitGroup
	var mu sync.Mutex
	turn, answers := 0, make([][]byte, len(replies))
	for i, r := range replies {
		answers[i] = []byte(r)
	}
	open := map[net.Conn]bool{}
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			running.Go(func() {
				buf := make([]byte, 4<<10)
				for n := 0; ; {
					m, err := c.Read(buf[n:])
					if err != nil {
						return
					}
					if n += m; !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
						continue
					}
					n = 0
					mu.Lock()
					reply := answers[turn%len(answers)]
					turn++
					mu.Unlock()
					if _, err := c.Write(reply); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return "http://" + ln.Addr().String()
}

const (
	quietWell = "HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2034 03:04:05 GMT\r\nContent-Length: 2\r\n\r\nok"
	quietBusy = "HTTP/1.1 503 X\r\nDate: Mon, 02 Jan 2034 03:04:05 GMT\r\nContent-Length: 2\r\n\r\nno"
)

// asker returns a function that sends a request and takes the answer.
func asker(t testing.TB, text string, targets ...string) func() {
	t.Helper()
	s := prepareSite(t, text, targets...)
	s.snapshot.Sinks = nil
	s.serve()
	c := s.dial()
	buf, request := make([]byte, 4<<10), []byte("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
	return func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], []byte("\r\n\r\nok")); {
			m, err := c.Read(buf[n:])
			if err != nil {
				t.Fatalf("%v after %q", err, buf[:n])
			}
			n += m
		}
	}
}

// two makes one server look like two, which hedging needs.
func two(url string) []string {
	return []string{url, strings.Replace(url, "127.0.0.1", "localhost", 1)}
}

// timedRoutes are routes by what their retries cost, with the replies of their
// upstream.
func timedRoutes() []struct {
	name, route string
	replies     []string
} {
	return []struct {
		name, route string
		replies     []string
	}{
		{"none", "", []string{quietWell}},
		{"default", "retries=1 floor=3 percent=20 back-off=25ms back-off-max=250ms", []string{quietWell}},
		{"statuses", "retries=1 floor=3 statuses=500-599 retriable=X-Again per=10s", []string{quietWell}},
		{"retried", "retries=1 floor=3 statuses=503 repeat", []string{quietBusy, quietWell}},
		{"backed-off", "retries=1 floor=3 statuses=503 repeat back-off=100us back-off-max=1ms", []string{quietBusy, quietWell}},
		{"hedge after a time", "hedge=20s hedge-floor=1", []string{quietWell}},
		{"hedge after a percentile", "hedge=p99", []string{quietWell}},
	}
}

func TestRetryAllocatesNothing(t *testing.T) {
	for _, r := range timedRoutes() {
		t.Run(r.name, func(t *testing.T) {
			ask := asker(t, "upstream u $1 $2\nroute r /* upstream=u "+r.route, two(quietBackend(t, r.replies...))...)
			for range 100 {
				ask()
			}
			if n := testing.AllocsPerRun(500, ask); n != 0 {
				t.Errorf("%s allocations per request", strconv.FormatFloat(n, 'g', 3, 64))
			}
		})
	}
}

func BenchmarkRetry(b *testing.B) {
	for _, r := range timedRoutes() {
		b.Run(r.name, func(b *testing.B) {
			ask := asker(b, "upstream u $1 $2\nroute r /* upstream=u "+r.route, two(quietBackend(b, r.replies...))...)
			b.ReportAllocs()
			for b.Loop() {
				ask()
			}
		})
	}
}
