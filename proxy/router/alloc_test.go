//go:build !race

package router

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestMatchAllocates(t *testing.T) {
	var patterns []Pattern
	for i := range 100 {
		patterns = append(patterns, Pattern{Name: "svc", Path: fmt.Sprintf("/svc%d/v1/users/{id}/orders/{order}", i)})
	}
	patterns = append(patterns,
		Pattern{Name: "host", Hosts: []string{"a.example.org"}, Path: "/x"},
		Pattern{Name: "wildcard", Hosts: []string{"*.example.org"}, Path: "/{rest...}", Methods: []string{"GET"}},
		Pattern{Name: "re", Path: "~/re/with/a/long/literal/beginning/[0-9]+", Priority: 1},
		Pattern{Name: "group", Path: "~/group/(?P<n>[0-9]+)"},
		Pattern{
			Name: "predicates", Path: "/p",
			Headers: []Matcher{{Name: "X-A", Value: "1"}, {Name: "X-B", Kind: Regex, Value: "[a-z]+"}},
			Queries: []Matcher{{Name: "q", Kind: Prefix, Value: "1"}}, Cookies: []Matcher{{Name: "c", Kind: Present}},
			ClientCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		})
	table, _ := build(t, patterns...)
	fields := &fixedFields{}
	f := func(method, host, path, want string, wantAllocs float64) {
		t.Helper()
		r := request(method, host, path, fields)
		var ps Params
		var got string
		allocs := testing.AllocsPerRun(100, func() { got, _, _ = table.Match(r, &ps) })
		if got != want || allocs != wantAllocs {
			t.Errorf("%s %s %s: got %q with %v allocations, want %q with %v", method, host, path, got, allocs, want, wantAllocs)
		}
	}
	f("GET", "h", "/svc42/v1/users/1/orders/2", "svc", 0)
	f("GET", "a.example.org", "/x", "host", 0)
	f("GET", "b.example.org", "/x/y/z", "wildcard", 0)
	f("GET", "a.example.org", "/svc42/v1/users/1/orders/2", "wildcard", 0)
	f("POST", "a.example.org", "/svc42/v1/users/1/orders/2", "svc", 0)
	f("GET", "h", "/re/with/a/long/literal/beginning/123", "re", 0)
	f("GET", "h", "/p", "predicates", 0)
	f("GET", "h", "/svc42/v1", "", 0)
	// The documented exception.
	f("GET", "h", "/group/123", "group", 1)
}

type fixedFields struct{}

var (
	digitOne = []byte("1")
	letterA  = []byte("a")
)

func (*fixedFields) Header(name string) ([]byte, bool) {
	if name == "X-A" {
		return digitOne, true
	}
	return letterA, true
}
func (*fixedFields) Query(string) ([]byte, bool)  { return digitOne, true }
func (*fixedFields) Cookie(string) ([]byte, bool) { return nil, true }
func (*fixedFields) ClientIP() netip.Addr         { return netip.AddrFrom4([4]byte{10, 1, 2, 3}) }

func TestAppendCanonicalAllocates(t *testing.T) {
	f := func(raw string) {
		t.Helper()
		path := []byte(raw)
		room := make([]byte, 0, 3*len(path))
		if allocs := testing.AllocsPerRun(100, func() { _, _, _ = AppendCanonical(room, path) }); allocs != 0 {
			t.Errorf("%q: %v allocations", raw, allocs)
		}
	}
	f("/api/v1/users")
	f("/a//b/../%2e/%c3%a9/é%2f")
	f("/a/%zz")
	f("/..")
}
