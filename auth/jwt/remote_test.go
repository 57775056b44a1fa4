package jwt

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/salgue441/velocity/auth"
)

// issuer answers for an issuer; what it answers with can be changed.
type issuer struct {
	mu      sync.Mutex
	handler http.HandlerFunc
	fetches atomic.Int64
}

func (i *issuer) answer(h http.HandlerFunc) {
	i.mu.Lock()
	i.handler = h
	i.mu.Unlock()
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.fetches.Add(1)
	i.mu.Lock()
	h := i.handler
	i.mu.Unlock()
	h(w, r)
}

// RoundTrip serves without a socket, so that time can be moved.
func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	return w.Result(), nil
}

func edSet(kid string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}]}`, kid, rfcEdX)
	}
}

func broken(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }

// verifyAt verifies a token of kid that is valid at the moment.
func verifyAt(v *Verifier, kid string) error {
	at := time.Now()
	_, err := v.Verify(sign("EdDSA", kid, fmt.Sprintf(`{"exp":%d}`, at.Unix()+60), signers()["ed"]), at)
	return err
}

func TestKeysRotateAndSurviveFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{handler: edSet("a")}
		v := newVerifier(t, Settings{
			JWKSURL: "http://issuer.test/keys", HTTPClient: &http.Client{Transport: i},
			MaxStale: time.Hour, Now: time.Now,
		})
		want := func(kid string, want error) {
			t.Helper()
			if err := verifyAt(v, kid); err != want {
				t.Errorf("%s: got %v, want %v", kid, err, want)
			}
		}
		want("a", auth.ErrUnavailable)
		v.Start(t.Context())
		defer v.Close()
		<-v.Ready()
		want("a", nil)

		time.Sleep(time.Minute) //nolint:forbidigo // moves the bubble's clock
		i.answer(edSet("b"))
		want("b", nil) // fetched on demand
		want("a", auth.ErrUnknownKey)

		i.answer(broken)
		time.Sleep(30 * time.Minute) //nolint:forbidigo // moves the bubble's clock
		want("b", nil)
		if st := v.Status(); !st.Stale || st.Err == nil || st.Keys != 1 {
			t.Errorf("status %+v while fetches fail", st)
		}
		time.Sleep(time.Hour) //nolint:forbidigo // moves the bubble's clock
		want("b", auth.ErrUnavailable)
		i.answer(edSet("b"))
		time.Sleep(2 * time.Minute) //nolint:forbidigo // moves the bubble's clock
		want("b", nil)
		if st := v.Status(); st.Stale || st.Err != nil {
			t.Errorf("status %+v after a good fetch", st)
		}
	})
}

func TestUnknownKeysDoNotFloodTheIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{handler: edSet("a")}
		v := newVerifier(t, Settings{
			JWKSURL: "http://issuer.test/keys", HTTPClient: &http.Client{Transport: i}, Now: time.Now,
		})
		v.Start(t.Context())
		defer v.Close()
		<-v.Ready()
		time.Sleep(time.Minute) //nolint:forbidigo // moves the bubble's clock
		before := i.fetches.Load()
		var wg sync.WaitGroup
		for n := range 100 {
			wg.Go(func() {
				if err := verifyAt(v, fmt.Sprint("made up ", n)); err != auth.ErrUnknownKey {
					t.Errorf("got %v, want %v", err, auth.ErrUnknownKey)
				}
			})
		}
		wg.Wait()
		if n := i.fetches.Load() - before; n != 1 {
			t.Errorf("100 unknown keys made %d fetches, want 1", n)
		}
	})
}

func TestBadAnswersAreRefused(t *testing.T) {
	f := func(name, want string, h http.HandlerFunc) {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(h)
			defer srv.Close()
			v := newVerifier(t, Settings{JWKSURL: srv.URL + "/keys", Timeout: 300 * time.Millisecond})
			defer v.Close()
			_, err := v.remote.fetch(t.Context())
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	write := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s) }
	}
	f("good", "", edSet("a"))
	f("status", "answered 502", broken)
	f("garbage", "not a JSON object", write("<html>"))
	f("member twice", "not a JSON object", write(`{"keys":[],"keys":[]}`))
	f("no list", "no list", write(`{"keys":{}}`))
	f("no key", "no key can be used", write(`{"keys":[]}`))
	f("secret", "a secret in a set that is fetched", write(`{"keys":[{"kty":"oct","k":"`+rfcSecret+`"}]}`))
	f("short RSA", "not between 2048", write(`{"keys":[{"kty":"RSA","n":"`+enc(b64(rfcN)[:128])+`","e":"AQAB"}]}`))
	f("point not on the curve", "not on its curve", write(`{"keys":[{"kty":"EC","crv":"P-256","x":"`+rfcX256+`","y":"`+rfcX256+`"}]}`))
	f("too large", "more than 1048576 bytes", write(strings.Repeat(" ", maxDocument+1)))
	f("slow", "deadline exceeded", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	f("endless redirects", "redirects", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) })
	f("one redirect", "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			http.Redirect(w, r, "/new", http.StatusFound)
			return
		}
		edSet("a")(w, r)
	})
}
