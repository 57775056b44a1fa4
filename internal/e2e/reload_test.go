package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/salgue441/velocity/internal/testkit"
)

// answering is a route whose answer tells which document is in force.
func answering(body string) string {
	return "routes: [{name: which, path: /which, respond: {body: " + body + "}}]\n"
}

// waitAnswer waits until /which answers with body.
func waitAnswer(t *testing.T, g *testkit.Process, body string) {
	t.Helper()
	testkit.Eventually(t, testkit.Patience, "the answer "+body, func() bool {
		return testkit.Get(t, g.Addr, "/which").Body == body
	})
}

func TestReloadOnSIGHUP(t *testing.T) {
	t.Parallel()
	g, path := start(t, unwatched+answering("one"))
	waitAnswer(t, g, "one")
	testkit.ReplaceFile(t, path, unwatched+answering("two"))
	g.Signal(t, syscall.SIGHUP)
	waitAnswer(t, g, "two")
	if r := statusOf(t, g).Config.Revision; r != 2 {
		t.Errorf("revision %d, want 2", r)
	}
}

func TestReloadOnWatchedFiles(t *testing.T) {
	t.Parallel()
	t.Run("renamed over", func(t *testing.T) {
		t.Parallel()
		g, path := start(t, settings+answering("one"))
		for _, body := range []string{"two", "three"} { // the watch must survive the first
			testkit.ReplaceFile(t, path, settings+answering(body))
			waitAnswer(t, g, body)
		}
	})
	t.Run("rewritten in place", func(t *testing.T) {
		t.Parallel()
		g, path := start(t, settings+answering("one"))
		for _, body := range []string{"two", "three"} {
			testkit.WriteFile(t, filepath.Dir(path), filepath.Base(path), settings+answering(body))
			waitAnswer(t, g, body)
		}
	})
	t.Run("included", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		included := testkit.WriteFile(t, dir, "routes/all.yaml", answering("one"))
		g := testkit.StartGateway(t, testkit.WriteFile(t, dir, "gateway.yaml", settings+"include: [routes/all.yaml]\n"))
		testkit.ReplaceFile(t, included, answering("two"))
		waitAnswer(t, g, "two")
	})
	t.Run("new in a glob", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		testkit.WriteFile(t, dir, "conf.d/other.yaml", "routes: [{path: /other, respond: {body: other}}]\n")
		g := testkit.StartGateway(t, testkit.WriteFile(t, dir, "gateway.yaml", settings+"include: [conf.d/*.yaml]\n"))
		added := testkit.WriteFile(t, dir, "conf.d/which.yaml", answering("one"))
		waitAnswer(t, g, "one")
		if err := os.Remove(added); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, testkit.Patience, "the route to go", func() bool {
			return testkit.Get(t, g.Addr, "/which").Status == 404
		})
	})
	t.Run("new in a new directory", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		g := testkit.StartGateway(t, testkit.WriteFile(t, dir, "gateway.yaml", settings+"include: [conf.d/*.yaml]\n"))
		testkit.WriteFile(t, dir, "conf.d/which.yaml", answering("one"))
		waitAnswer(t, g, "one")
		testkit.WriteFile(t, dir, "conf.d/which.yaml", answering("two"))
		waitAnswer(t, g, "two")
	})
	t.Run("in a directory that is replaced", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		testkit.WriteFile(t, dir, "conf.d/which.yaml", answering("one"))
		g := testkit.StartGateway(t, testkit.WriteFile(t, dir, "gateway.yaml", settings+"include: [conf.d/*.yaml]\n"))
		if err := os.RemoveAll(filepath.Join(dir, "conf.d")); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, testkit.Patience, "the route to go", func() bool {
			return testkit.Get(t, g.Addr, "/which").Status == 404
		})
		testkit.WriteFile(t, dir, "conf.d/which.yaml", answering("two"))
		waitAnswer(t, g, "two")
		testkit.WriteFile(t, dir, "conf.d/which.yaml", answering("three"))
		waitAnswer(t, g, "three")
	})
	t.Run("mended where only the bad document leads", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		path := testkit.WriteFile(t, dir, "gateway.yaml", settings)
		g := testkit.StartGateway(t, path)
		included := testkit.WriteFile(t, dir, "routes/all.yaml", "routes: [{path: nonsense}]\n")
		testkit.ReplaceFile(t, path, settings+"include: [routes/all.yaml]\n")
		g.WaitLog(t, "configuration refused, the running one stays")
		testkit.ReplaceFile(t, included, answering("one"))
		waitAnswer(t, g, "one")
	})
}

// A ConfigMap is mounted as links through ..data, which is swapped for another
// link; the file that the gateway opened never changes.
func TestReloadOnKubernetesSwap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	swap := func(version, body string) {
		t.Helper()
		testkit.WriteFile(t, dir, version+"/gateway.yaml", settings+answering(body))
		link(version, "..data_tmp")
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	swap("..2026_01", "one")
	link("..data/gateway.yaml", "gateway.yaml")
	g := testkit.StartGateway(t, filepath.Join(dir, "gateway.yaml"))
	waitAnswer(t, g, "one")
	swap("..2026_02", "two")
	waitAnswer(t, g, "two")
	if err := os.RemoveAll(filepath.Join(dir, "..2026_01")); err != nil {
		t.Fatal(err)
	}
	swap("..2026_03", "three")
	waitAnswer(t, g, "three")
}

func TestReloadThroughTheAdminAPI(t *testing.T) {
	t.Parallel()
	g, path := start(t, unwatched+answering("one"))
	reload := func(wantStatus int) testkit.Response {
		t.Helper()
		r := testkit.Do(t, g.Admin, "POST", "/admin/v1/reload", "Content-Length: 0")
		if r.Status != wantStatus {
			t.Fatalf("reload: status %d, want %d: %s", r.Status, wantStatus, r.Body)
		}
		return r
	}
	metric := func(series string, want float64) {
		t.Helper()
		if got := testkit.Scrape(t, g.Admin).Value(t, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	var answer struct {
		Changed bool
		Hash    string
	}
	before := statusOf(t, g)

	// Nothing new is nothing to do.
	reload(200).JSON(t, &answer)
	if after := statusOf(t, g); answer.Changed || after.Config.Revision != 1 || after.Config.Hash != before.Config.Hash {
		t.Errorf("unchanged: %+v, status %+v", answer, after)
	}
	metric(`velocity_config_reloads_total{result="unchanged"}`, 1)

	// What is bad stays out, and everybody is told.
	testkit.ReplaceFile(t, path, unwatched+"routes: [{path: /which, respond: {status: 99}}]\n")
	var problem struct {
		Code     string
		Problems []struct {
			File, Path string
			Line       int
		}
	}
	reload(422).JSON(t, &problem)
	if problem.Code != "config_invalid" || len(problem.Problems) != 1 || problem.Problems[0].File != path ||
		problem.Problems[0].Line != strings.Count(unwatched, "\n")+1 || problem.Problems[0].Path != "routes[0].respond.status" {
		t.Errorf("bad: %+v", problem)
	}
	waitAnswer(t, g, "one")
	metric("velocity_config_last_reload_success", 0)
	metric(`velocity_config_reloads_total{result="failed"}`, 1)
	after := statusOf(t, g)
	if last := after.Config.LastReload; after.Config.Revision != 1 || last.Success || last.Error == "" || len(last.Problems) != 1 {
		t.Errorf("bad: status %+v", after)
	}
	if line := g.WaitLog(t, "configuration refused, the running one stays"); line.Level != "error" || !strings.Contains(line.Error, "routes[0].respond.status") {
		t.Errorf("bad: log line %+v", line)
	}

	// What is good again goes in.
	testkit.ReplaceFile(t, path, unwatched+answering("two"))
	reload(200).JSON(t, &answer)
	if r := testkit.Get(t, g.Addr, "/which"); !answer.Changed || r.Body != "two" {
		t.Errorf("good: %+v, and the answer is %q", answer, r.Body)
	}
	metric("velocity_config_last_reload_success", 1)
	if after := statusOf(t, g); after.Config.Revision != 2 || !after.Config.LastReload.Success || after.Config.Hash != answer.Hash {
		t.Errorf("good: status %+v", after)
	}
}

// Settings that fasthttp fixes at the start of a server follow a reload too,
// and connections of the server before stay.
func TestReloadOfServerSettings(t *testing.T) {
	t.Parallel()
	g, path := start(t, unwatched+answering("one"))
	old := testkit.Dial(t, g.Addr)
	long := "X-Long: " + strings.Repeat("x", 20<<10)
	if r := testkit.Get(t, g.Addr, "/which", long); r.Status != 431 {
		t.Fatalf("status %d for 20 KiB of headers, want 431", r.Status)
	}
	old.Do(t, "GET", "/which")
	testkit.ReplaceFile(t, path, strings.Replace(unwatched, "port: 0,", "port: 0, max_header_bytes: 64KiB,", 1)+answering("two"))
	g.Signal(t, syscall.SIGHUP)
	waitAnswer(t, g, "two")
	if r := testkit.Get(t, g.Addr, "/which", long); r.Status != 200 {
		t.Errorf("status %d after the reload, want 200", r.Status)
	}
	if r := old.Do(t, "GET", "/which"); r.Body != "two" {
		t.Errorf("the old connection answers %q", r.Body)
	}
}

// What waits for a restart says so.
func TestReloadOfTheAdminPort(t *testing.T) {
	t.Parallel()
	g, path := start(t, unwatched+answering("one"))
	testkit.ReplaceFile(t, path, strings.Replace(unwatched, "admin: {port: 0}", "admin: {port: 1}", 1)+answering("two"))
	g.Signal(t, syscall.SIGHUP)
	g.WaitLog(t, "configuration: admin.enabled, admin.host, admin.port and admin.tls changed: the new value takes effect at the next start")
	waitAnswer(t, g, "two")
}

func TestReloadReopensTheAccessLog(t *testing.T) {
	t.Parallel()
	logs := t.TempDir()
	file := filepath.Join(logs, "access.log")
	document := strings.Replace(unwatched, "access_log: {enabled: false}", "access_log: {output: "+file+"}", 1)
	g, _ := start(t, document+answering("one"))
	has := func(path, id string) func() bool {
		return func() bool {
			text, err := os.ReadFile(path)
			return err == nil && strings.Contains(string(text), `"`+id+`"`)
		}
	}
	testkit.Get(t, g.Addr, "/which", "X-Request-Id: before")
	testkit.Eventually(t, testkit.Patience, "the first line", has(file, "before"))
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	g.Signal(t, syscall.SIGHUP)
	testkit.Eventually(t, testkit.Patience, "the new file", func() bool {
		_, err := os.Stat(file)
		return err == nil
	})
	testkit.Get(t, g.Addr, "/which", "X-Request-Id: after")
	testkit.Eventually(t, testkit.Patience, "the second line", has(file, "after"))
}
