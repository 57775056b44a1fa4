package jwt

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// firstRetry is the first pause after a fetch that failed; each further one is
// twice as long, up to maxRetry.
const (
	firstRetry = time.Second
	maxRetry   = time.Minute
	// maxWaiters is how many verifications may wait for a key at the same time:
	// made-up key names must not hold every goroutine while an issuer is slow.
	maxWaiters = 256
)

// remote keeps a verifier's keys fresh. One goroutine fetches; a verification
// that misses a key asks it and waits, together with all others that do.
type remote struct {
	v      *Verifier
	s      *Settings
	client *http.Client
	own    *http.Transport // nil if the client is the caller's

	wake chan struct{} // capacity 1: somebody waits on flight

	mu      sync.Mutex
	flight  chan struct{} // closed when the fetch that is asked for or under way ends; nil if there is none
	waiters int
	began   time.Time // when the latest fetch did
	err     error     // of the latest fetch
	skipped error     // keys that the latest good fetch left out
	started bool
	closed  bool
	cancel  context.CancelFunc
	done    chan struct{} // closed when the goroutine has ended
}

func newRemote(v *Verifier) *remote {
	r := &remote{v: v, s: &v.s, wake: make(chan struct{}, 1), done: make(chan struct{})}
	c := http.Client{}
	if v.s.HTTPClient != nil {
		c = *v.s.HTTPClient
	} else {
		r.own = newTransport()
		c.Transport = r.own
	}
	c.CheckRedirect = checkRedirect
	r.client = &c
	return r
}

func (r *remote) start(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.closed {
		return
	}
	r.started = true
	ctx, r.cancel = context.WithCancel(ctx)
	go r.run(ctx)
}

func (r *remote) close() {
	r.mu.Lock()
	started := r.started
	r.closed = true
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	if started {
		<-r.done
	}
	if r.own != nil {
		r.own.CloseIdleConnections()
	}
}

func (r *remote) status() (err error, stale bool) { //nolint:revive // err is a value here, not this call's failure
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err, true
	}
	return r.skipped, false
}

// run fetches, at once and then whenever it is time or somebody asks.
func (r *remote) run(ctx context.Context) {
	defer close(r.done)
	defer r.abandon()
	failures := 0
	for {
		pause := r.round(ctx, &failures)
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-r.wake:
			t.Stop()
		}
	}
}

// round is one fetch; it returns the pause until the next.
func (r *remote) round(ctx context.Context, failures *int) time.Duration {
	r.mu.Lock()
	if r.flight == nil {
		r.flight = make(chan struct{})
	}
	r.began = r.s.Now()
	r.mu.Unlock()

	f, err := r.fetch(ctx)
	if err == nil {
		r.publish(f.keys)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	if err == nil {
		r.skipped = f.skipped
	}
	close(r.flight)
	r.flight = nil
	select {
	case <-r.wake: // whoever asked waited on this flight
	default:
	}
	if err != nil {
		*failures++
		return backoff(*failures, r.s.Refresh)
	}
	*failures = 0
	return jitter(f.next)
}

// abandon lets nobody wait for a fetch that will not be.
func (r *remote) abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.flight != nil {
		close(r.flight)
		r.flight = nil
	}
}

// publish makes fetched keys the ones in use. Keys that are the same keep their
// generation, and what was verified with them stays in the cache.
func (r *remote) publish(keys []key) {
	now := r.s.Now()
	next := &keySet{keys: keys, generation: 1, until: now.Add(r.s.MaxStale).UnixNano(), updated: now}
	old := r.v.set.Load()
	if old != nil {
		next.generation = old.generation
		if !next.same(old) {
			next.generation++
		}
	}
	r.v.set.Store(next)
	if old == nil {
		close(r.v.ready)
	}
}

// refetch asks for a fetch because a key is not in the set, unless the latest is
// too recent, and waits for its end. It reports whether the keys may have
// changed.
func (r *remote) refetch() bool {
	r.mu.Lock()
	if !r.started || r.closed || r.waiters >= maxWaiters {
		r.mu.Unlock()
		return false
	}
	flight := r.flight
	if flight == nil {
		if r.s.Now().Sub(r.began) < r.s.MinRefresh {
			r.mu.Unlock()
			return false
		}
		flight = make(chan struct{})
		r.flight = flight
		r.wake <- struct{}{} // there is room: it is filled only here, with flight nil
	}
	r.waiters++
	r.mu.Unlock()
	defer r.waited()
	t := time.NewTimer(r.s.Timeout)
	defer t.Stop()
	select {
	case <-flight:
		return true
	case <-t.C:
		return false
	}
}

func (r *remote) waited() {
	r.mu.Lock()
	r.waiters--
	r.mu.Unlock()
}

// jitter shortens a pause by up to a tenth, so that a fleet started together
// does not ask together for ever.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/10+1))
}

func backoff(failures int, limit time.Duration) time.Duration {
	d := min(firstRetry<<min(failures-1, 10), maxRetry, max(limit, firstRetry))
	return d/2 + time.Duration(rand.Int64N(int64(d)/2+1))
}
