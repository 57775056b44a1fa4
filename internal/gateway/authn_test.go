package gateway

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/internal/testkit"
)

func tokenClaims(more map[string]any) map[string]any {
	c := map[string]any{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix(), "scope": "a b", "tenant": "t1", "roles": []string{"clerk", "boss"}}
	for name, value := range more {
		c[name] = value
	}
	return c
}

// What the client gets, and what the upstream sees, for each way to bring a token
// and each thing that may be wrong with it.
func TestTokenAuth(t *testing.T) {
	up := testkit.NewUpstream(t, "up")
	policy := `{type: jwt, secret: "` + testkit.TokenSecret + `", issuer: me, audiences: [us], scopes: {all: [a], any: [b, c]}, claims: [{path: roles, any: [boss]}], cookie: tk, query: tk}`
	g := run(t, settings+`routes:
  - {name: a, path: /a, auth: `+policy+`, headers: {request: {set: {X-User: "${identity}", X-Tenant: "${claim.tenant}"}}}, targets: [{url: "`+up.URL()+`"}]}
  - {name: gone, path: /gone, auth: {type: jwt, keep_token: false, secret: "`+testkit.TokenSecret+`"}, targets: [{url: "`+up.URL()+`"}]}
  - {name: own, path: /own, auth: {type: jwt, header: X-Token, secret: "`+testkit.TokenSecret+`"}, respond: {body: own}}
  - {name: lower, path: /lower, auth: {type: jwt, header: authorization, secret: "`+testkit.TokenSecret+`"}, respond: {body: lower}}
  - {name: away, path: /away, auth: {type: jwt, secret: "`+testkit.TokenSecret+`"}, redirect: {path: "/of/${identity}"}}
  - {name: open, path: /open, respond: {body: open}}
`)
	with := func(more map[string]any) string {
		c := tokenClaims(map[string]any{"iss": "me", "aud": "us"})
		for name, value := range more {
			c[name] = value
		}
		return testkit.Token(t, c)
	}
	good := with(nil)
	bearer := func(token string) []string { return []string{"Authorization: Bearer " + token} }
	const (
		missing = `Bearer realm="velocity"`
		invalid = `Bearer realm="velocity", error="invalid_token", error_description="The token is not valid"`
		scope   = `Bearer realm="velocity", error="insufficient_scope", scope="a b c"`
	)
	for name, tc := range map[string]struct {
		target    string
		headers   []string
		status    int
		challenge string
	}{
		"good":                        {"/a", bearer(good), 200, ""},
		"scheme in lower case":        {"/a", []string{"Authorization: bearer   " + good}, 200, ""},
		"in a cookie":                 {"/a", []string{"Cookie: x=1; tk=" + good}, 200, ""},
		"in the query":                {"/a?tk=" + good, nil, 200, ""},
		"none":                        {"/a", nil, 401, missing},
		"another scheme":              {"/a", []string{"Authorization: Basic YTpi"}, 401, missing},
		"empty":                       {"/a", []string{"Authorization: Bearer "}, 401, missing},
		"twice":                       {"/a", append(bearer(good), bearer(good)...), 401, invalid},
		"bad beats a good one":        {"/a?tk=" + good, bearer("x.y.z"), 401, invalid},
		"changed":                     {"/a", bearer(good[:len(good)-2] + "AA"), 401, invalid},
		"not signed":                  {"/a", bearer(good[:strings.LastIndexByte(good, '.')+1]), 401, invalid},
		"expired":                     {"/a", bearer(with(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()})), 401, invalid},
		"of another issuer":           {"/a", bearer(with(map[string]any{"iss": "you"})), 401, invalid},
		"for somebody else":           {"/a", bearer(with(map[string]any{"aud": "them"})), 401, invalid},
		"without a scope":             {"/a", bearer(with(map[string]any{"scope": "a"})), 403, scope},
		"without a role":              {"/a", bearer(with(map[string]any{"roles": "clerk"})), 403, scope},
		"taken away":                  {"/gone", bearer(good), 200, ""},
		"field of its own":            {"/own", []string{"X-Token: " + good}, 200, ""},
		"not in that field":           {"/own", bearer(good), 401, missing},
		"Authorization in lower case": {"/lower", bearer(good), 200, ""},
		"to a redirect":               {"/away", bearer(good), 302, ""},
		"to a redirect, none":         {"/away", nil, 401, missing},
		"nobody asks":                 {"/open", nil, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := up.Requests()
			headers := append([]string{"X-User: root", "Accept: application/json"}, tc.headers...)
			r := testkit.Do(t, g.addr, "GET", tc.target, headers...)
			if r.Status != tc.status || r.Header.Get("Www-Authenticate") != tc.challenge {
				t.Fatalf("%d, challenge %q; want %d, %q\n%s", r.Status, r.Header.Get("Www-Authenticate"), tc.status, tc.challenge, r.Body)
			}
			if tc.status == 302 && !strings.HasSuffix(r.Header.Get("Location"), "/of/ann") {
				t.Errorf("sent to %q", r.Header.Get("Location"))
			}
			if tc.status != 200 {
				if up.Requests() != before {
					t.Error("the upstream saw it")
				}
				if strings.Contains(r.Body, "signature") || strings.Contains(r.Body, "issuer") {
					t.Errorf("the answer tells too much: %s", r.Body)
				}
				return
			}
			switch {
			case strings.HasPrefix(tc.target, "/a"):
				if h := up.Last().Header; h.Get("X-User") != "ann" || h.Get("X-Tenant") != "t1" || len(h.Values("X-User")) != 1 {
					t.Errorf("the upstream saw %v", h)
				}
			case tc.target == "/gone":
				if h := up.Last().Header; h.Get("Authorization") != "" {
					t.Errorf("the upstream saw %v", h)
				}
			}
		})
	}
}

// Claims that only an upstream or a plugin asks for are known to them too.
func TestClaimsOfPluginsAndUpstreams(t *testing.T) {
	one, two := testkit.NewUpstream(t, "one"), testkit.NewUpstream(t, "two")
	g := run(t, settings+`plugins: [{name: rate-limiter, config: {requests: 20, window: 1h, key: "${claim.tenant}"}}]
upstreams:
  - name: ring
    targets: [{url: "`+one.URL()+`"}, {url: "`+two.URL()+`"}]
    balance: {algorithm: ring, hash_on: "${claim.shard}", max_load: 0}
routes: [{name: a, path: /a, upstream: ring, auth: {type: jwt, secret: "`+testkit.TokenSecret+`"}}]
`)
	servers := map[string]bool{}
	for _, tenant := range []string{"t1", "t2"} {
		for i := range 21 {
			token := testkit.Token(t, tokenClaims(map[string]any{"tenant": tenant, "shard": i}))
			r := testkit.Get(t, g.addr, "/a", "Authorization: Bearer "+token)
			if want := map[bool]int{true: 200, false: 429}[i < 20]; r.Status != want {
				t.Errorf("request %d of %s: %d, want %d", i+1, tenant, r.Status, want)
			}
			if i < 20 {
				servers[r.Body] = true
			}
		}
	}
	if len(servers) != 2 {
		t.Errorf("all shards are at %v", servers)
	}
}

// issuer serves a key set, unless it is down.
type issuer struct {
	*httptest.Server
	down atomic.Bool
	key  ed25519.PrivateKey
	asks atomic.Int64
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: private}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.asks.Add(1)
		if i.down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"%s"}]}`, base64.RawURLEncoding.EncodeToString(public))
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) token(t *testing.T) string {
	t.Helper()
	return "Authorization: Bearer " + testkit.SignedToken(t, jwt.SigningMethodEdDSA, "k", i.key, tokenClaims(nil))
}

// Keys that are fetched are there before the first request, live over reloads,
// and go with the last route that needs them.
func TestFetchedKeysOverReloads(t *testing.T) {
	i := newIssuer(t)
	document := func(body string) string {
		return settings + "routes: [{name: a, path: /a, respond: {body: " + body + "}, auth: {type: jwt, jwks_url: \"" + i.URL + "/keys\"}}]\n"
	}
	g := run(t, document("one"))
	ask := func(want int) {
		t.Helper()
		if r := testkit.Get(t, g.addr, "/a", i.token(t)); r.Status != want {
			t.Errorf("%d, want %d: %s", r.Status, want, r.Body)
		}
	}
	ask(200)
	i.down.Store(true)
	g.reload(t, document("two"))
	ask(200)
	if n := i.asks.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
	if d := keySets(g); len(d) != 1 || d[0].State != admin.DependencyUp || d[0].Name != i.URL+"/keys" {
		t.Errorf("dependencies: %+v", d)
	}
	g.reload(t, settings+"routes: [{name: a, path: /a, respond: {body: a}}]\n")
	if d := keySets(g); len(d) != 0 {
		t.Errorf("dependencies: %+v", d)
	}
}

// An issuer that cannot be asked makes its routes answer 503, and no others.
func TestKeysUnavailable(t *testing.T) {
	i := newIssuer(t)
	i.down.Store(true)
	g := run(t, settings+`routes:
  - {name: a, path: /a, respond: {body: a}, auth: {type: jwt, jwks_url: "`+i.URL+`/keys"}}
  - {name: b, path: /b, respond: {body: b}}
`)
	if r := testkit.Get(t, g.addr, "/a", i.token(t)); r.Status != 503 || r.Header.Get("Www-Authenticate") != "" {
		t.Errorf("/a: %d, %v", r.Status, r.Header)
	}
	if r := testkit.Get(t, g.addr, "/a"); r.Status != 401 {
		t.Errorf("/a without a token: %d", r.Status)
	}
	if r := testkit.Get(t, g.addr, "/b"); r.Status != 200 {
		t.Errorf("/b: %d", r.Status)
	}
	if d := keySets(g); len(d) != 1 || d[0].State != admin.DependencyDown || !strings.Contains(d[0].Error, "answered 500") {
		t.Errorf("dependencies: %+v", d)
	}
	i.down.Store(false)
	testkit.Eventually(t, 10*time.Second, "keys", func() bool { return testkit.Get(t, g.addr, "/a", i.token(t)).Status == 200 })
}

func keySets(g *gatewayIn) []admin.Dependency { return g.keyDependencies(g.running.Load().plan) }
