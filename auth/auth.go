// Package auth is the contract of authentication: who calls, and why a caller
// was refused. It owns the identity and the reasons; the methods that establish
// an identity are in the packages beneath it, and what is answered to a refused
// caller is the proxy's affair.
package auth

// Identity is who calls. It is immutable and may be cached and shared between
// requests, so nobody may write to it or to its slices.
type Identity struct {
	// Method is how the caller was authenticated: "jwt".
	Method string
	// Subject is the caller's name at the issuer, "" if there is none.
	Subject string
	// Scopes are what the caller was granted, in the credential's order; nil if
	// it names none.
	Scopes []string
	// Values are what the verifier was told to extract, in that order; "" for
	// what the credential does not have.
	Values []string
}

// Kind is what a refusal means to the caller.
type Kind uint8

// The kinds.
const (
	Missing     Kind = iota + 1 // no credential was given: 401
	Invalid                     // the credential is not accepted: 401
	Forbidden                   // the credential is good and does not suffice: 403
	Unavailable                 // it cannot be told at the moment: 503
)

// Error is the reason of a refusal. The values below are all there are, made
// once: they are compared by identity and cost nothing to return.
type Error struct {
	Code string // stable and short, for logs and metrics
	Kind Kind
}

func (e *Error) Error() string { return e.Code }

// The reasons.
var (
	ErrMissing     = &Error{"token_missing", Missing}
	ErrMalformed   = &Error{"token_malformed", Invalid}
	ErrSignature   = &Error{"token_signature", Invalid} // also an algorithm that is not allowed
	ErrUnknownKey  = &Error{"token_unknown_key", Invalid}
	ErrExpired     = &Error{"token_expired", Invalid}
	ErrNotYet      = &Error{"token_not_yet_valid", Invalid}
	ErrIssuer      = &Error{"token_issuer", Invalid}
	ErrAudience    = &Error{"token_audience", Invalid}
	ErrClaims      = &Error{"token_claims", Invalid}         // a required claim is absent or wrong
	ErrScope       = &Error{"insufficient_scope", Forbidden} // a scope or role is missing
	ErrUnavailable = &Error{"keys_unavailable", Unavailable} // keys were never fetched, or too long ago
)
