package config

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strconv"
	"strings"
)

// Auth asks who calls before a request goes on. Requests without valid credentials
// are answered 401, those that may not do what they ask for 403.
// [authentication.md](authentication.md) explains it.
//
//	routes:
//	  - path: /api/*
//	    targets: [{url: "http://127.0.0.1:3000"}]
//	    auth: {type: jwt, secret: "an example of 32 bytes or more ..."}
//	  - path: /orders/*
//	    targets: [{url: "http://127.0.0.1:3000"}]
//	    auth:
//	      type: jwt
//	      issuer: https://login.example.com/
//	      jwks_url: https://login.example.com/keys
//	      audiences: [orders]
//	      scopes: {all: [orders.read]}
//	      claims: [{path: realm_access.roles, any: [clerk, admin]}]
//	    headers:
//	      request: {set: {X-User: "${identity}", X-Tenant: "${claim.tenant}"}}
type Auth struct {
	// Type is how callers are known: `jwt` by a signed token (RFC 7519).
	Type string `yaml:"type" enum:"jwt" required:"true"`

	// Secret is the key of tokens that are signed with a shared secret (HS256, HS384,
	// HS512). `VELOCITY_JWT_SECRET` stands in for a key that is not given.
	Secret Secret `yaml:"secret"`

	// SecretFile names a file that holds the secret; a newline at its end is dropped.
	SecretFile string `yaml:"secret_file"`

	// PublicKeyFile is a PEM file with the public key, or a certificate, of who signs.
	PublicKeyFile string `yaml:"public_key_file"`

	// JWKSFile is a file with a set of keys (RFC 7517).
	JWKSFile string `yaml:"jwks_file"`

	// JWKSURL is where a set of keys is fetched from, and again as it ages or when a
	// token names a key that is not in it. Keys stay known while it cannot be had, for
	// `max_stale`.
	JWKSURL string `yaml:"jwks_url"`

	// Discover asks the issuer (OpenID Connect Discovery) where its keys are.
	Discover bool `yaml:"discover" default:"false"`

	// Issuer is what the token's `iss` must be. Absent, it is not looked at.
	Issuer string `yaml:"issuer"`

	// Audiences lists what the token may be for: `aud` must hold one of them. Absent,
	// it is not looked at.
	Audiences []string `yaml:"audiences"`

	// Algorithms lists the signatures that are accepted. Absent, those that the kind of
	// key is made for. The token itself has no say in it.
	Algorithms []string `yaml:"algorithms" enum:"HS256,HS384,HS512,RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA"`

	// Leeway is how far clocks may be apart when `exp`, `nbf` and `iat` are looked at.
	Leeway Duration `yaml:"leeway" default:"30s"`

	// RequireExpiry refuses tokens without `exp`.
	RequireExpiry bool `yaml:"require_expiry" default:"true"`

	// Scopes says which of the token's scopes are needed; without them the answer is
	// 403.
	Scopes NeededScopes `yaml:"scopes"`

	// Claims lists what else the token must say; otherwise the answer is 403.
	Claims []NeededClaim `yaml:"claims"`

	// Header is the field that carries the token, as `Bearer` and the token if it is
	// `Authorization`, else the token alone.
	Header string `yaml:"header" default:"Authorization"`

	// Cookie is a cookie that carries the token instead.
	Cookie string `yaml:"cookie"`

	// Query is a query parameter that carries it instead. Addresses are logged and
	// kept in histories, so prefer a header.
	Query string `yaml:"query"`

	// KeepToken passes the header with the token on to the upstream.
	KeepToken bool `yaml:"keep_token" default:"true"`

	// MaxStale is how long keys of `jwks_url` are believed that could not be fetched
	// again. After that the answer is 503.
	MaxStale Duration `yaml:"max_stale" default:"24h" min:"10m"`
}

// NeededScopes says which scopes are needed.
type NeededScopes struct {
	// All lists scopes that are all needed.
	All []string `yaml:"all"`

	// Any lists scopes of which one is needed.
	Any []string `yaml:"any"`
}

// NeededClaim is something that a token must say.
type NeededClaim struct {
	// Path leads to the claim: its name, or names with dots between them.
	Path string `yaml:"path" required:"true"`

	// Any lists values of which the claim must have one, or hold one if it is a list.
	Any []string `yaml:"any"`

	// All lists values that it must all hold.
	All []string `yaml:"all"`
}

func (a *Auth) check(s scope) {
	var keys []string
	for _, key := range []string{"secret", "secret_file", "public_key_file", "jwks_file", "jwks_url", "discover"} {
		if s.has(key) {
			keys = append(keys, key)
		}
	}
	if len(keys) > 1 {
		s.problem(keys[1], "only one kind of key may be given, and %s is", keys[0])
	}
	if a.SecretFile != "" {
		a.Secret = readSecret(s, "secret_file", &a.SecretFile)
	}
	a.checkFiles(s)
	if a.JWKSURL != "" {
		checkSourceURL(s, "jwks_url", a.JWKSURL)
	}
	if a.Discover {
		checkSourceURL(s, "issuer", a.Issuer)
	}
	for _, list := range [...]struct {
		key    string
		scopes []string
	}{{"scopes.all", a.Scopes.All}, {"scopes.any", a.Scopes.Any}} {
		for i, name := range list.scopes {
			if !isScope(name) {
				s.problem(list.key+"["+strconv.Itoa(i)+"]", "%q is not a scope (RFC 6749 section 3.3)", name)
			}
		}
	}
	for i, c := range a.Claims {
		if c.Path != "" && len(c.Any)+len(c.All) == 0 {
			s.problem("claims["+strconv.Itoa(i)+"]", "needs any or all")
		}
	}
	if !isToken(a.Header) {
		s.problem("header", "%q is not a header name", a.Header)
	}
	if s.has("cookie") && !isToken(a.Cookie) {
		s.problem("cookie", "%q is not a cookie name", a.Cookie)
	}
}

// isScope reports whether text can be a scope: visible characters, but no quote and
// no backslash.
func isScope(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return text != ""
}

func (a *Auth) checkFiles(s scope) {
	if a.PublicKeyFile != "" {
		data := readNamed(s, "public_key_file", &a.PublicKeyFile)
		if block, _ := pem.Decode(data); data != nil && block == nil {
			s.problem("public_key_file", "%s holds no PEM block", a.PublicKeyFile)
		} else if block != nil {
			_, keyErr := x509.ParsePKIXPublicKey(block.Bytes)
			_, certErr := x509.ParseCertificate(block.Bytes)
			_, rsaErr := x509.ParsePKCS1PublicKey(block.Bytes)
			if keyErr != nil && certErr != nil && rsaErr != nil {
				s.problem("public_key_file", "%s holds neither a public key nor a certificate", a.PublicKeyFile)
			}
		}
	}
	if a.JWKSFile != "" {
		if data := readNamed(s, "jwks_file", &a.JWKSFile); data != nil && !json.Valid(data) {
			s.problem("jwks_file", "%s is not JSON", a.JWKSFile)
		}
	}
}

// hasKey reports whether the section itself names a key.
func (a *Auth) hasKey() bool {
	return a.Secret != "" || a.SecretFile != "" || a.PublicKeyFile != "" || a.JWKSFile != "" || a.JWKSURL != "" || a.Discover
}

// completeAuth gives the environment's secret to sections that name no key.
func (l *loader) completeAuth() {
	secret := Secret(l.env.values["VELOCITY_JWT_SECRET"])
	for i := range l.config.Routes {
		r := &l.config.Routes[i]
		if r.Auth == nil || r.Auth.hasKey() {
			continue
		}
		if r.Auth.Secret = secret; secret == "" {
			l.problems = append(l.problems, r.Origin.at("auth", "needs secret, secret_file, public_key_file, jwks_file, jwks_url or discover", false))
		}
	}
}

// callerTemplates are templates that a route uses, and where they are if they are not
// its own.
type callerTemplates struct {
	place string // empty for the route itself
	list  []Template
}

// callerTemplates lists all templates that see the requests of a route. Those of its
// upstreams and of plugins count for it too.
func (c *Config) callerTemplates(r *Route) []callerTemplates {
	var own []Template
	headers := func(values map[string]Template) {
		for _, t := range values {
			own = append(own, t)
		}
	}
	for _, ops := range []*HeaderOps{&r.Headers.Request, &r.Headers.Response} {
		headers(ops.Set)
		headers(ops.Add)
	}
	upstreams := []string{r.Upstream}
	if f := r.Fallback; f != nil {
		upstreams = append(upstreams, f.Upstream)
		if f.Respond != nil {
			headers(f.Respond.Headers)
		}
	}
	if r.Respond != nil {
		headers(r.Respond.Headers)
	}
	if r.Balance != nil {
		own = append(own, r.Balance.HashOn)
	}
	if r.Rewrite != nil {
		own = append(own, r.Rewrite.Path)
	}
	if r.Redirect != nil {
		own = append(own, r.Redirect.Path)
	}
	if r.RateLimit != nil {
		own = append(own, r.RateLimit.templates()...)
	}
	slices.Sort(own) // maps have no order
	out := []callerTemplates{{"", own}}
	for i := range c.Upstreams {
		if u := &c.Upstreams[i]; u.Name != "" && slices.Contains(upstreams, u.Name) {
			out = append(out, callerTemplates{"upstream " + strconv.Quote(u.Name), []Template{u.Balance.HashOn}})
		}
	}
	for i := range c.Plugins {
		if p := &c.Plugins[i]; p.Enabled && p.Config.RateLimit != nil && r.RateLimit == nil {
			out = append(out, callerTemplates{"plugin " + strconv.Quote(p.Name), p.Config.RateLimit.templates()})
		}
	}
	return out
}

func (r *RateLimit) templates() []Template { return []Template{r.Key, r.Plan, r.Cost} }

// checkCallers reports templates that ask for a caller whom nobody asked who they are:
// all such requests would share one limit, or one server.
func (l *loader) checkCallers() {
	for i := range l.config.Routes {
		r := &l.config.Routes[i]
		if r.Auth != nil {
			continue
		}
		for _, from := range l.config.callerTemplates(r) {
			name := callerVariable(from.list)
			if name == "" {
				continue
			}
			message := "uses ${" + name + "} without auth, which alone knows it"
			if from.place != "" {
				message = from.place + " " + message
			}
			l.problems = append(l.problems, r.Origin.at("", message, false))
		}
	}
}

// callerVariable returns the first variable that only authentication knows, or "".
func callerVariable(templates []Template) string {
	for _, t := range templates {
		for name := range t.variables() {
			if name == "identity" || strings.HasPrefix(name, claimPrefix) {
				return name
			}
		}
	}
	return ""
}

const claimPrefix = "claim."

// AuthClaims lists the claims of callers that the templates of a route use, in a fixed
// order.
func (c *Config) AuthClaims(r *Route) []string {
	var claims []string
	for _, from := range c.callerTemplates(r) {
		for _, t := range from.list {
			for name := range t.variables() {
				if path, ok := strings.CutPrefix(name, claimPrefix); ok {
					claims = append(claims, path)
				}
			}
		}
	}
	slices.Sort(claims)
	return slices.Compact(claims)
}
