package jwt

import (
	"fmt"
	"testing"
	"time"

	"github.com/salgue441/velocity/auth"
)

// The examples of RFC 7515, appendix A.1 (which is also RFC 7519's, 3.1), A.2,
// A.3 and A.4, RFC 8037, A.4, and RFC 7519, 6.1. Some payloads are text and no
// claims: their signatures must pass and the tokens must not.
func TestRFCExamples(t *testing.T) {
	const joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	f := func(name, jwk, token string, want error) {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, Settings{
				JWKS: fmt.Appendf(nil, `{"keys":[%s]}`, jwk), Issuers: []string{"joe"},
				Required: []ClaimRule{{Path: "http://example.com/is_root", Exact: "true"}},
			})
			p, err := split([]byte(token))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.checkSignature(&p, now()); err != nil {
				t.Fatalf("signature: %v", err)
			}
			before := time.Unix(1300819379, 0)
			if _, err := v.Verify([]byte(token), before); err != want {
				t.Errorf("got %v, want %v", err, want)
			}
			if want == nil {
				if _, err := v.Verify([]byte(token), before.Add(time.Minute)); err != auth.ErrExpired {
					t.Errorf("a minute later: %v, want %v", err, auth.ErrExpired)
				}
			}
		})
	}
	f("A.1", `{"kty":"oct","k":"`+rfcSecret+`"}`,
		"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."+joe+".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", nil)
	f("A.2", `{"kty":"RSA","e":"AQAB","n":"`+rfcN+`"}`,
		"eyJhbGciOiJSUzI1NiJ9."+joe+".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw", nil)
	f("A.3", `{"kty":"EC","crv":"P-256","x":"`+rfcX256+`","y":"`+rfcY256+`"}`,
		"eyJhbGciOiJFUzI1NiJ9."+joe+".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q", nil)
	f("A.4", `{"kty":"EC","crv":"P-521","x":"`+rfcX521+`","y":"`+rfcY521+`"}`,
		"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn", auth.ErrMalformed)
	f("RFC 8037", `{"kty":"OKP","crv":"Ed25519","x":"`+rfcEdX+`"}`,
		"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg", auth.ErrMalformed)

	v := newVerifier(t, Settings{Secret: b64(rfcSecret)})
	if _, err := v.Verify([]byte("eyJhbGciOiJub25lIn0."+joe+"."), time.Unix(1300819379, 0)); err != auth.ErrSignature {
		t.Errorf("the unsecured token of RFC 7519, 6.1: %v, want %v", err, auth.ErrSignature)
	}
}
