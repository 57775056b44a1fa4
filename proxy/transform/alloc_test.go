//go:build !race

package transform

import "testing"

// discard is a header list that keeps nothing.
type discard struct{}

func (discard) Set(string, []byte) {}
func (discard) Add(string, []byte) {}
func (discard) Remove(string)      {}

func TestAllocApply(t *testing.T) {
	p, err := Compile([]Op{{Set, "X-A", "${host}-${param.id}"}, {Set, "X-B", "fixed"}, {Add, "X-C", "${client_ip}"}, {Remove, "X-D", ""}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := CompileRewrite(RewriteSpec{StripPrefix: "/api", Template: "/v2/${param.id}"})
	if err != nil {
		t.Fatal(err)
	}
	arena := make([]byte, 0, 1024)
	path := []byte("/api/v1")
	if n := testing.AllocsPerRun(100, func() { p.Apply(discard{}, values{}, arena) }); n != 0 {
		t.Errorf("a program allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { r.Apply(path, values{}, arena) }); n != 0 {
		t.Errorf("a rewrite allocates %v times", n)
	}
}
