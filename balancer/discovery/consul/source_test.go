package consul

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/balancer/discovery"
)

func has(n int) func(discovery.Status) bool {
	return func(s discovery.Status) bool { return s.Targets == n && !s.Stale }
}

func fails(text string) func(discovery.Status) bool {
	return func(s discovery.Status) bool { return s.Err != nil && strings.Contains(s.Err.Error(), text) }
}

func TestRecordedAnswer(t *testing.T) {
	recorded, err := os.ReadFile("testdata/health.json")
	if err != nil {
		t.Fatal(err)
	}
	f := func(warning bool, want ...discovery.Target) {
		t.Helper()
		a := newAgent(t, 7, string(recorded))
		w := watch(t, Settings{Address: a.URL, Warning: warning})
		w.Until(t, "targets", has(len(want)))
		if got := w.Targets(); !reflect.DeepEqual(got, want) {
			t.Errorf("targets are %+v, want %+v", got, want)
		}
	}
	first := discovery.Target{Address: "10.1.10.21:8000", Weight: 10, Zone: "eu-1a"}
	f(false, first)
	f(true, discovery.Target{Address: "10.1.10.13:8001", Draining: true}, first,
		discovery.Target{Address: "users-3.internal:8002", Weight: 1, Zone: "eu-1b"})
}

func TestQuery(t *testing.T) {
	f := func(settings Settings, want string) {
		t.Helper()
		a := newAgent(t, 7, list(1))
		settings.Address = a.URL + "/"
		watch(t, settings)
		q := a.query(t)
		if got := q.path + "?" + q.Encode(); got != want {
			t.Errorf("query is %s, want %s", got, want)
		}
		if q := a.query(t); q.Get("index") != "7" {
			t.Errorf("second query waits for index %q, want 7", q.Get("index"))
		}
	}
	f(Settings{}, "/v1/health/service/users?passing=true&stale=&wait=5m0s")
	f(Settings{Service: "a/b", Warning: true, Consistency: Default, Wait: time.Hour}, "/v1/health/service/a/b?wait=10m0s")
	f(Settings{
		Tags: []string{"v2", "primary"}, Datacenter: "dc1", Namespace: "ns1", Partition: "p1", Filter: `Service.Meta.a == "b"`,
		Consistency: Consistent,
	}, "/v1/health/service/users?consistent=&dc=dc1&filter=Service.Meta.a+%3D%3D+%22b%22&ns=ns1&partition=p1&passing=true&tag=v2&tag=primary&wait=5m0s")
}

func TestBlockingQueries(t *testing.T) {
	a := newAgent(t, 7, list(1))
	w := watch(t, Settings{Address: a.URL})
	w.Until(t, "1 target", has(1))
	a.set(9, list(1, 2), nil)
	w.Until(t, "2 targets", has(2))
	a.set(10, "[]", nil)
	w.Until(t, "no target", has(0))
	var indexes []string
	for range 4 {
		indexes = append(indexes, a.query(t).Get("index"))
	}
	if got, want := strings.Join(indexes, " "), " 7 9 10"; got != want {
		t.Errorf("queries wait for %q, want %q", got, want)
	}
}

func TestIndexRules(t *testing.T) {
	f := func(index, answered, want uint64) {
		t.Helper()
		if got := next(index, answered); got != want {
			t.Errorf("after index %d was answered with %d the next is %d, want %d", index, answered, got, want)
		}
	}
	f(0, 7, 7)
	f(7, 7, 7)
	f(7, 8, 8)
	f(7, 6, 0)
	f(7, 0, 0)
	f(0, 0, 1)

	a := newAgent(t, 70, list(1))
	w := watch(t, Settings{Address: a.URL})
	w.Until(t, "1 target", has(1))
	a.set(7, list(1, 2), nil) // restored from a backup
	w.Until(t, "2 targets", has(2))
	var indexes []string
	for range 4 {
		indexes = append(indexes, a.query(t).Get("index"))
	}
	if got, want := strings.Join(indexes, ","), ",70,,7"; got != want {
		t.Errorf("queries wait for %q, want %q", got, want)
	}
}

func TestFailuresKeepTargets(t *testing.T) {
	a := newAgent(t, 7, list(1, 2))
	w := watch(t, Settings{Address: a.URL})
	w.Until(t, "2 targets", has(2))
	f := func(want string, answer http.HandlerFunc) {
		t.Helper()
		a.set(8, "", answer)
		w.Until(t, want, fails(want))
		if n := len(w.Targets()); n != 2 {
			t.Errorf("%s: %d targets, want 2", want, n)
		}
		a.set(9, list(1, 2), nil)
		w.Until(t, "recovery", has(2))
	}
	f("answered 500: No cluster leader", func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "No cluster leader", http.StatusInternalServerError)
	})
	f("answered 403: Permission denied", func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "Permission denied", http.StatusForbidden)
	})
	f("answered 302", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "http://192.0.2.1/", http.StatusFound)
	})
	f("invalid character", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "<html>") })
	f("cannot unmarshal", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, `{"error":"x"}`) })
	f("not a list", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "null") })
	f("unexpected EOF", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "1000")
		fmt.Fprint(rw, list(1)[:40])
	})
	f("no X-Consul-Index", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Del("X-Consul-Index")
		fmt.Fprint(rw, "[]")
	})
	f("token may not read", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
		fmt.Fprint(rw, "[]")
	})
	f("instance users-0 on n: port 0", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, list(0)) })
}

func TestAgentIsNotAskedAllTheTime(t *testing.T) {
	a := newAgent(t, 7, "[]")
	index := 7
	a.set(7, "", func(w http.ResponseWriter, _ *http.Request) { // an index that never stands still
		index++
		w.Header().Set("X-Consul-Index", fmt.Sprint(index))
		fmt.Fprint(w, list(1))
	})
	const pause = 20 * time.Millisecond
	watch(t, Settings{Address: a.URL, Pause: pause})
	last := a.query(t).at
	for range 5 {
		// Queries leave a pause apart, and may be under way for different times.
		at := a.query(t).at
		if gap := at.Sub(last); gap < pause/2 {
			t.Errorf("queries came %v apart, want about %v", gap, pause)
		}
		last = at
	}
}

func TestTokenIsReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	a := newAgent(t, 7, list(1))
	w := watch(t, Settings{Address: a.URL, Token: discovery.Token{File: file}})
	w.Until(t, "1 target", has(1))
	if q := a.query(t); q.token != "first" {
		t.Errorf("token is %q, want first", q.token)
	}
	write("second")
	a.set(8, list(1, 2), func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Consul-Token") != "second" {
			http.Error(rw, "ACL not found", http.StatusForbidden)
			return
		}
		fmt.Fprint(rw, list(1, 2))
	})
	w.Until(t, "2 targets", has(2))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	w.Until(t, "no token", fails("read token: "))
}

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Consul-Index", "7")
		if r.URL.Query().Has("index") {
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, list(1))
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	watch(t, Settings{Address: server.URL, TLS: discovery.TLS{CAFile: ca}}).Until(t, "1 target", has(1))
	watch(t, Settings{Address: server.URL}).Until(t, "an unknown authority", fails("certificate"))
	watch(t, Settings{Address: server.URL, TLS: discovery.TLS{SkipVerify: true}}).Until(t, "1 target", has(1))
	watch(t, Settings{Address: server.URL, TLS: discovery.TLS{CAFile: ca + "x"}}).Until(t, "no file", fails("read authorities"))
}

func TestSettings(t *testing.T) {
	f := func(s Settings, ok bool) {
		t.Helper()
		if _, err := New(s); (err == nil) != ok {
			t.Errorf("New(%+v): %v", s, err)
		}
	}
	f(Settings{}, false)
	f(Settings{Service: "users"}, true)
	f(Settings{Service: "users", Address: "127.0.0.1:8500"}, false)
	f(Settings{Service: "users", Address: "http://user:secret@127.0.0.1"}, false)
	f(Settings{Service: "users", Consistency: "eventual"}, false)

	a, err := New(Settings{Service: "users", Token: discovery.Token{Value: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Settings{Service: "users", Token: discovery.Token{Value: "other"}})
	if err != nil {
		t.Fatal(err)
	}
	if a.Key() == b.Key() || strings.Contains(a.Key(), "secret") {
		t.Errorf("key is %s", a.Key())
	}
}
