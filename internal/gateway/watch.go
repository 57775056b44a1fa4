package gateway

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// settle is how long files must be quiet before a change is acted upon:
// editors and configuration maps write in several steps.
const settle = 100 * time.Millisecond

// watcher asks for a reload when a configuration file changes. It watches
// directories, not files: editors replace a file by renaming another over it,
// and Kubernetes swaps a symbolic link named ..data; both end a watch on the
// file itself.
type watcher struct {
	mu      sync.Mutex
	notify  *fsnotify.Watcher
	files   map[string]bool
	watched map[string]bool
	log     *zap.Logger
}

// newWatcher returns a watcher that watches nothing yet. It may fail when the
// system has no more watches to give.
func newWatcher(log *zap.Logger) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return &watcher{notify: notify, files: map[string]bool{}, watched: map[string]bool{}, log: log}, nil
}

// set makes files, and everything that may appear in dirs, what is watched.
func (w *watcher) set(files, dirs []string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	wantFiles, wantDirs := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		for _, f := range withTarget(f) {
			wantFiles[f] = true
			wantDirs[filepath.Dir(f)] = true
		}
	}
	for _, d := range dirs {
		if d, err := filepath.Abs(d); err == nil {
			wantDirs[d] = true
		}
	}
	for d := range w.watched {
		if !wantDirs[d] {
			_ = w.notify.Remove(d) // it may be gone already
			delete(w.watched, d)
		}
	}
	w.files = wantFiles
	for d := range wantDirs {
		w.watchLocked(d)
	}
}

// add watches a file besides, until the next set: one that a configuration
// that was refused would be made from. A name that is no file is ignored.
func (w *watcher) add(file string) {
	if w == nil {
		return
	}
	if _, err := os.Stat(file); err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range withTarget(file) {
		w.files[f] = true
		w.watchLocked(filepath.Dir(f))
	}
}

func (w *watcher) watchLocked(dir string) {
	if w.watched[dir] {
		return
	}
	err := w.notify.Add(dir)
	if errors.Is(err, fs.ErrNotExist) {
		w.files[dir] = true // its parent tells when it appears
		return
	}
	if err != nil {
		w.log.Warn("watch configuration: changes there need SIGHUP", zap.String("directory", dir), zap.Error(err))
		return
	}
	w.watched[dir] = true
}

// withTarget is a file's absolute name and, for a link, that of what it leads
// to.
func withTarget(name string) []string {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil
	}
	if target, err := filepath.EvalSymlinks(abs); err == nil && target != abs {
		return []string{abs, target}
	}
	return []string{abs}
}

// concerns reports whether an event may change the configuration.
func (w *watcher) concerns(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	name := filepath.Clean(e.Name)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched[name] && e.Op&(fsnotify.Remove|fsnotify.Rename) != 0 {
		delete(w.watched, name) // its watch has ended; the next set looks for another of that name
		return true
	}
	if w.files[name] || filepath.Base(name) == "..data" {
		return true
	}
	ext := strings.ToLower(filepath.Ext(name))
	return ext == ".yaml" || ext == ".yml"
}

// run calls changed after changes have settled, until stop is closed.
func (w *watcher) run(stop <-chan struct{}, changed func()) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-stop:
			w.close()
			return
		case e := <-w.notify.Events:
			if w.concerns(e) {
				timer.Reset(settle)
			}
		case err := <-w.notify.Errors:
			// Events were lost: look.
			w.log.Warn("watch configuration", zap.Error(err))
			timer.Reset(settle)
		case <-timer.C:
			changed()
		}
	}
}

// close ends the watch. Only a second call fails, and that does not matter.
func (w *watcher) close() { _ = w.notify.Close() }
