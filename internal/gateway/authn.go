package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/textproto"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/auth"
	"github.com/salgue441/velocity/auth/jwt"
	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/proxy"
)

// verifier judges tokens for the routes with the same settings. It lives across
// reloads, with its keys and the tokens that it knows.
type verifier struct {
	*jwt.Verifier
	source string // of its keys, for people; empty if they were configured
}

// buildAuth compiles the authentication of a route.
func (b *builder) buildAuth(c *config.Auth, claims []string) (*proxy.TokenAuth, error) {
	settings, fingerprint, err := tokenSettings(c, claims)
	if err != nil {
		return nil, err
	}
	v := b.living.verifiers[fingerprint]
	if v == nil {
		v = b.plan.verifiers[fingerprint]
	}
	if v == nil {
		made, err := jwt.New(settings)
		if err != nil {
			return nil, err
		}
		v = &verifier{Verifier: made, source: keySource(c)}
	}
	b.plan.verifiers[fingerprint] = v
	a := &proxy.TokenAuth{
		Header: textproto.CanonicalMIMEHeaderKey(c.Header), Cookie: c.Cookie, Query: c.Query, Remove: !c.KeepToken, Claims: claims,
		Scope:  strings.Join(append(append([]string(nil), c.Scopes.All...), c.Scopes.Any...), " "),
		Verify: v.Verify,
	}
	return a, nil
}

// keySource names where keys are fetched from, empty for configured ones.
func keySource(c *config.Auth) string {
	switch {
	case c.JWKSURL != "":
		return c.JWKSURL
	case c.Discover:
		return c.Issuer
	}
	return ""
}

// tokenSettings are the settings of a verifier and a fingerprint of them. Files count
// by their content.
func tokenSettings(c *config.Auth, claims []string) (jwt.Settings, string, error) {
	s := jwt.Settings{
		Algorithms: c.Algorithms, JWKSURL: c.JWKSURL, Discover: c.Discover, Issuer: c.Issuer, Audiences: c.Audiences,
		Leeway: time.Duration(c.Leeway), AllowNoExp: !c.RequireExpiry, Scopes: jwt.ScopeRule{Any: c.Scopes.Any, All: c.Scopes.All},
		Extract: claims, MaxStale: time.Duration(c.MaxStale),
	}
	if c.Issuer != "" {
		s.Issuers = []string{c.Issuer}
	}
	if s.Leeway == 0 {
		s.Leeway = -1
	}
	for _, claim := range c.Claims {
		s.Required = append(s.Required, jwt.ClaimRule{Path: claim.Path, Any: claim.Any, All: claim.All})
	}
	if c.Secret != "" {
		s.Secret = []byte(c.Secret.Reveal())
	}
	var err error
	if c.PublicKeyFile != "" {
		if s.PEM, err = os.ReadFile(c.PublicKeyFile); err != nil {
			return s, "", fmt.Errorf("read public_key_file: %w", err)
		}
	}
	if c.JWKSFile != "" {
		if s.JWKS, err = os.ReadFile(c.JWKSFile); err != nil {
			return s, "", fmt.Errorf("read jwks_file: %w", err)
		}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []any{s}))
	return s, hex.EncodeToString(sum[:]), nil
}

// warmVerifiers starts the verifiers of a plan that are new, and gives those that
// fetch keys a bounded time.
func (g *Gateway) warmVerifiers(ctx context.Context, p *plan, limit time.Duration) {
	var fresh []*verifier
	for key, v := range p.verifiers {
		if g.living.verifiers[key] == nil {
			v.Start(context.Background()) // until closeVerifiers
			fresh = append(fresh, v)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, v := range fresh {
		select {
		case <-v.Ready():
		case <-ctx.Done():
			g.log.Warn("keys of tokens have not come yet; their routes answer 503 until they do",
				zap.String("source", v.source), zap.Error(v.Status().Err))
		}
	}
}

// closeVerifiers ends those of one table that another does not have.
func closeVerifiers(of, kept map[string]*verifier) {
	for key, v := range of {
		if kept[key] == nil {
			v.Close()
		}
	}
}

// refusedPerSecond bounds the lines about refused access, so that who tries
// credentials cannot fill the log. The access log and the metrics have them all.
const refusedPerSecond = 10

// refusedAccess returns what logs an access that authentication refused, without
// the credentials.
func refusedAccess(log *zap.Logger) func(x *proxy.Exchange, why *auth.Error) {
	log = log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, time.Second, refusedPerSecond, 0)
	}))
	return func(x *proxy.Exchange, why *auth.Error) {
		log.Info("access refused",
			zap.String("reason", why.Code), zap.String("route", x.Route.Name), zap.String("client", x.Client()),
			zap.ByteString("method", x.Method()), zap.ByteString("path", x.Path), zap.ByteString("request_id", x.RequestID))
	}
}

// keyDependencies are the sources of keys as things that the gateway depends on.
func (g *Gateway) keyDependencies(p *plan) []admin.Dependency {
	var out []admin.Dependency
	seen := make(map[string]bool)
	for _, v := range p.verifiers {
		if v.source == "" || seen[v.source] {
			continue
		}
		seen[v.source] = true
		s := v.Status()
		d := admin.Dependency{Kind: admin.KindKeySet, Name: v.source, State: admin.DependencyUp, Details: map[string]any{"keys": s.Keys}}
		switch {
		case s.Updated.IsZero() && s.Err == nil:
			d.State = admin.DependencyUnknown
		case s.Updated.IsZero():
			d.State = admin.DependencyDown
		case s.Stale:
			d.State = admin.DependencyDegraded
		}
		if s.Err != nil {
			d.Error = s.Err.Error()
		}
		out = append(out, d)
	}
	return out
}
