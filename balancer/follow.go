package balancer

import (
	"math/rand/v2"
	"sync/atomic"
)

// derived is what was computed from the states of a group's endpoints, together
// with those. It is immutable.
type derived[T any] struct {
	states  []uint64 // of the group's endpoints, in its order
	matters uint64   // the flags that count
	value   T
}

// follower keeps a T that follows the endpoints of a group (see the package
// comment).
type follower[T any] struct {
	group
	build    func(next, old *derived[T]) // sets next.value; old is nil at first
	current  atomic.Pointer[derived[T]]
	building atomic.Bool
}

func (f *follower[T]) start(g group, build func(next, old *derived[T])) {
	f.group, f.build = g, build
	f.current.Store(f.derive(nil))
}

// look returns what there is, and looks whether endpoint k of the group has
// changed; callers move that over the whole group from pick to pick. In a panic
// a short list is looked at whole: one that goes on when its reason is over
// sends requests to endpoints that are known to be down.
func (f *follower[T]) look(k uint64) *derived[T] {
	d := f.current.Load()
	if f.own[k].state.Load() != d.states[k] || f.trust.matters.Load() != d.matters ||
		d.matters != maskFlags && len(f.own) <= maxScan && f.changed(d) {
		return f.follow(d)
	}
	return d
}

func (f *follower[T]) changed(d *derived[T]) bool {
	for k, e := range f.own {
		if e.state.Load() != d.states[k] {
			return true
		}
	}
	return false
}

// glance is look at a random endpoint, for a group that is not empty.
func (f *follower[T]) glance() *derived[T] {
	return f.look(scale(rand.Uint32(), len(f.own)))
}

// flags returns the flags that count, for pickers that follow nothing else.
func (f *follower[T]) flags() uint64 {
	if f.trust.percent == 0 || len(f.own) == 0 {
		return maskFlags
	}
	return f.glance().matters
}

// follow replaces what was found outdated and returns the present. Only one
// caller builds; the others carry on with what there is.
func (f *follower[T]) follow(outdated *derived[T]) *derived[T] {
	if f.building.CompareAndSwap(false, true) {
		if f.current.Load() == outdated {
			f.current.Store(f.derive(outdated))
		}
		f.building.Store(false)
	}
	return f.current.Load()
}

func (f *follower[T]) derive(old *derived[T]) *derived[T] {
	next := &derived[T]{states: make([]uint64, len(f.own))}
	for k, e := range f.own {
		next.states[k] = e.state.Load()
	}
	if f.isWhole() {
		next.matters = f.trust.judge(next.states)
	} else {
		next.matters = f.trust.matters.Load()
	}
	f.build(next, old)
	return next
}
