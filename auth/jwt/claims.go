package jwt

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/salgue441/velocity/auth"
)

// maxDate is the last second of the year 9999: what is later is not a date.
const maxDate = 253402300799

// forever is the expiry of a token that has none, in Unix nanoseconds.
const forever = math.MaxInt64

// checkTimes returns when the token ends, leeway included, in Unix nanoseconds.
func (v *Verifier) checkTimes(c map[string]any, now time.Time) (until int64, err error) {
	exp, hasExp, ok1 := date(c, "exp")
	nbf, _, ok2 := date(c, "nbf")
	iat, _, ok3 := date(c, "iat")
	if !ok1 || !ok2 || !ok3 {
		return 0, auth.ErrMalformed
	}
	if !hasExp && !v.s.AllowNoExp {
		return 0, auth.ErrClaims
	}
	until = forever
	if hasExp {
		until = nanoseconds(exp, v.s.Leeway)
	}
	at := now.UnixNano()
	if at >= until {
		return 0, auth.ErrExpired
	}
	if at < nanoseconds(nbf, -v.s.Leeway) || at < nanoseconds(iat, -v.s.Leeway) {
		return 0, auth.ErrNotYet
	}
	return until, nil
}

// nanoseconds returns a date in Unix nanoseconds, moved by d; forever if it is
// past 2262, which has none.
func nanoseconds(seconds float64, d time.Duration) int64 {
	// Whole and part apart: a float64 has no room for both.
	whole, part := math.Modf(seconds)
	if whole > math.MaxInt64/1e9-1 {
		return forever
	}
	n := int64(whole)*1e9 + int64(part*1e9)
	if d > 0 && n > forever-int64(d) {
		return forever
	}
	return n + int64(d)
}

// date reads a NumericDate: a JSON number of seconds since 1970 that is a date.
func date(c map[string]any, name string) (seconds float64, there, ok bool) {
	v, there := c[name]
	if !there {
		return 0, false, true
	}
	n, ok := v.(json.Number)
	if !ok {
		return 0, true, false
	}
	seconds, err := strconv.ParseFloat(string(n), 64)
	return seconds, true, err == nil && seconds >= 0 && seconds <= maxDate
}

// checkParties looks at iss and aud.
func (v *Verifier) checkParties(c map[string]any) error {
	iss, there := c["iss"]
	if _, ok := iss.(string); there && !ok {
		return auth.ErrMalformed
	}
	if len(v.s.Issuers) > 0 && !slices.Contains(v.s.Issuers, text(c, "iss")) {
		return auth.ErrIssuer
	}
	var aud []string
	switch a := c["aud"].(type) {
	case nil:
		if _, there := c["aud"]; there {
			return auth.ErrMalformed
		}
	case string:
		aud = []string{a}
	case []any:
		for _, item := range a {
			s, ok := item.(string)
			if !ok {
				return auth.ErrMalformed
			}
			aud = append(aud, s)
		}
	default:
		return auth.ErrMalformed
	}
	if len(v.s.Audiences) > 0 && !containsAny(aud, v.s.Audiences) {
		return auth.ErrAudience
	}
	return nil
}

// identity makes the identity of verified claims, if they satisfy the rules.
func (v *Verifier) identity(c map[string]any) (*auth.Identity, error) {
	id := &auth.Identity{Method: "jwt"}
	if sub, there := c["sub"]; there {
		s, ok := sub.(string)
		if !ok || !printable(s) {
			return nil, auth.ErrMalformed
		}
		id.Subject = s
	}
	var ok bool
	if id.Scopes, ok = scopes(c); !ok {
		return nil, auth.ErrMalformed
	}
	for i := range v.s.Required {
		if err := v.s.Required[i].check(c); err != nil {
			return nil, err
		}
	}
	if r := v.s.Scopes; len(r.Any) > 0 && !containsAny(id.Scopes, r.Any) || !containsAll(id.Scopes, r.All) {
		return nil, auth.ErrScope
	}
	if len(v.s.Extract) > 0 {
		id.Values = make([]string, len(v.s.Extract))
	}
	for i, path := range v.s.Extract {
		value, _ := lookup(c, path)
		s := strings.Join(items(value), ",")
		if !printable(s) {
			return nil, auth.ErrClaims
		}
		id.Values[i] = s
	}
	return id, nil
}

// scopes reads the first of scope (RFC 8693, 4.2), scp and scopes that is
// there, as text with spaces between or as a list.
func scopes(c map[string]any) (list []string, ok bool) {
	for _, name := range []string{"scope", "scp", "scopes"} {
		v, there := c[name]
		if !there {
			continue
		}
		switch v := v.(type) {
		case string:
			list = strings.Fields(v)
		case []any:
			for _, item := range v {
				s, ok := item.(string)
				if !ok {
					return nil, false
				}
				list = append(list, s)
			}
		default:
			return nil, false
		}
		return list, !slices.ContainsFunc(list, func(s string) bool { return !printable(s) })
	}
	return nil, true
}

func (r *ClaimRule) check(c map[string]any) error {
	value, there := lookup(c, r.Path)
	if len(r.Any)+len(r.All) > 0 {
		have := items(value)
		if s, ok := value.(string); ok {
			have = append(have, strings.Fields(s)...)
		}
		if len(r.Any) > 0 && !containsAny(have, r.Any) || !containsAll(have, r.All) {
			return auth.ErrScope
		}
		return nil
	}
	if !there || value == nil {
		return auth.ErrClaims
	}
	if r.Exact != "" && !slices.Equal(items(value), []string{r.Exact}) {
		return auth.ErrClaims
	}
	return nil
}

// lookup finds a claim by its path. A name with dots in it, such as
// "https://example.com/roles", wins over nested ones, and the longest such name
// wins at every level.
func lookup(c map[string]any, path string) (value any, there bool) {
	if value, there = c[path]; there {
		return value, true
	}
	for i := len(path) - 1; i > 0; i-- {
		if path[i] != '.' {
			continue
		}
		inner, ok := c[path[:i]].(map[string]any)
		if !ok {
			continue
		}
		if value, there = lookup(inner, path[i+1:]); there {
			return value, true
		}
	}
	return nil, false
}

// items returns a claim as texts; what is neither text, number, boolean nor a
// list of them is left out.
func items(value any) []string {
	switch v := value.(type) {
	case string:
		return []string{v}
	case json.Number:
		return []string{string(v)}
	case bool:
		return []string{strconv.FormatBool(v)}
	case []any:
		var list []string
		for _, item := range v {
			if _, nested := item.([]any); !nested {
				list = append(list, items(item)...)
			}
		}
		return list
	}
	return nil
}

// printable refuses control characters: these texts go into header fields and
// logs, where a line end would begin something of the token's choosing.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return true
}

func containsAny(have, want []string) bool {
	return slices.ContainsFunc(want, func(s string) bool { return slices.Contains(have, s) })
}

func containsAll(have, want []string) bool {
	return !slices.ContainsFunc(want, func(s string) bool { return !slices.Contains(have, s) })
}
