package router

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestAppendCanonical(t *testing.T) {
	f := func(raw, want string, wantFlags CanonicalFlags) {
		t.Helper()
		got, flags, err := AppendCanonical([]byte("kept"), []byte(raw))
		if err != nil || string(got) != want || flags != wantFlags {
			t.Errorf("%q: got %q, flags %d, error %v; want %q, flags %d", raw, got, flags, err, want, wantFlags)
		}
	}
	// Canonical already.
	f("/", "/", 0)
	f("/api/v1/users", "/api/v1/users", 0)
	f("/a/", "/a/", 0)
	f("/a.b/c..d/e.", "/a.b/c..d/e.", 0)
	f("/.well-known/...", "/.well-known/...", 0)
	f("/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@", 0)
	// Escapes.
	f("/%41%7a%30%2d%2E%5f%7e", "/Az0-._~", 0)
	f("/%20%3a%c3%a9%25", "/%20%3A%C3%A9%25", 0)
	f("/%0a%7f", "/%0A%7F", 0)
	f("/%252e%252e/%2541", "/%252e%252e/%2541", 0)
	// Bytes that no path may have as they are.
	f("/é", "/%C3%A9", 0)
	f("/\x80\xff", "/%80%FF", 0)
	f("/\"<>[]^`{|}", "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D", 0)
	// Slashes.
	f("//", "/", 0)
	f("//a///b//", "/a/b/", 0)
	f("/a%2fb", "/a%2Fb", EncodedSlash)
	f("/a%5cb", "/a%5Cb", EncodedSlash)
	f(`/a\b`, "/a%5Cb", EncodedSlash)
	f("/a%252fb", "/a%252fb", 0)
	f("/%2f%2f", "/%2F%2F", EncodedSlash)
	// Dot segments.
	f("/.", "/", 0)
	f("/./", "/", 0)
	f("/a/.", "/a/", 0)
	f("/a/./b", "/a/b", 0)
	f("/a/..", "/", 0)
	f("/a/../", "/", 0)
	f("/a/b/..", "/a/", 0)
	f("/a/b/../c", "/a/c", 0)
	f("/a/b/../../c", "/c", 0)
	f("/a//../b", "/b", 0)
	f("/a/.//../b", "/b", 0)
	f("/a/%2e/b", "/a/b", 0)
	f("/a/%2e%2E/b", "/b", 0)
	f("/a/.%2e/b", "/b", 0)
	f("/a/b%2Fc/../d", "/a/d", EncodedSlash)
	f(`/\/..`, "/", EncodedSlash)
	f("/a..%2F.b", "/a..%2F.b", EncodedSlash)
}

func TestAppendCanonicalErrors(t *testing.T) {
	f := func(raw string, want error) {
		t.Helper()
		path, _, err := AppendCanonical(nil, []byte(raw))
		if !errors.Is(err, want) || path != nil {
			t.Errorf("%q: got %q, error %v; want error %v", raw, path, err, want)
		}
	}
	f("", ErrNotAbsolute)
	f("*", ErrNotAbsolute)
	f("a/b", ErrNotAbsolute)
	f("%2Fa", ErrNotAbsolute)
	f(`\a`, ErrNotAbsolute)
	f("/%", ErrBadEscape)
	f("/%4", ErrBadEscape)
	f("/%zz", ErrBadEscape)
	f("/%4/1", ErrBadEscape)
	f("/%%41", ErrBadEscape)
	f("/%g1", ErrBadEscape)
	f("/%1g", ErrBadEscape)
	f("/%00", ErrNulByte)
	f("/a b", ErrForbiddenByte)
	f("/a\x00", ErrForbiddenByte)
	f("/a\r\n", ErrForbiddenByte)
	f("/a\x1f", ErrForbiddenByte)
	f("/a\x7f", ErrForbiddenByte)
	f("/a#b", ErrForbiddenByte)
	f("/a?b", ErrForbiddenByte)
	f("/..", ErrAboveRoot)
	f("/../a", ErrAboveRoot)
	f("//..", ErrAboveRoot)
	f("/a/../..", ErrAboveRoot)
	f("/%2e%2e/a", ErrAboveRoot)
	f("/a/..%2fb", ErrEncodedTraversal)
	f("/a%2f../b", ErrEncodedTraversal)
	f("/a%2f..", ErrEncodedTraversal)
	f("/a%5c%2e%2e%2fb", ErrEncodedTraversal)
	f("/a/.%2fb", ErrEncodedTraversal)
	f(`/a\..\b`, ErrEncodedTraversal)
}

func TestAppendCanonicalReturnsRaw(t *testing.T) {
	raw := []byte("/api/v1/users/1")
	if got, _, _ := AppendCanonical(nil, raw); &got[0] != &raw[0] {
		t.Errorf("a canonical path was copied")
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"", "/", "/a/../b//c/%2e%2e/%2f", "/%zz", `/a\..%5c`, "/\x00é", "/a/%2E%2e/", "/%25%32%66", `/\/..`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		room := make([]byte, 0, 3*len(raw))
		got, flags, err := AppendCanonical(room, raw)
		if !bytes.Equal(raw, before) {
			t.Fatalf("%q was changed to %q", before, raw)
		}
		if err != nil {
			return
		}
		if len(got) > cap(room) {
			t.Fatalf("%q: %d bytes do not fit in %d", raw, len(got), cap(room))
		}
		again, flagsAgain, err := AppendCanonical(nil, got)
		if err != nil || !bytes.Equal(again, got) || flagsAgain&^flags != 0 {
			t.Fatalf("%q: canonical form %q, flags %d, turned into %q, flags %d, error %v", raw, got, flags, again, flagsAgain, err)
		}
		if encoded := rawSlashes.Match(raw); encoded != (flags&EncodedSlash != 0) {
			t.Fatalf("%q has flags %d", raw, flags)
		}
		checkCanonical(t, string(got))
	})
}

var rawSlashes = regexp.MustCompile(`(?i)\\|%2f|%5c`)

// checkCanonical asks for all that users of a canonical path rely on.
func checkCanonical(t *testing.T, path string) {
	t.Helper()
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") {
		t.Fatalf("%q has an empty segment", path)
	}
	slashes := strings.NewReplacer("%2F", "/", "%5C", "/").Replace(path)
	for s := range strings.SplitSeq(slashes, "/") {
		if s == "." || s == ".." {
			t.Fatalf("%q has a dot segment", path)
		}
	}
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/%"
	for i := range len(path) {
		if strings.IndexByte(allowed, path[i]) < 0 {
			t.Fatalf("%q has byte %q", path, path[i])
		}
		if path[i] == '%' && (strings.ContainsAny(path[i+1:i+3], "abcdef") || path[i+1:i+3] == "00") {
			t.Fatalf("%q has escape %q", path, path[i:i+3])
		}
	}
}
