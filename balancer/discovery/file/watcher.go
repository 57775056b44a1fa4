package file

import (
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// watcher notices that a file may have changed. It watches directories, not the
// file: a file that is replaced by renaming another over it, or by swapping the
// link that leads to it, takes a watch with it. Without notifications it does
// nothing, and polling has to do.
type watcher struct {
	path   string // of the file
	target string // where it leads to, if it is a link
	notify *fsnotify.Watcher
	events chan fsnotify.Event
	errors chan error
}

func newWatcher(path string, open func() (*fsnotify.Watcher, error)) *watcher {
	w := &watcher{path: path}
	notify, err := open()
	if err != nil {
		return w // the system has no more watches to give
	}
	w.notify, w.events, w.errors = notify, notify.Events, notify.Errors
	return w
}

// follow watches the directories where the file is now. Watching one again is
// nothing new; one that was removed and is back needs it.
func (w *watcher) follow() {
	if w.notify == nil {
		return
	}
	_ = w.notify.Add(filepath.Dir(w.path)) // what cannot be watched is polled
	target, err := filepath.EvalSymlinks(w.path)
	if err != nil || target == w.target {
		return
	}
	if old := filepath.Dir(w.target); w.target != "" && old != filepath.Dir(w.path) && old != filepath.Dir(target) {
		_ = w.notify.Remove(old) // it may be gone already
	}
	w.target = target
	_ = w.notify.Add(filepath.Dir(target))
}

// concerns reports whether an event may have changed the file. Kubernetes swaps
// all files of a volume by one link named ..data.
func (w *watcher) concerns(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	name := filepath.Clean(e.Name)
	return name == w.path || name == w.target || name == filepath.Dir(w.path) || filepath.Base(name) == "..data"
}

func (w *watcher) close() {
	if w.notify != nil {
		_ = w.notify.Close()
	}
}
