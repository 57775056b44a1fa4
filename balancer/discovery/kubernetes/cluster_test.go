package kubernetes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/salgue441/velocity/balancer/discovery"
	"github.com/salgue441/velocity/internal/testkit/discoverykit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a stand-in for the API server.
type cluster struct {
	*httptest.Server
	requests chan string      // "list continue=", "watch from 1000"
	streams  chan chan string // of each watch that begins: what is sent goes to it

	mu     sync.Mutex
	pages  []string
	token  string
	answer http.HandlerFunc // in place of all others, if not nil
}

func newCluster(t *testing.T, pages ...string) *cluster {
	t.Helper()
	c := &cluster{requests: make(chan string, 10_000), streams: make(chan chan string, 10_000), pages: pages}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *cluster) set(answer http.HandlerFunc, pages ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
	if pages != nil {
		c.pages = pages
	}
}

func (c *cluster) authorize(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = token
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	c.mu.Lock()
	answer, pages, token := c.answer, c.pages, c.token
	c.mu.Unlock()
	watch := q.Get("watch") == "true"
	if watch {
		c.requests <- "watch from " + q.Get("resourceVersion")
	} else {
		c.requests <- "list continue=" + q.Get("continue")
	}
	switch {
	case token != "" && r.Header.Get("Authorization") != "Bearer "+token:
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`)
	case r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices",
		q.Get("labelSelector") != "kubernetes.io/service-name=users",
		watch && (q.Get("allowWatchBookmarks") != "true" || q.Get("timeoutSeconds") == ""),
		!watch && q.Get("limit") != "500":
		http.Error(w, "unexpected request "+r.URL.String(), http.StatusBadRequest)
	case answer != nil:
		answer(w, r)
	case watch:
		c.stream(w, r)
	case q.Get("continue") != "":
		fmt.Fprint(w, pages[1])
	default:
		fmt.Fprint(w, pages[0])
	}
}

// stream sends what the test gives it until that closes the stream, or sends "cut".
func (c *cluster) stream(w http.ResponseWriter, r *http.Request) {
	events := make(chan string)
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	c.streams <- events
	for {
		select {
		case text, ok := <-events:
			if !ok {
				return
			}
			if text == "cut" {
				panic(http.ErrAbortHandler)
			}
			fmt.Fprint(w, text)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// next waits for the next watch.
func (c *cluster) next(t *testing.T) chan string {
	t.Helper()
	select {
	case stream := <-c.streams:
		return stream
	case <-time.After(10 * time.Second):
		t.Fatal("no watch began")
		return nil
	}
}

// asked takes the next n requests.
func (c *cluster) asked(t *testing.T, n int) string {
	t.Helper()
	var list []string
	for range n {
		select {
		case request := <-c.requests:
			list = append(list, request)
		case <-time.After(10 * time.Second):
			t.Fatalf("only these requests came: %v", list)
		}
	}
	return strings.Join(list, ", ")
}

func recorded(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// list is a list of one slice with an endpoint for each host.
func list(version int, hosts ...string) string {
	return fmt.Sprintf(`{"metadata":{"resourceVersion":"%d"},"items":[%s]}`, version, sliceOf(version, hosts...))
}

func sliceOf(version int, hosts ...string) string {
	var endpoints []string
	for _, host := range hosts {
		endpoints = append(endpoints, fmt.Sprintf(`{"addresses":["%s"],"conditions":{"ready":true}}`, host))
	}
	return fmt.Sprintf(`{"metadata":{"name":"users-1","resourceVersion":"%d"},"addressType":"IPv4","endpoints":[%s],"ports":[{"name":"","port":80,"protocol":"TCP"}]}`,
		version, strings.Join(endpoints, ","))
}

func modified(version int, hosts ...string) string {
	return fmt.Sprintf(`{"type":"MODIFIED","object":%s}`+"\n", sliceOf(version, hosts...))
}

func (c *cluster) settings() Settings {
	return Settings{Service: "users", Namespace: "shop", Server: c.URL, Pause: time.Millisecond}
}

func watch(t *testing.T, settings Settings) discoverykit.Watched {
	t.Helper()
	s, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return discoverykit.Watch(t, s)
}

func has(n int) func(discovery.Status) bool {
	return func(s discovery.Status) bool { return s.Targets == n && !s.Stale }
}

func fails(text string) func(discovery.Status) bool {
	return func(s discovery.Status) bool { return s.Err != nil && strings.Contains(s.Err.Error(), text) }
}

func addresses(w *discovery.Watch) string {
	var list []string
	for _, target := range w.Targets() {
		text := target.Address
		if target.Zone != "" {
			text += "@" + target.Zone
		}
		if target.Draining {
			text += " (draining)"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}
