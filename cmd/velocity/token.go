package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	jwtlib "github.com/golang-jwt/jwt/v5"
)

const tokenUsage = `velocity token (--secret TEXT | --key-file FILE) [flags]

Prints a signed JSON Web Token, to try routes with that ask for one.

  curl -H "Authorization: Bearer $(velocity token --secret "$SECRET" --claim sub=ann)" ...

Flags:
  --secret TEXT       an HMAC secret
  --key-file FILE     a private key in PEM (RSA, EC or Ed25519) instead
  --alg NAME          the algorithm (default HS256; needed with --key-file)
  --kid NAME          the key's name, for verifiers with several
  --claim NAME=VALUE  a claim; may be repeated. A value that is JSON is taken as
                      such (3, true, ["a","b"]), any other as text
  --expires DURATION  how long it is valid (default 1h; 0 for a token without exp)

Exit codes: 0 printed, 2 bad command line, 3 the key cannot sign that.
`

// claimFlags collects --claim.
type claimFlags jwtlib.MapClaims

func (c claimFlags) String() string { return "" }

func (c claimFlags) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return fmt.Errorf("claim %q is not NAME=VALUE", s)
	}
	c[name] = value
	if json.Valid([]byte(value)) {
		c[name] = json.RawMessage(value)
	}
	return nil
}

func (p *program) token(args []string) int {
	fs := p.flags("token", tokenUsage)
	claims := claimFlags{}
	secret := fs.String("secret", "", "")
	keyFile := fs.String("key-file", "", "")
	alg := fs.String("alg", "HS256", "")
	kid := fs.String("kid", "", "")
	expires := fs.Duration("expires", time.Hour, "")
	fs.Var(claims, "claim", "")
	operands, code, done := p.parse(fs, args)
	if done {
		return code
	}
	if !p.noOperands("token", operands) {
		return exitUsage
	}
	if (*secret == "") == (*keyFile == "") {
		fmt.Fprintln(p.stderr, "velocity: token takes either --secret or --key-file; see velocity token --help")
		return exitUsage
	}
	method := jwtlib.GetSigningMethod(*alg)
	if method == nil || *alg == "none" {
		fmt.Fprintf(p.stderr, "velocity: unknown algorithm %q; see velocity token --help\n", *alg)
		return exitUsage
	}
	if _, there := claims["exp"]; !there && *expires != 0 {
		claims["exp"] = time.Now().Add(*expires).Unix()
	}
	t := jwtlib.NewWithClaims(method, jwtlib.MapClaims(claims))
	if *kid != "" {
		t.Header["kid"] = *kid
	}
	key, err := signingKey(*secret, *keyFile)
	if err == nil {
		var signed string
		if signed, err = t.SignedString(key); err == nil {
			fmt.Fprintln(p.stdout, signed)
			return exitOK
		}
	}
	fmt.Fprintln(p.stderr, "velocity: token:", err)
	return exitFailure
}

// signingKey reads the private key, or takes the secret if there is no file.
func signingKey(secret, file string) (any, error) {
	if file == "" {
		return []byte(secret), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if k, err := jwtlib.ParseRSAPrivateKeyFromPEM(text); err == nil {
		return k, nil
	}
	if k, err := jwtlib.ParseECPrivateKeyFromPEM(text); err == nil {
		return k, nil
	}
	if k, err := jwtlib.ParseEdPrivateKeyFromPEM(text); err == nil {
		return k, nil
	}
	return nil, errors.New(file + " has no private key of RSA, EC or Ed25519 in PEM")
}
