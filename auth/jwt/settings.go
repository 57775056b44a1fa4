package jwt

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Settings say which tokens are accepted. Exactly one source of keys is given:
// Secret, PEM, JWKS, JWKSURL or Discover.
type Settings struct {
	// Algorithms that are allowed: HS256 HS384 HS512 RS256 RS384 RS512 PS256
	// PS384 PS512 ES256 ES384 ES512 EdDSA. Empty: those that fit each key, for
	// a secret HS256 only.
	Algorithms []string

	// Secret is an HMAC key, at least as long as the hash (RFC 7518, 3.2).
	Secret []byte
	// PEM is one or more public keys or certificates: RSA of at least 2048
	// bits, EC on P-256, P-384 or P-521, or Ed25519.
	PEM []byte
	// JWKS is a JSON Web Key Set (RFC 7517).
	JWKS []byte
	// JWKSURL is where a key set is fetched, again and again. Symmetric keys in
	// it are ignored: a published secret is none.
	JWKSURL string
	// Issuer is where the key set's address is found if Discover is set, at
	// Issuer/.well-known/openid-configuration. If Issuers is empty, tokens must
	// come from it.
	Issuer   string
	Discover bool

	// Issuers and Audiences, if not empty, must have the token's iss, and one of
	// its aud.
	Issuers, Audiences []string
	// Leeway is how far clocks may differ when exp, nbf and iat are looked at.
	// 0 is 30 s, negative is none.
	Leeway time.Duration
	// AllowNoExp accepts tokens without exp, which are valid until their key is
	// gone.
	AllowNoExp bool
	// Required are claims that a token must have.
	Required []ClaimRule
	// Scopes are what the caller must be granted; otherwise auth.ErrScope.
	Scopes ScopeRule
	// Extract are the paths of claims for auth.Identity.Values. Text, numbers
	// and booleans are given as text, a list of them joined with commas.
	Extract []string

	// MaxTokenBytes is the longest token that is looked at. 0 is 8 KiB.
	MaxTokenBytes int
	// CacheSize is how many verified tokens are kept, rounded up to a power of
	// two of at least 8. 0 is 10,000, negative is none. An entry takes the
	// token's size and about 300 bytes.
	CacheSize int

	// Refresh is the longest time between two fetches of the key set; a shorter
	// max-age of the answer is honoured down to MinRefresh. 0 is 10 min.
	Refresh time.Duration
	// MinRefresh is the shortest time between a fetch and one for a key that
	// the set does not have. 0 is 10 s.
	MinRefresh time.Duration
	// MaxStale is how long fetched keys are used while fetches fail, counted
	// from the last that succeeded. 0 is 24 h.
	MaxStale time.Duration
	// Timeout is for one fetch, redirects and all, and is how long Verify waits
	// for a key it does not have. 0 is 5 s.
	Timeout time.Duration
	// HTTPClient fetches; nil is an own one. Its CheckRedirect is not used.
	HTTPClient *http.Client

	// Now is the clock of the refresh; nil is time.Now.
	Now func() time.Time
}

// ClaimRule is what one claim must be. Any, All and Exact look at the claim as
// text, or at each item if it is a list; a text is also taken as words between
// spaces for Any and All. Without them the claim must be there and not null.
//
// An absent claim, and one that is not Exact, is auth.ErrClaims. Any and All are
// about what the caller may do, so failing them is auth.ErrScope, also if the
// claim is absent.
type ClaimRule struct {
	// Path is a claim's name, or names with dots between for nested ones:
	// "realm_access.roles". Names that contain dots themselves are found too.
	Path string
	// Any: one of these. All: each of these. Exact: this alone ("" is no rule).
	Any, All []string
	Exact    string
}

// ScopeRule is which scopes are needed: one of Any if it is not empty, and each
// of All.
type ScopeRule struct{ Any, All []string }

// withDefaults returns the settings with every zero replaced.
func (s Settings) withDefaults() Settings {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&s.Leeway, 30*time.Second)
	s.Leeway = max(s.Leeway, 0)
	def(&s.Refresh, 10*time.Minute)
	def(&s.MinRefresh, min(10*time.Second, s.Refresh))
	def(&s.MaxStale, max(24*time.Hour, s.Refresh))
	def(&s.Timeout, 5*time.Second)
	if s.MaxTokenBytes == 0 {
		s.MaxTokenBytes = 8 << 10
	}
	if s.CacheSize == 0 {
		s.CacheSize = 10_000
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if len(s.Issuers) == 0 && s.Issuer != "" {
		s.Issuers = []string{s.Issuer}
	}
	return s
}

// validate returns every problem of settings that have their defaults, save
// those of the keys.
func (s *Settings) validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, name := range s.Algorithms {
		if algorithmNamed(name) == nil {
			bad("algorithm %q is not one of %s", name, algorithmNames())
		}
	}
	sources := 0
	for _, given := range []bool{len(s.Secret) > 0, len(s.PEM) > 0, len(s.JWKS) > 0, s.JWKSURL != "", s.Discover} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		bad("exactly one source of keys is needed (a secret, PEM, a key set, its URL, or discovery), not %d", sources)
	}
	if s.JWKSURL != "" {
		errs = append(errs, checkURL("key set URL", s.JWKSURL)...)
	}
	if s.Discover {
		errs = append(errs, checkURL("issuer", s.Issuer)...)
	}
	if s.MaxTokenBytes < 0 || s.MaxTokenBytes > 1<<20 {
		bad("the longest token is %d bytes, not between 1 and 1 MiB", s.MaxTokenBytes)
	}
	if s.CacheSize > 1<<24 {
		bad("a cache of %d tokens is larger than 16,777,216", s.CacheSize)
	}
	if s.MinRefresh < 0 || s.Refresh < s.MinRefresh {
		bad("refresh %v is shorter than its minimum %v", s.Refresh, s.MinRefresh)
	}
	if s.MaxStale < s.Refresh {
		bad("keys are too old after %v, sooner than they are refreshed (%v)", s.MaxStale, s.Refresh)
	}
	if s.Timeout < 0 {
		bad("timeout %v is negative", s.Timeout)
	}
	return append(errs, s.validateRules()...)
}

func (s *Settings) validateRules() []error {
	var errs []error
	blank := func(what string, list []string) {
		if slices.Contains(list, "") {
			errs = append(errs, fmt.Errorf("%s has an empty entry", what))
		}
	}
	blank("issuers", s.Issuers)
	blank("audiences", s.Audiences)
	blank("extract", s.Extract)
	blank("scopes", s.Scopes.Any)
	blank("scopes", s.Scopes.All)
	for i := range s.Required {
		r := &s.Required[i]
		if r.Path == "" {
			errs = append(errs, fmt.Errorf("required claim %d has no path", i+1))
		}
		if r.Exact != "" && len(r.Any)+len(r.All) > 0 {
			errs = append(errs, fmt.Errorf("required claim %q has an exact value and a list", r.Path))
		}
		blank("required claim "+r.Path, r.Any)
		blank("required claim "+r.Path, r.All)
	}
	return errs
}

func checkURL(what, s string) []error {
	u, err := url.Parse(s)
	if err != nil {
		return []error{fmt.Errorf("%s: %w", what, err)}
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return []error{fmt.Errorf("%s %q is not an http or https URL", what, u.Redacted())}
	}
	if u.User != nil || strings.Contains(s, "#") {
		return []error{errors.New(what + " must have no credentials and no fragment")}
	}
	return nil
}
