package arch

import (
	"strings"
	"testing"
)

func TestCheckSource(t *testing.T) {
	f := func(path, name string, files map[string]string, want ...string) {
		t.Helper()
		got, err := CheckSource(Source{Path: path, Name: name, Files: files})
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %q, want %d violations", path, got, len(want))
			return
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("%s: got %q, want %q", path, got[i], want[i])
			}
		}
	}
	const doc = "// Package x owns x.\npackage x\n"

	f("x", "x", map[string]string{"doc.go": doc, "x.go": "package x\n"})
	f("cmd/x", "main", map[string]string{"main.go": "// Command x runs.\npackage main\n"})
	f("x", "x", map[string]string{"x.go": "package x\n"}, "0 package comments")
	f("x", "x", map[string]string{"doc.go": doc, "x.go": doc}, "2 package comments")
	f("x", "x", map[string]string{"x.go": "// About x.\npackage x\n"}, "starts with")
	f("x", "x", map[string]string{"x.go": "//go:generate true\npackage x\n"}, "0 package comments")
	f("x/util", "x", map[string]string{"doc.go": doc}, `"util" says nothing`)
	f("x", "x", map[string]string{"doc.go": doc + "func init() {}\n"}, "init runs by import")
	f("x", "x", map[string]string{"doc.go": doc + "type t struct{}\nfunc (t) init() {}\n"})
	f("x", "x", map[string]string{"doc.go": doc + `
import "strings"
func f(err error) bool { return strings.Contains(err.Error(), "timeout") }
`}, "errors.Is")
	f("x", "x", map[string]string{"doc.go": doc + `
import "strings"
func f(s string) bool { return strings.Contains(s, "timeout") }
`})
}

func TestCheckSourceReportsFilesThatDoNotParse(t *testing.T) {
	if _, err := CheckSource(Source{Path: "x", Name: "x", Files: map[string]string{"x.go": "package"}}); err == nil {
		t.Error("no error for a file that is not Go")
	}
}
