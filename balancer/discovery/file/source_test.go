package file

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"

	"github.com/salgue441/velocity/balancer/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reports is a group whose every answer and failure the test can wait for.
type reports struct {
	group *discovery.Group
	ch    chan discovery.Status
}

func newReports(t *testing.T) *reports {
	t.Helper()
	r := &reports{ch: make(chan discovery.Status, 1000)}
	r.group = discovery.NewGroup(discovery.Options{Report: func(s discovery.Status) { r.ch <- s }})
	t.Cleanup(r.group.Close)
	return r
}

// until waits for a status that the test is looking for.
func (r *reports) until(t *testing.T, what string, is func(discovery.Status) bool) discovery.Status {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case s := <-r.ch:
			if is(s) {
				return s
			}
		case <-limit:
			t.Fatalf("no status that says %s", what)
		}
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newSource(t *testing.T, settings Settings) *Source {
	t.Helper()
	s, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fails(text string) func(discovery.Status) bool {
	return func(s discovery.Status) bool { return s.Err != nil && strings.Contains(s.Err.Error(), text) }
}

func has(n int) func(discovery.Status) bool {
	return func(s discovery.Status) bool { return s.Targets == n && !s.Stale }
}

// The poll of these tests never comes: what is noticed was told by the system.
func TestChangesAreNoticed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "targets.yaml")
	r := newReports(t)
	w := r.group.Watch(newSource(t, Settings{Path: path, Poll: time.Hour}), nil)
	r.until(t, "the file is missing", fails("no such file"))
	put(t, path, "- 10.0.0.1:80\n")
	r.until(t, "1 target", has(1))
	put(t, path, "- 10.0.0.1:80\n- 10.0.0.2\n")
	r.until(t, "line 2 is wrong", fails(path+":2: "))
	if n := len(w.Targets()); n != 1 {
		t.Errorf("%d targets while the file is broken, want 1", n)
	}
	put(t, path+".new", "- 10.0.0.1:80\n- 10.0.0.2:80\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	r.until(t, "2 targets", has(2))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.until(t, "the file is missing", fails("no such file"))
	if n := len(w.Targets()); n != 2 {
		t.Errorf("%d targets after the file was deleted, want 2", n)
	}
}

func TestVolumesAreSwapped(t *testing.T) {
	dir := t.TempDir()
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	version := func(name, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, name, "targets.yaml"), text)
	}
	version("..1", "- 10.0.0.1:80\n")
	link("..1", "..data")
	link("..data/targets.yaml", "targets.yaml")
	r := newReports(t)
	r.group.Watch(newSource(t, Settings{Path: filepath.Join(dir, "targets.yaml"), Poll: time.Hour}), nil)
	r.until(t, "1 target", has(1))
	for i, text := range []string{"- 10.0.0.1:80\n- 10.0.0.2:80\n", "- 10.0.0.1:80\n- 10.0.0.2:80\n- 10.0.0.3:80\n"} {
		name := "..2" + string(rune('a'+i))
		version(name, text)
		link(name, "..tmp")
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		r.until(t, "more targets", has(i+2))
	}
	if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
		t.Fatal(err)
	}
}

func TestLinkedFileChangesInItsOwnDirectory(t *testing.T) {
	elsewhere, link := filepath.Join(t.TempDir(), "a.yaml"), filepath.Join(t.TempDir(), "b.yaml")
	put(t, elsewhere, "- 10.0.0.1:80\n")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	r := newReports(t)
	r.group.Watch(newSource(t, Settings{Path: link, Poll: time.Hour}), nil)
	r.until(t, "1 target", has(1))
	put(t, elsewhere, "- 10.0.0.1:80\n- 10.0.0.2:80\n")
	r.until(t, "2 targets", has(2))
}

func TestFileIsPolledWhereNobodyTells(t *testing.T) {
	path := filepath.Join(t.TempDir(), "targets.json")
	put(t, path, `["10.0.0.1:80"]`)
	synctest.Test(t, func(t *testing.T) {
		g := discovery.NewGroup(discovery.Options{})
		defer g.Close()
		s := newSource(t, Settings{Path: path})
		s.notify = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
		changes := 0
		w := g.Watch(s, func(*discovery.Watch) { changes++ })
		<-w.Ready()
		if next := time.Until(w.Status().Next); len(w.Targets()) != 1 || next != DefaultPoll {
			t.Errorf("%d targets, next look in %v", len(w.Targets()), next)
		}
		put(t, path, `["10.0.0.2:80", "10.0.0.1:80"]`)
		<-time.After(DefaultPoll + time.Second)
		if len(w.Targets()) != 2 {
			t.Errorf("%d targets after a poll, want 2", len(w.Targets()))
		}
		put(t, path, `["10.0.0.1:80", "10.0.0.2:80"]`)
		<-time.After(10 * DefaultPoll)
		if changes != 2 {
			t.Errorf("%d changes, want 2: the order of the list is none", changes)
		}
	})
}

func TestFileThatIsTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "targets.yaml")
	put(t, path, "[]"+strings.Repeat(" ", MaxSize))
	if _, err := read(path); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("read = %v", err)
	}
}

func TestKey(t *testing.T) {
	a, b := newSource(t, Settings{Path: "/a"}), newSource(t, Settings{Path: "/a", Poll: DefaultPoll})
	c := newSource(t, Settings{Path: "/c"})
	if a.Key() != b.Key() || a.Key() == c.Key() {
		t.Errorf("keys are %q, %q and %q", a.Key(), b.Key(), c.Key())
	}
	if _, err := New(Settings{}); err == nil {
		t.Error("a source without path is accepted")
	}
}
