package kubernetes

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/balancer/discovery"
)

func TestRecordedListAndWatch(t *testing.T) {
	c := newCluster(t, recorded(t, "list-1.json"), recorded(t, "list-2.json"))
	settings := c.settings()
	settings.Port = "http"
	w := watch(t, settings)
	stream := c.next(t)
	f := func(want string) {
		t.Helper()
		if got := addresses(w.Watch); got != want {
			t.Errorf("targets are %s, want %s", got, want)
		}
	}
	const first = "10.244.1.17:8080@eu-1a, 10.244.1.19:8080@eu-1a (draining), 10.244.2.5:8081@eu-1b"
	f(first)
	if got, want := c.asked(t, 3), "list continue=, list continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ==, watch from 1000"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	events := strings.SplitAfter(recorded(t, "watch.jsonl"), "\n")
	stream <- events[0]
	w.Until(t, "4 targets", has(4))
	f(first + ", 10.244.2.6:8081@eu-1b")
	stream <- events[1]
	stream <- events[2]
	w.Until(t, "5 targets", has(5))
	stream <- events[3]
	w.Until(t, "3 targets", has(3))
	f("10.244.2.5:8081@eu-1b, 10.244.2.6:8081@eu-1b, 10.244.3.9:8080@eu-1c")
	close(stream)
	c.next(t)
	if got, want := c.asked(t, 1), "watch from 1030"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

func TestWatchGoesOnAfterBreakingOff(t *testing.T) {
	c := newCluster(t, list(1000, "10.0.0.1"))
	w := watch(t, c.settings())
	stream := c.next(t)
	stream <- modified(1001, "10.0.0.1", "10.0.0.2")
	w.Until(t, "2 targets", has(2))
	stream <- modified(1002, "10.0.0.1")[:50]
	stream <- "cut"
	stream = c.next(t)
	if got, want := c.asked(t, 3), "list continue=, watch from 1000, watch from 1001"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	stream <- modified(1003, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	w.Until(t, "3 targets", has(3))
	if s := w.Status(); !s.Failed.IsZero() {
		t.Errorf("a watch that broke off and went on is a failure: %+v", s)
	}
}

func TestWatchesThatAreAlwaysCutOff(t *testing.T) {
	c := newCluster(t, list(1000, "10.0.0.1"))
	settings := c.settings()
	settings.Pause = 10 * time.Second // so that every watch is short
	s, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	s.settings.Pause = 50 * time.Millisecond
	g := discovery.NewGroup(discovery.Options{MinRetry: time.Hour})
	defer g.Close()
	w := g.Watch(s, nil)
	for range maxCut {
		close(c.next(t))
	}
	for limit := time.After(10 * time.Second); w.Status().Err == nil; {
		select {
		case <-limit:
			t.Fatal("watches that are cut off at once are no failure")
		case <-time.After(time.Millisecond):
		}
	}
	if n := len(w.Targets()); n != 1 {
		t.Errorf("%d targets, want 1", n)
	}
}

func TestExpiredVersionsListAnew(t *testing.T) {
	gone := `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1000 (2000)","reason":"Expired","code":410}`
	c := newCluster(t, list(1000, "10.0.0.1"))
	w := watch(t, c.settings())
	stream := c.next(t)
	c.set(nil, list(2000, "10.0.0.2", "10.0.0.3"))
	stream <- `{"type":"ERROR","object":` + gone + "}\n"
	w.Until(t, "2 targets", has(2))
	stream = c.next(t)
	if got, want := c.asked(t, 4), "list continue=, watch from 1000, list continue=, watch from 2000"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}

	// The same as an answer to a watch, and then to the second page of a list.
	c.set(func(w http.ResponseWriter, r *http.Request) {
		switch q := r.URL.Query(); {
		case q.Get("continue") != "":
			c.set(nil, list(3000, "10.0.0.4"))
			fallthrough
		case q.Get("watch") == "true":
			w.WriteHeader(http.StatusGone)
			fmt.Fprint(w, gone)
		default:
			fmt.Fprint(w, strings.Replace(list(2500, "10.0.0.9"), `{"resource`, `{"continue":"x","resource`, 1))
		}
	})
	close(stream)
	c.next(t)
	if got, want := c.asked(t, 5), "watch from 2000, list continue=, list continue=x, list continue=, watch from 3000"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	if s := w.Status(); !s.Failed.IsZero() || addresses(w.Watch) != "10.0.0.4:80" {
		t.Errorf("targets are %s; a version that expired is no failure: %+v", addresses(w.Watch), s)
	}
}

func TestFailuresKeepTargets(t *testing.T) {
	c := newCluster(t, list(1000, "10.0.0.1", "10.0.0.2"))
	w := watch(t, c.settings())
	stream := c.next(t)
	f := func(want string, event string, answer http.HandlerFunc) {
		t.Helper()
		c.set(answer)
		if event == "" {
			close(stream)
		} else {
			stream <- event
		}
		w.Until(t, want, fails(want))
		if n := len(w.Targets()); n != 2 {
			t.Errorf("%s: %d targets, want 2", want, n)
		}
		c.set(nil)
		w.Until(t, "recovery", has(2))
		stream = c.next(t)
	}
	f("invalid character", "<html>", nil)
	f("cannot unmarshal", "[]\n", nil)
	f("it has no version", `{"type":"ADDED","object":{}}`+"\n", nil)
	f("read event: ", `{"type":"ADDED"}`+"\n", nil)
	f("cannot unmarshal", `{"type":"ADDED","object":{"metadata":5}}`+"\n", nil)
	f(`type "MOVED" is unknown`, `{"type":"MOVED","object":{"metadata":{"resourceVersion":"5"}}}`+"\n", nil)
	f("answered 500: etcd is gone", `{"type":"ERROR","object":{"code":500,"message":"etcd is gone"}}`+"\n", nil)
	f("answered 403", "", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "forbidden", http.StatusForbidden) })
	f("invalid character", "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "true" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, "<html>")
	})
	f("it has no version", "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "true" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, `{"items":null}`)
	})
}

func TestEmptyServiceIsAnAnswer(t *testing.T) {
	c := newCluster(t, list(1000, "10.0.0.1"))
	w := watch(t, c.settings())
	stream := c.next(t)
	w.Until(t, "1 target", has(1))
	stream <- modified(1001)
	w.Until(t, "no target", has(0))
}

func TestTokenIsRotated(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("token", "first\n")
	c := newCluster(t, list(1000, "10.0.0.1"))
	c.authorize("first")
	settings := c.settings()
	settings.Token.File = filepath.Join(dir, "token")
	w := watch(t, settings)
	stream := c.next(t)
	c.authorize("second")
	close(stream)
	w.Until(t, "401", fails("answered 401"))
	if n := len(w.Targets()); n != 1 {
		t.Errorf("%d targets, want 1", n)
	}
	write("token", "second")
	w.Until(t, "recovery", has(1))
	c.next(t)
}

func TestInCluster(t *testing.T) {
	c := newCluster(t, list(1000, "10.0.0.1"))
	c.authorize("secret")
	server := httptest.NewTLSServer(c)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"token": "secret", "namespace": "shop\n",
		"ca.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	settings := Settings{Service: "users", ServiceAccount: dir}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	watch(t, settings).Until(t, "no cluster", fails("does not run in a cluster"))
	t.Setenv("KUBERNETES_SERVICE_HOST", u.Hostname())
	t.Setenv("KUBERNETES_SERVICE_PORT", u.Port())
	watch(t, settings).Until(t, "1 target", has(1))
	c.next(t)
}

func TestSettings(t *testing.T) {
	f := func(s Settings, ok bool) {
		t.Helper()
		if _, err := New(s); (err == nil) != ok {
			t.Errorf("New(%+v): %v", s, err)
		}
	}
	f(Settings{Service: "users"}, true)
	f(Settings{}, false)
	f(Settings{Service: "users,app=x"}, false)
	f(Settings{Service: "-users"}, false)
	f(Settings{Service: "users", Namespace: "../x"}, false)
	f(Settings{Service: "users", Family: "ipv4"}, false)
	f(Settings{Service: "users", Server: "10.0.0.1:6443"}, false)

	key := func(s Settings) string {
		source, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		return source.Key()
	}
	a, b := Settings{Service: "users", Token: discovery.Token{Value: "hunter2"}}, Settings{Service: "users", Token: discovery.Token{Value: "other"}}
	if key(a) == key(b) || strings.Contains(key(a), "hunter2") {
		t.Errorf("key is %s", key(a))
	}
}
