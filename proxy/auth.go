package proxy

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/auth"
	"github.com/salgue441/velocity/proxy/syntax"
)

// TokenAuth asks for a token that says who calls. It is a RequestPhase.
type TokenAuth struct {
	// Verify judges a token at the time given, and does not keep it. Its errors are
	// those of package auth.
	Verify func(token []byte, now time.Time) (*auth.Identity, error)
	// Header is the field that carries the token, in canonical form: with the scheme
	// Bearer if it is Authorization. Cookie and Query carry it in its place; empty
	// names do not.
	Header, Cookie, Query string
	// Remove takes the field away before the request is sent on.
	Remove bool
	// Claims are the names by which templates know the identity's values.
	Claims []string
	// Scope is what is asked for in challenges; empty for none.
	Scope string

	missing, invalid, forbidden []byte // challenges
}

// NewTokenAuthPhase returns the phase of a policy whose realm is named as given.
func NewTokenAuthPhase(realm string, a *TokenAuth) Phase {
	head := `Bearer realm="` + realm + `"`
	a.missing = []byte(head)
	a.invalid = []byte(head + `, error="invalid_token", error_description="The token is not valid"`)
	a.forbidden = []byte(head + `, error="insufficient_scope"`)
	if a.Scope != "" {
		a.forbidden = append(a.forbidden, `, scope="`+a.Scope+`"`...)
	}
	return Phase{Slot: Identify, Name: "token", Request: a}
}

// Enter implements RequestPhase.
func (a *TokenAuth) Enter(x *Exchange) Verdict {
	token, ok := a.find(x)
	var err error = auth.ErrMissing
	switch {
	case ok && a.Header != "" && x.fields.count(a.Header) > 1:
		err = auth.ErrMalformed
	case ok:
		x.identity, err = a.Verify(token, x.start)
	}
	if err != nil {
		return a.refuse(x, err)
	}
	x.claims = a.Claims
	if a.Remove && a.Header != "" {
		x.fields.Remove(a.Header)
	}
	return Continue
}

// find returns the token. Two fields are two answers to who calls, and none.
func (a *TokenAuth) find(x *Exchange) ([]byte, bool) {
	if a.Header != "" {
		if value, ok := x.fields.Header(a.Header); ok {
			if a.Header != fasthttp.HeaderAuthorization {
				return value, len(value) > 0
			}
			return cutBearer(value)
		}
	}
	if a.Cookie != "" {
		if value, ok := x.fields.cookieValue(a.Cookie); ok {
			return value, len(value) > 0
		}
	}
	if a.Query != "" {
		if value, ok := queryValue(x.query, a.Query); ok {
			return value, len(value) > 0
		}
	}
	return nil, false
}

// cutBearer takes the scheme off credentials (RFC 6750 section 2.1).
func cutBearer(value []byte) ([]byte, bool) {
	const scheme = "bearer "
	if len(value) <= len(scheme) || !syntax.EqualFold(value[:len(scheme)], scheme) {
		return nil, false
	}
	token := bytes.TrimLeft(value[len(scheme):], " ")
	return token, len(token) > 0
}

// refuse answers without telling what about the credentials was wrong; the log
// hears of it.
func (a *TokenAuth) refuse(x *Exchange, err error) Verdict {
	x.identity = nil
	var e *auth.Error
	if !errors.As(err, &e) {
		e = auth.ErrMalformed
	}
	switch e.Kind {
	case auth.Missing:
		x.Err, x.challenge = ErrUnauthorized, a.missing
	case auth.Forbidden:
		x.Err, x.challenge = ErrForbidden, a.forbidden
	case auth.Unavailable:
		x.Err = ErrAuthUnavailable
	default:
		x.Err, x.challenge = ErrUnauthorized, a.invalid
	}
	if f := x.server.onRefused; f != nil {
		f(x, e)
	}
	return Respond
}

// appendClaim appends what the caller's token says about a claim.
func (x *Exchange) appendClaim(b []byte, name string) []byte {
	if x.identity == nil {
		return b
	}
	if i := slices.Index(x.claims, name); i >= 0 && i < len(x.identity.Values) {
		return appendField(b, x.identity.Values[i])
	}
	return b
}

// appendIdentity appends who calls.
func (x *Exchange) appendIdentity(b []byte) []byte {
	if x.identity == nil {
		return b
	}
	return appendField(b, x.identity.Subject)
}

// appendField appends text that comes from a token, which may say anything, without
// what a header field must not have.
func appendField(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c >= ' ' && c != 0x7f || c == '\t' {
			b = append(b, c)
		}
	}
	return b
}

// Client is the client's address in an access that was refused, and Path and
// RequestID tell which.
func (x *Exchange) Client() string { return x.client.String() }
