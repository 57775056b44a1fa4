package health

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/salgue441/velocity/balancer"
)

// DefaultConcurrency is how many probes run at a time unless Options say otherwise.
const DefaultConcurrency = 256

// Options are what a Checker needs besides targets. All may be zero.
type Options struct {
	// Prober sends the probes; nil sends them over the network.
	Prober Prober
	// Concurrency bounds the probes that run at a time; 0 means
	// DefaultConcurrency. When so many hang, others are late.
	Concurrency int
	// OnChange is called after an endpoint went up or down, OnProbe after every
	// probe. They run on the goroutine of the probe: for one endpoint in order,
	// for different ones at the same time. They may call the Checker, but not Close.
	OnChange func(Event)
	OnProbe  func(Result)
}

// Checker probes endpoints until it is closed. One goroutine keeps the time of
// all of them; each running probe has a goroutine of its own, and no more than
// Options.Concurrency run. All methods are safe for concurrent use.
type Checker struct {
	options Options
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // the queue's top or the number of probes changed

	mu        sync.Mutex
	upstreams map[string][]*check
	queue     queue
	probing   int           // probes that run
	unprobed  int           // checks whose first probe has not ended
	firsts    chan struct{} // closed when unprobed is 0
}

// New returns a running Checker without targets. Close must be called.
func New(options Options) *Checker {
	if options.Prober == nil {
		options.Prober = netProber{}
	}
	if options.Concurrency <= 0 {
		options.Concurrency = DefaultConcurrency
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Checker{
		options:   options,
		ctx:       ctx,
		cancel:    cancel,
		wake:      make(chan struct{}, 1),
		upstreams: make(map[string][]*check),
		firsts:    make(chan struct{}),
	}
	close(c.firsts)
	c.running.Go(c.schedule)
	return c
}

// Close stops all probes and waits until none runs. Endpoints stay as they are.
func (c *Checker) Close() {
	c.mu.Lock()
	for upstream := range c.upstreams {
		c.setLocked(upstream, Probe{}, nil)
	}
	c.cancel() // after that, so that a probe that is cut off counts for nothing
	c.mu.Unlock()
	c.running.Wait()
}

// Set makes targets the endpoints that are probed for an upstream, in place of
// those of the last call. A call that changes nothing disturbs nothing.
//
//   - An endpoint that is new is probed at once. Its flag is left as it is: if it
//     is down, as a new endpoint should be, one success brings it up. Many that
//     are new together are probed as fast as Options.Concurrency lets them, which
//     is what paces that first round; from then on they are spread.
//   - One that was there keeps its state, its counts and its schedule. If the
//     probe has changed, the new one applies from the next time on, which comes
//     within its interval.
//   - One that is disabled is not probed. Its flag stays as it is, and once it is
//     enabled the first result alone decides what it will be.
//   - One that is missing is probed no more, and after Set returns its flag is no
//     longer touched. Who goes on using it without probes must set it up.
func (c *Checker) Set(upstream string, probe Probe, targets []Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	c.setLocked(upstream, probe.withDefaults(), targets)
	c.wakeUp()
}

// Remove stops probing an upstream: Set without targets.
func (c *Checker) Remove(upstream string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setLocked(upstream, Probe{}, nil)
}

// Wake makes a probe due at once. It is for who changes an endpoint's mode, and
// the reason why the checker need not look at modes all the time: it looks when a
// probe is due. Without Wake an endpoint that is enabled again is probed within
// its interval.
func (c *Checker) Wake(upstream string, endpoint *balancer.Endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.upstreams[upstream] {
		if k.target.Endpoint == endpoint && k.place >= 0 {
			k.due = time.Now()
			heap.Fix(&c.queue, k.place)
			c.wakeUp()
		}
	}
}

// Status returns the state of an upstream's endpoints in the order of Set, nil if
// it has none.
func (c *Checker) Status(upstream string) []Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	var statuses []Status
	for _, k := range c.upstreams[upstream] {
		statuses = append(statuses, k.status())
	}
	return statuses
}

// Round waits until each endpoint has been probed once since it was new, or was
// found disabled, and returns the error of ctx if that ends first. It starts no
// probes.
func (c *Checker) Round(ctx context.Context) error {
	c.mu.Lock()
	firsts := c.firsts
	c.mu.Unlock()
	select {
	case <-firsts:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for first probes: %w", ctx.Err())
	}
}

func (c *Checker) setLocked(upstream string, probe Probe, targets []Target) {
	now := time.Now()
	old := make(map[*balancer.Endpoint]*check)
	for _, k := range c.upstreams[upstream] {
		old[k.target.Endpoint] = k
	}
	listed := make(map[*balancer.Endpoint]bool)
	var checks []*check
	for _, target := range targets {
		if listed[target.Endpoint] {
			continue
		}
		listed[target.Endpoint] = true
		k := old[target.Endpoint]
		delete(old, target.Endpoint)
		if k == nil {
			k = c.startLocked(upstream, probe, target, now)
		} else {
			c.updateLocked(k, probe, target, now)
		}
		checks = append(checks, k)
	}
	for _, k := range old {
		c.stopLocked(k)
	}
	if len(checks) == 0 {
		delete(c.upstreams, upstream)
		return
	}
	c.upstreams[upstream] = checks
}

func (c *Checker) startLocked(upstream string, probe Probe, target Target, now time.Time) *check {
	k := &check{
		upstream: upstream,
		probe:    probe,
		target:   target,
		due:      now,
		since:    now,
		beenUp:   target.Endpoint.Up(),
		awaited:  true,
	}
	heap.Push(&c.queue, k)
	if c.unprobed == 0 {
		c.firsts = make(chan struct{})
	}
	c.unprobed++
	return k
}

// updateLocked gives a check what a reload may have changed. A changed probe comes
// soon, at a random time of its interval: many endpoints may change at once.
func (c *Checker) updateLocked(k *check, probe Probe, target Target, now time.Time) {
	k.target = target
	if k.probe.equal(probe) {
		return
	}
	k.probe = probe
	soon := now.Add(rand.N(k.interval()))
	if k.place >= 0 && soon.Before(k.due) {
		k.due = soon
		heap.Fix(&c.queue, k.place)
	}
}

func (c *Checker) stopLocked(k *check) {
	k.stopped = true
	if k.place >= 0 {
		heap.Remove(&c.queue, k.place)
	}
	c.firstEndedLocked(k)
}

func (c *Checker) firstEndedLocked(k *check) {
	if !k.awaited {
		return
	}
	k.awaited = false
	c.unprobed--
	if c.unprobed == 0 {
		close(c.firsts)
	}
}

func (c *Checker) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default: // a wake-up that is waiting will see this change too
	}
}

// schedule starts probes when they are due, until Close.
func (c *Checker) schedule() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		if due, ok := c.startDue(); ok {
			timer.Reset(time.Until(due))
		}
	}
}

// startDue starts the probes that are due and returns when the next one will be.
// It returns false if only a wake-up can make one due.
func (c *Checker) startDue() (due time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for len(c.queue) > 0 && c.probing < c.options.Concurrency {
		if k := c.queue[0]; k.due.After(now) {
			return k.due, true
		}
		k := heap.Pop(&c.queue).(*check)
		if k.target.Endpoint.Mode() == balancer.Disabled {
			k.pause(now)
			heap.Push(&c.queue, k)
			c.firstEndedLocked(k)
			continue
		}
		k.paused = false
		k.began = now
		c.probing++
		probe, target := k.probe, k.target
		c.running.Go(func() { c.run(k, probe, target) })
	}
	return time.Time{}, false
}

// run sends one probe, records and reports it, and puts the check back in the
// queue. Reports come before that, so that those of one endpoint are in order.
func (c *Checker) run(k *check, probe Probe, target Target) {
	ctx, cancel := context.WithTimeout(c.ctx, probe.Timeout)
	err := c.options.Prober.Probe(ctx, probe, target)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("timed out after %v", probe.Timeout)
	}
	cancel()

	c.mu.Lock()
	first := k.probed.IsZero()
	counts, changed := !k.stopped, false
	if counts {
		changed = k.record(err, time.Now())
	}
	result := Result{Upstream: k.upstream, Target: target, Err: err, Latency: k.latency}
	event := Event{Upstream: k.upstream, Target: target, Up: err == nil, Cause: k.cause, Since: k.since}
	c.mu.Unlock()

	if counts && c.options.OnProbe != nil {
		c.options.OnProbe(result)
	}
	if changed && c.options.OnChange != nil {
		c.options.OnChange(event)
	}

	c.mu.Lock()
	c.probing--
	c.firstEndedLocked(k)
	if !k.stopped {
		k.due = k.next(first)
		heap.Push(&c.queue, k)
	}
	c.mu.Unlock()
	c.wakeUp()
}
