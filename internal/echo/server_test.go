package echo

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp/fasthttputil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp refreshes the Date header once per process, and each stopped
		// server's pool cleaner sleeps up to ten seconds before it sees the stop.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// upstream is a running Server and a client that reaches it in memory.
type upstream struct {
	ln     *fasthttputil.InmemoryListener
	client *http.Client
}

func start(t *testing.T, o Options) *upstream {
	t.Helper()
	if o.Name == "" {
		o.Name = "a"
	}
	u := &upstream{ln: fasthttputil.NewInmemoryListener()}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- New(o).Serve(ctx, u.ln) }()

	transport := &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return u.ln.Dial() },
		DisableCompression: true,
	}
	u.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve returned %v after its context ended, want nil", err)
		}
	})
	return u
}

func (u *upstream) do(t *testing.T, method, target, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://echo"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read answer to %s %s: %v", method, target, err)
	}
	return resp, string(got)
}

func TestReplyDescribesRequestAsReceived(t *testing.T) {
	u := start(t, Options{Name: "b1"})
	conn, err := u.ln.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "PUT /a%20b/../c?q=<1>&page=2 HTTP/1.1\r\n"+
		"x-Second: 2\r\nHost: api.example.com\r\nX-first:1\r\nx-Second: again\r\nX-Bytes: \xff\r\n"+
		"Content-Length: 5\r\nConnection: close\r\n\r\nhello")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got Reply
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("hello"))
	want := Reply{
		Instance: "b1", Method: "PUT", Path: "/a%20b/../c", Query: "q=<1>&page=2",
		Protocol: "HTTP/1.1", Host: "api.example.com", RemoteAddress: conn.LocalAddr().String(),
		Headers: []string{
			"x-Second: 2", "Host: api.example.com", "X-first: 1", "x-Second: again", "X-Bytes: \uFFFD",
			"Content-Length: 5", "Connection: close",
		},
		Body: Body{Size: 5, SHA256: hex.EncodeToString(sum[:]), Text: "hello"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if v := resp.Header.Get(InstanceHeader); v != "b1" {
		t.Errorf("%s is %q, want b1", InstanceHeader, v)
	}
	if v := got.Header("X-SECOND"); !reflect.DeepEqual(v, []string{"2", "again"}) {
		t.Errorf("Header gave %q", v)
	}
}

func TestReplyShowsOnlyShortText(t *testing.T) {
	u := start(t, Options{})
	f := func(body string, wantText string) {
		t.Helper()
		_, document := u.do(t, "POST", "/", body)
		var got Reply
		if err := json.Unmarshal([]byte(document), &got); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(body))
		want := Body{Size: int64(len(body)), SHA256: hex.EncodeToString(sum[:]), Text: wantText}
		if len(body) == 0 {
			want.SHA256 = ""
		}
		if got.Body != want {
			t.Errorf("a body of %d bytes is described as %+v, want %+v", len(body), got.Body, want)
		}
	}
	f("", "")
	f("héllo <&>", "héllo <&>")
	f("\xff\xfe", "")
	limit := strings.Repeat("x", textLimit)
	f(limit, limit)
	f(limit+"x", "")
	f(strings.Repeat("x", 3<<20), "") // a body that is never held in memory
}

func TestControls(t *testing.T) {
	u := start(t, Options{})
	resp, body := u.do(t, "GET", "/any/path?status=503&size=70&header=X-A:1&header=x-a:%202%20&header=content-type:image/png&close=1", "")
	if resp.StatusCode != 503 || resp.ContentLength != 70 || !resp.Close {
		t.Errorf("status %d, length %d, close %v; want 503, 70, true", resp.StatusCode, resp.ContentLength, resp.Close)
	}
	if want := line + line[:6]; body != want {
		t.Errorf("body %q, want %q", body, want)
	}
	if got := resp.Header.Values("X-A"); !reflect.DeepEqual(got, []string{"1", "2"}) {
		t.Errorf("X-A is %q, want both values in order", got)
	}
	if got := resp.Header.Values("Content-Type"); !reflect.DeepEqual(got, []string{"image/png"}) {
		t.Errorf("Content-Type is %q, want only image/png", got)
	}

	if resp, body = u.do(t, "GET", "/plain", ""); body != "Hello, World!" || resp.ContentLength != 13 {
		t.Errorf("/plain is %q of length %d", body, resp.ContentLength)
	}
	if resp, body = u.do(t, "GET", "/plain?status=404", ""); body != "Hello, World!" || resp.StatusCode != 404 {
		t.Errorf("/plain?status=404 is %d %q", resp.StatusCode, body)
	}
	if resp, body = u.do(t, "GET", "/x?status=204", ""); body != "" || resp.StatusCode != 204 {
		t.Errorf("/x?status=204 is %d %q", resp.StatusCode, body)
	}
	if resp, body = u.do(t, "HEAD", "/x?size=1MiB", ""); body != "" || resp.ContentLength != 1<<20 {
		t.Errorf("HEAD gave %d bytes with length %d, want none and 1 MiB", len(body), resp.ContentLength)
	}
	if resp, body = u.do(t, "GET", "/", ""); body != Usage || resp.StatusCode != 200 {
		t.Errorf("GET / is %d %q, want the usage text", resp.StatusCode, body)
	}
	if _, body = u.do(t, "GET", "/?page=2", ""); !strings.Contains(body, `"query": "page=2"`) {
		t.Errorf("an unknown parameter is not echoed: %s", body)
	}
}

func TestSizedBodyIsTheSamePatternAtEverySize(t *testing.T) {
	u := start(t, Options{})
	f := func(target string, size int) {
		t.Helper()
		resp, body := u.do(t, "GET", target, "")
		want := strings.Repeat(line, size/len(line)+1)[:size]
		if body != want {
			t.Errorf("%s: %d bytes differ from the pattern's %d", target, len(body), size)
		}
		if chunked := len(resp.TransferEncoding) > 0; chunked != strings.Contains(target, "chunked") {
			t.Errorf("%s: transfer encoding %q", target, resp.TransferEncoding)
		}
	}
	f("/x?size=0", 0)
	f("/x?size=64KiB", 64<<10)
	f("/x?size=65537", 64<<10+1)
	f("/x?size=3MiB", 3<<20)
	f("/x?size=100003&chunked=true&chunks=7", 100003)
	f("/x?size=3&chunked=true&chunks=5", 3)
}

func TestDelayWaitsBeforeAnswering(t *testing.T) {
	var waited []time.Duration
	u := start(t, Options{Wait: func(d time.Duration, _ <-chan struct{}) bool {
		waited = append(waited, d)
		return true
	}})
	u.do(t, "GET", "/plain?delay=1.5s", "")
	u.do(t, "GET", "/plain?delay=0", "")
	if want := []time.Duration{1500 * time.Millisecond}; !reflect.DeepEqual(waited, want) {
		t.Errorf("waited %v, want %v", waited, want)
	}
}

// Each part must reach the client while the server still waits to send the next.
func TestPartsAreFlushedOneByOne(t *testing.T) {
	f := func(target, contentType string, parts ...string) {
		t.Helper()
		release := make(chan struct{})
		u := start(t, Options{Wait: func(d time.Duration, _ <-chan struct{}) bool {
			if d != 100*time.Millisecond {
				t.Errorf("pause of %v, want 100ms", d)
			}
			<-release
			return true
		}})
		resp, err := u.client.Get("http://echo" + target)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); got != contentType {
			t.Errorf("content type %q, want %q", got, contentType)
		}
		for i, want := range parts {
			if i > 0 {
				release <- struct{}{}
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
				t.Fatalf("part %d is %q (%v), want %q", i, got, err, want)
			}
		}
		if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
			t.Errorf("after the last part: %q, %v", rest, err)
		}
	}
	f("/x?chunked=true&chunks=3&interval=100ms", "text/plain; charset=utf-8",
		"chunk 1 of 3\n", "chunk 2 of 3\n", "chunk 3 of 3\n")
	f("/x?chunked=true&size=130&chunks=2&interval=100ms", "text/plain; charset=utf-8",
		line+line[:1], line[1:]+line[:2])
	f("/x?sse=2&interval=100ms", "text/event-stream",
		"id: 1\nevent: tick\ndata: {\"n\":1}\n\n", "id: 2\nevent: tick\ndata: {\"n\":2}\n\n")
}

func TestStoppingCutsStreamsShort(t *testing.T) {
	ln := fasthttputil.NewInmemoryListener()
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- New(Options{}).Serve(ctx, ln) }()

	conn, err := ln.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /x?sse=2&interval=1m HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v, want an unexpected EOF", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServeReportsListenerThatStops(t *testing.T) {
	ln := fasthttputil.NewInmemoryListener()
	ln.Close()
	if err := New(Options{}).Serve(context.Background(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v, want net.ErrClosed", err)
	}
}

func TestResetClosesWithoutAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- New(Options{}).Serve(ctx, ln) }()
	defer func() { stop(); <-served }() //nolint:errcheck // the test is over

	f := func(request string) {
		t.Helper()
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, request)
		if got, err := io.ReadAll(conn); len(got) > 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %q, %v; want nothing and a reset", got, err)
		}
	}
	f("GET /x?reset=true HTTP/1.1\r\nHost: a\r\n\r\n")
	f("GET /x?reset=true HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	f("POST /x?reset=true HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
}

func TestHealthCanBeSwitched(t *testing.T) {
	u := start(t, Options{})
	f := func(method, target string, status int, want string) {
		t.Helper()
		resp, body := u.do(t, method, target, "")
		if resp.StatusCode != status || !strings.HasPrefix(body, want) {
			t.Errorf("%s %s: %d %q, want %d %q", method, target, resp.StatusCode, body, status, want)
		}
	}
	f("GET", "/health", 200, "up\n")
	f("POST", "/health?up=false", 200, "down\n")
	f("GET", "/health", 503, "down\n")
	f("GET", "/plain", 200, plainBody)
	f("POST", "/health", 400, "up: must be true or false\n")
	f("GET", "/health", 503, "down\n")
	f("POST", "/health?up=true", 200, "up\n")
	f("GET", "/health", 200, "up\n")
}

func TestBadValuesAreExplained(t *testing.T) {
	u := start(t, Options{})
	f := func(query, want string) {
		t.Helper()
		resp, body := u.do(t, "GET", "/plain?"+query, "")
		if resp.StatusCode != 400 || !strings.HasPrefix(body, want+"\n") {
			t.Errorf("%s: %d %q, want 400 %q", query, resp.StatusCode, body, want)
		}
	}
	const (
		status   = "status: must be a number from 200 to 599"
		size     = "size: must be a size such as 512 or 64KiB, from 0 to 1GiB"
		duration = "must be a duration such as 200ms, from 0s to 1m0s"
	)
	for _, v := range []string{"", "abc", "101", "199", "600", "-1"} {
		f("status="+v, status)
	}
	for _, v := range []string{"", "KiB", "-1", "1.5KiB", "1KB", "1kib", "2GiB", "9223372036854775807KiB", "1TiB"} {
		f("size="+v, size)
	}
	for _, v := range []string{"", "5", "-1s", "61s"} {
		f("delay="+v, "delay: "+duration)
		f("interval="+v, "interval: "+duration)
	}
	f("chunks=0", "chunks: must be a number from 1 to 10000")
	f("sse=10001", "sse: must be a number from 1 to 10000")
	f("sse=61&interval=10s", "interval: 61 parts at 10s take more than 10m0s")
	f("chunked=yes", "chunked: must be true or false")
	f("close=", "close: must be true or false")
	f("reset=maybe", "reset: must be true or false")
	for _, v := range []string{"", "X-A", ":v", "X%20A:v", "X-A:a%0d%0aX-B:b", "X-A:%00", "X-A:%7f"} {
		f("header="+v, "header: must be Name:Value")
	}
	f("header=content-length:5", "header: Content-Length frames the message and cannot be set")
	f("header=Transfer-Encoding:chunked", "header: Transfer-Encoding frames the message and cannot be set")
}
