package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	minRSABits = 2048
	maxRSABits = 8192 // above it, verifying costs more than a caller may cause
	maxKeys    = 128  // of one set
	// maxTries bounds the signatures that are checked for one token without
	// kid.
	maxTries = 8
)

// key is a key and the algorithms that it is bound to.
type key struct {
	id         string // "" if it has none
	material   any    // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	algorithms []algorithm
}

// bound returns the algorithm if the key may be used with it.
func (k *key) bound(name string) *algorithm {
	for i := range k.algorithms {
		if k.algorithms[i].name == name {
			return &k.algorithms[i]
		}
	}
	return nil
}

// same reports whether both are the same key, bound alike.
func (k *key) same(o *key) bool {
	if k.id != o.id || len(k.algorithms) != len(o.algorithms) {
		return false
	}
	for i := range k.algorithms {
		if k.algorithms[i].name != o.algorithms[i].name {
			return false
		}
	}
	if a, ok := k.material.([]byte); ok {
		b, ok := o.material.([]byte)
		return ok && bytes.Equal(a, b)
	}
	a, ok := k.material.(interface{ Equal(crypto.PublicKey) bool })
	return ok && a.Equal(o.material)
}

// keySet is the keys at one time; immutable.
type keySet struct {
	keys []key
	// generation is another one as soon as a key is: what was verified with an
	// earlier generation is verified again.
	generation uint64
	// until is when the keys are too old, in Unix nanoseconds.
	until   int64
	updated time.Time
}

// candidates appends to dst the keys that may have signed a token, at most
// maxTries. known tells that the set has a key of that name, or that names do
// not matter because no name is given or the keys have none.
func (s *keySet) candidates(dst []*key, kid, alg string) (found []*key, known bool) {
	for i := range s.keys {
		k := &s.keys[i]
		if kid != "" && k.id != "" && k.id != kid {
			continue
		}
		known = true
		if k.bound(alg) != nil && len(dst) < maxTries {
			dst = append(dst, k)
		}
	}
	return dst, known
}

func (s *keySet) same(o *keySet) bool {
	return slices.EqualFunc(s.keys, o.keys, func(a, b key) bool { return a.same(&b) })
}

// newKey checks the material and binds it to algorithms: those allowed that fit
// its type, and of them only named if that is not "".
func newKey(id string, material any, allowed []string, named string) (key, error) {
	f := familyOf(material)
	if f == 0 {
		return key{}, fmt.Errorf("a key of type %T is not supported", material)
	}
	if err := checkMaterial(material); err != nil {
		return key{}, err
	}
	k := key{id: id, material: material}
	short := 0
	for _, a := range algorithms() {
		switch {
		case a.family != f || named != "" && a.name != named:
			continue
		case len(allowed) > 0 && !slices.Contains(allowed, a.name):
			continue
		case len(allowed) == 0 && named == "" && f == familyHMAC && a.name != "HS256":
			continue
		}
		if secret, ok := material.([]byte); ok && len(secret) < a.size {
			short = max(short, a.size)
			continue
		}
		k.algorithms = append(k.algorithms, a)
	}
	if short > 0 {
		return key{}, fmt.Errorf("the secret has %d bytes, and its algorithm needs %d", len(material.([]byte)), short)
	}
	if len(k.algorithms) == 0 {
		return key{}, errors.New("no algorithm that is allowed fits the key's type")
	}
	return k, nil
}

func checkMaterial(material any) error {
	switch k := material.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return fmt.Errorf("an RSA key of %d bits is not between %d and %d", n, minRSABits, maxRSABits)
		}
		if k.E < 3 || k.E&1 == 0 {
			return fmt.Errorf("the RSA exponent %d is not an odd number above 2", k.E)
		}
	case *ecdsa.PublicKey:
		if _, err := k.ECDH(); err != nil {
			return errors.New("the EC point is not on its curve")
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("an Ed25519 key has %d bytes, not %d", len(k), ed25519.PublicKeySize)
		}
	}
	return nil
}

// parsePEM reads every block; one that cannot be used is an error, because the
// operator put it there.
func parsePEM(text []byte, allowed []string) ([]key, error) {
	var keys []key
	for n := 1; ; n++ {
		block, rest := pem.Decode(text)
		if block == nil {
			if len(bytes.TrimSpace(text)) > 0 || n == 1 {
				return nil, errors.New("PEM: no further block where one should be")
			}
			return keys, nil
		}
		material, err := parseBlock(block)
		if err == nil {
			var k key
			if k, err = newKey("", material, allowed, ""); err == nil {
				keys = append(keys, k)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", n, err)
		}
		if len(keys) > maxKeys {
			return nil, fmt.Errorf("PEM: more than %d keys", maxKeys)
		}
		text = rest
	}
}

func parseBlock(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	}
	return nil, fmt.Errorf("%q is neither a public key nor a certificate", block.Type)
}
