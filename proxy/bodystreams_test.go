package proxy

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// TestBodyStreams fails when fasthttp's request stream has changed its shape: chunked
// bodies of requests would be decoded by fasthttp, more leniently.
func TestBodyStreams(t *testing.T) {
	w := newBodyStreams()
	if !w.ok {
		t.Fatal("the reader of fasthttp's request stream cannot be reached")
	}
	br := bufio.NewReader(strings.NewReader("5\r\nhello\r\n0\r\n\r\n"))
	var req fasthttp.Request
	req.Header.SetMethod("POST")
	req.Header.SetContentLength(-1)
	if err := req.ContinueReadBodyStream(br, 1); err != nil {
		t.Fatal(err)
	}
	stream := req.BodyStream()
	if got := w.readerOf(stream); got != br {
		t.Fatalf("reached %p, not %p", got, br)
	}
	w.setEnded(stream, true)
	if n, err := stream.Read(make([]byte, 8)); n != 0 || err != io.EOF {
		t.Errorf("an ended stream gave %d, %v", n, err)
	}
	w.setEnded(stream, false)
	if b, err := io.ReadAll(stream); string(b) != "hello" || err != nil {
		t.Errorf("the stream gave %q, %v", b, err)
	}
	if w.readerOf(strings.NewReader("")) != nil {
		t.Error("another kind of stream was taken for fasthttp's")
	}
}
