package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// finish checks and completes what spans files: names and references.
func (l *loader) finish() {
	used := l.resolveUpstreams(l.nameUpstreams())
	for i := range l.config.Upstreams {
		if u := &l.config.Upstreams[i]; u.Name != "" && !used[u.Name] {
			l.problems = append(l.problems, u.Origin.at("", fmt.Sprintf("no route uses upstream %q", u.Name), true))
		}
	}
	l.checkExact()
	l.completeAuth()
	l.checkCallers()
	l.nameRoutes()
	plugins := map[string]Origin{}
	for i := range l.config.Plugins {
		p := &l.config.Plugins[i]
		l.unique(plugins, "name", p.Name, p.Origin)
	}
}

// checkExact reports rules that Redis cannot decide.
func (l *loader) checkExact() {
	r := l.config.Database.Redis
	if r == nil || r.Mode != "exact" {
		return
	}
	check := func(o Origin, field string, limit *RateLimit) {
		if limit != nil && limit.hasLog() {
			l.problems = append(l.problems, o.at(field, "sliding_log cannot be kept with database.redis.mode exact; use sliding_window", false))
		}
	}
	for i := range l.config.Routes {
		check(l.config.Routes[i].Origin, "rate_limit", l.config.Routes[i].RateLimit)
	}
	for i := range l.config.Plugins {
		check(l.config.Plugins[i].Origin, "config", l.config.Plugins[i].Config.RateLimit)
	}
}

// hasLog reports whether a rule remembers each request.
func (r *RateLimit) hasLog() bool {
	rules := slices.Clone(r.All())
	for _, p := range r.Plans {
		rules = append(rules, p.Rules...)
	}
	return slices.ContainsFunc(rules, func(r LimitRule) bool { return r.Algorithm == "sliding_log" && r.Period == "" })
}

// nameUpstreams reports names that are used twice and returns all names.
func (l *loader) nameUpstreams() []string {
	taken := make(map[string]Origin, len(l.config.Upstreams))
	names := make([]string, 0, len(l.config.Upstreams))
	for i := range l.config.Upstreams {
		u := &l.config.Upstreams[i]
		l.unique(taken, "name", u.Name, u.Origin)
		names = append(names, u.Name)
	}
	return names
}

func (l *loader) unique(taken map[string]Origin, field, name string, o Origin) {
	if name == "" {
		return
	}
	if first, ok := taken[name]; ok {
		l.problems = append(l.problems,
			o.at(field, fmt.Sprintf("%q is already used at %s:%d", name, first.File, first.Line), false))
		return
	}
	taken[name] = o
}

// resolveUpstreams reports routes that send to an upstream that does not
// exist, and returns the names that are used.
func (l *loader) resolveUpstreams(names []string) map[string]bool {
	exists := make(map[string]bool, len(names))
	for _, name := range names {
		exists[name] = true
	}
	used := map[string]bool{}
	for i := range l.config.Routes {
		r := &l.config.Routes[i]
		l.resolveUpstream(r, "upstream", r.Upstream, names, exists, used)
		if r.Fallback != nil {
			l.resolveUpstream(r, "fallback.upstream", r.Fallback.Upstream, names, exists, used)
			if r.Upstream != "" && r.Fallback.Upstream == r.Upstream {
				l.problems = append(l.problems, r.Origin.at("fallback.upstream", "is the route's own upstream", false))
			}
		}
	}
	return used
}

func (l *loader) resolveUpstream(r *Route, field, name string, names []string, exists, used map[string]bool) {
	used[name] = true
	if name == "" || exists[name] {
		return
	}
	p := r.Origin.at(field, fmt.Sprintf("no upstream is named %q", name), false)
	p.Suggestion = nearest(name, names)
	used[p.Suggestion] = true
	l.problems = append(l.problems, p)
}

// nameRoutes reports names that are used twice and names the routes that have
// none.
func (l *loader) nameRoutes() {
	taken := make(map[string]Origin, len(l.config.Routes))
	for i := range l.config.Routes {
		r := &l.config.Routes[i]
		l.unique(taken, "name", r.Name, r.Origin)
	}
	next := map[string]int{}
	for i := range l.config.Routes {
		r := &l.config.Routes[i]
		if r.Name != "" {
			continue
		}
		base := derivedName(r)
		r.Name = base
		for {
			if _, used := taken[r.Name]; !used {
				break
			}
			next[base] = max(next[base], 1) + 1
			r.Name = base + "#" + strconv.Itoa(next[base])
		}
		taken[r.Name] = r.Origin
	}
}

// derivedName names a route after its first host and its path.
func derivedName(r *Route) string {
	name := r.Path
	if len(r.Hosts) > 0 {
		name = r.Hosts[0] + name
	}
	name = strings.Map(func(c rune) rune {
		if isNameRune(c) {
			return c
		}
		return '_'
	}, name)
	const room = maxNameBytes - len("#1000000")
	if len(name) > room {
		name = strings.ToValidUTF8(name[:room], "")
	}
	return name
}

// InlineUpstream returns the upstream that a route's own targets amount to, or
// nil when the route has none. Its name is "route:" and the route's name, which
// no entry of `upstreams` can have. What a route cannot set has its default.
func (c *Config) InlineUpstream(route int) *Upstream {
	r := &c.Routes[route]
	if len(r.Targets) == 0 {
		return nil
	}
	u := c.defaultUpstream
	u.Name, u.Targets, u.HealthCheck, u.Origin = "route:"+r.Name, r.Targets, r.HealthCheck, r.Origin
	if r.Balance != nil {
		u.Balance = *r.Balance
	}
	return &u
}
