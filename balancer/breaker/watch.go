package breaker

import (
	"context"
	"sync"
	"time"
)

// Watch makes the changes of breakers that are due to the passing of time when
// they are due, also if no request comes by: one goroutine for all. It looks at
// every breaker when one has changed and when one is due, at one atomic load for
// each that is closed. All methods are safe for concurrent use.
type Watch struct {
	now     func() int64
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // a breaker was added or has changed

	mu       sync.Mutex
	breakers map[*Breaker]struct{}
}

// NewWatch returns a running Watch without breakers. now is the clock that the
// breakers' callers use; it must keep pace with package time's. Close must be
// called.
func NewWatch(now func() int64) *Watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watch{
		now:      now,
		cancel:   cancel,
		wake:     make(chan struct{}, 1),
		breakers: make(map[*Breaker]struct{}),
	}
	w.running.Go(func() { w.run(ctx) })
	return w
}

// Close stops the Watch and waits until it has. Breakers stay as they are. It must
// not be called from an onChange.
func (w *Watch) Close() {
	w.cancel()
	w.running.Wait()
}

// Add watches a breaker. A breaker has one Watch at a time: the last.
func (w *Watch) Add(b *Breaker) {
	b.mu.Lock()
	b.watch = w
	b.mu.Unlock()
	w.mu.Lock()
	w.breakers[b] = struct{}{}
	w.mu.Unlock()
	w.wakeUp()
}

// Remove ends the watching of a breaker. One more change may still be made.
func (w *Watch) Remove(b *Breaker) {
	w.mu.Lock()
	delete(w.breakers, b)
	w.mu.Unlock()
	b.mu.Lock()
	if b.watch == w {
		b.watch = nil
	}
	b.mu.Unlock()
}

func (w *Watch) wakeUp() {
	if w == nil {
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Watch) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var list []*Breaker
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		list = w.list(list[:0])
		timer.Stop()
		if next := w.poll(list); next != 0 {
			timer.Reset(time.Duration(next - w.now()))
		}
		clear(list)
	}
}

// list copies the breakers, so that what onChange does finds no lock held.
func (w *Watch) list(list []*Breaker) []*Breaker {
	w.mu.Lock()
	defer w.mu.Unlock()
	for b := range w.breakers {
		list = append(list, b)
	}
	return list
}

// poll returns when the first of the breakers is due, 0 if none is.
func (w *Watch) poll(list []*Breaker) (first int64) {
	for _, b := range list {
		if next := b.Poll(w.now()); next != 0 && (first == 0 || next < first) {
			first = next
		}
	}
	return first
}
