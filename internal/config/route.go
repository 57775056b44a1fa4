package config

import "net/netip"

// Route says which requests it takes and what happens to them: exactly one of
// `targets`, `upstream`, `redirect` and `respond`.
//
//	routes:
//	  - name: users
//	    hosts: [api.example.com, "*.example.org"]
//	    path: /api/v1/*
//	    methods: [GET, POST]
//	    targets: [{url: "http://127.0.0.1:3000"}]
//	    strip_prefix: /api
//	    headers:
//	      request: {set: {X-Client: "${client_ip}"}}
//	  - path: /old/*
//	    redirect: {path: /new, code: 301}
type Route struct {
	// Name identifies the route in metrics, logs and problems: at most 128
	// bytes, without spaces, quotes, backslashes and control characters.
	// Absent, it is the first host and the path, with `#2`, `#3` and so on
	// where that is taken.
	Name string `yaml:"name"`

	// Hosts lists host names, exact or with a wildcard first label
	// (`*.example.org`). Absent, every host matches.
	Hosts []string `yaml:"hosts"`

	// Path is `/exact`, `/prefix/*` (which also matches `/prefix`),
	// `/users/{id}` with parameters that take one segment each,
	// `/files/{rest...}` with a parameter that takes all that is left, or `~`
	// and a regular expression (RE2) that the whole path must match and whose
	// named groups are parameters.
	Path string `yaml:"path" required:"true"`

	// Methods lists the methods. Absent, every method matches; `GET` includes
	// `HEAD`.
	Methods []string `yaml:"methods"`

	// Match asks for more than host, path and method.
	Match Match `yaml:"match"`

	// Priority puts a route before every route of lower priority that also
	// matches. Among equals the most specific route wins.
	Priority int `yaml:"priority" default:"0" min:"-1000000" max:"1000000"`

	// Targets lists servers for this route alone.
	Targets []Target `yaml:"targets"`

	// Balance chooses among `targets`.
	Balance *Balance `yaml:"balance"`

	// HealthCheck probes `targets`.
	HealthCheck *HealthCheck `yaml:"health_check"`

	// Upstream names an entry of `upstreams`.
	Upstream string `yaml:"upstream"`

	// Redirect answers with another location.
	Redirect *Redirect `yaml:"redirect"`

	// Respond answers with a fixed response.
	Respond *Respond `yaml:"respond"`

	// StripPrefix is removed from the start of the path before it is sent on,
	// and before `rewrite` sees it. It must be a prefix of the path's literal part, on a segment boundary.
	StripPrefix string `yaml:"strip_prefix"`

	// Rewrite replaces the path before it is sent on.
	Rewrite *Rewrite `yaml:"rewrite"`

	// EncodedSlashes says what to do with `%2F` and `%5C` in a path: `reject`
	// answers 400, `keep` leaves them encoded, within their segment.
	EncodedSlashes string `yaml:"encoded_slashes" default:"reject" enum:"reject,keep"`

	// UpstreamHost is the Host to send: `preserve` the client's, `target` for
	// the target's own, or a literal name.
	UpstreamHost string `yaml:"upstream_host" default:"preserve"`

	// Timeout bounds the whole request, retries and body included. 0 means no
	// limit, so that streams live as long as they flow.
	Timeout Duration `yaml:"timeout" default:"0s"`

	// MaxBodySize bounds the body of a request, in place of
	// `server.max_body_size`. 0 means no limit.
	MaxBodySize *Size `yaml:"max_body_size"`

	// MaxInFlight bounds the requests of this route that are under way at one
	// time; further ones are answered 503. 0 means no limit.
	MaxInFlight int `yaml:"max_in_flight" default:"0" min:"0" max:"10000000"`

	// DeadlineHeader names a request header in which clients may ask for a time
	// limit shorter than `timeout`: seconds, such as `1.5`, or a duration, such
	// as `800ms`. The upstream gets it with what is left. Absent, clients cannot
	// ask.
	DeadlineHeader string `yaml:"deadline_header"`

	// Retries sends a request again whose attempt failed.
	Retries Retries `yaml:"retries"`

	// Hedge makes a second attempt when the first is slow. Absent, none is made.
	Hedge *Hedge `yaml:"hedge"`

	// Fallback answers requests whose upstream cannot. Absent, they get the error.
	Fallback *Fallback `yaml:"fallback"`

	// Upgrades lists the protocols that a request may switch its connection to,
	// in lower case: `websocket`, or others such as `irc/6.9`. Requests for
	// protocols that are not listed are forwarded without the wish. `[]` allows
	// none.
	Upgrades []string `yaml:"upgrades" default:"websocket"`

	// UpgradeIdleTimeout ends a connection that has switched protocols once
	// nothing was sent either way for so long. 0 means no limit.
	UpgradeIdleTimeout Duration `yaml:"upgrade_idle_timeout" default:"5m"`

	// UpgradeMaxDuration ends a connection that has switched protocols after
	// so long, whatever is sent. 0 means no limit. `timeout` ends with the
	// switch.
	UpgradeMaxDuration Duration `yaml:"upgrade_max_duration" default:"0s"`

	// Headers changes headers on the way.
	Headers Headers `yaml:"headers"`

	// CORS answers cross-origin requests of browsers. It wins over the `cors`
	// plugin.
	CORS *CORS `yaml:"cors"`

	// Auth asks who calls. Absent, everybody may.
	Auth *Auth `yaml:"auth"`

	// RateLimit bounds how often requests may come. It wins over the
	// `rate-limiter` plugin.
	RateLimit *RateLimit `yaml:"rate_limit"`

	// Origin is where the route was written.
	Origin Origin `yaml:"-"`
}

// Match asks for more than host, path and method. All of it must hold.
//
//	routes:
//	  - path: /api/*
//	    match:
//	      headers: [{name: X-Canary, exact: "1"}]
//	      cookies: [{name: staff, present: true}]
//	      client_cidrs: [10.0.0.0/8]
//	    targets: [{url: "http://127.0.0.1:3001"}]
type Match struct {
	// Headers lists conditions on request headers.
	Headers []Predicate `yaml:"headers"`

	// Queries lists conditions on query parameters.
	Queries []Predicate `yaml:"queries"`

	// Cookies lists conditions on cookies.
	Cookies []Predicate `yaml:"cookies"`

	// ClientCIDRs lists networks, one of which must hold the client's address.
	ClientCIDRs []netip.Prefix `yaml:"client_cidrs"`

	// NotClientCIDRs lists networks, none of which may hold the client's
	// address. With `client_cidrs` it makes exceptions.
	NotClientCIDRs []netip.Prefix `yaml:"not_client_cidrs"`
}

// Predicate is a condition on one named value: exactly one of `exact`,
// `prefix`, `regex` and `present`.
type Predicate struct {
	// Name is the header, query parameter or cookie.
	Name string `yaml:"name" required:"true"`

	// Exact is the whole value; it may be empty.
	Exact *string `yaml:"exact"`

	// Prefix is the start of the value.
	Prefix string `yaml:"prefix"`

	// Regex is a regular expression (RE2) that must match the whole value.
	Regex string `yaml:"regex"`

	// Present asks only that the name is there.
	Present bool `yaml:"present" default:"false"`

	// Invert turns the condition around.
	Invert bool `yaml:"invert" default:"false"`
}

// Redirect answers with another location. What is absent stays as the client
// asked for it.
type Redirect struct {
	// Scheme is the location's scheme.
	Scheme string `yaml:"scheme" enum:"http,https"`

	// Host is the location's host.
	Host string `yaml:"host"`

	// Port is the location's port. 0 means the scheme's own when `scheme` or
	// `host` is given, and otherwise the client's.
	Port int `yaml:"port" default:"0" min:"0" max:"65535"`

	// Path is the location's path, a template.
	Path Template `yaml:"path"`

	// Code is the response's status.
	Code int `yaml:"code" default:"302" enum:"301,302,303,307,308"`

	// StripQuery leaves out the query.
	StripQuery bool `yaml:"strip_query" default:"false"`
}

// Respond answers with a fixed response.
//
//	routes:
//	  - path: /robots.txt
//	    respond:
//	      status: 200
//	      body: "User-agent: *\nDisallow: /\n"
type Respond struct {
	// Status is the response's status.
	Status int `yaml:"status" default:"200" min:"200" max:"599"`

	// Headers are the response's headers, as templates.
	Headers map[string]Template `yaml:"headers"`

	// Body is sent as it stands.
	Body string `yaml:"body"`

	// ContentType is sent when there is a body.
	ContentType string `yaml:"content_type" default:"text/plain; charset=utf-8"`
}

// Rewrite replaces the path before it is sent on: `path`, or `regex` with
// `replacement`. The query stays.
//
//	routes:
//	  - path: /users/{id}/posts
//	    rewrite: {path: "/posts/by/${param.id}"}
//	    targets: [{url: "http://127.0.0.1:3000"}]
type Rewrite struct {
	// Path is the new path, a template that starts with `/`.
	Path Template `yaml:"path"`

	// Regex is a regular expression (RE2) over the path. A path that it does
	// not match is sent on unchanged.
	Regex string `yaml:"regex"`

	// Replacement replaces what `regex` matched; `$1` and `${1}` stand for its
	// groups.
	Replacement string `yaml:"replacement"`
}

// Headers changes headers on the way. Values are templates: `${client_ip}`,
// `${client_net}` (the client's IPv4 address, or the /64 of its IPv6 address),
// `${request_id}`, `${host}`, `${method}`, `${path}`, `${query}`, `${scheme}`,
// `${route}`, `${identity}` and `${claim.PATH}` of an authenticated caller, `${param.NAME}`, `${header.NAME}`, `${query.NAME}` and
// `${cookie.NAME}`, all of the request. A `$${` stands for a literal `${`.
type Headers struct {
	// Request changes the request to the upstream.
	Request HeaderOps `yaml:"request"`

	// Response changes the response to the client.
	Response HeaderOps `yaml:"response"`
}

// HeaderOps changes headers: first `remove`, then `set`, then `add`.
type HeaderOps struct {
	// Set replaces headers, whether or not they are there.
	Set map[string]Template `yaml:"set"`

	// Add adds headers beside those that are there.
	Add map[string]Template `yaml:"add"`

	// Remove lists headers to remove.
	Remove []string `yaml:"remove"`
}

// CORS answers cross-origin requests of browsers (the CORS protocol of the
// Fetch standard). Preflights are answered by the gateway.
//
//	routes:
//	  - path: /api/*
//	    targets: [{url: "http://127.0.0.1:3000"}]
//	    cors:
//	      allowed_origins: ["https://*.example.com", "~^https://pr-[0-9]+\\.example\\.net$"]
//	      allow_credentials: true
type CORS struct {
	// AllowedOrigins lists origins: exact, with one wildcard label
	// (`https://*.example.com`), `*` for all, or `~` and a regular expression
	// (RE2) that the whole origin must match.
	AllowedOrigins []string `yaml:"allowed_origins" required:"true"`

	// AllowedMethods lists the methods a preflight allows.
	AllowedMethods []string `yaml:"allowed_methods" default:"GET,HEAD,POST"`

	// AllowedHeaders lists the request headers a preflight allows beyond those
	// that need no permission. `*` allows all.
	AllowedHeaders []string `yaml:"allowed_headers"`

	// ExposedHeaders lists the response headers that scripts may read.
	ExposedHeaders []string `yaml:"exposed_headers"`

	// AllowCredentials allows cookies and authorization. It excludes the
	// origin `*`.
	AllowCredentials bool `yaml:"allow_credentials" default:"false"`

	// MaxAge is how long a browser may remember a preflight. 0 forbids it.
	MaxAge Duration `yaml:"max_age" default:"10m"`

	// AllowPrivateNetwork answers preflights that ask to reach a private
	// network from a public page.
	AllowPrivateNetwork bool `yaml:"allow_private_network" default:"false"`
}
