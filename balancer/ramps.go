package balancer

import (
	"sync"
	"time"
)

// Ramps warms endpoints up: it sets their ramp as a SlowStart says. It has a
// goroutine only while there is something to warm. Make one with NewRamps; it is
// safe for concurrent use.
type Ramps struct {
	mu      sync.Mutex
	running map[*Endpoint]*ramp
	wake    chan struct{}  // the loop's, which sleeps until a time; of capacity 1
	loop    sync.WaitGroup // at most one is running
	looping bool
	closed  bool
}

// ramp is one endpoint's way up.
type ramp struct {
	settings SlowStart
	began    time.Time
	next     time.Time // when its ramp changes
}

// NewRamps returns a Ramps that warms nothing yet. Close must follow.
func NewRamps() *Ramps {
	return &Ramps{running: make(map[*Endpoint]*ramp), wake: make(chan struct{}, 1)}
}

// Start begins to warm e up, anew if it is warming already. With a Window of
// zero, and after Close, the endpoint has its full share at once.
func (r *Ramps) Start(e *Endpoint, s SlowStart) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || s.Window <= 0 {
		delete(r.running, e)
		e.SetRamp(FullRamp)
		return
	}
	now := time.Now()
	r.running[e] = &ramp{settings: s, began: now, next: now.Add(s.step())}
	e.SetRamp(s.Ramp(0))
	if !r.looping {
		r.looping = true
		r.loop.Go(r.run)
		return
	}
	select {
	case r.wake <- struct{}{}:
	default: // it is being woken
	}
}

// Stop gives e its full share if it is warming up.
func (r *Ramps) Stop(e *Endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[e] != nil {
		delete(r.running, e)
		e.SetRamp(FullRamp)
	}
}

// Close gives all endpoints their full share and waits until the goroutine is gone.
func (r *Ramps) Close() {
	r.mu.Lock()
	r.closed = true
	for e := range r.running {
		e.SetRamp(FullRamp)
	}
	clear(r.running)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	r.loop.Wait()
}

// run moves the ramps until none is left.
func (r *Ramps) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-r.wake:
		}
		wait, ok := r.move()
		if !ok {
			return
		}
		timer.Reset(wait)
	}
}

// move sets the ramps that are due and returns the time until the next one is,
// and false if there is none.
func (r *Ramps) move() (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var soonest time.Time
	for e, p := range r.running {
		if !now.Before(p.next) {
			level := p.settings.Ramp(now.Sub(p.began))
			e.SetRamp(level)
			if level == FullRamp {
				delete(r.running, e)
				continue
			}
			p.next = now.Add(p.settings.step())
		}
		if soonest.IsZero() || p.next.Before(soonest) {
			soonest = p.next
		}
	}
	r.looping = len(r.running) > 0
	return soonest.Sub(now), r.looping
}
