package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

const (
	reloads = 1000
	clients = 4
)

// changing is the document of a revision. Between any two of them the moving
// upstream has another endpoint, and the routes differ in number and content.
// What stays is the untouched upstream, the kept one with its check, and their
// routes but for the header that names the revision.
func changing(revision int, untouched, kept *testkit.Upstream, moving []*testkit.Upstream) string {
	var b strings.Builder
	fmt.Fprintf(&b, `%s
upstreams:
  - {name: untouched, targets: [{url: "%s"}]}
  - {name: kept, health_check: {path: /health, interval: 500ms, timeout: 500ms}, targets: [{url: "%s"}]}
  - {name: moving, pool: {idle_timeout: 1s}, health_check: {path: /health, interval: 500ms, timeout: 500ms}, targets: [{url: "%s"}]}
routes:
`, unwatched, untouched.URL(), kept.URL(), moving[revision%len(moving)].URL())
	for _, name := range []string{"untouched", "kept", "moving"} {
		fmt.Fprintf(&b, "  - {name: %s, path: /%s, upstream: %s, headers: {response: {set: {X-Revision: \"%d\"}}}}\n", name, name, name, revision)
	}
	fmt.Fprintf(&b, "  - {name: fixed, path: /fixed, respond: {body: fixed, headers: {X-Revision: \"%d\"}}}\n", revision)
	for i := range revision % 7 {
		fmt.Fprintf(&b, "  - {path: \"/extra/%d/{id}/%d\", respond: {body: extra}}\n", revision, i)
	}
	return b.String()
}

// requests is what the clients and the reloads know of one another.
type requests struct {
	addr    string
	applied atomic.Int64 // this revision is in force
	written atomic.Int64 // this one may be
	moving  []*testkit.Upstream
	good    atomic.Int64
	stop    atomic.Bool
}

// client sends requests over one connection until it is told to stop. Any
// answer but the right one is an error.
func (tr *requests) client() error {
	c, err := testkit.NewConn(tr.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	targets := []string{"untouched", "kept", "moving", "fixed"}
	for i := 0; !tr.stop.Load(); i++ {
		target := targets[i%len(targets)]
		lowest := tr.applied.Load()
		r, err := c.Try("GET", "/"+target)
		highest := tr.written.Load()
		if err != nil {
			return fmt.Errorf("request %d to /%s: %w", i, target, err)
		}
		if r.Status != 200 || r.Close {
			return fmt.Errorf("request %d to /%s: status %d, close %v, body %q", i, target, r.Status, r.Close, r.Body)
		}
		revision, err := strconv.ParseInt(r.Header.Get("X-Revision"), 10, 64)
		if err != nil || revision < lowest || revision > highest {
			return fmt.Errorf("request %d to /%s: revision %q, want %d to %d", i, target, r.Header.Get("X-Revision"), lowest, highest)
		}
		want := []string{target + "\n"}
		switch target {
		case "fixed":
			want[0] = target
		case "moving":
			// An upstream's endpoints are replaced just before the snapshot.
			n := int64(len(tr.moving))
			want = []string{tr.moving[revision%n].Name + "\n", tr.moving[(revision+1)%n].Name + "\n"}
		}
		if r.Body != want[0] && r.Body != want[len(want)-1] {
			return fmt.Errorf("request %d to /%s: body %q at revision %d, want one of %q", i, target, r.Body, revision, want)
		}
		tr.good.Add(1)
	}
	return nil
}

// Traffic does not notice reloads, and what a reload does not change lives on.
func TestThousandReloadsUnderTraffic(t *testing.T) {
	untouched, kept := testkit.NewUpstream(t, "untouched"), testkit.NewUpstream(t, "kept")
	moving := []*testkit.Upstream{testkit.NewUpstream(t, "m0"), testkit.NewUpstream(t, "m1"), testkit.NewUpstream(t, "m2")}
	g, path := start(t, changing(0, untouched, kept, moving))

	tr := &requests{addr: g.Addr, moving: moving}
	failures := make(chan error, clients)
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			if err := tr.client(); err != nil {
				failures <- err
			}
		})
	}
	defer running.Wait()
	defer tr.stop.Store(true)

	manage, watch := testkit.Dial(t, g.Admin), testkit.Dial(t, g.Addr)
	var slowest, total time.Duration
	reload := func(revision int) {
		t.Helper()
		tr.written.Store(int64(revision))
		testkit.ReplaceFile(t, path, changing(revision, untouched, kept, moving))
		began := time.Now()
		if revision%10 == 0 {
			g.Signal(t, syscall.SIGHUP)
			testkit.Eventually(t, testkit.Patience, "the revision", func() bool {
				return watch.Do(t, "GET", "/fixed").Header.Get("X-Revision") == strconv.Itoa(revision)
			})
		} else if r := manage.Do(t, "POST", "/admin/v1/reload", "Content-Length: 0"); r.Status != 200 {
			t.Fatalf("reload %d: status %d: %s", revision, r.Status, r.Body)
		}
		took := time.Since(began)
		slowest, total = max(slowest, took), total+took
		tr.applied.Store(int64(revision))
		select {
		case err := <-failures:
			t.Fatalf("at revision %d, after %d good requests: %v", revision, tr.good.Load(), err)
		default:
		}
	}
	figures := func() (m testkit.Metrics, rss int64, fds int) {
		return testkit.Scrape(t, g.Admin), testkit.RSS(t, g.PID()), testkit.FDs(t, g.PID())
	}

	// traffic waits until every client has used every route: what was never used
	// has no series yet.
	traffic := func() {
		t.Helper()
		until := tr.good.Load() + 50*clients
		testkit.Eventually(t, testkit.Patience, "traffic", func() bool { return tr.good.Load() > until })
	}
	traffic()
	quiet, _, quietFDs := figures()
	const warm = reloads - 7*120 // there are as many routes then as at the end
	for revision := 1; revision <= warm; revision++ {
		reload(revision)
	}
	traffic()
	first, firstRSS, _ := figures()
	since := endpointsOf(t, g, "kept")[0].Since
	for revision := warm + 1; revision <= reloads; revision++ {
		reload(revision)
	}

	// No goroutine, file, series or memory is left behind. (The pool of an
	// endpoint that is gone looks for idle connections once more after its
	// idle_timeout, and ends.)
	var last testkit.Metrics
	var lastRSS int64
	var lastFDs int
	const goroutines = "go_goroutines"
	defer func() {
		t.Logf("goroutines %v to %v, files %d to %d, series %d to %d, memory %d KiB to %d KiB",
			quiet.Value(t, goroutines), last.Value(t, goroutines), quietFDs, lastFDs, len(first), len(last), firstRSS>>10, lastRSS>>10)
	}()
	testkit.Eventually(t, testkit.Patience, "goroutines, files and series to be as few as before", func() bool {
		last, lastRSS, lastFDs = figures()
		return last.Value(t, goroutines) <= quiet.Value(t, goroutines)+6 && lastFDs <= quietFDs+6 && len(last) <= len(first)
	})
	if grown := lastRSS - firstRSS; grown > 12<<20 {
		t.Errorf("memory grew by %d KiB from %d KiB", grown>>10, firstRSS>>10)
	}

	tr.stop.Store(true)
	running.Wait()
	select {
	case err := <-failures:
		t.Errorf("after %d good requests: %v", tr.good.Load(), err)
	default:
	}

	// What was not changed has not noticed.
	if n := untouched.Accepted(); n > clients {
		t.Errorf("%d connections to the untouched endpoint for %d clients", n, clients)
	}
	e := endpointsOf(t, g, "kept")[0]
	if !e.Up || e.Since != since {
		t.Errorf("the kept endpoint: %+v, was up since %s", e, since)
	}
	if lines := g.Log("endpoint is down"); len(lines) != 0 {
		t.Errorf("endpoints went down: %+v", lines)
	}
	if s := statusOf(t, g); s.Config.Revision != reloads+1 {
		t.Errorf("revision %d, want %d", s.Config.Revision, reloads+1)
	}
	if _, ok := last[`velocity_upstream_endpoint_up{upstream="moving",endpoint="`+moving[(reloads+1)%3].URL()+`"}`]; ok {
		t.Error("an endpoint that is gone still has metrics")
	}
	t.Logf("%d reloads of %v on average, %v at most, beside %d requests",
		reloads, (total / reloads).Round(time.Microsecond), slowest.Round(time.Microsecond), tr.good.Load())
	if tr.good.Load() < reloads {
		t.Error("there was hardly any traffic")
	}
}
