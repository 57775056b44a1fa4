package gateway

import (
	"errors"
	"maps"
	"net/textproto"
	"slices"
	"strconv"
	"time"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/proxy"
	"github.com/salgue441/velocity/proxy/router"
	"github.com/salgue441/velocity/proxy/transform"
	"github.com/salgue441/velocity/proxy/upstream"
)

// plan is what a configuration becomes: everything made, nothing started and
// nothing changed yet.
type plan struct {
	config    *config.Config
	snapshot  *proxy.Snapshot
	routes    []*proxy.Route // in the order of the configuration
	upstreams []plannedUpstream
	endpoints map[endpointKey]*upstream.Endpoint
	warnings  config.Problems

	limits      []plannedLimit
	limiters    map[limitKey]*limiter.Limiter
	freshLimits []string // rules that begin anew, because they were changed
	verifiers   map[string]*verifier
}

// builder makes a plan.
type builder struct {
	config   *config.Config
	living   living
	registry *telemetry.Registry
	plan     plan
	problems config.Problems
	cors     *proxy.Phase // of the plugin, for routes without their own
	limit    *proxy.Phase // of the plugin, for routes without their own
	// addresses are the living endpoints by upstream and target; made when needed.
	addresses map[[2]string]*upstream.Endpoint
}

// build turns a configuration into a plan. Parts that live on are taken from
// the living table by identity. The error is config.Problems.
func build(c *config.Config, l living, registry *telemetry.Registry) (*plan, error) {
	b := &builder{config: c, living: l, registry: registry}
	b.plan.config = c
	b.plan.endpoints = make(map[endpointKey]*upstream.Endpoint)
	b.plan.limiters = make(map[limitKey]*limiter.Limiter)
	b.plan.verifiers = make(map[string]*verifier)
	b.plan.snapshot = &proxy.Snapshot{
		Trusted: c.Server.TrustedProxies,
		Forwarding: proxy.Forwarding{
			XForwarded: c.Server.Forwarding.XForwarded,
			Forwarded:  c.Server.Forwarding.Forwarded,
			Via:        c.Server.Forwarding.Via,
		},
		RequestIDHeader: c.Server.RequestID.Header,
		KeepRequestID:   c.Server.RequestID.TrustInbound,
		NoRoute:         registry.Route(telemetry.NoRoute),
		MaxHeaders:      c.Server.Headers.MaxCount,
		MaxURIBytes:     int(c.Server.MaxURIBytes),
		Underscores:     underscores(c.Server.Headers.Underscores),
		ReadTimeout:     time.Duration(c.Server.ReadTimeout),
		WriteTimeout:    time.Duration(c.Server.WriteTimeout),
		BodyRate:        rate(c.Server.MinBodyRate, c.Server.RateWindow),
		SendRate:        rate(c.Server.MinSendRate, c.Server.RateWindow),
		MaxInFlight:     c.Server.MaxInFlight,
		MaxRequests:     c.Server.MaxRequestsPerConnection,
		MaxAge:          time.Duration(c.Server.MaxConnectionAge),
	}
	b.buildPlugins()
	named := b.buildUpstreams()
	b.buildRoutes(named)
	b.plan.warnings = append(slices.Clone(c.Warnings), b.problems...)
	for _, p := range b.problems {
		if !p.Warning {
			closeVerifiers(b.plan.verifiers, l.verifiers)
			return nil, b.problems
		}
	}
	return &b.plan, nil
}

func underscores(policy string) proxy.Underscores {
	switch policy {
	case "reject":
		return proxy.RejectUnderscores
	case "keep":
		return proxy.KeepUnderscores
	}
	return proxy.DropUnderscores
}

// rate is what a window of a speed in bytes a second amounts to.
func rate(perSecond config.Size, window config.Duration) proxy.Rate {
	w := time.Duration(window)
	return proxy.Rate{Bytes: int64(float64(perSecond) * w.Seconds()), Window: w}
}

func (b *builder) buildPlugins() {
	for _, p := range b.config.Plugins {
		if !p.Enabled {
			continue
		}
		phase, err := b.buildPlugin(&p)
		switch {
		case err != nil:
			b.problems = append(b.problems, config.Problem{
				File: p.Origin.File, Line: p.Origin.Line, Path: "plugins." + p.Name + ".config", Message: err.Error(),
			})
		case p.Name == "cors":
			b.cors = &phase
		default:
			b.limit = &phase
		}
	}
}

// buildPlugin makes the phase of a plugin.
func (b *builder) buildPlugin(p *config.Plugin) (proxy.Phase, error) {
	if p.Name == "cors" {
		return proxy.NewCORSPhase(corsPolicy(p.Config.CORS))
	}
	l, err := b.buildLimit(pluginLimit, p.Config.RateLimit)
	return proxy.NewRateLimitPhase("rate limit of the plugin", l), err
}

func corsPolicy(c *config.CORS) proxy.CORSPolicy {
	return proxy.CORSPolicy{
		Origins:        c.AllowedOrigins,
		Methods:        c.AllowedMethods,
		Headers:        c.AllowedHeaders,
		Exposed:        c.ExposedHeaders,
		Credentials:    c.AllowCredentials,
		MaxAge:         time.Duration(c.MaxAge),
		PrivateNetwork: c.AllowPrivateNetwork,
	}
}

// buildRoutes compiles the routes and the table over them.
func (b *builder) buildRoutes(named map[string]*config.Upstream) {
	planned := make(map[string]*upstream.Upstream, len(b.plan.upstreams))
	for _, p := range b.plan.upstreams {
		planned[p.upstream.Name()] = p.upstream
	}
	var table router.Builder[*proxy.Route]
	for i := range b.config.Routes {
		c := &b.config.Routes[i]
		route := b.buildRoute(i, c, named, planned)
		b.plan.routes = append(b.plan.routes, route)
		if err := table.Add(pattern(c), route); err != nil {
			b.addPatternProblems(i, err)
		}
	}
	if len(b.problems) > 0 {
		return // indices into the table would not be those of the routes
	}
	t, problems := table.Build()
	for _, p := range problems {
		b.problems = append(b.problems, b.config.ProblemAt(p.Route, "path", p.Message, true))
	}
	b.plan.snapshot.Table = t
}

func (b *builder) addPatternProblems(route int, err error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		b.problems = append(b.problems, b.config.ProblemAt(route, "path", err.Error(), false))
		return
	}
	for _, err := range joined.Unwrap() {
		var fe *router.FieldError
		if errors.As(err, &fe) {
			b.problems = append(b.problems, b.config.ProblemAt(route, fe.Field, fe.Err.Error(), false))
		}
	}
}

func pattern(c *config.Route) router.Pattern {
	return router.Pattern{
		Name:           c.Name,
		Hosts:          c.Hosts,
		Path:           c.Path,
		Methods:        c.Methods,
		Headers:        matchers(c.Match.Headers),
		Queries:        matchers(c.Match.Queries),
		Cookies:        matchers(c.Match.Cookies),
		ClientCIDRs:    c.Match.ClientCIDRs,
		NotClientCIDRs: c.Match.NotClientCIDRs,
		Priority:       c.Priority,
	}
}

func matchers(predicates []config.Predicate) []router.Matcher {
	var out []router.Matcher
	for _, p := range predicates {
		m := router.Matcher{Name: p.Name, Invert: p.Invert}
		switch {
		case p.Exact != nil:
			m.Kind, m.Value = router.Exact, *p.Exact
		case p.Prefix != "":
			m.Kind, m.Value = router.Prefix, p.Prefix
		case p.Regex != "":
			m.Kind, m.Value = router.Regex, p.Regex
		default:
			m.Kind = router.Present
		}
		out = append(out, m)
	}
	return out
}

// buildRoute compiles one route.
func (b *builder) buildRoute(i int, c *config.Route, named map[string]*config.Upstream, planned map[string]*upstream.Upstream) *proxy.Route {
	problem := func(field string, err error) {
		b.problems = append(b.problems, b.config.ProblemAt(i, field, err.Error(), false))
	}
	r := &proxy.Route{
		Name:               c.Name,
		Metrics:            b.registry.Route(c.Name),
		KeepEncodedSlashes: c.EncodedSlashes == "keep",
		Claims:             claims(c),
		Timeout:            time.Duration(c.Timeout),
		MaxBodySize:        int64(b.config.Server.MaxBodySize),
		DeadlineField:      textproto.CanonicalMIMEHeaderKey(c.DeadlineHeader),
		MaxInFlight:        c.MaxInFlight,
		InFlight:           b.living.inFlight[c.Name],
		Retry:              retryPolicy(&c.Retries),
		Upgrade: proxy.UpgradePolicy{
			Protocols:   c.Upgrades,
			IdleTimeout: time.Duration(c.UpgradeIdleTimeout),
			MaxDuration: time.Duration(c.UpgradeMaxDuration),
		},
	}
	if c.MaxBodySize != nil {
		r.MaxBodySize = int64(*c.MaxBodySize)
	}
	if r.InFlight == nil {
		r.InFlight = new(proxy.InFlight)
	}
	switch c.UpstreamHost {
	case "preserve":
	case "target":
		r.TargetHost = true
	default:
		r.UpstreamHost = []byte(c.UpstreamHost)
	}
	var err error
	if r.Hedge, err = hedgePolicy(c.Hedge); err != nil {
		problem("hedge.after", err)
	}
	spec := transform.RewriteSpec{StripPrefix: c.StripPrefix}
	if c.Rewrite != nil {
		spec.Template, spec.Pattern, spec.Replacement = string(c.Rewrite.Path), c.Rewrite.Regex, c.Rewrite.Replacement
	}
	if r.Rewrite, err = transform.CompileRewrite(spec); err != nil {
		problem("rewrite", err)
	}
	b.buildPhases(c, r, problem)

	switch {
	case c.Redirect != nil:
		r.Answer = b.buildRedirect(c.Redirect, problem)
	case c.Respond != nil:
		r.Answer = b.buildRespond(c.Respond, problem)
	case c.Upstream != "":
		if up := named[c.Upstream]; up != nil {
			r.Destination = destination(up, planned[c.Upstream])
		}
	default:
		up := b.config.InlineUpstream(i)
		r.Destination = destination(up, b.buildUpstream(up, func(field, message string) { problem(field, errors.New(message)) }))
	}
	if c.Fallback != nil {
		r.Fallback = b.buildFallback(c.Fallback, named, planned, problem)
	}
	return r
}

func (b *builder) buildFallback(c *config.Fallback, named map[string]*config.Upstream, planned map[string]*upstream.Upstream, problem func(string, error)) *proxy.Fallback {
	f := new(proxy.Fallback)
	for _, e := range proxy.Errors() {
		if slices.Contains(c.On, e.Code) {
			f.On = append(f.On, e)
		}
	}
	if c.Respond != nil {
		f.Answer = b.buildRespond(c.Respond, problem)
	} else if up := named[c.Upstream]; up != nil {
		f.Destination = destination(up, planned[c.Upstream])
	}
	return f
}

func (b *builder) buildPhases(c *config.Route, r *proxy.Route, problem func(string, error)) {
	var phases []proxy.Phase
	switch {
	case c.CORS != nil:
		phase, err := proxy.NewCORSPhase(corsPolicy(c.CORS))
		if err != nil {
			problem("cors", err)
		}
		phases, r.CORS = append(phases, phase), true
	case b.cors != nil:
		phases, r.CORS = append(phases, *b.cors), true
	}
	if c.Auth != nil {
		a, err := b.buildAuth(c.Auth, b.plan.config.AuthClaims(c))
		if err != nil {
			problem("auth", err)
		} else {
			phases = append(phases, proxy.NewTokenAuthPhase("velocity", a))
		}
	}
	switch {
	case c.RateLimit != nil:
		l, err := b.buildLimit(routeLimit(c.Name), c.RateLimit)
		if err != nil {
			problem("rate_limit", err)
		} else {
			b.noteLimit(routeLimit(c.Name), c.Name)
			phases = append(phases, proxy.NewRateLimitPhase("rate limit", l))
		}
	case b.limit != nil:
		b.noteLimit(pluginLimit, c.Name)
		phases = append(phases, *b.limit)
	}
	request, err := transform.Compile(headerOps(&c.Headers.Request))
	if err != nil {
		problem("headers.request", err)
	}
	response, err := transform.Compile(headerOps(&c.Headers.Response))
	if err != nil {
		problem("headers.response", err)
	}
	if !request.Empty() || !response.Empty() {
		phases = append(phases, proxy.NewHeaderPhase(request, response))
	}
	r.SetPhases(phases)
}

// headerOps orders the edits by name, since YAML maps have no order.
func headerOps(h *config.HeaderOps) []transform.Op {
	var ops []transform.Op
	for _, name := range h.Remove {
		ops = append(ops, transform.Op{Verb: transform.Remove, Name: name})
	}
	ops = append(ops, templateOps(transform.Set, h.Set)...)
	return append(ops, templateOps(transform.Add, h.Add)...)
}

func templateOps(verb transform.Verb, values map[string]config.Template) []transform.Op {
	var ops []transform.Op
	for _, name := range slices.Sorted(maps.Keys(values)) {
		ops = append(ops, transform.Op{Verb: verb, Name: name, Value: string(values[name])})
	}
	return ops
}

func (b *builder) buildRedirect(c *config.Redirect, problem func(string, error)) proxy.Answer {
	a := &proxy.Redirect{Code: c.Code, Scheme: c.Scheme, Host: c.Host, Port: c.Port, StripQuery: c.StripQuery}
	if c.Path != "" {
		t, err := transform.ParseTemplate(string(c.Path))
		if err != nil {
			problem("redirect.path", err)
		}
		a.Path = &t
	}
	return a
}

func (b *builder) buildRespond(c *config.Respond, problem func(string, error)) proxy.Answer {
	program, err := transform.Compile(templateOps(transform.Set, c.Headers))
	if err != nil {
		problem("respond.headers", err)
	}
	return &proxy.FixedResponse{Status: c.Status, ContentType: c.ContentType, Body: []byte(c.Body), Headers: program}
}

// describe is a route as the management API shows it.
func describe(c *config.Route, r *proxy.Route) admin.Route {
	v := admin.Route{
		Name: c.Name, Origin: origin(c.Origin), Hosts: c.Hosts, Path: c.Path, Methods: c.Methods,
		Predicates: predicates(&c.Match), Priority: c.Priority, Action: action(c, r), Phases: phaseNames(r),
	}
	return v
}

func action(c *config.Route, r *proxy.Route) admin.Action {
	switch {
	case c.Redirect != nil:
		return admin.Action{Type: "redirect", Status: c.Redirect.Code, Location: location(c.Redirect)}
	case c.Respond != nil:
		return admin.Action{Type: "respond", Status: c.Respond.Status}
	}
	return admin.Action{Type: "forward", Upstream: r.Upstream.Name()}
}

func location(c *config.Redirect) string {
	s := ""
	if c.Scheme != "" || c.Host != "" || c.Port != 0 {
		s = cmpOr(c.Scheme, "${scheme}") + "://" + cmpOr(c.Host, "${host}")
		if c.Port != 0 {
			s += ":" + strconv.Itoa(c.Port)
		}
	}
	return s + cmpOr(string(c.Path), "${path}")
}

// origin is where an entry was written, as compilers say it.
func origin(o config.Origin) string { return o.File + ":" + strconv.Itoa(o.Line) }

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// phaseNames lists what a request meets, in order, as explain prints it.
func phaseNames(r *proxy.Route) []string {
	names := []string{}
	for _, p := range r.Phases() {
		names = append(names, p.Slot.String()+": "+p.Name)
	}
	if !r.Rewrite.Empty() {
		names = append(names, "shape: path")
	}
	if r.Answer != nil {
		return append(names, "answer")
	}
	names = append(names, "forward: "+r.Upstream.Name())
	switch f := r.Fallback; {
	case f == nil:
	case f.Answer != nil:
		names = append(names, "fallback: answer")
	default:
		names = append(names, "fallback: "+f.Destination.Upstream.Name())
	}
	return names
}

// predicates puts the conditions of a route in words.
func predicates(m *config.Match) []string {
	words := []string{}
	add := func(what string, list []config.Predicate) {
		for _, p := range list {
			not := ""
			if p.Invert {
				not = "not "
			}
			switch {
			case p.Exact != nil:
				words = append(words, not+what+" "+p.Name+" is "+strconv.Quote(*p.Exact))
			case p.Prefix != "":
				words = append(words, not+what+" "+p.Name+" begins with "+strconv.Quote(p.Prefix))
			case p.Regex != "":
				words = append(words, not+what+" "+p.Name+" matches "+strconv.Quote(p.Regex))
			default:
				words = append(words, not+what+" "+p.Name+" is present")
			}
		}
	}
	add("header", m.Headers)
	add("query", m.Queries)
	add("cookie", m.Cookies)
	for _, c := range m.ClientCIDRs {
		words = append(words, "client in "+c.String())
	}
	for _, c := range m.NotClientCIDRs {
		words = append(words, "client not in "+c.String())
	}
	return words
}
