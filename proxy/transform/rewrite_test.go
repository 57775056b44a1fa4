package transform

import (
	"bytes"
	"slices"
	"testing"
)

func TestRewrite(t *testing.T) {
	f := func(spec RewriteSpec, path, want string) {
		t.Helper()
		r, err := CompileRewrite(spec)
		if err != nil {
			t.Errorf("%+v: %v", spec, err)
			return
		}
		got, arena := r.Apply([]byte(path), values{}, []byte("kept"))
		if string(got) != want || !bytes.HasPrefix(arena, []byte("kept")) {
			t.Errorf("%+v of %s: got %s, want %s", spec, path, got, want)
		}
	}
	f(RewriteSpec{}, "/a", "/a")
	f(RewriteSpec{StripPrefix: "/api"}, "/api/v1", "/v1")
	f(RewriteSpec{StripPrefix: "/api/"}, "/api/v1", "/v1")
	f(RewriteSpec{StripPrefix: "/api"}, "/api", "/")
	f(RewriteSpec{StripPrefix: "/api"}, "/api/", "/")
	f(RewriteSpec{StripPrefix: "/api"}, "/apis", "/apis")
	f(RewriteSpec{StripPrefix: "/api"}, "/x/api", "/x/api")
	f(RewriteSpec{Template: "/v2/${param.id}"}, "/a", "/v2/<jid>")
	f(RewriteSpec{StripPrefix: "/api", Pattern: "^/v([0-9])/(?P<rest>.*)$", Replacement: "/${rest}/v$1"}, "/api/v1/x", "/x/v1")
	f(RewriteSpec{Pattern: "^/no", Replacement: "x"}, "/yes", "/yes")
	f(RewriteSpec{Pattern: "^/a", Replacement: ""}, "/ab", "/b")
	f(RewriteSpec{Pattern: "^.*$", Replacement: ""}, "/ab", "/")
	f(RewriteSpec{Pattern: "b", Replacement: "c"}, "/abb", "/acb")
}

func TestCompileRewriteErrors(t *testing.T) {
	for _, spec := range []RewriteSpec{
		{StripPrefix: "/"}, {StripPrefix: "api"}, {Template: "v2"}, {Template: "/${nope}"}, {Template: "${path}"}, {Pattern: "("}, {Template: "/a", Pattern: "b"},
	} {
		if _, err := CompileRewrite(spec); err == nil {
			t.Errorf("%+v was compiled", spec)
		}
	}
	r, err := CompileRewrite(RewriteSpec{Template: "/${param.a}/${param.b}"})
	if err != nil || !slices.Equal(r.Params(), []string{"a", "b"}) || r.Empty() {
		t.Errorf("parameters %q, empty %v, %v", r.Params(), r.Empty(), err)
	}
}

// FuzzRewrite rewrites any path. The result begins with a slash, leaves path and
// arena as they were, and a stripped prefix is stripped on a segment boundary.
func FuzzRewrite(f *testing.F) {
	f.Add("/api/v1", "/api", "", "", "")
	f.Add("/api", "/api/", "/v2/${param.id}", "", "")
	f.Add("/users/7", "", "", "^/users/([0-9]+)$", "/u/$1")
	f.Add("/a//b", "/a", "", "b", "")
	f.Fuzz(func(t *testing.T, path, strip, template, pattern, replacement string) {
		r, err := CompileRewrite(RewriteSpec{StripPrefix: strip, Template: template, Pattern: pattern, Replacement: replacement})
		if err != nil || path == "" || path[0] != '/' {
			return
		}
		before, arena := []byte(path), []byte("kept")
		got, extended := r.Apply(before, values{}, arena)
		if len(got) == 0 || got[0] != '/' {
			t.Fatalf("%q became %q", path, got)
		}
		if string(before) != path || !bytes.HasPrefix(extended, []byte("kept")) {
			t.Fatalf("%q: path is %q, arena %q", path, before, extended)
		}
		again, _ := r.Apply(before, values{}, nil)
		if !bytes.Equal(again, got) {
			t.Fatalf("%q became %q, then %q", path, got, again)
		}
		if r.Empty() && string(got) != path {
			t.Fatalf("nothing made %q of %q", got, path)
		}
		if template == "" && pattern == "" && len(got) > 1 && !bytes.HasSuffix([]byte(path), got) {
			t.Fatalf("stripping %q made %q of %q", strip, got, path)
		}
	})
}
