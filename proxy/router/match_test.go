package router

import (
	"fmt"
	"net/netip"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"testing"
)

// testFields are fields by "kind name", header names in canonical form.
type testFields struct {
	values map[string]string
	ip     netip.Addr
}

func (f *testFields) get(key string) ([]byte, bool) {
	v, ok := f.values[key]
	return []byte(v), ok
}

func (f *testFields) Header(name string) ([]byte, bool) { return f.get("header " + name) }
func (f *testFields) Query(name string) ([]byte, bool)  { return f.get("query " + name) }
func (f *testFields) Cookie(name string) ([]byte, bool) { return f.get("cookie " + name) }
func (f *testFields) ClientIP() netip.Addr              { return f.ip }

func request(method, host, path string, f Fields) *Request {
	return &Request{Method: []byte(method), Host: []byte(host), Path: []byte(path), Fields: f}
}

func build(t testing.TB, patterns ...Pattern) (*Table[string], []Problem) {
	t.Helper()
	var b Builder[string]
	for _, p := range patterns {
		if err := b.Add(p, p.Name); err != nil {
			t.Fatalf("add route %s: %s", p.Name, err)
		}
	}
	return b.Build()
}

// result writes the outcome of a match as the test data does.
func result(table *Table[string], r *Request) string {
	var ps Params
	name, outcome, allow := table.Match(r, &ps)
	switch outcome {
	case NotFound:
		return "404"
	case MethodNotAllowed:
		return "405 " + allow
	}
	for i := range ps.Len() {
		if param, value := ps.At(i, r.Path); value != nil {
			name += fmt.Sprintf(" %s=%s", param, value)
		}
	}
	return name
}

func TestPrecedence(t *testing.T) {
	data, err := os.ReadFile("testdata/precedence.txt")
	if err != nil {
		t.Fatal(err)
	}
	requests := 0
	var patterns []Pattern
	var table *Table[string]
	for i, line := range strings.Split(string(data), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[0] == "---":
			patterns, table = nil, nil
		case words[0] == "route":
			patterns = append(patterns, parsePattern(t, words[1:]))
		default:
			if table == nil {
				table, _ = build(t, patterns...)
			}
			asked, want, _ := strings.Cut(line, "->")
			r := parseRequest(t, strings.Fields(asked))
			if got, want := result(table, r), strings.TrimSpace(want); got != want {
				t.Errorf("precedence.txt:%d: %s: got %s, want %s", i+1, strings.TrimSpace(asked), got, want)
			}
			checkExplained(t, table, r)
			requests++
		}
	}
	if requests < 100 {
		t.Fatalf("only %d requests were read", requests)
	}
}

// checkExplained asks that an explanation agree with the match.
func checkExplained(t testing.TB, table *Table[string], r *Request) {
	t.Helper()
	var ps Params
	name, outcome, _ := table.Match(r, &ps)
	winner := ""
	candidates := table.Explain(r)
	for _, c := range candidates {
		if c.Won {
			winner += c.Name
		}
		if c.Reason == "" {
			t.Errorf("route %s has no reason", c.Name)
		}
	}
	if len(candidates) != table.Len() || winner != name || (outcome == Found) != (winner != "") {
		t.Errorf("explained winner %q, matched %q: %+v", winner, name, candidates)
	}
}

func parsePattern(t *testing.T, words []string) Pattern {
	t.Helper()
	p := Pattern{Name: words[0]}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "host":
			p.Hosts = append(p.Hosts, value)
		case "path":
			p.Path = value
		case "method":
			p.Methods = strings.Split(value, ",")
		case "header":
			p.Headers = append(p.Headers, parseMatcher(value))
		case "query":
			p.Queries = append(p.Queries, parseMatcher(value))
		case "cookie":
			p.Cookies = append(p.Cookies, parseMatcher(value))
		case "from":
			p.ClientCIDRs = append(p.ClientCIDRs, netip.MustParsePrefix(value))
		case "not-from":
			p.NotClientCIDRs = append(p.NotClientCIDRs, netip.MustParsePrefix(value))
		case "priority":
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			p.Priority = n
		default:
			t.Fatalf("key %q is unknown", key)
		}
	}
	return p
}

func parseMatcher(text string) Matcher {
	text, invert := strings.CutPrefix(text, "!")
	name, value, ok := strings.Cut(text, ":")
	m := Matcher{Name: name, Value: value, Invert: invert}
	switch {
	case !ok:
		m.Kind = Present
	case value[0] == '^':
		m.Kind, m.Value = Prefix, value[1:]
	case value[0] == '~':
		m.Kind, m.Value = Regex, value[1:]
	}
	return m
}

func parseRequest(t *testing.T, words []string) *Request {
	t.Helper()
	f := &testFields{values: map[string]string{}}
	for _, word := range words[3:] {
		key, value, ok := strings.Cut(word, "=")
		kind, name, hasKind := strings.Cut(key, ".")
		switch {
		case !ok:
			t.Fatalf("field %q has no value", word)
		case key == "ip":
			f.ip = netip.MustParseAddr(value)
		case hasKind:
			f.values[kind+" "+name] = value
		default:
			f.values["header "+textproto.CanonicalMIMEHeaderKey(key)] = value
		}
	}
	return request(words[0], words[1], words[2], f)
}

func TestMatchWithoutFields(t *testing.T) {
	table, _ := build(t,
		Pattern{Name: "header", Path: "/x", Headers: []Matcher{{Name: "x-a", Kind: Present}}},
		Pattern{Name: "absent", Path: "/y", Headers: []Matcher{{Name: "x-a", Kind: Present, Invert: true}}})
	if got := result(table, request("GET", "h", "/x", nil)); got != "404" {
		t.Errorf("got %s, want 404", got)
	}
	if got := result(table, request("GET", "h", "/y", nil)); got != "absent" {
		t.Errorf("got %s, want absent", got)
	}
	checkExplained(t, table, request("GET", "h", "/x", nil))
}

func TestMatchEmptyTable(t *testing.T) {
	var b Builder[int]
	table, problems := b.Build()
	if _, outcome, _ := table.Match(request("GET", "h", "/", nil), &Params{}); outcome != NotFound || problems != nil || table.Len() != 0 {
		t.Errorf("got outcome %d and problems %v", outcome, problems)
	}
	var zero Table[int]
	if _, outcome, _ := zero.Match(request("GET", "h", "/", nil), &Params{}); outcome != NotFound {
		t.Errorf("zero table: got outcome %d", outcome)
	}
}

func TestMatchManyLiterals(t *testing.T) {
	var patterns []Pattern
	for i := range 3 * maxFew {
		patterns = append(patterns, Pattern{Name: fmt.Sprint(i), Path: fmt.Sprintf("/s%d/v1/x", i)})
	}
	table, _ := build(t, patterns...)
	for i := range patterns {
		if got := result(table, request("GET", "h", patterns[i].Path, nil)); got != patterns[i].Name {
			t.Errorf("path %s: got %s", patterns[i].Path, got)
		}
	}
	for _, path := range []string{"/s", "/s1", "/s1/v1", "/s1/v1/", "/s1/v1/x/", "/s1/v1/xx", "/s1/v2/x", "/s99/v1/x", "/"} {
		if got := result(table, request("GET", "h", path, nil)); got != "404" {
			t.Errorf("path %s: got %s, want 404", path, got)
		}
	}
}

func TestParams(t *testing.T) {
	table, _ := build(t, Pattern{Path: "/a/{x}/{y...}"}, Pattern{Path: "/b"})
	r := request("GET", "h", "/a/1/2/3", nil)
	var ps Params
	table.Match(r, &ps)
	f := func(name, want string, wantOK bool) {
		t.Helper()
		if got, ok := ps.Get(r.Path, name); string(got) != want || ok != wantOK {
			t.Errorf("parameter %s: got %q, %t", name, got, ok)
		}
	}
	f("x", "1", true)
	f("y", "2/3", true)
	f("z", "", false)
	if value, _ := ps.Get(r.Path, "x"); cap(value) != 1 {
		t.Errorf("appending to a value would overwrite the path")
	}
	table.Match(request("GET", "h", "/none", nil), &ps)
	if f("x", "", false); ps.Len() != 0 {
		t.Errorf("a miss left %d parameters", ps.Len())
	}
	table.Match(r, &ps)
	if ps.Reset(); ps.Len() != 0 {
		t.Errorf("reset left %d parameters", ps.Len())
	}
}
