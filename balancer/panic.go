package balancer

import "sync/atomic"

// panicFlags are the flags that count in a panic.
const panicFlags = maskFlags &^ maskHealth

// trust says whether the health of a list's endpoints is believed. When fewer
// than a percentage of them are healthy it is not: either the checks are wrong,
// or what is left would break down under the traffic of all. The operator's
// decisions and circuit breakers are always believed.
type trust struct {
	list    []*Endpoint
	percent int           // 0 always believes
	matters atomic.Uint64 // the flags that count: maskFlags, or panicFlags
}

func newTrust(list []*Endpoint, percent int) *trust {
	t := &trust{list: list, percent: percent}
	t.matters.Store(maskFlags)
	return t
}

// judge decides by the states of all endpoints and returns the flags that count.
// Only the follower of the whole list calls it, with the states that it goes on
// to watch: a decision by any others could outlive the reason for it.
func (t *trust) judge(states []uint64) uint64 {
	var c census
	for _, state := range states {
		c.add(state)
	}
	matters := uint64(maskFlags)
	if c.panics(t.percent) {
		matters = panicFlags
	}
	t.matters.Store(matters)
	return matters
}

// isBroken looks at all endpoints right now.
func (t *trust) isBroken() bool {
	if t.percent == 0 {
		return false
	}
	var c census
	for _, e := range t.list {
		c.add(e.state.Load())
	}
	return c.panics(t.percent)
}

// census counts endpoints of positive weight that the operator has enabled.
type census struct {
	enabled, healthy, available int
}

func (c *census) add(state uint64) {
	if state&maskWeight == 0 || state&(flagDrained|flagDisabled|flagRetired) != 0 {
		return
	}
	c.enabled++
	if state&maskHealth == flagUp {
		c.healthy++
	}
	if state&maskFlags == flagUp {
		c.available++
	}
}

// panics reports whether fewer than percent are healthy. A list of which nothing
// is available panics too, even if only breakers keep the healthy ones back: an
// endpoint that may be down is better than a certain refusal.
func (c *census) panics(percent int) bool {
	return percent > 0 && c.enabled > 0 && (c.available == 0 || 100*c.healthy < percent*c.enabled)
}

// Panicking reports whether the picker disregards health at present, because too
// few endpoints of its list are healthy. It takes time proportional to the list.
func Panicking(p Picker) bool {
	l, ok := p.(interface{ Panicking() bool })
	return ok && l.Panicking()
}
