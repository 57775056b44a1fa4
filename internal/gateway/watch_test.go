package gateway

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"github.com/salgue441/velocity/internal/testkit"
)

func watching(t *testing.T) *watcher {
	t.Helper()
	w, err := newWatcher(zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w
}

func TestWatcherKnowsWhatConcernsIt(t *testing.T) {
	dir := t.TempDir()
	config := testkit.WriteFile(t, dir, "gateway.conf", "")
	secret := testkit.WriteFile(t, dir, "secrets/token", "")
	testkit.WriteFile(t, dir, "conf.d/a.yaml", "")
	w := watching(t)
	w.set([]string{config, secret}, []string{filepath.Join(dir, "conf.d"), filepath.Join(dir, "later.d")})
	f := func(name string, op fsnotify.Op, want bool) {
		t.Helper()
		if got := w.concerns(fsnotify.Event{Name: filepath.Join(dir, name), Op: op}); got != want {
			t.Errorf("%s %s: %v, want %v", op, name, got, want)
		}
	}
	f("gateway.conf", fsnotify.Write, true)
	f("gateway.conf", fsnotify.Create, true)
	f("gateway.conf", fsnotify.Chmod, false) // backups and indexers touch files
	f("secrets/token", fsnotify.Rename, true)
	f("secrets/other", fsnotify.Write, false)
	f("conf.d/b.yaml", fsnotify.Create, true)
	f("conf.d/b.YML", fsnotify.Remove, true)
	f("conf.d/b.yaml~", fsnotify.Create, false)
	f("..data", fsnotify.Create, true)
	f("later.d", fsnotify.Create, true)
	f("other.d", fsnotify.Create, false)
	f("conf.d", fsnotify.Remove, true)
	f("conf.d", fsnotify.Remove, false) // known by now
}

func TestWatcherFollowsLinks(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	target := testkit.WriteFile(t, elsewhere, "real.conf", "")
	link := filepath.Join(dir, "gateway.conf")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	w := watching(t)
	w.set([]string{link}, nil)
	for _, name := range []string{link, target} {
		if !w.concerns(fsnotify.Event{Name: name, Op: fsnotify.Write}) {
			t.Errorf("%s does not concern it", name)
		}
	}
}

// What is no longer part of the configuration is watched no more.
func TestWatcherForgets(t *testing.T) {
	dir := t.TempDir()
	first, second := testkit.WriteFile(t, dir, "a/one.conf", ""), testkit.WriteFile(t, dir, "b/two.conf", "")
	w := watching(t)
	w.set([]string{first, second}, nil)
	w.set([]string{second}, nil)
	w.add(filepath.Join(dir, "VELOCITY_PORT")) // a problem's place need not be a file
	if list := w.notify.WatchList(); len(list) != 1 || list[0] != filepath.Join(dir, "b") {
		t.Errorf("it watches %q", list)
	}
	w.add(first)
	if list := w.notify.WatchList(); len(list) != 2 {
		t.Errorf("it watches %q", list)
	}
}

// Several steps of one change are one change.
func TestWatcherWaitsUntilFilesSettle(t *testing.T) {
	path := testkit.WriteFile(t, t.TempDir(), "gateway.yaml", "")
	w, err := newWatcher(zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	w.set([]string{path}, nil)
	var changes atomic.Int64
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		w.run(stop, func() { changes.Add(1) })
	}()
	for range 20 {
		testkit.ReplaceFile(t, path, "x")
	}
	testkit.Eventually(t, testkit.Patience, "the change", func() bool { return changes.Load() > 0 })
	if n := changes.Load(); n > 3 { // one, unless the machine stalls in between
		t.Errorf("20 steps were taken for %d changes", n)
	}
	close(stop)
	<-ended
}

// Without watches to give, the gateway runs without them.
func TestNoWatcher(*testing.T) {
	var w *watcher
	w.set([]string{"a"}, []string{"b"})
	w.add("a")
}
