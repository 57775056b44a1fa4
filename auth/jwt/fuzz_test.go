package jwt

import (
	"testing"
	"time"

	jwtlib "github.com/golang-jwt/jwt/v5"
)

// What is accepted is a token for golang-jwt too, with the same signature.
func FuzzVerify(f *testing.F) {
	for _, c := range hostileCases(f) {
		f.Add([]byte(c.token()))
	}
	secret := signers()["hs"].([]byte)
	v := newVerifier(f, Settings{Secret: secret})
	p := jwtlib.NewParser(jwtlib.WithTimeFunc(now), jwtlib.WithLeeway(v.s.Leeway+time.Second)) // it drops fractions
	f.Fuzz(func(t *testing.T, token []byte) {
		id, err := v.Verify(token, now())
		if (id == nil) == (err == nil) {
			t.Fatalf("identity %v and error %v", id, err)
		}
		if err != nil {
			return
		}
		if _, err := p.Parse(string(token), func(*jwtlib.Token) (any, error) { return secret, nil }); err != nil {
			t.Errorf("accepted %q, which golang-jwt refuses: %v", token, err)
		}
	})
}
