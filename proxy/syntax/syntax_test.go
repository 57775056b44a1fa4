package syntax

import (
	"strings"
	"testing"
)

func TestCutLine(t *testing.T) {
	f := func(in, wantLine, wantRest string, wantOK bool) {
		t.Helper()
		line, rest, ok := CutLine([]byte(in))
		if string(line) != wantLine || string(rest) != wantRest || ok != wantOK {
			t.Errorf("%q: got %q, %q, %v", in, line, rest, ok)
		}
	}
	f("a\r\nb\r\n", "a", "b\r\n", true)
	f("\r\n", "", "", true)
	f("a\rb\r\n", "a\rb", "", true)
	f("a\nb\r\n", "", "", false)
	f("\na\r\n", "", "", false)
	f("a\r", "", "", false)
	f("", "", "", false)
}

func TestIsToken(t *testing.T) {
	const others = "!#$%&'*+-.^_`|~"
	for c := range 256 {
		want := c < 128 && (strings.ContainsRune(others, rune(c)) || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' && c >= 'A')
		if got := IsToken([]byte{'x', byte(c)}); got != want {
			t.Errorf("%#x: got %v", c, got)
		}
	}
	if IsToken(nil) {
		t.Error("nothing is no token")
	}
}

func TestIsText(t *testing.T) {
	for c := range 256 {
		if got, want := IsText([]byte{byte(c)}), c >= ' ' && c != 0x7f || c == '\t'; got != want {
			t.Errorf("%#x: got %v", c, got)
		}
	}
}

func TestTrimSpace(t *testing.T) {
	for in, want := range map[string]string{"": "", " \t": "", " a b\t": "a b", "\ra\n": "\ra\n", "\u00a0a": "\u00a0a"} {
		if got := string(TrimSpace([]byte(in))); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

func TestEqual(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		if got := EqualFold([]byte(a), strings.ToLower(b)); got != want {
			t.Errorf("EqualFold %q, %q: got %v", a, b, got)
		}
		if got := EqualName([]byte(a), b); got != want {
			t.Errorf("EqualName %q, %q: got %v", a, b, got)
		}
	}
	f("", "", true)
	f("X-Plan", "x-pLAN", true)
	f("a-b_1", "A-B_1", true)
	f("ab", "abc", false)
	f("a[", "a{", false) // differ in the bit that tells the cases apart
	f("a@", "a`", false)
	f("a\r", "a-", false)
}

func TestListHas(t *testing.T) {
	f := func(list string, want bool) {
		t.Helper()
		if got := ListHas([]byte(list), "close"); got != want {
			t.Errorf("%q: got %v", list, got)
		}
	}
	f("close", true)
	f("keep-alive ,\tCLOSE, x", true)
	f(",close", true)
	f("closed", false)
	f("x close", false)
	f("", false)
}

func TestParseLength(t *testing.T) {
	f := func(in string, want int64, wantOK bool) {
		t.Helper()
		if got, ok := ParseLength([]byte(in)); got != want || ok != wantOK {
			t.Errorf("%q: got %d, %v", in, got, ok)
		}
	}
	f("0", 0, true)
	f("0012", 12, true)
	f("999999999999999999", 999999999999999999, true)
	f("9999999999999999999", 0, false)
	for _, bad := range []string{"", "-1", "+1", "1 ", "0x1", "1,1", "1.0"} {
		f(bad, 0, false)
	}
}
