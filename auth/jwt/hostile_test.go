package jwt

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/salgue441/velocity/auth"
)

// hostileCase is a line of testdata/hostile.txt.
type hostileCase struct{ name, keys, signer, header, payload, then, want string }

func hostileCases(t testing.TB) []hostileCase {
	t.Helper()
	file, err := os.ReadFile("testdata/hostile.txt")
	if err != nil {
		t.Fatal(err)
	}
	var cases []hostileCase
	for n, line := range strings.Split(string(file), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, " | ")
		if len(f) != 7 {
			t.Fatalf("line %d has %d columns", n+1, len(f))
		}
		cases = append(cases, hostileCase{f[0], f[1], f[2], f[3], f[4], f[5], f[6]})
	}
	return cases
}

func TestHostileTokens(t *testing.T) {
	cases := hostileCases(t)
	if len(cases) < 120 {
		t.Errorf("%d cases, want at least 120", len(cases))
	}
	verifiers := map[string]*Verifier{}
	seen := map[string]bool{}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if seen[c.name] {
				t.Fatal("two cases have this name")
			}
			seen[c.name] = true
			v := verifiers[c.keys]
			if v == nil {
				v = newVerifier(t, hostileSettings(c.keys))
				verifiers[c.keys] = v
			}
			token := c.token()
			for range 2 { // what was refused is not let in the second time, nor the other way round
				id, err := v.Verify([]byte(token), now())
				if got := outcome(err); got != c.want {
					t.Fatalf("got %s, want %s, for %s", got, c.want, token)
				}
				if (id == nil) != (err != nil) {
					t.Fatalf("identity %v and error %v", id, err)
				}
			}
		})
	}
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	if e := (*auth.Error)(nil); !errors.As(err, &e) {
		return fmt.Sprintf("%T %v", err, err)
	}
	return err.Error()
}

func hostileSettings(keys string) Settings {
	var s Settings
	name, strict := strings.CutSuffix(keys, " strict")
	switch name {
	case "hs":
		s.Secret = signers()["hs"].([]byte)
	case "set":
		s.JWKS = []byte(jwkSet())
	default:
		s.PEM = publicPEM(public(name))
	}
	if strict {
		s.Issuers, s.Audiences = []string{"a"}, []string{"b"}
		s.Scopes = ScopeRule{All: []string{"read"}, Any: []string{"write", "own"}}
		s.Required = []ClaimRule{{Path: "tier", Exact: "gold"}, {Path: "realm.roles", Any: []string{"admin", "root"}}}
		s.Extract = []string{"mail"}
	}
	return s
}

func (c *hostileCase) token() string {
	header := c.header
	if regexp.MustCompile(`^[A-Za-z0-9]+$`).MatchString(header) && header != "null" {
		header = fmt.Sprintf(`{"alg":%q,"typ":"JWT"}`, header)
	}
	payload := c.payload
	if payload == "ok" {
		payload = claims()
	}
	payload = regexp.MustCompile(`@-?\d+`).ReplaceAllStringFunc(payload, func(s string) string {
		n, _ := strconv.ParseInt(s[1:], 10, 64)
		return strconv.FormatInt(now().Unix()+n, 10)
	})
	h, p := enc([]byte(header)), enc([]byte(payload))
	switch c.then { // before it is signed
	case "signed line end":
		p = p[:8] + "\n" + p[8:]
	case "signed padding":
		p += "=="
	case "signed slash":
		p = "/" + p[1:]
	case "signed bom":
		p = enc([]byte("\ufeff" + payload))
	case "signed latin1":
		p = enc([]byte(`{"sub":"` + "\xe9" + `",` + payload[1:]))
	case "signed control":
		p = enc([]byte(`{"x":"a` + "\n" + `",` + payload[1:]))
	}
	return spoil(c.then, h, p, enc(c.signature(header, h+"."+p)))
}

func (c *hostileCase) signature(header, text string) []byte {
	alg := "HS256"
	if m := regexp.MustCompile(`"alg":"([A-Za-z0-9]+)"`).FindStringSubmatch(header); m != nil {
		alg = m[1]
	}
	if c.then == "as RS256" {
		alg = "RS256"
	}
	switch c.signer {
	case "nothing":
		return nil
	case "zeros":
		n := 32
		if a := algorithmNamed(alg); a != nil && a.size > 0 {
			n = a.size
		} else if a != nil {
			n = 256
		}
		return make([]byte, n)
	}
	return signature(alg, text, signers()[c.signer])
}

// spoil does to a token what a case says.
func spoil(how, h, p, s string) string {
	ok := h + "." + p + "." + s
	sig := func(f func([]byte) []byte) string { return h + "." + p + "." + enc(f(b64(s))) }
	switch how {
	case "cut signature":
		return sig(func(b []byte) []byte { return b[:len(b)-1] })
	case "longer signature":
		return sig(func(b []byte) []byte { return append(b, 0) })
	case "flip signature":
		return sig(func(b []byte) []byte { b[len(b)/3] ^= 1; return b })
	case "der signature":
		return sig(func(b []byte) []byte {
			der, err := asn1.Marshal([]*big.Int{new(big.Int).SetBytes(b[:32]), new(big.Int).SetBytes(b[32:])})
			if err != nil {
				panic(err)
			}
			return der
		})
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := 0
	if s != "" {
		last = strings.IndexByte(alphabet, s[len(s)-1])
	}
	forms := map[string]string{
		"other payload": h + "." + enc([]byte(strings.Replace(claims(), "ann", "root", 1))) + "." + s,
		"other header":  enc([]byte(`{"alg":"HS256","typ":"at+jwt"}`)) + "." + p + "." + s,
		"empty":         "", "one segment": h, "two segments": h + "." + p, "four segments": ok + "." + s,
		"five segments": ok + "." + s + "." + s, "dots": "..", "no header": "." + p + "." + s, "no payload": h + ".." + s,
		"bearer": "Bearer " + ok, "space before": " " + ok, "space behind": ok + " ", "line end behind": ok + "\r\n",
		"line end in header": "\n" + ok, "line end in payload": h + ".\n" + p + "." + s,
		"line end in signature": h + "." + p + ".\n" + s, "zero behind": ok + "\x00",
		"pad header": h + "=." + p + "." + s, "pad signature": ok + "=", "plus in signature": h + "." + p + ".+" + s[min(1, len(s)):],
		"trailing bits": ok[:len(ok)-1] + alphabet[last^1:][:1], "percent": h + "%2E" + p + "." + s,
		"too long": ok + strings.Repeat("A", 8<<10), "long header": strings.Repeat("A", 8<<10) + ok,
		"json": fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, h, p, s),
	}
	if form, there := forms[how]; there {
		return form
	}
	return ok
}
