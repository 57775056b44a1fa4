package consul

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/salgue441/velocity/internal/testkit/discoverykit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is a stand-in that blocks as an agent does: until its index is greater
// than the query's.
type agent struct {
	*httptest.Server

	mu      sync.Mutex
	index   uint64
	body    string
	answer  http.HandlerFunc // in place of the body, if not nil
	changed chan struct{}    // closed with the next change
	queries chan query
}

type query struct {
	url.Values
	path, token string
	at          time.Time
}

func newAgent(t *testing.T, index uint64, body string) *agent {
	t.Helper()
	a := &agent{index: index, body: body, changed: make(chan struct{}), queries: make(chan query, 10_000)}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// set changes what is answered, and lets those who wait know.
func (a *agent) set(index uint64, body string, answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index, a.body, a.answer = index, body, answer
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := query{r.URL.Query(), r.URL.Path, r.Header.Get("X-Consul-Token"), time.Now()}
	a.queries <- q
	waitFor, _ := strconv.ParseUint(q.Get("index"), 10, 64)
	a.mu.Lock()
	index, body, answer, changed := a.index, a.body, a.answer, a.changed
	a.mu.Unlock()
	if waitFor > 0 && waitFor == index && answer == nil {
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		a.mu.Lock()
		index, body, answer = a.index, a.body, a.answer
		a.mu.Unlock()
	}
	w.Header().Set("X-Consul-Index", strconv.FormatUint(index, 10))
	w.Header().Set("X-Consul-KnownLeader", "true")
	w.Header().Set("X-Consul-LastContact", "0")
	if answer != nil {
		answer(w, r)
		return
	}
	fmt.Fprint(w, body)
}

func (a *agent) query(t *testing.T) query {
	t.Helper()
	select {
	case q := <-a.queries:
		return q
	case <-time.After(10 * time.Second):
		t.Fatal("no query came")
		return query{}
	}
}

// list is the answer that lists an instance on each port.
func list(ports ...int) string {
	body := "["
	for i, port := range ports {
		if i > 0 {
			body += ","
		}
		body += fmt.Sprintf(`{"Node":{"Node":"n","Address":"10.0.0.1"},"Service":{"ID":"users-%d","Address":"","Port":%d,"Weights":{"Passing":1,"Warning":1}},"Checks":[{"Status":"passing"}]}`, port, port)
	}
	return body + "]"
}

func watch(t *testing.T, settings Settings) discoverykit.Watched {
	t.Helper()
	if settings.Service == "" {
		settings.Service = "users"
	}
	if settings.Pause == 0 {
		settings.Pause = time.Millisecond
	}
	s, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return discoverykit.Watch(t, s)
}
