package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"strings"

	jwtlib "github.com/golang-jwt/jwt/v5"
)

// family is the type of key that an algorithm needs. A key belongs to exactly
// one, which is what keeps a public key from being used as an HMAC secret.
type family uint8

const (
	familyHMAC family = iota + 1
	familyRSA
	familyP256
	familyP384
	familyP521
	familyEd25519
)

// algorithm is one value of alg.
type algorithm struct {
	name   string
	family family
	// size is the shortest HMAC key in bytes, and the length of an ECDSA or
	// Ed25519 signature; 0 for RSA, whose signatures are as long as the key.
	size   int
	method jwtlib.SigningMethod
}

// algorithms returns the table. It is made anew so that it can be changed by
// nobody; it is asked for while building and for a token that is not cached.
func algorithms() [13]algorithm {
	return [...]algorithm{
		{"HS256", familyHMAC, 32, jwtlib.SigningMethodHS256},
		{"HS384", familyHMAC, 48, jwtlib.SigningMethodHS384},
		{"HS512", familyHMAC, 64, jwtlib.SigningMethodHS512},
		{"RS256", familyRSA, 0, jwtlib.SigningMethodRS256},
		{"RS384", familyRSA, 0, jwtlib.SigningMethodRS384},
		{"RS512", familyRSA, 0, jwtlib.SigningMethodRS512},
		{"PS256", familyRSA, 0, jwtlib.SigningMethodPS256},
		{"PS384", familyRSA, 0, jwtlib.SigningMethodPS384},
		{"PS512", familyRSA, 0, jwtlib.SigningMethodPS512},
		{"ES256", familyP256, 64, jwtlib.SigningMethodES256},
		{"ES384", familyP384, 96, jwtlib.SigningMethodES384},
		{"ES512", familyP521, 132, jwtlib.SigningMethodES512},
		{"EdDSA", familyEd25519, 64, jwtlib.SigningMethodEdDSA},
	}
}

// algorithmNamed returns the algorithm, or nil if there is none with the name.
func algorithmNamed(name string) *algorithm {
	for _, a := range algorithms() {
		if a.name == name {
			return &a
		}
	}
	return nil
}

func algorithmNames() string {
	var names []string
	for _, a := range algorithms() {
		names = append(names, a.name)
	}
	return strings.Join(names, ", ")
}

// familyOf returns the family of key material, 0 if it has none.
func familyOf(material any) family {
	switch k := material.(type) {
	case []byte:
		return familyHMAC
	case *rsa.PublicKey:
		return familyRSA
	case ed25519.PublicKey:
		return familyEd25519
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return familyP256
		case 384:
			return familyP384
		case 521:
			return familyP521
		}
	}
	return 0
}
