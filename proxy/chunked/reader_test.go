package chunked

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// read decodes text, which may come in any pieces.
func read(t *testing.T, text string) (body, trailer, rest string, err error) {
	t.Helper()
	src := strings.NewReader(text)
	br := bufio.NewReaderSize(iotest.OneByteReader(src), 8<<10)
	var r Reader
	r.Reset(br)
	b, err := io.ReadAll(iotest.HalfReader(&r))
	if r.Done() != (err == nil) {
		t.Errorf("%.40q: done is %t after %v", text, r.Done(), err)
	}
	left, rerr := io.ReadAll(br)
	if rerr != nil {
		t.Fatal(rerr)
	}
	return string(b), string(r.Trailer()), string(left), err
}

func TestRead(t *testing.T) {
	f := func(text, body, trailer string) {
		t.Helper()
		gotBody, gotTrailer, rest, err := read(t, text+"GET /")
		if gotBody != body || gotTrailer != trailer || rest != "GET /" || err != nil {
			t.Errorf("%.60q: got %q, %q, then %q, %v", text, gotBody, gotTrailer, rest, err)
		}
	}
	f("0\r\n\r\n", "", "")
	f("000\r\n\r\n", "", "")
	f("5\r\nhello\r\n0\r\n\r\n", "hello", "")
	f("00005\r\nhello\r\n0\r\n\r\n", "hello", "")
	f("A\r\n0123456789\r\n1\r\n!\r\n0\r\n\r\n", "0123456789!", "")
	f("a\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n\r\n\r\n\r\n", "")
	for _, extension := range []string{";a", ";a=b", ` ; a = "b c"`, `;a="\"";b`, ";a\t=\tb;c=d", `;a=""`} {
		f("1"+extension+"\r\nx\r\n0"+extension+"\r\n\r\n", "x", "")
	}
	f("0\r\nX-Sum: 1\r\nX-B:\t two \r\n\r\n", "", "X-Sum: 1\r\nX-B: two\r\n")
	f("0\r\nContent-Length: 1\r\nHost: h\r\nX_A: 1\r\nCookie: a\r\nX-Forwarded-For: 1\r\nX-Sum: 1\r\n\r\n", "", "X-Sum: 1\r\n")
}

func TestMalformed(t *testing.T) {
	f := func(text string) {
		t.Helper()
		if body, _, _, err := read(t, text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.60q: got %q, %v", text, body, err)
		}
	}
	for _, size := range []string{
		"", " ", "g", "x1", "0x1", "+1", "-1", " 1", "1 ", "1\t", "1 2", "1\x00", "1,", "1_0", "1.", "\xff",
		"10000000000000000", "fffffffffffffffff", "1;", "1; ", "1;=b", "1;a=", "1;a ", "1;a=b ", `1;a="`, `1;a="b`, `1;a="b"c`,
		"1;a\x00", "1;a=\"\x00\"", "1;a=\"\\\x01\"", "1;a\r", "1;a=b c", "1;a;", "1;\x7f", "1;a=\r", strings.Repeat("0", 5000) + "1",
	} {
		f(size + "\r\nx\r\n0\r\n\r\n")
	}
	f("1\nx\r\n0\r\n\r\n")
	f("1\r\nx\n0\r\n\r\n")
	f("1\r\nxy\r\n0\r\n\r\n")
	f("1\r\nx0\r\n\r\n")
	f("2\r\nx\r\n0\r\n\r\n")
	f("0\r\n\n")
	f("0\n\r\n")
	f("0\r\n A: 1\r\n\r\n")
	f("0\r\nA: 1\r\n b\r\n\r\n")
	f("0\r\nA : 1\r\n\r\n")
	f("0\r\nA\r\n\r\n")
	f("0\r\n: 1\r\n\r\n")
	f("0\r\nA: \x00\r\n\r\n")
	f("0\r\nA: a\rb\r\n\r\n")
	f("0\r\nA: 1\n\r\n")
	f("0\r\nA: " + strings.Repeat("a", 5000) + "\r\n\r\n")
	f("0\r\nA: " + strings.Repeat("a", 10000) + "\r\n\r\n") // more than the reader holds
	f("0\r\n" + strings.Repeat("A: 1\r\n", maxFields+1) + "\r\n")
	f("0\r\n" + strings.Repeat("A: "+strings.Repeat("a", 1000)+"\r\n", 9) + "\r\n")
	f(strings.Repeat("1;a="+strings.Repeat("b", 1000)+"\r\nx\r\n", 17))
}

// TestCutShort ends a body after each of its bytes.
func TestCutShort(t *testing.T) {
	const text = "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n"
	for i := range text {
		if _, trailer, _, err := read(t, text[:i]); err != io.ErrUnexpectedEOF {
			t.Errorf("%q: got %q, %v", text[:i], trailer, err)
		}
	}
}

func TestBuffered(t *testing.T) {
	const text = "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n"
	for i := 1; i <= len(text)+3; i++ {
		sent := (text + "GET")[:i]
		br := bufio.NewReader(strings.NewReader(sent))
		if _, err := br.Peek(i); err != nil {
			t.Fatal(err)
		}
		var r Reader
		r.Reset(br)
		want, whole := Ahead{}, i >= len(text)
		if whole {
			want = Ahead{Size: 6, Length: len(text), Trailers: true}
		}
		if got, ok := r.Buffered(); got != want || ok != whole {
			t.Errorf("%q: got %+v, %t", sent, got, ok)
		}
		if i < 10 {
			continue
		}
		if _, err := io.ReadFull(&r, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		if whole {
			want.Size, want.Length = 3, len(text)-10
		}
		if got, ok := r.Buffered(); got != want || ok != whole {
			t.Errorf("%q, within a chunk: got %+v, %t", sent, got, ok)
		}
	}
}

func TestMayAnnounce(t *testing.T) {
	f := func(list string, want bool) {
		t.Helper()
		if got := MayAnnounce([]byte(list)); got != want {
			t.Errorf("%q: got %t", list, got)
		}
	}
	f("X-Sum", true)
	f("X-Sum,\tGrpc-Status , Etag", true)
	f("X-Sum, Content-Length", false)
	f("x-forwarded-for", false)
	f("Set-Cookie", false)
	f("X A", false)
	f("X-A,", true)
	f("X-A,,X-B", false)
}
