package testkit

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// TokenSecret is what Token signs with.
const TokenSecret = "a secret of tests, of 32 bytes or more"

// Token returns a token signed with HS256.
func Token(tb testing.TB, claims map[string]any) string {
	tb.Helper()
	return SignedToken(tb, jwt.SigningMethodHS256, "", []byte(TokenSecret), claims)
}

// SignedToken returns a token signed with a key; kid "" names none.
func SignedToken(tb testing.TB, method jwt.SigningMethod, kid string, key any, claims map[string]any) string {
	tb.Helper()
	t := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	if kid != "" {
		t.Header["kid"] = kid
	}
	text, err := t.SignedString(key)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}
