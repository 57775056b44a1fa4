package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// parseJWKS reads a JSON Web Key Set (RFC 7517, 5). Keys for another use, of a
// type that is not known, or unusable are left out as the RFC asks; skipped says
// why. remote leaves out symmetric keys too. A set without any key left is an
// error, and so is one that is not a set.
func parseJWKS(text []byte, allowed []string, remote bool) (keys []key, skipped, err error) {
	doc, ok := parseObject(text)
	if !ok {
		return nil, nil, errors.New("key set: not a JSON object, or a member is there twice")
	}
	list, ok := doc["keys"].([]any)
	if !ok {
		return nil, nil, errors.New(`key set: no list "keys"`)
	}
	if len(list) > maxKeys {
		return nil, nil, fmt.Errorf("key set: %d keys, more than %d", len(list), maxKeys)
	}
	var why []error
	for i, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, nil, fmt.Errorf("key set: key %d is not an object", i+1)
		}
		k, err := parseJWK(m, allowed, remote)
		if err != nil {
			why = append(why, fmt.Errorf("key set: key %d: %w", i+1, err))
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, nil, errors.Join(append([]error{errors.New("key set: no key can be used")}, why...)...)
	}
	return keys, errors.Join(why...), nil
}

func parseJWK(m map[string]any, allowed []string, remote bool) (key, error) {
	for _, name := range []string{"kty", "kid", "alg", "use", "crv", "k", "n", "e", "x", "y"} {
		if v, there := m[name]; there {
			if _, ok := v.(string); !ok {
				return key{}, fmt.Errorf("%q is not text", name)
			}
		}
	}
	if use := text(m, "use"); use != "" && use != "sig" {
		return key{}, fmt.Errorf("it is for %q, not for signatures", use)
	}
	if ops, there := m["key_ops"]; there {
		list, ok := ops.([]any)
		if !ok || !slices.Contains(list, any("verify")) {
			return key{}, errors.New("its key_ops do not have verify")
		}
	}
	named := text(m, "alg")
	if named != "" && algorithmNamed(named) == nil {
		return key{}, fmt.Errorf("its algorithm %q is not supported", named)
	}
	var material any
	var err error
	switch kty := text(m, "kty"); kty {
	case "RSA":
		material, err = rsaMaterial(m)
	case "EC":
		material, err = ecMaterial(m)
	case "OKP":
		material, err = okpMaterial(m)
	case "oct":
		if remote {
			return key{}, errors.New("a secret in a set that is fetched is none")
		}
		material, err = member(m, "k")
	default:
		return key{}, fmt.Errorf("its type %q is not supported", kty)
	}
	if err != nil {
		return key{}, err
	}
	return newKey(text(m, "kid"), material, allowed, named)
}

func text(m map[string]any, name string) string {
	s, _ := m[name].(string)
	return s
}

// member decodes a base64url member that must be there.
func member(m map[string]any, name string) ([]byte, error) {
	s := text(m, name)
	b, ok := decodeSegment([]byte(s))
	if !ok || len(b) == 0 {
		return nil, fmt.Errorf("%q is absent or not base64url", name)
	}
	return b, nil
}

func rsaMaterial(m map[string]any) (any, error) {
	n, err := member(m, "n")
	if err != nil {
		return nil, err
	}
	e, err := member(m, "e")
	if err != nil {
		return nil, err
	}
	if len(n) > maxRSABits/8+1 || len(e) > 4 {
		return nil, errors.New("the RSA key is too large")
	}
	exponent := new(big.Int).SetBytes(e).Int64()
	if exponent > 1<<31-1 {
		return nil, errors.New("the RSA exponent is too large")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)}, nil
}

func ecMaterial(m map[string]any) (any, error) {
	var curve elliptic.Curve
	switch crv := text(m, "crv"); crv {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, fmt.Errorf("the curve %q is not supported", crv)
	}
	x, err := member(m, "x")
	if err != nil {
		return nil, err
	}
	y, err := member(m, "y")
	if err != nil {
		return nil, err
	}
	// RFC 7518, 6.2.1.2: the full size of a coordinate, always.
	size := (curve.Params().BitSize + 7) / 8
	if len(x) != size || len(y) != size {
		return nil, errors.New("a coordinate has the wrong length")
	}
	point := append(append([]byte{4}, x...), y...)
	k, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, errors.New("the EC point is not on its curve")
	}
	return k, nil
}

func okpMaterial(m map[string]any) (any, error) {
	if crv := text(m, "crv"); crv != "Ed25519" {
		return nil, fmt.Errorf("the curve %q is not supported", crv)
	}
	x, err := member(m, "x")
	if err != nil {
		return nil, err
	}
	return ed25519.PublicKey(x), nil
}
