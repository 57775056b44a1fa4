package chunked

import (
	"bufio"
	"bytes"
	"io"
	"net/http/httputil"
	"testing"
)

// FuzzReader holds the reader against one that accepts more: what it accepts,
// that one reads alike, and it takes no byte behind the body.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "5;a=\"b\"\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\n",
		"5 \r\nhello\r\n0\r\n\r\n", "5\nhello\n0\n\n", "5\r\nhelloX0\r\n\r\n", "ffffffffffffffff\r\n", "0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"5\r\nhel", "1\r\na\r\n1\r\nb\r\n00000\r\n\r\n", "0x1\r\na\r\n0\r\n\r\n", "+1\r\na\r\n0\r\n\r\n", "1;\x00\r\na\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		br := bufio.NewReaderSize(bytes.NewReader(in), 64<<10)
		var r Reader
		r.Reset(br)
		got, err := io.ReadAll(&r)
		if err != nil {
			if r.Done() {
				t.Fatalf("%q: done, with %v", in, err)
			}
			return
		}
		if !r.Done() {
			t.Fatalf("%q: read to its end, and not done", in)
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(in)))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q: %q, the other reader has %q, %v", in, got, want, err)
		}
		rest, err := io.ReadAll(br)
		if err != nil || !bytes.HasSuffix(in, rest) || !bytes.HasSuffix(in[:len(in)-len(rest)], []byte("\r\n\r\n")) {
			t.Fatalf("%q: %q is left", in, rest)
		}
		for line := range bytes.Lines(r.Trailer()) {
			if !bytes.HasSuffix(line, []byte("\r\n")) || bytes.ContainsAny(line[:len(line)-2], "\r\n\x00") {
				t.Fatalf("%q: trailer %q", in, line)
			}
		}
	})
}
