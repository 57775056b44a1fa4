package jwt

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	jwtlib "github.com/golang-jwt/jwt/v5"

	"github.com/salgue441/velocity/auth"
)

// A token in the cache ends when it says, and not later.
func TestCachedTokenEnds(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	v, err := New(Settings{Secret: secret, Leeway: -1})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	token, err := jwtlib.NewWithClaims(jwtlib.SigningMethodHS256, jwtlib.MapClaims{"sub": "ann", "exp": now.Unix() + 10}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	first, err := v.Verify([]byte(token), now)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := v.Verify([]byte(token), now.Add(10*time.Second-1)); err != nil || again != first {
		t.Errorf("just before its end: %v, from the cache %v", err, again == first)
	}
	if _, err := v.Verify([]byte(token), now.Add(10*time.Second)); err != auth.ErrExpired {
		t.Errorf("at its end: %v", err)
	}
}

// The issuer says where its keys are, unless it says so for another issuer.
func TestDiscovery(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for _, path := range []string{"/good", "/bad"} {
		mux.HandleFunc(path+"/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"issuer":"%s/good","jwks_uri":"%s/keys"}`, server.URL, server.URL)
		})
	}
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"%s"}]}`, base64.RawURLEncoding.EncodeToString(public))
	})
	token := func(iss string) []byte {
		text, err := jwtlib.NewWithClaims(jwtlib.SigningMethodEdDSA, jwtlib.MapClaims{"iss": iss, "exp": time.Now().Unix() + 60}).SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return []byte(text)
	}
	v, err := New(Settings{Issuer: server.URL + "/good", Discover: true})
	if err != nil {
		t.Fatal(err)
	}
	v.Start(t.Context())
	t.Cleanup(v.Close)
	<-v.Ready()
	if _, err := v.Verify(token(server.URL+"/good"), time.Now()); err != nil {
		t.Error(err)
	}
	if _, err := v.Verify(token(server.URL+"/bad"), time.Now()); err != auth.ErrIssuer {
		t.Errorf("of another issuer: %v", err)
	}

	bad, err := New(Settings{Issuer: server.URL + "/bad", Discover: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bad.remote.fetch(t.Context()); err == nil {
		t.Error("a document of another issuer is believed")
	}
	bad.Close()
}

// What was verified with keys that are gone is verified again.
func TestRotationEmptiesTheCache(t *testing.T) {
	v, err := New(Settings{JWKSURL: "http://127.0.0.1/keys"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(p ed25519.PublicKey) {
		k, err := newKey("k", p, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		v.remote.publish([]key{k})
	}
	token, err := jwtlib.NewWithClaims(jwtlib.SigningMethodEdDSA, jwtlib.MapClaims{"exp": time.Now().Unix() + 60}).SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	publish(public)
	first, err := v.Verify([]byte(token), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	publish(public)
	if again, err := v.Verify([]byte(token), time.Now()); err != nil || again != first {
		t.Errorf("the same keys again: %v, from the cache %v", err, again == first)
	}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	publish(other)
	if _, err := v.Verify([]byte(token), time.Now()); err != auth.ErrSignature {
		t.Errorf("another key of that name: %v", err)
	}
}
