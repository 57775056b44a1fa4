package router

import (
	"errors"
	"fmt"
	"net/netip"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Pattern is what a route matches. All of its parts must agree with a request.
// The zero Pattern matches every request.
type Pattern struct {
	// Name appears in problems and explanations. If empty, the route is
	// called by its number, as in #3.
	Name string

	// Hosts are exact names ("api.example.com") or wildcards
	// ("*.example.org", which stands for one or more labels and does not
	// match example.org itself). Case is ignored. No host means any host.
	Hosts []string

	// Path is one of
	//
	//	"" or "/*"          any path
	//	"/x"                that path only; "/x/" is another path
	//	"/api/v1/*"         /api/v1, /api/v1/ and all below, not /api/v10
	//	"/users/{id}"       any one segment, which is not empty
	//	"/files/{rest...}"  one or more segments: neither /files nor /files/
	//	"~^/v[12]/x$"       an RE2 expression for the whole path, anchored at
	//	                    both ends even if ^ and $ are left out; its named
	//	                    groups are parameters
	//
	// Parameters may be followed by "/*". Literals are brought into
	// canonical form, so "/é" and "/%c3%a9" are the same pattern. An
	// expression sees the canonical path as it is, escapes included.
	Path string

	// Methods are compared as written; GET includes HEAD. No method means
	// any method.
	Methods []string

	// Headers, Queries and Cookies must all match.
	Headers, Queries, Cookies []Matcher

	// The client must be in one of ClientCIDRs, if there are any, and in
	// none of NotClientCIDRs. They are tried one after another: meant for a
	// handful, not for block lists. An address that is not valid is in no
	// network.
	ClientCIDRs, NotClientCIDRs []netip.Prefix

	// Priority comes before every other rule of precedence: higher wins.
	// The default is 0; it may be negative.
	Priority int
}

// MatchKind is how a [Matcher] looks at a value.
type MatchKind uint8

// The kinds of matcher. The zero kind is Exact.
const (
	Exact   MatchKind = iota // the value is equal, case included
	Prefix                   // the value begins so
	Regex                    // an RE2 expression for the whole value
	Present                  // there is a value, which may be empty
)

// Matcher is a condition on one header, query parameter or cookie. One that is
// absent matches nothing.
type Matcher struct {
	Name   string // header names are compared without case
	Kind   MatchKind
	Value  string // unused by Present
	Invert bool   // match what otherwise would not, an absent value included
}

// MaxParams is the greatest number of parameters in one pattern.
const MaxParams = 16

// FieldError says what is wrong with one field of a [Pattern].
type FieldError struct {
	// Field is a path within the pattern in lower case, such as "path",
	// "hosts[1]", "methods[0]", "headers[2].value" or "client_cidrs[0]".
	Field string
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }

// route is a pattern checked and compiled.
type route struct {
	index    int // in Add order
	name     string
	hosts    []host // at least one
	path     path
	methods  []string // as written; none for any
	preds    *predicates
	priority int
}

// label is what messages call the route.
func (r *route) label() string {
	if r.name == "" {
		return "#" + strconv.Itoa(r.index)
	}
	return strconv.Quote(r.name)
}

// compilation gathers every problem of one pattern, so that an operator sees
// them together.
type compilation struct{ problems []error }

func (c *compilation) report(field, format string, args ...any) {
	c.problems = append(c.problems, &FieldError{Field: field, Err: fmt.Errorf(format, args...)})
}

// compile checks a pattern. The error joins a FieldError for each problem.
func compile(p *Pattern, index int) (*route, error) {
	c := &compilation{}
	r := &route{
		index:    index,
		name:     p.Name,
		hosts:    c.hosts(p.Hosts),
		path:     c.path(p.Path),
		methods:  c.methods(p.Methods),
		preds:    c.predicates(p),
		priority: p.Priority,
	}
	if err := errors.Join(c.problems...); err != nil {
		return nil, err
	}
	return r, nil
}

func (c *compilation) methods(methods []string) []string {
	var out []string
	for i, m := range methods {
		field := fmt.Sprintf("methods[%d]", i)
		upper := strings.ToUpper(m)
		switch {
		case m == "*":
			c.report(field, "\"*\" is not a method: leave methods empty for any")
		case !isToken(m):
			c.report(field, "%q is not a method", m)
		case m != upper && slices.Contains(standardMethods[:], upper):
			c.report(field, "methods are case-sensitive: write %s, not %s", upper, m)
		case !slices.Contains(out, m):
			out = append(out, m)
		}
	}
	return out
}

func (c *compilation) predicates(p *Pattern) *predicates {
	q := &predicates{
		headers: c.matchers("headers", p.Headers),
		queries: c.matchers("queries", p.Queries),
		cookies: c.matchers("cookies", p.Cookies),
		inside:  c.networks("client_cidrs", p.ClientCIDRs),
		outside: c.networks("not_client_cidrs", p.NotClientCIDRs),
	}
	for i := range q.headers {
		q.headers[i].name = textproto.CanonicalMIMEHeaderKey(q.headers[i].name)
	}
	if len(q.headers)+len(q.queries)+len(q.cookies)+len(q.inside)+len(q.outside) == 0 {
		return nil
	}
	q.key = q.identity()
	return q
}

func (c *compilation) networks(field string, prefixes []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for i, prefix := range prefixes {
		if !prefix.IsValid() {
			c.report(fmt.Sprintf("%s[%d]", field, i), "network is not valid")
			continue
		}
		out = append(out, unmapPrefix(prefix))
	}
	return out
}

func (c *compilation) matchers(field string, matchers []Matcher) []matcher {
	var out []matcher
	for i, m := range matchers {
		at := fmt.Sprintf("%s[%d]", field, i)
		if m.Name == "" {
			c.report(at+".name", "name is empty")
		} else if field != "queries" && !isToken(m.Name) {
			c.report(at+".name", "%q is not a name that a %s can have", m.Name, strings.TrimSuffix(field, "s"))
		}
		compiled := matcher{name: m.Name, kind: m.Kind, value: m.Value, invert: m.Invert}
		switch m.Kind {
		case Exact:
		case Prefix:
			if m.Value == "" {
				c.report(at+".value", "prefix is empty: use present")
			}
		case Regex:
			re, err := compileWhole(m.Value)
			if err != nil {
				c.report(at+".value", "compile expression: %w", err)
			}
			compiled.re = re
		case Present:
			if m.Value != "" {
				c.report(at+".value", "present takes no value, got %q", m.Value)
			}
		default:
			c.report(at+".kind", "kind %d is unknown", m.Kind)
		}
		out = append(out, compiled)
	}
	return out
}

// compileWhole compiles an expression that must match from end to end: one
// that is left unanchored by mistake would match far more than was meant.
func compileWhole(expr string) (*regexp.Regexp, error) {
	// Compiled alone first: an unbalanced parenthesis must be an error and
	// not close the group put around it.
	if _, err := regexp.Compile(expr); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + expr + `)\z`)
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
