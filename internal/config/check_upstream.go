package config

import (
	"net/url"
	"reflect"
	"strconv"
	"strings"
)

func (p *Plugin) check(s scope) {
	if p.Enabled && p.Name == "cors" && !s.has("config") {
		s.problem("config", "is required")
	}
	if p.Name == "rate-limiter" && p.Config.RateLimit == nil {
		defaults := s.d.plans[reflect.TypeFor[RateLimit]()].zero.Interface().(RateLimit)
		p.Config.RateLimit = &defaults
	}
	if l := p.Config.RateLimit; l != nil {
		l.checkTemplates(s, "config", nil)
	}
}

func (u *Upstream) check(s scope) {
	for _, r := range u.Name {
		if !isHostRune(r) && (r < 'A' || r > 'Z') {
			s.problem("name", "may have letters, digits, '.', '_' and '-' only, got %q", u.Name)
			break
		}
	}
	if len(u.Name) > maxNameBytes {
		s.problem("name", "is longer than %d bytes", maxNameBytes)
	}
	if s.hasList("targets") {
		checkTargets(s, u.Targets)
	} else if !s.has("targets") && !s.has("discovery") {
		s.problem("", "needs targets, discovery or both")
	}
	if s.has("queue") && u.MaxInFlight == 0 && u.AdaptiveConcurrency == nil {
		s.warn("queue", "has no effect without max_in_flight or adaptive_concurrency")
	}
	if s.below("balance").has("hash_on") {
		checkTemplate(s, "balance.hash_on", u.Balance.HashOn, []string{anyParam})
	}
	secure := u.Discovery != nil && u.Discovery.Scheme == "https"
	for _, t := range u.Targets {
		secure = secure || strings.HasPrefix(t.URL, "https:")
	}
	if s.has("tls") && !secure {
		s.problem("tls", "has no effect: no target is https")
	}
	if u.ProxyProtocol != "" {
		if s.below("pool").has("keep_alive") && u.Pool.KeepAlive {
			s.problem("pool.keep_alive", "cannot be true beside proxy_protocol: the header names one client, so a connection carries one request")
		}
		u.Pool.KeepAlive = false
	}
	if u.TLS.CAFile != "" {
		checkCAFile(s, "tls.ca_file", &u.TLS.CAFile)
	}
	if u.TLS.ServerName != "" && !isHostName(u.TLS.ServerName) {
		s.problem("tls.server_name", "%q is not a host name", u.TLS.ServerName)
	}
}

// checkTargets checks the targets of an upstream or of a route.
func checkTargets(s scope, targets []Target) {
	if len(targets) == 0 {
		s.problem("targets", "needs at least one target")
		return
	}
	weight := 0
	seen := make(map[string]bool, len(targets))
	for i, t := range targets {
		weight += t.Weight
		if t.URL != "" && seen[t.URL] {
			s.problem("targets["+strconv.Itoa(i)+"].url", "%s is listed twice; use weight for a larger share", t.URL)
		}
		seen[t.URL] = true
	}
	if weight == 0 {
		s.problem("targets", "all weights are 0, so no target would get a request")
	}
}

func (t *Target) check(s scope) {
	if t.URL == "" {
		return
	}
	if err := targetProblem(t.URL); err != "" {
		s.problem("url", "%s", err)
		return
	}
	t.URL = strings.ToLower(strings.TrimSuffix(t.URL, "/"))
}

// targetProblem says what is wrong with a target's URL, or "".
func targetProblem(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme == "" || u.Opaque != "":
		return "expected a URL such as http://127.0.0.1:3000, got " + strconv.Quote(text)
	case u.Scheme != "http" && u.Scheme != "https":
		return "scheme must be http or https, got " + strconv.Quote(u.Scheme)
	case u.User != nil:
		return "must not hold a user or a password"
	case u.Path != "" && u.Path != "/":
		return "must not have a path; use rewrite on the route"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "must not have a query or a fragment"
	case !isListenHost(u.Hostname()):
		return "has no valid host: " + strconv.Quote(u.Host)
	case strings.HasSuffix(u.Host, ":") || u.Port() != "" && !isPort(u.Port()):
		return "port must be between 1 and 65535"
	}
	return ""
}
