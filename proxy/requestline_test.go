package proxy

import (
	"strings"
	"testing"
)

// TestRequestLines: whatever the reads that bring it, a request line is judged
// the same. Each message is one request whose header block begins behind the
// first line that is not empty.
func TestRequestLines(t *testing.T) {
	const block = "Host: h\r\n\r\n"
	tests := []struct {
		before, line, block string
		good                bool
	}{
		{"", "GET / HTTP/1.1\r\n", block, true},
		{"\r\n", "GET / HTTP/1.1\r\n", block, true},
		{"", "GET / HTTP/1.0\r\n", "\r\n", true},
		{"", "GET / HTTP/1.1\n", block, false},
		{"", "GET / HTTP/1.0\r\n", "\n", false},
		{"\n", "GET / HTTP/1.1\r\n", block, false},
		{"\r\n\r\n", "GET / HTTP/1.1\r\n", block, false},
		{"\r\n\n", "GET / HTTP/1.1\r\n", block, false},
		{"\r\r\n", "GET / HTTP/1.1\r\n", block, false},
		{"\r\n", "GET / HTTP/1.1\n", block, false},
	}
	for _, test := range tests {
		for _, other := range []bool{true, false} { // whether a good request came before
			message := test.before + test.line + test.block
			for size := 1; size <= len(message); size++ {
				var l RequestLines
				rest := message
				if other {
					first := "GET /first HTTP/1.1\r\n" + block + rest
					// A server reads no further than it must, but what it reads may
					// have the beginning of the next request.
					n := len(first) - len(rest) + size - 1
					l.Saw([]byte(first[:n]))
					l.next(l.end + int64(len(block)))
					rest = first[n:]
				}
				for len(rest) > 0 {
					n := min(size, len(rest))
					l.Saw([]byte(rest[:n]))
					rest = rest[n:]
				}
				raw := test.block
				if len(raw) <= len("\r\n") {
					raw = "" // as fasthttp has it
				}
				if got := l.wellFormed([]byte(raw)); got != test.good {
					t.Errorf("%q in reads of %d, another before %v: well-formed %v", message, size, other, got)
				}
				if want := l.read - int64(len(test.block)); test.good && l.end != want {
					t.Errorf("%q in reads of %d, another before %v: line ends at %d, want %d", message, size, other, l.end, want)
				}
			}
		}
	}
}

// TestRequestLinesBody: bodies are not looked at, wherever reads divide them.
func TestRequestLinesBody(t *testing.T) {
	const body = "\n\nGET /body HTTP/1.1\n\n"
	first := "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 22\r\n\r\n"
	for size := len(first); size <= len(first)+len(body); size++ {
		stream := first + body + "GET / HTTP/1.1\n"
		var l RequestLines
		l.Saw([]byte(stream[:size]))
		block := first[strings.Index(first, "\n")+1:]
		if !l.wellFormed([]byte(block)) {
			t.Fatalf("reads of %d: the first request is refused", size)
		}
		for at := size; at < len(first)+len(body); at++ {
			l.Saw([]byte(stream[at : at+1]))
		}
		l.next(l.end + int64(len(block)+len(body)))
		l.Saw([]byte("GET / HTTP/1.1\r\n"))
		if !l.wellFormed([]byte(block)) {
			t.Errorf("reads of %d: the second request is refused", size)
		}
	}
}

// BenchmarkRequestLines is what watching costs a request that comes in one read.
func BenchmarkRequestLines(b *testing.B) {
	message := []byte("GET /api/v1/users/42?expand=all HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	block := message[strings.IndexByte(string(message), '\n')+1:]
	var l RequestLines
	b.ReportAllocs()
	for b.Loop() {
		l.Saw(message)
		if !l.wellFormed(block) {
			b.Fatal("refused")
		}
		l.next(l.end + int64(len(block)))
	}
}
