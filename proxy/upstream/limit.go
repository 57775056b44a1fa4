package upstream

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/salgue441/velocity/balancer/breaker"
)

// What Enter can end with. Nothing was sent.
var (
	// ErrFull: as many requests as allowed are in flight, and as many as
	// allowed wait.
	ErrFull = errors.New("enter upstream: too many requests in flight")
	// ErrQueueTimeout: the request waited as long as it may.
	ErrQueueTimeout = errors.New("enter upstream: waited too long")
)

// Limits bound the requests that an upstream has in flight.
type Limits struct {
	// MaxInFlight is how many requests may be in flight. Zero means no limit.
	MaxInFlight int
	// QueueSize is how many more may wait. Zero refuses them at once.
	QueueSize int
	// QueueTimeout bounds the wait of one. Zero means no limit of the queue's
	// own.
	QueueTimeout time.Duration
	// Adaptive is a further limit, which follows the latency; nil for none.
	Adaptive *breaker.Limit
}

// Entry is a place among the requests in flight. The zero value is none.
type Entry struct {
	upstream *Upstream
	adaptive *breaker.Limit
}

// limit counts the requests in flight, and queues those above the maximum in
// the order in which they came. Without a queue it costs one atomic operation
// to enter and one to leave.
type limit struct {
	max      atomic.Int64 // zero for no limit
	adaptive atomic.Pointer[breaker.Limit]
	active   atomic.Int64
	waiting  atomic.Int64 // length of the list below

	mu          sync.Mutex
	size        int
	timeout     time.Duration
	first, last *waiter
}

// waiter is a request in the queue.
type waiter struct {
	next, prev *waiter
	queued     bool           // guarded by the limit's mutex; when false, ready has a token
	adaptive   *breaker.Limit // what it was counted in
	ready      chan struct{}
	timer      *time.Timer
}

var waiters = sync.Pool{New: func() any {
	w := &waiter{ready: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}}

// SetLimits changes the limits in place. Requests that are in flight or wait
// stay; a higher maximum admits those that wait.
func (u *Upstream) SetLimits(s Limits) {
	l := &u.limit
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size, l.timeout = s.QueueSize, s.QueueTimeout
	l.max.Store(int64(s.MaxInFlight))
	l.adaptive.Store(s.Adaptive)
	l.admit()
}

// Adaptive is the limit that follows the latency, nil for none.
func (u *Upstream) Adaptive() *breaker.Limit { return u.limit.adaptive.Load() }

// Enter counts a request in, waiting for its turn if it must, for patience at
// the longest if that is positive. Leave must follow, unless there is an error,
// which is ErrFull or ErrQueueTimeout. Without a limit it counts nothing.
func (u *Upstream) Enter(patience time.Duration) (Entry, error) {
	l := &u.limit
	if l.max.Load() == 0 && l.adaptive.Load() == nil {
		return Entry{}, nil
	}
	if l.waiting.Load() == 0 {
		if adaptive, ok := l.take(); ok {
			return Entry{u, adaptive}, nil
		}
	}
	adaptive, err := l.wait(patience)
	if err != nil {
		return Entry{}, err
	}
	return Entry{u, adaptive}, nil
}

// Leave ends what Enter began. now is in nanoseconds, as for the circuit
// breakers, and latency the time that the upstream took to answer.
func (e Entry) Leave(now int64, latency time.Duration, outcome breaker.Outcome) {
	if e.upstream == nil {
		return
	}
	l := &e.upstream.limit
	l.active.Add(-1)
	if e.adaptive != nil {
		e.adaptive.Release(now, latency, outcome)
	}
	// A request that begins to wait looks for room after it can be seen here,
	// so either sees the other.
	if l.waiting.Load() > 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.admit()
	}
}

// Entered is how many requests are in flight that Enter counted in.
func (u *Upstream) Entered() int64 { return u.limit.active.Load() }

// Waiting is how many requests wait for their turn.
func (u *Upstream) Waiting() int64 { return u.limit.waiting.Load() }

// take counts a request in if there is room, and returns the adaptive limit that
// it is counted in as well.
func (l *limit) take() (adaptive *breaker.Limit, ok bool) {
	for {
		n := l.active.Load()
		if most := l.max.Load(); most > 0 && n >= most {
			return nil, false
		}
		if l.active.CompareAndSwap(n, n+1) {
			break
		}
	}
	adaptive = l.adaptive.Load()
	if adaptive != nil && !adaptive.Acquire() {
		l.active.Add(-1)
		return nil, false
	}
	return adaptive, true
}

// wait queues and waits. The slow path: the mutex is held for a few
// instructions.
func (l *limit) wait(patience time.Duration) (*breaker.Limit, error) {
	l.mu.Lock()
	if l.waiting.Load() >= int64(l.size) {
		l.mu.Unlock()
		return nil, ErrFull
	}
	if l.timeout > 0 && (patience <= 0 || l.timeout < patience) {
		patience = l.timeout
	}
	w := waiters.Get().(*waiter)
	l.push(w)
	l.admit()
	l.mu.Unlock()

	var expired <-chan time.Time
	if patience > 0 {
		w.timer.Reset(patience)
		expired = w.timer.C
	}
	var err error
	select {
	case <-w.ready:
	case <-expired:
		l.mu.Lock()
		if w.queued {
			l.remove(w)
			err = ErrQueueTimeout
		}
		l.mu.Unlock()
		if err == nil {
			<-w.ready // its turn came at the same moment
		}
	}
	w.timer.Stop()
	adaptive := w.adaptive
	w.adaptive = nil
	waiters.Put(w)
	return adaptive, err
}

// admit lets those who wait longest in, as far as there is room. The mutex is
// held.
func (l *limit) admit() {
	for l.first != nil {
		adaptive, ok := l.take()
		if !ok {
			return
		}
		w := l.first
		w.adaptive = adaptive
		l.remove(w)
		w.ready <- struct{}{}
	}
}

func (l *limit) push(w *waiter) {
	w.queued, w.prev = true, l.last
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
	l.waiting.Add(1)
}

func (l *limit) remove(w *waiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev, w.queued = nil, nil, false
	l.waiting.Add(-1)
}
