package discovery

import (
	"slices"
	"strings"
	"sync"
)

// Watch is one watcher's view of a source. All methods are safe for concurrent use.
type Watch struct {
	feed *feed

	mu      sync.Mutex // held during changed, so that Close waits for it
	changed func(*Watch)
	closed  bool
}

// Targets returns the present targets, sorted by address, each address once. The
// caller must not change the slice, and may keep it: a change makes a new one.
func (w *Watch) Targets() []Target { return *w.feed.list.Load() }

// Ready is closed when the source has answered or failed for the first time. An
// upstream may begin before that, without targets.
func (w *Watch) Ready() <-chan struct{} { return w.feed.ready }

// Status returns the state of the source.
func (w *Watch) Status() Status { return w.feed.snapshot() }

// Close ends the watch; the source stops with its last one. When it returns, the
// watch's callback neither runs nor will run.
func (w *Watch) Close() {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if !closed {
		w.feed.drop(w)
	}
}

func (w *Watch) notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed && w.changed != nil {
		w.changed(w)
	}
}

// drop removes a watch, and the feed with its last one.
func (f *feed) drop(w *Watch) {
	f.group.mu.Lock()
	defer f.group.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watches = slices.DeleteFunc(f.watches, func(other *Watch) bool { return other == w })
	if len(f.watches) > 0 {
		return
	}
	f.cancel()
	delete(f.group.feeds, f.key)
}

func (f *feed) snapshot() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func compareFeeds(a, b *feed) int {
	if c := strings.Compare(a.status.Source, b.status.Source); c != 0 {
		return c
	}
	return strings.Compare(a.key, b.key)
}
