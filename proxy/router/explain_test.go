package router

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestExplain(t *testing.T) {
	table, _ := build(t,
		Pattern{Name: "any"},
		Pattern{Name: "host", Hosts: []string{"api.example.com", "*.example.com"}},
		Pattern{Name: "path", Path: "/y/*"},
		Pattern{Name: "method", Path: "/x", Methods: []string{"POST", "GET"}},
		Pattern{Name: "header", Path: "/x", Headers: []Matcher{{Name: "x-a", Value: "1"}}},
		Pattern{Name: "query", Path: "/x", Queries: []Matcher{{Name: "q", Kind: Prefix, Value: "1"}}},
		Pattern{Name: "cookie", Path: "/x", Cookies: []Matcher{{Name: "c", Kind: Present, Invert: true}}},
		Pattern{Name: "net", Path: "/x", ClientCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		Pattern{Name: "winner", Path: "/x"},
		Pattern{Name: "last", Path: "/x"},
		Pattern{Path: "~/[x]", Priority: -1},
	)
	r := request("PUT", "h.org", "/x", &testFields{
		values: map[string]string{"header X-A": "secret", "cookie c": "secret"},
		ip:     netip.MustParseAddr("11.0.0.1"),
	})
	want := []string{
		`1 "host" false: host api.example.com does not match h.org`,
		`3 "method" false: path matches, method PUT not in [GET, HEAD, POST]`,
		`4 "header" false: header X-A is present, but must be "1"`,
		`5 "query" false: query q is absent, but must begin with "1"`,
		`6 "cookie" false: cookie c is present, but must not be present`,
		`7 "net" false: client 11.0.0.1 is in none of [10.0.0.0/8]`,
		`8 "winner" true: host *, path /x and all else match`,
		`9 "last" false: matches, but defined after "winner"`,
		`2 "path" false: path /y/* does not match /x`,
		`0 "any" false: matches, but path less specific than that of "winner"`,
		`10 "" false: matches, but lower priority than "winner"`,
	}
	got := table.Explain(r)
	if len(got) != len(want) {
		t.Fatalf("got %d candidates, want %d", len(got), len(want))
	}
	for i, c := range got {
		if line := fmt.Sprintf("%d %q %t: %s", c.Route, c.Name, c.Won, c.Reason); line != want[i] {
			t.Errorf("candidate %d:\n got %s\nwant %s", i, line, want[i])
		}
	}
}
