package router

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// fieldErrors returns every problem that an error joins.
func fieldErrors(err error) []*FieldError {
	var one *FieldError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*FieldError
		for _, err := range joined.Unwrap() {
			all = append(all, fieldErrors(err)...)
		}
		return all
	}
	if errors.As(err, &one) {
		return []*FieldError{one}
	}
	return nil
}

func TestAddErrors(t *testing.T) {
	f := func(p Pattern, wantField, wantText string) {
		t.Helper()
		var b Builder[int]
		problems := fieldErrors(b.Add(p, 0))
		if len(problems) != 1 || problems[0].Field != wantField || !strings.Contains(problems[0].Err.Error(), wantText) {
			t.Errorf("%+v: got %v, want one problem of %s: %s", p, problems, wantField, wantText)
		}
		if table, _ := b.Build(); table.Len() != 0 {
			t.Errorf("%+v: route is in the table", p)
		}
	}
	path := func(path, want string) {
		t.Helper()
		f(Pattern{Path: path}, "path", want)
	}
	path("x", "must begin with /")
	path("*", "must begin with /")
	path("/a//b", "segment is empty")
	path("//", "segment is empty")
	path("/a/../b", "dot segment")
	path("/a/.", "dot segment")
	path("/%2e%2e/a", "dot segment")
	path("/a b", "space")
	path("/a?b", "question mark")
	path("/%zz", "hexadecimal")
	path("/a*", "whole last segment")
	path("/*/a", "whole last segment")
	path("/{a", "whole segment")
	path("/a}", "whole segment")
	path("/x{a}", "whole segment")
	path("/{a}{b}", "whole segment")
	path("/{}", "whole segment")
	path("/{...}", "whole segment")
	path("/{1a}", "whole segment")
	path("/{a-b}", "whole segment")
	path("/{a}/{a}", "used twice")
	path("/{a}/{a...}", "used twice")
	path("/{a...}/b", "last segment")
	path("~(", "missing closing )")
	path("~a)(b", "unexpected )")
	path("~(?P<a>x)(?P<a>y)", "used twice")
	path(manyParams(MaxParams+1), "17 parameters")
	path("~"+manyGroups(MaxParams+1), "17 parameters")

	host := func(host, want string) {
		t.Helper()
		f(Pattern{Hosts: []string{"ok", host}}, "hosts[1]", want)
	}
	host("", "empty")
	host("*", "leave hosts empty")
	host("*.", "empty")
	host("a.*.b", "first labels")
	host("*a.b", "first labels")
	host("*.*.b", "first labels")
	host("a..b", "label is empty")
	host("a.", "label is empty")
	host("a:80", "no port")
	host("http://a", "no scheme")
	host("a/b", "not allowed")
	host("bücher.de", "punycode")
	host("[::1", "no port")
	host("[x]", "IPv6")
	host("OK", "listed twice")
	host(strings.Repeat("a.", 127)+"a", "253")

	f(Pattern{Methods: []string{"GET", "get"}}, "methods[1]", "write GET")
	f(Pattern{Methods: []string{""}}, "methods[0]", "not a method")
	f(Pattern{Methods: []string{"A B"}}, "methods[0]", "not a method")
	f(Pattern{Methods: []string{"*"}}, "methods[0]", "leave methods empty")

	f(Pattern{Headers: []Matcher{{}}}, "headers[0].name", "empty")
	f(Pattern{Headers: []Matcher{{Name: "a b"}}}, "headers[0].name", "not a name")
	f(Pattern{Cookies: []Matcher{{Name: "a=b"}}}, "cookies[0].name", "not a name")
	f(Pattern{Queries: []Matcher{{}}}, "queries[0].name", "empty")
	f(Pattern{Headers: []Matcher{{Name: "a", Kind: Regex, Value: "("}}}, "headers[0].value", "missing closing )")
	f(Pattern{Headers: []Matcher{{Name: "a", Kind: Prefix}}}, "headers[0].value", "empty")
	f(Pattern{Headers: []Matcher{{Name: "a", Kind: Present, Value: "x"}}}, "headers[0].value", "takes no value")
	f(Pattern{Headers: []Matcher{{Name: "a", Kind: 9}}}, "headers[0].kind", "unknown")
	f(Pattern{ClientCIDRs: []netip.Prefix{{}}}, "client_cidrs[0]", "not valid")
}

func manyParams(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "/{p%d}", i)
	}
	return b.String()
}

func manyGroups(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "(?P<p%d>x)", i)
	}
	return b.String()
}

func TestAddJoinsProblems(t *testing.T) {
	var b Builder[int]
	err := b.Add(Pattern{
		Hosts:   []string{"a:1", "b:2"},
		Path:    "/{a/{b",
		Methods: []string{"get"},
		Queries: []Matcher{{}},
	}, 0)
	var fields []string
	for _, problem := range fieldErrors(err) {
		fields = append(fields, problem.Field)
	}
	want := []string{"hosts[0]", "hosts[1]", "path", "path", "methods[0]", "queries[0].name"}
	if !slices.Equal(fields, want) {
		t.Errorf("got problems of %v, want %v", fields, want)
	}
}

func TestAddAccepts(t *testing.T) {
	f := func(p Pattern) {
		t.Helper()
		var b Builder[int]
		if err := b.Add(p, 0); err != nil {
			t.Errorf("%+v: %s", p, err)
		}
	}
	f(Pattern{Path: manyParams(MaxParams)})
	f(Pattern{Path: manyParams(MaxParams-1) + "/{rest...}"})
	f(Pattern{Path: "~" + manyGroups(MaxParams)})
	f(Pattern{Path: "/{a}/*"})
	f(Pattern{Hosts: []string{"localhost", "127.0.0.1", "[2001:db8::1]", "*.internal", "_x-1.example.org"}})
	f(Pattern{Methods: []string{"PROPFIND", "M-SEARCH", "GET", "GET"}})
}

func TestAddTooManyMethods(t *testing.T) {
	var b Builder[int]
	for i := range maxExtraMethods {
		if err := b.Add(Pattern{Name: fmt.Sprint(i), Path: "/x", Methods: []string{fmt.Sprintf("M%d", i)}}, i); err != nil {
			t.Fatal(err)
		}
	}
	if problems := fieldErrors(b.Add(Pattern{Methods: []string{"GET", "ONEMORE"}}, -1)); len(problems) != 1 || problems[0].Field != "methods[1]" {
		t.Errorf("got problems %v", problems)
	}
	table, _ := b.Build()
	for i := range maxExtraMethods {
		value, outcome, _ := table.Match(request(fmt.Sprintf("M%d", i), "h", "/x", nil), &Params{})
		if outcome != Found || value != i {
			t.Errorf("method M%d: got %d, outcome %d", i, value, outcome)
		}
	}
	if _, outcome, _ := table.Match(request("ONEMORE", "h", "/x", nil), &Params{}); outcome != MethodNotAllowed {
		t.Errorf("got outcome %d, want MethodNotAllowed", outcome)
	}
}

// A refused route keeps its number, so that numbers stay those of the document.
func TestAddNumbersRefusedRoutes(t *testing.T) {
	var b Builder[string]
	for _, p := range []Pattern{{Path: "/a"}, {Path: "bad"}, {Path: "/a"}} {
		_ = b.Add(p, p.Path)
	}
	_, problems := b.Build()
	if len(problems) != 1 || problems[0].Route != 2 || problems[0].Other != 0 {
		t.Errorf("got problems %+v", problems)
	}
}

// A table is not touched by what is added after it was built.
func TestBuildAgain(t *testing.T) {
	var b Builder[string]
	_ = b.Add(Pattern{Path: "/a", Methods: []string{"M1"}}, "a")
	first, _ := b.Build()
	_ = b.Add(Pattern{Path: "/b", Methods: []string{"M2"}}, "b")
	second, _ := b.Build()
	f := func(table *Table[string], path, want string) {
		t.Helper()
		if got := result(table, request("M2", "h", path, nil)); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	f(first, "/b", "404")
	f(first, "/a", "405 M1")
	f(second, "/b", "b")
	f(second, "/a", "405 M1")
}
