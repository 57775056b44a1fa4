package jwt

import (
	"testing"

	jwtlib "github.com/golang-jwt/jwt/v5"
)

func BenchmarkVerify(b *testing.B) {
	token, at := sign("RS256", "", claims(), signers()["rs"]), now()
	f := func(name string, size int) {
		b.Run(name, func(b *testing.B) {
			v := newVerifier(b, Settings{PEM: publicPEM(public("rs")), CacheSize: size})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(token, at); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	f("hit", 0)
	f("miss", -1)
	b.Run("golang-jwt", func(b *testing.B) {
		k := public("rs")
		p := jwtlib.NewParser(jwtlib.WithValidMethods([]string{"RS256"}), jwtlib.WithTimeFunc(now))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Parse(string(token), func(*jwtlib.Token) (any, error) { return k, nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
