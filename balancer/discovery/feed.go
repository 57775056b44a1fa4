package discovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// errReturned is the failure of a source that ended without a reason.
var errReturned = errors.New("source ended by itself")

// feed is one running source and those who watch it. It is the Sink of its source.
type feed struct {
	group  *Group
	source Source
	key    string
	ctx    context.Context // ends with the last watch
	cancel context.CancelFunc
	list   atomic.Pointer[[]Target]
	ready  chan struct{} // closed with the first answer or failure

	mu       sync.Mutex
	watches  []*Watch
	status   Status
	answered bool               // since Run was called
	release  context.CancelFunc // of the held list; nil if none is held
}

func newFeed(g *Group, source Source, key string) *feed {
	f := &feed{group: g, source: source, key: key, ready: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(g.ctx)
	f.list.Store(new([]Target))
	f.status.Source = source.String()
	return f
}

// run keeps the source running until nobody watches it.
func (f *feed) run() {
	backoff := Backoff{Min: f.group.options.MinRetry, Max: f.group.options.MaxRetry}
	for f.ctx.Err() == nil {
		err := f.runOnce()
		if f.ctx.Err() != nil {
			return
		}
		if f.takeAnswered() {
			backoff.Reset()
		}
		wait := backoff.Next()
		f.Fail(err, time.Now().Add(wait))
		Wait(f.ctx, wait)
	}
}

// runOnce turns a panic into a failure: what a registry or a file says may not
// end the process, whatever it finds in a parser.
func (f *feed) runOnce() (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("BUG: source panicked: %v", cause)
		}
	}()
	if err = f.source.Run(f.ctx, f); err == nil {
		err = errReturned
	}
	return err
}

func (f *feed) takeAnswered() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	answered := f.answered
	f.answered = false
	return answered
}

// Update takes an answer of the source.
func (f *feed) Update(targets []Target, next time.Time) {
	list, dropped := normalize(targets, f.group.options.MaxTargets)
	now := time.Now()

	f.mu.Lock()
	f.answered = true
	s := &f.status
	s.Dropped, s.Updated, s.Next = dropped, now, next
	s.Err, s.Failures, s.Stale = nil, 0, false
	changed := f.takeLocked(list, now)
	f.firstLocked()
	status := f.status
	f.mu.Unlock()
	f.tell(status, changed)
}

// takeLocked makes an answer the list that watchers see, unless it is to be held,
// and reports whether that changed the list.
func (f *feed) takeLocked(list []Target, now time.Time) bool {
	if len(list) > 0 || f.group.options.HoldEmpty <= 0 {
		f.releaseLocked()
		return f.setLocked(list, now)
	}
	if len(*f.list.Load()) == 0 || f.release != nil {
		return false
	}
	ctx, cancel := context.WithCancel(f.ctx)
	f.release, f.status.Held = cancel, true
	f.group.running.Go(func() { f.hold(ctx) })
	return false
}

func (f *feed) setLocked(list []Target, now time.Time) bool {
	if slices.Equal(*f.list.Load(), list) {
		return false
	}
	f.list.Store(&list)
	f.status.Targets, f.status.Changed = len(list), now
	return true
}

// hold empties the list when the time is over, unless the source has found
// targets before.
func (f *feed) hold(ctx context.Context) {
	if !Wait(ctx, f.group.options.HoldEmpty) {
		return
	}
	f.mu.Lock()
	if ctx.Err() != nil { // released while the lock was waited for
		f.mu.Unlock()
		return
	}
	f.releaseLocked()
	changed := f.setLocked(nil, time.Now())
	status := f.status
	f.mu.Unlock()
	f.tell(status, changed)
}

func (f *feed) releaseLocked() {
	if f.release != nil {
		f.release()
		f.release, f.status.Held = nil, false
	}
}

// Fail takes a failure. next is when the source will try, or is tried, again.
func (f *feed) Fail(err error, next time.Time) {
	f.mu.Lock()
	if f.ctx.Err() != nil { // a source that is stopped fails because of that
		f.mu.Unlock()
		return
	}
	s := &f.status
	s.Failed, s.Err, s.Stale = time.Now(), err, true
	s.Failures++
	s.Next = next
	f.firstLocked()
	status := f.status
	f.mu.Unlock()
	f.tell(status, false)
}

func (f *feed) firstLocked() {
	select {
	case <-f.ready:
	default:
		close(f.ready)
	}
}

// tell reports to the group's owner and, after a change, to those who watch.
func (f *feed) tell(status Status, changed bool) {
	if report := f.group.options.Report; report != nil {
		report(status)
	}
	if !changed {
		return
	}
	f.mu.Lock()
	watches := slices.Clone(f.watches)
	f.mu.Unlock()
	for _, w := range watches {
		w.notify()
	}
}
