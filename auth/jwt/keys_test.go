package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	jwtlib "github.com/golang-jwt/jwt/v5"
)

// The keys of RFC 7515, appendix A, and RFC 8037, appendix A.1.
const (
	rfcSecret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
	rfcN      = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
	rfcD      = "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ"
	rfcP      = "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc"
	rfcQ      = "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc"
	rfcX256   = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
	rfcY256   = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
	rfcD256   = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
	rfcX521   = "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk"
	rfcY521   = "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"
	rfcD521   = "AY5pb7A0UFiB3RELSD64fTLOSV_jazdF7fLYyuTw8lOfRhWg6Y6rUrPAxerEzgdRhajnu0ferB0d53vM9mE15j2C"
	rfcEdX    = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	rfcEdD    = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
)

// now is when every test takes place.
func now() time.Time { return time.Unix(1_800_000_000, 0) }

func b64(s string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func enc(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// signers returns the private keys by name, always the same.
func signers() map[string]any {
	number := func(s string) *big.Int { return new(big.Int).SetBytes(b64(s)) }
	rs := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: number(rfcN), E: 65537}, D: number(rfcD),
		Primes: []*big.Int{number(rfcP), number(rfcQ)},
	}
	rs.Precompute()
	ec := func(c elliptic.Curve, d []byte) any {
		k, err := ecdsa.ParseRawPrivateKey(c, d)
		if err != nil {
			panic(err)
		}
		return k
	}
	return map[string]any{
		"hs": b64(rfcSecret)[:32], "other": []byte(strings.Repeat("o", 32)), "rs": rs,
		"es256": ec(elliptic.P256(), b64(rfcD256)), "es512": ec(elliptic.P521(), b64(rfcD521)),
		"es384": ec(elliptic.P384(), []byte(strings.Repeat("3", 48))), "ed": ed25519.NewKeyFromSeed(b64(rfcEdD)),
		"pem": publicPEM(&rs.PublicKey), "der": publicDER(&rs.PublicKey),
	}
}

func publicDER(k any) []byte {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		panic(err)
	}
	return der
}

func publicPEM(k any) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER(k)})
}

func public(name string) any { return signers()[name].(crypto.Signer).Public() }

// jwkSet is a set with a key of every type, named as the signers are.
func jwkSet() string {
	p384 := public("es384").(*ecdsa.PublicKey)
	point, err := p384.Bytes()
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"keys":[
{"kty":"oct","kid":"hs","k":%q,"alg":"HS256"},
{"kty":"RSA","kid":"rs","n":%q,"e":"AQAB","use":"sig","alg":"RS256"},
{"kty":"EC","crv":"P-256","kid":"es256","x":%q,"y":%q,"key_ops":["verify"]},
{"kty":"EC","crv":"P-384","kid":"es384","x":%q,"y":%q},
{"kty":"EC","crv":"P-521","kid":"es512","x":%q,"y":%q},
{"kty":"OKP","crv":"Ed25519","kid":"ed","x":%q}]}`,
		enc(signers()["hs"].([]byte)), rfcN, rfcX256, rfcY256, enc(point[1:49]), enc(point[49:]), rfcX521, rfcY521, rfcEdX)
}

// signature signs text with a key by an algorithm; the name of one that the key
// does not fit is replaced by one that does, to make tokens that lie about it.
func signature(alg, text string, k any) []byte {
	m := jwtlib.GetSigningMethod(alg)
	if s, err := trySign(m, text, k); err == nil {
		return s
	}
	for _, a := range algorithms() {
		if s, err := trySign(a.method, text, k); err == nil {
			return s
		}
	}
	panic("no algorithm for the key")
}

func trySign(m jwtlib.SigningMethod, text string, k any) ([]byte, error) {
	if m == nil || m.Alg() == "none" {
		return nil, jwtlib.ErrInvalidKeyType
	}
	return m.Sign(text, k)
}

// sign makes a token.
func sign(alg, kid, payload string, k any) []byte {
	h := fmt.Sprintf(`{"alg":%q,"typ":"JWT"}`, alg)
	if kid != "" {
		h = fmt.Sprintf(`{"alg":%q,"typ":"JWT","kid":%q}`, alg, kid)
	}
	text := enc([]byte(h)) + "." + enc([]byte(payload))
	return []byte(text + "." + enc(signature(alg, text, k)))
}

// claims is a payload that passes now.
func claims() string { return fmt.Sprintf(`{"sub":"ann","exp":%d}`, now().Unix()+60) }

func newVerifier(t testing.TB, s Settings) *Verifier {
	t.Helper()
	if s.Now == nil {
		s.Now = now
	}
	v, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
