package outlier

import (
	"fmt"
	"slices"
	"time"
)

// watch is what the detector knows about one endpoint. The detector's lock guards
// it. It is zero while the endpoint is not watched.
type watch struct {
	group *group
	url   string

	out      bool
	enforced bool // the flag is ours to clear
	last     Ejection
	jitter   time.Duration // of the last ejection
	times    int
	returned time.Time // zero before the first return
	rate     float64   // -1 before the first

	seen tally // the counters at the last sweep
}

// tally is the counters of requests at one moment, or what was added between two.
type tally struct{ successes, serverErrors, localErrors uint64 }

func (p *Passive) tally() tally {
	return tally{
		successes:    p.successes.Load(),
		serverErrors: p.serverErrors.Load(),
		localErrors:  p.localErrors.Load(),
	}
}

func (t tally) since(earlier tally) tally {
	t.successes -= earlier.successes
	t.serverErrors -= earlier.serverErrors
	t.localErrors -= earlier.localErrors
	return t
}

func (w *watch) status() Status {
	return Status{
		URL:      w.url,
		Ejected:  w.out,
		Enforced: !w.group.settings.ObserveOnly,
		Cause:    w.last.Cause,
		Detail:   w.last.Detail,
		Since:    w.last.Since,
		Until:    w.last.Until,
		Times:    w.times,
		Rate:     w.rate,
	}
}

// group is the endpoints of one upstream. The detector's lock guards it.
type group struct {
	detector *Detector
	upstream string
	settings Settings
	limits   *limits
	members  []*Passive
	out      int // members that are ejected
	counters Counters
	sweepDue time.Time
}

func newGroup(d *Detector, upstream string, now time.Time) *group {
	return &group{detector: d, upstream: upstream, sweepDue: now}
}

// configure gives the group settings, with defaults, and its members what follows.
func (g *group) configure(settings Settings, now time.Time) {
	switched := g.settings.ObserveOnly != settings.ObserveOnly
	if g.limits != nil && g.settings == settings {
		return
	}
	g.settings = settings
	g.limits = settings.limits(g.detector)
	if due := now.Add(settings.Interval); len(g.members) == 0 || due.Before(g.sweepDue) {
		g.sweepDue = due
	}
	for _, p := range g.members {
		p.limits.Store(g.limits)
		if !p.watch.out {
			continue
		}
		if switched {
			g.release(p, now, Switched)
			continue
		}
		w := &p.watch
		earlier := w.last.Since.Add(settings.ejection(w.last.Times) + min(w.jitter, settings.EjectionJitter))
		if earlier.Before(w.last.Until) {
			w.last.Until = earlier
		}
	}
}

// list makes targets the members.
func (g *group) list(targets []Target, now time.Time) {
	old := g.members
	listed := make(map[*Passive]bool, len(targets))
	members := make([]*Passive, 0, len(targets))
	for _, target := range targets {
		p := target.Passive
		if p == nil || listed[p] {
			continue
		}
		listed[p] = true
		members = append(members, p)
		if other := p.watch.group; other != nil && other != g {
			other.drop(p, now)
		}
		if p.watch.group == nil {
			p.watch = watch{group: g, rate: -1, seen: p.tally()}
			p.resetRows()
			p.limits.Store(g.limits)
		}
		p.watch.url = target.URL
	}
	for _, p := range old {
		if !listed[p] {
			g.forget(p, now)
		}
	}
	g.members = members
}

// drop gives up a member that another upstream has taken over.
func (g *group) drop(p *Passive, now time.Time) {
	g.forget(p, now)
	g.members = slices.DeleteFunc(g.members, func(member *Passive) bool { return member == p })
	if len(g.members) == 0 {
		delete(g.detector.groups, g.upstream)
	}
}

func (g *group) forget(p *Passive, now time.Time) {
	p.limits.Store(nil)
	if p.watch.out {
		g.release(p, now, Unwatched)
	}
	p.watch = watch{}
}

// judge looks at the causes for which a member was pushed. The rows that led to
// them begin again, whatever comes of it: another row is another cause.
func (g *group) judge(p *Passive, causes uint32, now time.Time) {
	for cause := range Causes {
		if causes&(1<<cause) == 0 {
			continue
		}
		row, limit := &p.row5xx, g.settings.Consecutive5xx
		switch cause {
		case ConsecutiveLocal:
			row, limit = &p.rowLocal, g.settings.ConsecutiveLocal
		case ConsecutiveGateway:
			row, limit = &p.rowGateway, g.settings.ConsecutiveGateway
		}
		row.Store(0)
		if limit > 0 {
			g.detect(p, cause, now, func() string { return fmt.Sprintf("%d failures in a row", limit) })
		}
	}
}

// detect counts an outlier and ejects it if it may. An endpoint that is out already
// is no outlier: what it still answers was sent before. An upstream that fails as a
// whole comes here often and is seldom ejected: only then is the detail asked for.
func (g *group) detect(p *Passive, cause Cause, now time.Time, detail func() string) {
	w := &p.watch
	if w.out {
		return
	}
	g.counters.Detected[cause]++
	if g.out > 0 && (g.out+1)*100 > g.settings.MaxEjectionPercent*len(g.members) {
		g.counters.Overflow++
		return
	}
	// The multiplier stops at the first one that reaches the longest ejection:
	// a larger one would take longer to come down and change nothing.
	if g.settings.ejection(w.times) < g.settings.MaxEjection {
		w.times++
	}
	w.jitter = jitter(g.settings.EjectionJitter)
	w.out, w.enforced = true, !g.settings.ObserveOnly
	g.out++
	if w.enforced {
		g.counters.Ejected[cause]++
		p.endpoint.SetEjected(true)
	}
	w.last = Ejection{
		Upstream: g.upstream,
		URL:      w.url,
		Endpoint: p.endpoint,
		Cause:    cause,
		Detail:   detail(),
		Since:    now,
		Until:    now.Add(g.settings.ejection(w.times) + w.jitter),
		Times:    w.times,
		Enforced: w.enforced,
	}
	g.detector.ejectedLocked(w.last)
}

// release ends an ejection.
func (g *group) release(p *Passive, now time.Time, reason Reason) {
	w := &p.watch
	w.out, w.returned = false, now
	g.out--
	p.resetRows()
	if w.enforced {
		p.endpoint.SetEjected(false)
	}
	g.detector.events = append(g.detector.events, event{returned: Return{Ejection: w.last, At: now, Reason: reason}})
}

// pass does what time has made due.
func (g *group) pass(now time.Time) {
	g.expire(now)
	if !g.sweepDue.After(now) {
		g.sweep(now)
		g.sweepDue = now.Add(g.settings.Interval)
	}
}

// expire releases the members whose time is over.
func (g *group) expire(now time.Time) {
	if g.out == 0 {
		return
	}
	for _, p := range g.members {
		if p.watch.out && !p.watch.last.Until.After(now) {
			g.release(p, now, Expired)
		}
	}
}

// due is when the group needs the detector next.
func (g *group) due() time.Time {
	due := g.sweepDue
	if g.out == 0 {
		return due
	}
	for _, p := range g.members {
		if p.watch.out && p.watch.last.Until.Before(due) {
			due = p.watch.last.Until
		}
	}
	return due
}
