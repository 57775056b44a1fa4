package config

import "strings"

// Balance chooses a server for each request. [resilience.md](resilience.md)
// says which algorithm to choose.
//
//	upstreams:
//	  - name: carts
//	    targets: [{url: "http://10.0.0.1:3000"}, {url: "http://10.0.0.2:3000"}]
//	    balance:
//	      algorithm: maglev
//	      hash_on: "${cookie.session}"
//	      max_load: 125
//	routes:
//	  - {path: /carts/*, upstream: carts}
type Balance struct {
	// Algorithm is `p2c` (of two random servers the one that is expected to
	// answer first, by requests in flight and recent latency), `round_robin`
	// (smooth, by weight), `random` (by weight), `least_connections` (the fewest
	// requests in flight by weight), `ring` or `maglev` (the same server for the
	// same `hash_on`), or `first_available` (in the order of the list).
	Algorithm string `yaml:"algorithm" default:"p2c" enum:"p2c,round_robin,random,least_connections,ring,maglev,first_available"`

	// HashOn is what `ring` and `maglev` keep at one server, a template such as
	// `${client_ip}`, `${cookie.session}` or `${header.X-Tenant}/${param.id}`.
	// Requests for which it is empty go to any server.
	HashOn Template `yaml:"hash_on" default:"${client_ip}"`

	// MaxLoad bounds the requests in flight that `ring` and `maglev` give one
	// server, in percent of the mean of all; what is beyond goes to the next
	// server. 0 does not bound them.
	MaxLoad int `yaml:"max_load" default:"0" min:"0" max:"1000"`

	// PreferZone keeps requests in the zone of the gateway, `server.zone`, as far
	// as its servers can carry them.
	PreferZone bool `yaml:"prefer_zone" default:"false"`

	// Overprovision is how much of its servers a priority or zone can do without:
	// at 140 % it carries all requests until fewer than 71 % of it are available,
	// and from then on passes a growing share to the next.
	Overprovision int `yaml:"overprovision" default:"140" min:"100" max:"1000"`

	// PanicThreshold is the least share of servers, in percent, that must be
	// healthy for health to be believed. Below it every server gets requests,
	// healthy or not. At the default, a group of up to ten is panicking when
	// none is left. 0 never does, and answers 503 instead.
	PanicThreshold int `yaml:"panic_threshold" default:"10" min:"0" max:"100"`

	// SlowStart raises the share of a server that is new or has recovered.
	SlowStart SlowStart `yaml:"slow_start"`

	// Sticky binds a client to the server that it was given first, by a cookie.
	// Absent, none is set.
	Sticky *Sticky `yaml:"sticky"`
}

// SlowStart raises the share of a server that is new or has recovered over a
// time, so that it can fill its caches and pools.
type SlowStart struct {
	// Window is how long that takes. 0 gives the whole share at once.
	Window Duration `yaml:"window" default:"0s"`

	// Aggression bends the curve: at 1 the share grows evenly, above it faster at
	// first, below it slower.
	Aggression float64 `yaml:"aggression" default:"1" min:"0.1" max:"10"`

	// MinPercent is the share to begin with, in percent of the whole one.
	MinPercent int `yaml:"min_percent" default:"10" min:"1" max:"100"`
}

// Sticky binds a client to the server that it was given first, by a cookie whose
// value only the gateway can make. It holds as long as the server serves; then
// the client is given another. It survives reloads, and every gateway with the
// same `secret` understands it.
//
//	upstreams:
//	  - name: carts
//	    targets: [{url: "http://10.0.0.1:3000"}, {url: "http://10.0.0.2:3000"}]
//	    balance:
//	      sticky: {secret: "0f0b1c52-the-same-on-all-gateways", secure: true}
//	routes:
//	  - {path: /carts/*, upstream: carts}
type Sticky struct {
	// Cookie is the cookie's name.
	Cookie string `yaml:"cookie" default:"velocity_server"`

	// Secret makes the values. Give `secret` or
	// `secret_file`.
	Secret Secret `yaml:"secret"`

	// SecretFile names a file that holds the secret; a newline at its end is
	// dropped.
	SecretFile string `yaml:"secret_file"`

	// TTL is how long a browser keeps the cookie. 0 keeps it until the browser
	// closes.
	TTL Duration `yaml:"ttl" default:"0s"`

	// Path is the cookie's path.
	Path string `yaml:"path" default:"/"`

	// Domain is the cookie's domain. Absent, the host that was asked.
	Domain string `yaml:"domain"`

	// Secure has the cookie sent over HTTPS only.
	Secure bool `yaml:"secure" default:"false"`

	// HTTPOnly hides the cookie from scripts.
	HTTPOnly bool `yaml:"http_only" default:"true"`

	// SameSite says whether requests that other sites cause carry the cookie.
	// `none` needs `secure`.
	SameSite string `yaml:"same_site" default:"lax" enum:"lax,strict,none"`
}

// minSecretBytes is the least length of a secret that makes signatures.
const minSecretBytes = 16

func (b *Balance) check(s scope) {
	hashes := b.Algorithm == "ring" || b.Algorithm == "maglev"
	for _, key := range []string{"hash_on", "max_load"} {
		if s.has(key) && !hashes {
			s.problem(key, "has no effect with algorithm %s, only with ring and maglev", b.Algorithm)
		}
	}
	if b.MaxLoad != 0 && b.MaxLoad <= 100 {
		s.problem("max_load", "must be above 100, or 0: no server can have less than the mean of all")
	}
}

func (c *Sticky) check(s scope) {
	switch {
	case c.Secret != "" && c.SecretFile != "":
		s.problem("secret_file", "give secret or secret_file, not both")
	case c.SecretFile != "":
		c.Secret = readSecret(s, "secret_file", &c.SecretFile)
	case !s.has("secret"):
		s.problem("", "needs secret or secret_file")
	}
	if c.Secret != "" && len(c.Secret) < minSecretBytes {
		s.warn("secret", "is shorter than %d bytes and may be guessed", minSecretBytes)
	}
	if c.Cookie == "" || !isToken(c.Cookie) {
		s.problem("cookie", "%q is not a cookie name", c.Cookie)
	}
	if !strings.HasPrefix(c.Path, "/") || !isCookieText(c.Path) {
		s.problem("path", "expected a path such as /, got %q", c.Path)
	}
	if c.Domain != "" && !isHostName(strings.TrimPrefix(c.Domain, ".")) {
		s.problem("domain", "%q is not a host name", c.Domain)
	}
	if c.SameSite == "none" && !c.Secure {
		s.problem("same_site", "none needs secure: true; browsers refuse the cookie otherwise")
	}
}

// isCookieText reports whether an attribute of a cookie may be this (RFC 6265
// section 4.1.1).
func isCookieText(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c >= 0x7f || c == ';' })
}
