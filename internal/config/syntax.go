package config

import (
	"errors"
	"iter"
	"maps"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// maxNameBytes bounds names that become labels of metrics.
const maxNameBytes = 128

func isNameRune(c rune) bool {
	return c > ' ' && c != '"' && c != '\'' && c != '\\' && c != unicode.ReplacementChar && unicode.IsPrint(c)
}

// isToken reports whether s may name a header or a method (RFC 9110, section
// 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// isHeaderValue reports whether s may stand in a header: no control characters
// but tab (RFC 9110, section 5.5).
func isHeaderValue(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

func isHostRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// isHostName reports whether s is a DNS name. Underscores pass, since names of
// containers have them.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 || strings.ContainsFunc(strings.ToLower(s), func(c rune) bool { return !isHostRune(c) }) {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// isAuthority reports whether s is a host name or address with or without a
// port. An IPv6 address has brackets.
func isAuthority(s string) bool {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		inside, port, closed := strings.Cut(rest, "]")
		addr, err := netip.ParseAddr(inside)
		return closed && err == nil && addr.Is6() && (port == "" || port[0] == ':' && isPort(port[1:]))
	}
	host, port, hasPort := strings.Cut(s, ":")
	return isHostName(host) && (!hasPort || isPort(port))
}

// hostProblem says what is wrong with a host of a route, or "".
func hostProblem(host string) string {
	name, wildcard := strings.CutPrefix(host, "*.")
	switch {
	case host == "*":
		return "leave hosts out to match every host"
	case isHostName(name) || !wildcard && strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") && isAuthority(host):
		return ""
	case strings.Contains(name, "*"):
		return "a wildcard may only be the first label, as in *.example.org, got " + strconv.Quote(host)
	case isAuthority(name):
		return "must not have a port: " + strconv.Quote(host)
	}
	return "expected a host name such as api.example.com or *.example.org, got " + strconv.Quote(host)
}

// pathProblem says what is wrong with a path of a route, or "". Paths that
// compete with one another are the router's matter.
func pathProblem(path string) string {
	if pattern, ok := strings.CutPrefix(path, "~"); ok {
		if _, err := regexp.Compile(pattern); err != nil {
			return regexProblem(err)
		}
		return ""
	}
	if path == "" {
		return ""
	}
	if path[0] != '/' {
		return "must start with / or, for a regular expression, with ~, got " + strconv.Quote(path)
	}
	if strings.ContainsAny(path, "?#") || !isHeaderValue(path) {
		return "must not have a query, a fragment or control characters; use match.queries"
	}
	segments := strings.Split(path[1:], "/")
	var seen []string
	for i, segment := range segments {
		last := i == len(segments)-1
		name, rest, isParam := param(segment)
		switch {
		case segment == "" && !last:
			return "has an empty segment and can never match: duplicate slashes are merged before matching"
		case segment == "." || segment == "..":
			return "has a dot segment and can never match: dot segments are resolved before matching"
		case segment == "*" && last:
		case strings.Contains(segment, "*"):
			return "may have * only as its last segment"
		case isParam && rest && !last:
			return "may have {" + name + "...} only as its last segment"
		case isParam && slices.Contains(seen, name):
			return "has the parameter " + name + " twice"
		case isParam && isParamName(name):
			seen = append(seen, name)
		case strings.ContainsAny(segment, "{}"):
			return "has a malformed parameter: expected a whole segment such as {id}, got " + strconv.Quote(segment)
		}
	}
	return ""
}

// param takes {name} and {name...} apart.
func param(segment string) (name string, rest, ok bool) {
	name, opened := strings.CutPrefix(segment, "{")
	name, closed := strings.CutSuffix(name, "}")
	name, rest = strings.CutSuffix(name, "...")
	return name, rest, opened && closed
}

func isParamName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// pathParams returns the names of a path's parameters; for a regular
// expression those of its named groups.
func pathParams(path string) []string {
	if pattern, ok := strings.CutPrefix(path, "~"); ok {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil
		}
		return re.SubexpNames()
	}
	if !strings.Contains(path, "{") {
		return nil
	}
	var names []string
	for segment := range strings.SplitSeq(path, "/") {
		if name, _, ok := param(segment); ok {
			names = append(names, name)
		}
	}
	return names
}

func checkRegex(s scope, field, pattern string) {
	if pattern == "" {
		if s.has(field) {
			s.problem(field, "must not be empty")
		}
		return
	}
	if _, err := regexp.Compile(pattern); err != nil {
		s.problem(field, "%s", regexProblem(err))
	}
}

func regexProblem(err error) string {
	if e := (*syntax.Error)(nil); errors.As(err, &e) {
		return "regular expression is malformed: " + e.Code.String() + ": " + strconv.Quote(e.Expr)
	}
	return "regular expression is malformed: " + err.Error()
}

// checkHeaderTemplates checks names and values of headers to set.
func checkHeaderTemplates(s scope, field string, headers map[string]Template, params []string) {
	checkHeaderValues(s, field, headers, func(name string) {
		checkTemplate(s, field+"."+name, headers[name], params)
	})
}

func checkHeaderValues[T ~string](s scope, field string, headers map[string]T, also func(name string)) {
	if len(headers) == 0 {
		return
	}
	lower := make(map[string]string, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if !isToken(name) {
			s.problem(field, "%q is not a header name", name)
			continue
		}
		at := field + "." + name
		folded := strings.ToLower(name)
		if first, twice := lower[folded]; twice {
			s.problem(at, "is the same header as %s", first)
		}
		lower[folded] = name
		if message := managedHeader(name); message != "" {
			s.problem(at, "%s", message)
		}
		if !isHeaderValue(string(headers[name])) {
			s.problem(at, "value must not have control characters")
		}
		also(name)
	}
}

// managedHeader says why a header is not the operator's to set, or "".
func managedHeader(name string) string {
	switch strings.ToLower(name) {
	case "host":
		return "the gateway sets Host; use upstream_host of a route, or host of a health check"
	case "connection", "content-length", "transfer-encoding", "keep-alive", "upgrade", "te", "trailer", "proxy-connection":
		return "the gateway manages " + name + " for each connection"
	}
	return ""
}

// anyParam among the parameters that a template may use stands for all: routes
// that share an upstream have different ones, and those that lack one have it
// empty.
const anyParam = "*"

// checkTemplate reports variables that do not exist. A `$${` is not one.
func checkTemplate(s scope, field string, t Template, params []string) {
	for name, closed := range t.variables() {
		if !closed {
			s.problem(field, "variable ${%s is not closed", name)
			return
		}
		checkVariable(s, field, name, params)
	}
}

// variables yields the names of a template's variables in turn; only the last may not
// be closed.
func (t Template) variables() iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		text := string(t)
		for {
			i := strings.Index(text, "${")
			if i < 0 {
				return
			}
			escaped := i > 0 && text[i-1] == '$'
			text = text[i+2:]
			if escaped {
				continue
			}
			name, rest, closed := strings.Cut(text, "}")
			if !yield(name, closed) || !closed {
				return
			}
			text = rest
		}
	}
}

func checkVariable(s scope, field, name string, params []string) {
	known := []string{"client_ip", "client_net", "identity", "request_id", "host", "method", "path", "query", "scheme", "route"}
	kind, key, dotted := strings.Cut(name, ".")
	switch {
	case !dotted && slices.Contains(known, name):
	case dotted && kind == "param":
		if key == "" || !slices.Contains(params, key) && !slices.Contains(params, anyParam) {
			s.suggest(field, nearest(key, params), "the route's path has no parameter %q", key)
		}
	case dotted && (kind == "header" || kind == "cookie") && isToken(key):
	case dotted && (kind == "query" || kind == "claim") && key != "":
	default:
		s.suggest(field, nearest(name, known), "no variable is named ${%s}", name)
	}
}
