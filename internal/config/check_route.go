package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// noRoute is the name that metrics give to requests that no route took.
const noRoute = "none"

func (r *Route) check(s scope) {
	if len(r.Name) > maxNameBytes || strings.ContainsFunc(r.Name, func(c rune) bool { return !isNameRune(c) }) {
		s.problem("name", "must have at most %d bytes and no spaces, quotes, backslashes or control characters", maxNameBytes)
	} else if r.Name == "" && s.has("name") {
		s.problem("name", "must not be empty")
	} else if r.Name == noRoute {
		s.problem("name", "%q stands for requests without a route in metrics", noRoute)
	}
	for i, host := range r.Hosts {
		r.Hosts[i] = strings.ToLower(host)
		if message := hostProblem(host); message != "" {
			s.problem("hosts["+strconv.Itoa(i)+"]", "%s", message)
		}
	}
	if message := pathProblem(r.Path); message != "" {
		s.problem("path", "%s", message)
	}
	checkMethods(s, "methods", r.Methods)
	if s.hasList("targets") {
		checkTargets(s, r.Targets)
	}
	if s.has("upstream") && r.Upstream == "" {
		s.problem("upstream", "must not be empty")
	}
	if r.UpstreamHost != "preserve" && r.UpstreamHost != "target" && !isAuthority(r.UpstreamHost) {
		s.problem("upstream_host", "expected preserve, target or a host name, got %q", r.UpstreamHost)
	}
	if s.has("deadline_header") && !isToken(r.DeadlineHeader) {
		s.problem("deadline_header", "%q is not a header name", r.DeadlineHeader)
	}
	checkUpgrades(s, r.Upgrades)
	r.checkAction(s)
	r.checkPathChange(s)
	r.checkTemplates(s)
}

// checkUpgrades checks protocol names (RFC 9110 section 7.8).
func checkUpgrades(s scope, protocols []string) {
	for i, p := range protocols {
		at := "upgrades[" + strconv.Itoa(i) + "]"
		name, version, hasVersion := strings.Cut(p, "/")
		lower := strings.ToLower(p)
		switch {
		case !isToken(name) || hasVersion && !isToken(version):
			s.problem(at, "%q is not a protocol name", p)
		case p != lower:
			s.suggest(at, lower, "protocol names are written in lower case, got %q", p)
		case name == "h2c" || name == "http":
			s.problem(at, "requests over %s would pass the gateway's rules by; it cannot be allowed", p)
		case slices.Contains(protocols[:i], p):
			s.problem(at, "%s is listed twice", p)
		}
	}
}

// checkAction asks for exactly one action and refuses keys that would do
// nothing beside it.
func (r *Route) checkAction(s scope) {
	var actions []string
	for _, key := range []string{"targets", "upstream", "redirect", "respond"} {
		if s.has(key) {
			actions = append(actions, key)
		}
	}
	switch len(actions) {
	case 0:
		s.problem("", "needs one of targets, upstream, redirect and respond")
		return
	case 1:
	default:
		s.problem(actions[1], "only one of targets, upstream, redirect and respond may be given, and %s is", actions[0])
		return
	}
	action := actions[0]
	idle := []string{
		"balance", "health_check", "strip_prefix", "rewrite", "upstream_host", "timeout", "deadline_header", "retries", "hedge", "fallback",
		"upgrades", "upgrade_idle_timeout", "upgrade_max_duration",
	}
	switch action {
	case "targets":
		return
	case "upstream":
		idle = idle[:2]
	}
	for _, key := range idle {
		if s.has(key) {
			s.problem(key, "has no effect beside %s", action)
		}
	}
	if action != "upstream" && s.below("headers").has("request") {
		s.problem("headers.request", "has no effect beside %s", action)
	}
}

func (r *Route) checkPathChange(s scope) {
	if !s.has("strip_prefix") {
		return
	}
	prefix := r.StripPrefix
	switch {
	case len(prefix) < 2 || prefix[0] != '/' || strings.HasSuffix(prefix, "/"):
		s.problem("strip_prefix", "expected a prefix such as /api, without a slash at the end, got %q", prefix)
	case pathProblem(r.Path) != "":
	case !strings.HasPrefix(literalPart(r.Path)+"/", prefix+"/"):
		s.problem("strip_prefix", "%s is not a prefix of the literal part of path %s", prefix, r.Path)
	}
}

// literalPart returns the segments of a path before its first parameter or
// wildcard, without a slash at the end.
func literalPart(path string) string {
	if strings.HasPrefix(path, "~") {
		return ""
	}
	if i := strings.IndexAny(path, "{*"); i >= 0 {
		path = path[:i]
	}
	return strings.TrimSuffix(path, "/")
}

func (r *Route) checkTemplates(s scope) {
	params := pathParams(r.Path)
	checkOps := func(field string, ops *HeaderOps) {
		checkHeaderTemplates(s, field+".set", ops.Set, params)
		checkHeaderTemplates(s, field+".add", ops.Add, params)
		for i, name := range ops.Remove {
			at := field + ".remove[" + strconv.Itoa(i) + "]"
			if !isToken(name) {
				s.problem(at, "%q is not a header name", name)
			} else if message := managedHeader(name); message != "" {
				s.problem(at, "%s", message)
			}
		}
	}
	checkOps("headers.request", &r.Headers.Request)
	checkOps("headers.response", &r.Headers.Response)
	if r.Respond != nil {
		checkHeaderTemplates(s, "respond.headers", r.Respond.Headers, params)
	}
	if r.Fallback != nil && r.Fallback.Respond != nil {
		checkHeaderTemplates(s, "fallback.respond.headers", r.Fallback.Respond.Headers, params)
	}
	if r.RateLimit != nil {
		r.RateLimit.checkTemplates(s, "rate_limit", params)
	}
	if r.Balance != nil {
		checkTemplate(s, "balance.hash_on", r.Balance.HashOn, params)
	}
	if r.Rewrite != nil {
		checkTemplate(s, "rewrite.path", r.Rewrite.Path, params)
	}
	if r.Redirect != nil {
		checkTemplate(s, "redirect.path", r.Redirect.Path, params)
	}
}

func (m *Match) check(s scope) {
	for i, p := range m.Headers {
		if p.Name != "" && !isToken(p.Name) {
			s.problem("headers["+strconv.Itoa(i)+"].name", "%q is not a header name", p.Name)
		}
	}
	for i, p := range m.Cookies {
		if p.Name != "" && !isToken(p.Name) {
			s.problem("cookies["+strconv.Itoa(i)+"].name", "%q is not a cookie name", p.Name)
		}
	}
}

func (p *Predicate) check(s scope) {
	given := 0
	for _, key := range []string{"exact", "prefix", "regex"} {
		if s.has(key) {
			given++
		}
	}
	if p.Present {
		given++
	}
	if given != 1 {
		s.problem("", "needs exactly one of exact, prefix, regex and present: true")
	}
	if s.has("prefix") && p.Prefix == "" {
		s.problem("prefix", "must not be empty; use present: true to accept any value")
	}
	checkRegex(s, "regex", p.Regex)
}

func (r *Redirect) check(s scope) {
	if !s.has("scheme") && !s.has("host") && !s.has("port") && !s.has("path") {
		s.problem("", "leads back to itself; set scheme, host, port or path")
	}
	if r.Host != "" && (strings.HasPrefix(r.Host, "*") || hostProblem(r.Host) != "") {
		s.problem("host", "%q is not a host name; the port has a key of its own", r.Host)
	}
	if s.has("path") && !strings.HasPrefix(string(r.Path), "/") && !strings.HasPrefix(string(r.Path), "${path}") {
		s.problem("path", "must start with /")
	}
}

func (r *Respond) check(s scope) {
	if r.Body != "" && (r.Status == 204 || r.Status == 304 || r.Status == 205) {
		s.problem("body", "a response with status %d has no body", r.Status)
	}
	if r.ContentType == "" || !isHeaderValue(r.ContentType) {
		s.problem("content_type", "expected a media type such as text/plain, got %q", r.ContentType)
	}
}

func (r *Rewrite) check(s scope) {
	switch {
	case s.has("path") == s.has("regex"):
		s.problem("", "needs either path, or regex and replacement")
	case s.has("regex") && !s.has("replacement"):
		s.problem("regex", "needs replacement beside it")
	case s.has("replacement") && !s.has("regex"):
		s.problem("replacement", "needs regex beside it")
	}
	if s.has("path") && !strings.HasPrefix(string(r.Path), "/") {
		s.problem("path", "must start with /")
	}
	checkRegex(s, "regex", r.Regex)
}

func (c *CORS) check(s scope) {
	if s.hasList("allowed_origins") && len(c.AllowedOrigins) == 0 {
		s.problem("allowed_origins", "needs at least one origin")
	}
	for i, origin := range c.AllowedOrigins {
		at := "allowed_origins[" + strconv.Itoa(i) + "]"
		if c.AllowCredentials && (origin == "*" || origin == "null") {
			s.problem(at, "%q excludes allow_credentials: any site could act for the user; list the origins", origin)
		} else if message := originProblem(origin); message != "" {
			s.problem(at, "%s", message)
		}
	}
	checkMethods(s, "allowed_methods", c.AllowedMethods)
	for i, name := range c.AllowedHeaders {
		if name != "*" && !isToken(name) {
			s.problem("allowed_headers["+strconv.Itoa(i)+"]", "%q is not a header name", name)
		}
	}
	for i, name := range c.ExposedHeaders {
		if name != "*" && !isToken(name) {
			s.problem("exposed_headers["+strconv.Itoa(i)+"]", "%q is not a header name", name)
		}
	}
}

// originProblem says what is wrong with an allowed origin, or "".
func originProblem(origin string) string {
	if origin == "*" || origin == "null" {
		return ""
	}
	if pattern, ok := strings.CutPrefix(origin, "~"); ok {
		if _, err := regexp.Compile(pattern); err != nil {
			return regexProblem(err)
		}
		return ""
	}
	scheme, authority, ok := strings.Cut(origin, "://")
	host := strings.TrimPrefix(authority, "*.")
	switch {
	case !ok || scheme == "":
		return "expected an origin such as https://app.example.com, got " + strconv.Quote(origin)
	case strings.HasSuffix(authority, "/"):
		return "an origin has no slash at its end: " + strconv.Quote(origin)
	case !isAuthority(host):
		return "expected an origin such as https://app.example.com, got " + strconv.Quote(origin)
	case origin != strings.ToLower(origin):
		return "can never match: browsers send origins in lower case, got " + strconv.Quote(origin)
	case scheme == "https" && strings.HasSuffix(host, ":443"), scheme == "http" && strings.HasSuffix(host, ":80"):
		return "can never match: browsers leave out the scheme's own port, got " + strconv.Quote(origin)
	}
	return ""
}

func checkMethods(s scope, field string, methods []string) {
	for i, m := range methods {
		at := field + "[" + strconv.Itoa(i) + "]"
		upper := strings.ToUpper(m)
		switch {
		case !isToken(m) || m == "*":
			s.problem(at, "%q is not a method", m)
		case m != upper:
			s.suggest(at, upper, "methods are written in capitals, got %q", m)
		case slices.Contains(methods[:i], m):
			s.problem(at, "%s is listed twice", m)
		}
	}
}
