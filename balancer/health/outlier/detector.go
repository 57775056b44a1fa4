package outlier

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Detector needs besides targets. All may be zero.
type Options struct {
	// OnEject and OnReturn are called after an endpoint was taken out and after it
	// returned. They run on the detector's goroutine, one at a time and in the
	// order of what they tell. They may call the Detector, but not Close.
	OnEject  func(Ejection)
	OnReturn func(Return)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Target is one endpoint to watch.
type Target struct {
	URL     string // for people
	Passive *Passive
}

// Detector watches the endpoints of all upstreams until it is closed. One
// goroutine does all its work: an upstream needs it for some microseconds each
// interval, and one goroutine for all makes one order of events and one Close.
// All methods are safe for concurrent use.
type Detector struct {
	options Options
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	tripped atomic.Pointer[Passive] // a stack of those that reached a limit
	wake    chan struct{}           // something was pushed, or another time is due

	mu     sync.Mutex
	groups map[string]*group
	events []event
	due    time.Time // when a group needs a look next; zero: at once
}

// event is one call of OnEject or OnReturn that is to be made.
type event struct {
	ejected  bool
	ejection Ejection
	returned Return
}

// New returns a running Detector that watches nothing. Close must be called.
func New(options Options) *Detector {
	if options.Now == nil {
		options.Now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &Detector{
		options: options,
		ctx:     ctx,
		cancel:  cancel,
		wake:    make(chan struct{}, 1),
		groups:  make(map[string]*group),
	}
	d.running.Go(d.run)
	return d
}

// Close ends all watching and waits until the last event has been reported.
// Endpoints stay as they are.
func (d *Detector) Close() {
	d.mu.Lock()
	for _, g := range d.groups {
		for _, p := range g.members {
			p.limits.Store(nil)
			p.watch = watch{}
		}
	}
	clear(d.groups)
	d.cancel()
	d.mu.Unlock()
	d.running.Wait()
}

// Set makes targets the endpoints that are watched for an upstream, in place of
// those of the last call, and settings its rules.
//
//   - An endpoint that was there keeps its counts and, if it is out, stays out: until
//     the time that was reported or, if the new settings would let it return
//     earlier, until then.
//   - One that is missing is forgotten, and if it was out it returns.
//   - If ObserveOnly has changed, all that were out return.
func (d *Detector) Set(upstream string, settings Settings, targets []Target) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		return
	}
	now := d.options.Now()
	g := d.groups[upstream]
	if g == nil {
		g = newGroup(d, upstream, now)
		d.groups[upstream] = g
	}
	g.configure(settings.withDefaults(), now)
	g.list(targets, now)
	if len(g.members) == 0 {
		delete(d.groups, upstream)
	}
	d.changedLocked()
}

// Remove stops watching an upstream. Its endpoints return and are forgotten.
func (d *Detector) Remove(upstream string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.groups[upstream]; g != nil {
		g.list(nil, d.options.Now())
		delete(d.groups, upstream)
		d.changedLocked()
	}
}

// Return ends an endpoint's ejection before its time. It reports false if the
// endpoint is not ejected.
func (d *Detector) Return(p *Passive) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p == nil || p.watch.group == nil || !p.watch.out {
		return false
	}
	p.watch.group.release(p, d.options.Now(), Released)
	d.changedLocked()
	return true
}

// Status returns the state of an upstream's endpoints in the order of Set, nil if
// it is not watched.
func (d *Detector) Status(upstream string) []Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.groups[upstream]
	if g == nil {
		return nil
	}
	statuses := make([]Status, len(g.members))
	for i, p := range g.members {
		statuses[i] = p.watch.status()
	}
	return statuses
}

// Counters returns an upstream's totals, zero if it is not watched.
func (d *Detector) Counters(upstream string) Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.groups[upstream]
	if g == nil {
		return Counters{}
	}
	counters := g.counters
	counters.Out = g.out
	return counters
}

// push hands over an endpoint that reached a limit. It is called by requests.
func (d *Detector) push(p *Passive) {
	for {
		top := d.tripped.Load()
		p.next = top
		if d.tripped.CompareAndSwap(top, p) {
			break
		}
	}
	d.wakeUp()
}

func (d *Detector) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default: // a wake-up that is waiting will see this change too
	}
}

// changedLocked has the goroutine look at all groups.
func (d *Detector) changedLocked() {
	d.due = time.Time{}
	d.wakeUp()
}

func (d *Detector) ejectedLocked(e Ejection) {
	d.events = append(d.events, event{ejected: true, ejection: e})
	if e.Until.Before(d.due) {
		d.due = e.Until
	}
}

// run does what is due, until Close.
func (d *Detector) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.ctx.Done():
			d.report()
			return
		case <-timer.C:
		case <-d.wake:
		}
		if due, ok := d.step(); ok {
			timer.Reset(due.Sub(d.options.Now()))
		}
		d.report()
	}
}

// step judges what was pushed, looks at all groups if one is due, and returns when
// the next one will be. It returns false if no upstream is watched.
func (d *Detector) step() (due time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.options.Now()
	d.judgeTripped(now)
	if !d.due.After(now) {
		d.due = time.Time{}
		for _, g := range d.groups {
			g.pass(now)
			if next := g.due(); d.due.IsZero() || next.Before(d.due) {
				d.due = next
			}
		}
	}
	return d.due, len(d.groups) > 0
}

func (d *Detector) judgeTripped(now time.Time) {
	for p := d.tripped.Swap(nil); p != nil; {
		// Once tripped is 0 requests may push it again and overwrite next.
		next := p.next
		p.next = nil
		causes := p.tripped.Swap(0)
		if g := p.watch.group; g != nil {
			g.judge(p, causes, now)
		}
		p = next
	}
}

// report makes the calls that are to be made.
func (d *Detector) report() {
	for {
		d.mu.Lock()
		events := d.events
		d.events = nil
		d.mu.Unlock()
		if len(events) == 0 {
			return
		}
		for i := range events {
			switch e := &events[i]; {
			case e.ejected && d.options.OnEject != nil:
				d.options.OnEject(e.ejection)
			case !e.ejected && d.options.OnReturn != nil:
				d.options.OnReturn(e.returned)
			}
		}
	}
}

// jitter is a random part of the most that is added to an ejection.
func jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return rand.N(most + 1)
}
