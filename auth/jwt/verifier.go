package jwt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/salgue441/velocity/auth"
)

// Verifier verifies tokens. It is safe for use by several goroutines.
type Verifier struct {
	s      Settings
	set    atomic.Pointer[keySet] // nil until keys were fetched
	cache  *cache                 // nil if there is none
	remote *remote                // nil if the keys are given
	ready  chan struct{}
}

// Status is how a verifier's keys are.
type Status struct {
	Keys    int       // how many can be used
	Updated time.Time // when they were fetched or given
	Err     error     // of the latest fetch, nil if it succeeded; also keys that it left out
	Stale   bool      // the keys are from before the latest fetch, which failed
}

// New returns a verifier, or every problem of the settings, joined. It does not
// fetch: until Start has, a verifier with JWKSURL or Discover answers
// auth.ErrUnavailable.
func New(s Settings) (*Verifier, error) {
	s = s.withDefaults()
	errs := s.validate()
	keys, err := givenKeys(&s)
	if errs = append(errs, err); errors.Join(errs...) != nil {
		return nil, fmt.Errorf("jwt: %w", errors.Join(errs...))
	}
	v := &Verifier{s: s.clone(), cache: newCache(s.CacheSize), ready: make(chan struct{})}
	if s.JWKSURL != "" || s.Discover {
		v.remote = newRemote(v)
		return v, nil
	}
	v.set.Store(&keySet{keys: keys, generation: 1, until: math.MaxInt64, updated: s.Now()})
	close(v.ready)
	return v, nil
}

// clone copies what the caller could change later.
func (s Settings) clone() Settings {
	for _, list := range []*[]string{&s.Algorithms, &s.Issuers, &s.Audiences, &s.Extract, &s.Scopes.Any, &s.Scopes.All} {
		*list = slices.Clone(*list)
	}
	s.Required = slices.Clone(s.Required)
	for i := range s.Required {
		r := &s.Required[i]
		r.Any, r.All = slices.Clone(r.Any), slices.Clone(r.All)
	}
	return s
}

// givenKeys returns the keys that are in the settings themselves.
func givenKeys(s *Settings) ([]key, error) {
	switch {
	case len(s.Secret) > 0:
		k, err := newKey("", slices.Clone(s.Secret), s.Algorithms, "")
		return []key{k}, err
	case len(s.PEM) > 0:
		return parsePEM(s.PEM, s.Algorithms)
	case len(s.JWKS) > 0:
		keys, _, err := parseJWKS(s.JWKS, s.Algorithms, false)
		return keys, err
	}
	return nil, nil
}

// Start fetches keys and goes on refreshing them until ctx ends or Close. With
// keys that are given it does nothing. Only the first call counts.
func (v *Verifier) Start(ctx context.Context) {
	if v.remote != nil {
		v.remote.start(ctx)
	}
}

// Close stops the refresh and waits for its end. Verifying goes on with the keys
// that are there.
func (v *Verifier) Close() {
	if v.remote != nil {
		v.remote.close()
	}
}

// Ready is closed once there are keys.
func (v *Verifier) Ready() <-chan struct{} { return v.ready }

// Status returns how the keys are.
func (v *Verifier) Status() Status {
	var st Status
	if set := v.set.Load(); set != nil {
		st.Keys, st.Updated = len(set.keys), set.updated
	}
	if v.remote != nil {
		st.Err, st.Stale = v.remote.status()
		st.Stale = st.Stale && st.Keys > 0
	}
	return st
}

// Verify returns who sent the token, or one of auth's errors. It does not keep
// token. A token that passed before costs a look into the cache; one signed with
// a key that is not known may wait for a fetch, at most Settings.Timeout.
func (v *Verifier) Verify(token []byte, now time.Time) (*auth.Identity, error) {
	set := v.set.Load()
	at := now.UnixNano()
	if set != nil && at < set.until && v.cache != nil && len(token) <= v.s.MaxTokenBytes {
		if id := v.cache.get(token, set.generation, at); id != nil {
			return id, nil
		}
	}
	return v.verify(token, now)
}

// verify is Verify without a hit in the cache.
func (v *Verifier) verify(token []byte, now time.Time) (*auth.Identity, error) {
	if len(token) == 0 {
		return nil, auth.ErrMissing
	}
	if len(token) > v.s.MaxTokenBytes {
		return nil, auth.ErrMalformed
	}
	p, err := split(token)
	if err != nil {
		return nil, err
	}
	set, err := v.checkSignature(&p, now)
	if err != nil {
		return nil, err
	}
	text, ok := decodeSegment(p.payload)
	if !ok {
		return nil, auth.ErrMalformed
	}
	claims, ok := parseObject(text)
	if !ok {
		return nil, auth.ErrMalformed
	}
	until, err := v.checkTimes(claims, now)
	if err != nil {
		return nil, err
	}
	if err := v.checkParties(claims); err != nil {
		return nil, err
	}
	id, err := v.identity(claims)
	if err != nil {
		return nil, err
	}
	if v.cache != nil {
		v.cache.put(token, id, set.generation, until, now.UnixNano())
	}
	return id, nil
}

// checkSignature returns the keys with one of which the token is signed.
func (v *Verifier) checkSignature(p *parts, now time.Time) (*keySet, error) {
	if algorithmNamed(p.header.alg) == nil ||
		len(v.s.Algorithms) > 0 && !slices.Contains(v.s.Algorithms, p.header.alg) {
		return nil, auth.ErrSignature
	}
	set := v.set.Load()
	if set == nil || now.UnixNano() >= set.until {
		return nil, auth.ErrUnavailable
	}
	var room [maxTries]*key
	found, known := set.candidates(room[:0], p.header.kid, p.header.alg)
	if !known && v.remote != nil && v.remote.refetch() {
		set = v.set.Load()
		found, known = set.candidates(room[:0], p.header.kid, p.header.alg)
	}
	if !known {
		return nil, auth.ErrUnknownKey
	}
	signed := string(p.signed)
	for _, k := range found {
		a := k.bound(p.header.alg)
		if a.family != familyHMAC && a.family != familyRSA && len(p.sig) != a.size {
			continue
		}
		if a.method.Verify(signed, p.sig, k.material) == nil {
			return set, nil
		}
	}
	return nil, auth.ErrSignature
}
