package router

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The model is the package's documentation written as directly as it can be:
// it sorts the routes by the rules of precedence and tries one after another. It
// shares nothing with the table but the types of its interface.

// modelRoute is one host of one pattern.
type modelRoute struct {
	Pattern
	index int
	host  string // "" for any
}

type model []modelRoute

func newModel(patterns []Pattern) model {
	var m model
	for i, p := range patterns {
		for _, h := range p.Hosts {
			m = append(m, modelRoute{p, i, h})
		}
		if len(p.Hosts) == 0 {
			m = append(m, modelRoute{p, i, ""})
		}
	}
	slices.SortStableFunc(m, modelOrder)
	return m
}

func modelOrder(a, b modelRoute) int {
	for _, difference := range []int{
		b.Priority - a.Priority,
		modelHostClass(a.host) - modelHostClass(b.host),
		modelWildcard(b.host) - modelWildcard(a.host),
		modelPathOrder(a.Path, b.Path),
		min(len(b.Methods), 1) - min(len(a.Methods), 1),
		len(b.Headers) - len(a.Headers),
		len(b.Queries) - len(a.Queries),
		len(b.Cookies) - len(a.Cookies),
		min(len(b.ClientCIDRs)+len(b.NotClientCIDRs), 1) - min(len(a.ClientCIDRs)+len(a.NotClientCIDRs), 1),
	} {
		if difference != 0 {
			return difference
		}
	}
	return 0
}

func modelHostClass(host string) int {
	switch {
	case host == "":
		return 2
	case host[0] == '*':
		return 1
	}
	return 0
}

func modelWildcard(host string) int {
	if modelHostClass(host) == 1 {
		return len(host)
	}
	return 0
}

func modelPathOrder(a, b string) int {
	if d := modelPathClass(a) - modelPathClass(b); d != 0 {
		return d
	}
	if a[0] == '~' {
		return 0
	}
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	for i := range min(len(as), len(bs)) {
		if d := modelSegmentClass(as[i]) - modelSegmentClass(bs[i]); d != 0 {
			return d
		}
		if modelSegmentClass(as[i]) == 0 && as[i] != bs[i] {
			return strings.Compare(as[i], bs[i])
		}
	}
	// Both may match only if the longer one goes on with a wildcard.
	return len(as) - len(bs)
}

func modelPathClass(path string) int {
	switch {
	case path[0] == '~':
		return 1
	case strings.ContainsAny(path, "{*"):
		return 2
	}
	return 0
}

func modelSegmentClass(s string) int {
	switch {
	case s == "*":
		return 3
	case strings.HasSuffix(s, "...}"):
		return 2
	case strings.HasPrefix(s, "{"):
		return 1
	}
	return 0
}

// match returns the index of the winner and its parameters as text, or the
// methods that would have matched.
func (m model) match(method, host, path string, f *testFields) (winner int, params string, allow string) {
	allowed := map[string]bool{}
	for _, r := range m {
		params, ok := modelPathMatch(r.Path, path)
		if !ok || !modelHostMatch(r.host, host) || !modelPredicates(&r.Pattern, f) {
			continue
		}
		if len(r.Methods) == 0 || slices.Contains(r.Methods, method) || method == "HEAD" && slices.Contains(r.Methods, "GET") {
			return r.index, params, ""
		}
		for _, name := range r.Methods {
			allowed[name] = true
			if name == "GET" {
				allowed["HEAD"] = true
			}
		}
	}
	return -1, "", strings.Join(slices.Sorted(maps.Keys(allowed)), ", ")
}

func modelHostMatch(pattern, host string) bool {
	switch modelHostClass(pattern) {
	case 0:
		return pattern == host
	case 1:
		return strings.HasSuffix(host, pattern[1:]) && len(host) >= len(pattern)
	}
	return true
}

func modelPathMatch(pattern, path string) (params string, ok bool) {
	if pattern[0] == '~' {
		re := regexp.MustCompile("^(" + pattern[1:] + ")$")
		found := re.FindStringSubmatch(path)
		if found == nil {
			return "", false
		}
		for i, name := range re.SubexpNames() {
			if name != "" {
				params += fmt.Sprintf(" %s=%s", name, found[i])
			}
		}
		return params, true
	}
	if prefix, ok := strings.CutSuffix(pattern, "/*"); ok && prefix == "" {
		return "", true
	}
	ps, ss := strings.Split(pattern, "/"), strings.Split(path, "/")
	for i, p := range ps {
		switch class := modelSegmentClass(p); {
		case class == 3:
			return params, true
		case i >= len(ss):
			return "", false
		case class == 2:
			rest := strings.Join(ss[i:], "/")
			return params + fmt.Sprintf(" %s=%s", strings.Trim(p, "{.}"), rest), rest != ""
		case class == 1:
			if ss[i] == "" {
				return "", false
			}
			params += fmt.Sprintf(" %s=%s", strings.Trim(p, "{}"), ss[i])
		case p != ss[i]:
			return "", false
		}
	}
	return params, len(ps) == len(ss)
}

func modelPredicates(p *Pattern, f *testFields) bool {
	for kind, matchers := range map[string][]Matcher{"header ": p.Headers, "query ": p.Queries, "cookie ": p.Cookies} {
		for _, m := range matchers {
			value, ok := f.values[kind+m.Name]
			switch m.Kind {
			case Exact:
				ok = ok && value == m.Value
			case Prefix:
				ok = ok && strings.HasPrefix(value, m.Value)
			case Regex:
				ok = ok && regexp.MustCompile("^("+m.Value+")$").MatchString(value)
			}
			if ok == m.Invert {
				return false
			}
		}
	}
	inside := len(p.ClientCIDRs) == 0
	for _, n := range p.ClientCIDRs {
		inside = inside || n.Contains(f.ip)
	}
	for _, n := range p.NotClientCIDRs {
		inside = inside && !n.Contains(f.ip)
	}
	return inside
}

// generator makes patterns and requests from few words, so that they meet often.
// pick returns a number from 0 to n-1.
type generator struct{ pick func(n int) int }

func oneOf[T any](g generator, of ...T) T { return of[g.pick(len(of))] }

func (g generator) patterns() []Pattern {
	priorities := []int{0}
	if g.pick(2) == 0 {
		priorities = []int{0, 0, 0, 1, -1, 7}
	}
	patterns := make([]Pattern, 1+g.pick(20))
	for i := range patterns {
		p := &patterns[i]
		p.Name = fmt.Sprint(i)
		p.Path = g.path()
		p.Priority = oneOf(g, priorities...)
		for range oneOf(g, 0, 0, 1, 2) {
			if h := oneOf(g, "a.b.c", "b.c", "c", "*.b.c", "*.c", "*.a.b.c"); !slices.Contains(p.Hosts, h) {
				p.Hosts = append(p.Hosts, h)
			}
		}
		for range oneOf(g, 0, 0, 1, 2) {
			if m := oneOf(g, "GET", "HEAD", "POST", "BREW"); !slices.Contains(p.Methods, m) {
				p.Methods = append(p.Methods, m)
			}
		}
		p.Headers = g.matchers("X-A", "X-B")
		p.Queries = g.matchers("q")
		p.Cookies = g.matchers("c")
		if g.pick(6) == 0 {
			network := netip.MustParsePrefix(oneOf(g, "10.0.0.0/8", "10.1.0.0/16"))
			switch g.pick(3) {
			case 0:
				p.ClientCIDRs = append(p.ClientCIDRs, network)
			case 1:
				p.NotClientCIDRs = append(p.NotClientCIDRs, network)
			default:
				p.ClientCIDRs = append(p.ClientCIDRs, netip.MustParsePrefix("10.0.0.0/8"))
				p.NotClientCIDRs = append(p.NotClientCIDRs, netip.MustParsePrefix("10.1.0.0/16"))
			}
		}
	}
	return patterns
}

func (g generator) path() string {
	if g.pick(8) == 0 {
		return oneOf(g, "~/a/(?P<x>.*)", "~/(?P<x>[ab])/(?:b|c)", "~.*/c", "~^/a$", "~/a|/a/b")
	}
	path := ""
	for i := range g.pick(5) {
		path += "/" + oneOf(g, "a", "a", "b", "c", fmt.Sprintf("{p%d}", i))
	}
	switch end := g.pick(6); {
	case end == 0 || path == "":
		path += oneOf(g, "/", "/*")
	case end == 1:
		path += "/*"
	case end == 2:
		path += "/{rest...}"
	}
	return path
}

func (g generator) matchers(names ...string) (matchers []Matcher) {
	for _, name := range names {
		if g.pick(5) == 0 {
			m := oneOf(g, Matcher{Kind: Exact, Value: "1"}, Matcher{Kind: Prefix, Value: "1"},
				Matcher{Kind: Regex, Value: "1|2"}, Matcher{Kind: Present})
			m.Name, m.Invert = name, g.pick(4) == 0
			matchers = append(matchers, m)
		}
	}
	return matchers
}

func (g generator) request() (method, host, path string, f *testFields) {
	f = &testFields{values: map[string]string{}, ip: netip.MustParseAddr(oneOf(g, "10.1.0.1", "10.2.0.1", "11.0.0.1"))}
	for _, name := range []string{"header X-A", "header X-B", "query q", "cookie c"} {
		if g.pick(2) == 0 {
			f.values[name] = oneOf(g, "1", "11", "2", "")
		}
	}
	for range g.pick(5) {
		path += "/" + oneOf(g, "a", "a", "b", "c", "d")
	}
	if path == "" || g.pick(5) == 0 {
		path += "/"
	}
	return oneOf(g, "GET", "HEAD", "POST", "BREW", "PUT", "XYZ"),
		oneOf(g, "a.b.c", "b.c", "c", "d.b.c", "x.a.b.c", "d", "d.c"), path, f
}

// compareWithModel makes one table and some requests, and asks that table and
// model agree on each. It returns how many requests found a route.
func compareWithModel(t *testing.T, g generator, requests int) (found int) {
	t.Helper()
	patterns := g.patterns()
	table, problems := build(t, patterns...)
	unreachable := map[string]bool{}
	for _, p := range problems {
		if p.Kind == Unreachable {
			unreachable[patterns[p.Route].Name] = true
		}
	}
	m := newModel(patterns)
	for range requests {
		method, host, path, f := g.request()
		want := "404"
		winner, params, allow := m.match(method, host, path, f)
		if winner >= 0 {
			want = patterns[winner].Name + params
			found++
		} else if allow != "" {
			want = "405 " + allow
		}
		r := request(method, host, path, f)
		if got := result(table, r); got != want {
			t.Fatalf("%s %s %s %v: got %s, want %s\n%s", method, host, path, f, got, want, describe(patterns))
		}
		if winner >= 0 && unreachable[patterns[winner].Name] {
			t.Fatalf("%s %s %s %v: route %d won but was called unreachable: %+v\n%s",
				method, host, path, f, winner, problems, describe(patterns))
		}
		checkExplained(t, table, r)
	}
	return found
}

func describe(patterns []Pattern) string {
	var b strings.Builder
	for _, p := range patterns {
		fmt.Fprintf(&b, "%+v\n", p)
	}
	return b.String()
}

func TestMatchAgreesWithModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	found := 0
	const tables, requests = 2000, 20
	for range tables {
		found += compareWithModel(t, generator{random.IntN}, requests)
	}
	// Were nearly all requests to miss, agreement would mean little.
	if found < tables*requests/4 {
		t.Errorf("only %d of %d requests found a route", found, tables*requests)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add([]byte("a seed"), "GET", "a.b.c", "/a/b")
	f.Add([]byte{3, 1, 4, 1, 5, 9, 2, 6}, "HEAD", "..", "//a//")
	f.Add([]byte{}, "", "", "")
	f.Fuzz(func(t *testing.T, choices []byte, method, host, path string) {
		g := generator{func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0])
			choices = choices[1:]
			return c % n
		}}
		compareWithModel(t, g, 4)
		// Requests that no parser would let through must do no harm.
		table, _ := build(t, g.patterns()...)
		table.Match(request(method, host, path, nil), &Params{})
	})
}
