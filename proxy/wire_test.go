package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"

	"github.com/salgue441/velocity/internal/telemetry"
)

// browser is a header block as browsers send them.
const browser = "Host: shop.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Referer: https://shop.example.com/\r\nCookie: session=abcdef0123456789; theme=dark\r\n" +
	"Origin: https://www.example.com\r\nX-Forwarded-For: 203.0.113.7, 10.1.2.3\r\nX-Forwarded-Proto: https\r\n" +
	"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: cors\r\n"

// fullConfig turns on all that a request may meet on the way.
const fullConfig = `
	trust 127.0.0.0/8 10.0.0.0/8
	forward x-forwarded forwarded via
	keep-id
	limits read=30s write=30s
	upstream u $1
	route r /v1/{kind}/* upstream=u methods=GET,POST timeout=30s reply=30s retries=2 floor=3 template=/inner/${param.kind}/${query.q}
	request r set X-Client ${client_ip}
	request r set X-Trace "${request_id}-${method}-${header.Referer}"
	request r add X-Kind ${param.kind}
	request r remove Sec-Fetch-Dest
	response r set X-Served-By velocity
	response r set X-Echo "${path}?${query}"
	response r remove Server
	cors r origins=https://*.example.com,~https://.*\.test exposed=X-Echo methods=GET,POST credentials`

// silentSink is an access log whose lines go nowhere.
func silentSink(t testing.TB) telemetry.Sink {
	t.Helper()
	log := telemetry.NewAccessLog(telemetry.AccessLogOptions{
		Writer:          zapcore.AddSync(io.Discard),
		Query:           true,
		RequestHeaders:  []string{"Accept-Language"},
		ResponseHeaders: []string{"Content-Type"},
	})
	t.Cleanup(func() {
		if err := log.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return log
}

// wire is a client's connection through a site to an upstream, where one
// request is made over and over. Neither end allocates.
type wire struct {
	*site
	client  net.Conn
	request []byte
	answer  []byte // buffer for the response
	size    int    // of the response, 0 if chunked
}

// newWire makes a wire and learns the size of the response.
func newWire(t testing.TB, config, request, reply string) *wire {
	t.Helper()
	size := forwardedSize(t, config, request, reply)
	b := newBackend(t, func(p *peer) {
		buf := make([]byte, max(size, 512<<10))
		answer := []byte(reply)
		for {
			if err := readMessage(p.Conn, buf, size); err != nil {
				return
			}
			if _, err := p.Write(answer); err != nil {
				return
			}
		}
	})
	s := prepareSite(t, config, b.url)
	s.snapshot.KeepRequestID = true
	s.snapshot.Sinks = []telemetry.Sink{silentSink(t)}
	s.serve()
	w := &wire{site: s, client: dial(t, s.address), request: []byte(request)}
	w.size = w.responseSize(t)
	w.answer = make([]byte, max(w.size, 512<<10))
	return w
}

// forwardedSize finds out how many bytes reach the upstream, 0 for a chunked
// body, whose framing depends on how it arrives.
func forwardedSize(t testing.TB, config, request, reply string) int {
	t.Helper()
	sizes := make(chan int, 1)
	b := newBackend(t, func(p *peer) {
		if seen, ok := p.request(); ok {
			if strings.Contains(seen, "\r\nTransfer-Encoding: chunked\r\n") {
				seen = ""
			}
			sizes <- len(seen)
			p.write(reply)
			p.request()
		}
	})
	s := prepareSite(t, config, b.url)
	s.snapshot.KeepRequestID = true
	s.serve()
	c := s.dial()
	c.send(request)
	_, _, _ = c.response()
	_ = c.Close()
	s.settle(1)
	return <-sizes
}

// readMessage reads a message of a size or, if that is 0, up to a last chunk.
func readMessage(c net.Conn, buf []byte, size int) error {
	if size > 0 {
		_, err := io.ReadFull(c, buf[:size])
		return err
	}
	for n := 0; !bytes.HasSuffix(buf[:n], lastChunk); {
		m, err := c.Read(buf[n:])
		if err != nil {
			return err
		}
		n += m
	}
	return nil
}

func (w *wire) responseSize(t testing.TB) int {
	t.Helper()
	if _, err := w.client.Write(w.request); err != nil {
		t.Fatal(err)
	}
	var seen bytes.Buffer
	br := bufio.NewReader(io.TeeReader(w.client, &seen))
	c := &client{t: t, br: br}
	if _, h, _ := c.response(); h.ContentLength() < 0 {
		return 0
	}
	return seen.Len()
}

// roundTrip makes the request and reads the response.
func (w *wire) roundTrip(t testing.TB) {
	if _, err := w.client.Write(w.request); err != nil {
		t.Fatal(err)
	}
	if err := readMessage(w.client, w.answer, w.size); err != nil {
		t.Fatal(err)
	}
}

func readerOf(s string) *bufio.Reader { return bufio.NewReaderSize(strings.NewReader(s), 64<<10) }
