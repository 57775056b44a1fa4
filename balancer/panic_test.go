package balancer

import (
	"sync"
	"sync/atomic"
	"testing"
)

// forPanics runs a test over all algorithms, with one level and with three.
func forPanics(t *testing.T, percent, n int, test func(t *testing.T, p Picker, endpoints []*Endpoint)) {
	t.Helper()
	for _, algorithm := range Algorithms() {
		for _, levels := range []int{1, 3} {
			name := algorithm
			if levels > 1 {
				name += "+levels"
			}
			t.Run(name, func(t *testing.T) {
				list := members(fleet(n, 1))
				endpoints := make([]*Endpoint, n)
				for i := range list {
					endpoints[i], list[i].Priority = list[i].Endpoint, i%levels
				}
				test(t, buildWith(t, Settings{Algorithm: algorithm, Panic: percent, TableSize: 1009}, list), endpoints)
			})
		}
	}
}

// picked returns whom the picker chooses at all.
func picked(p Picker, n int) map[int]bool {
	set := make(map[int]bool)
	var q Query
	for key := range 200 * n {
		q.Key, q.HasKey = uint64(key), key%2 == 0
		set[p.Pick(&q)] = true
	}
	return set
}

// TestPanic: below the threshold, health does not count; at it, it does.
func TestPanic(t *testing.T) {
	forPanics(t, 50, 12, func(t *testing.T, p Picker, endpoints []*Endpoint) {
		f := func(what string, panicking bool, unhealthy []int) {
			t.Helper()
			if got := Panicking(p); got != panicking {
				t.Errorf("%s: panicking %v", what, got)
			}
			set := picked(settled(p, 12), 12)
			chosen := false
			for _, i := range unhealthy {
				chosen = chosen || set[i]
			}
			if chosen != panicking || set[-1] {
				t.Errorf("%s: picked %v, unhealthy are %v", what, set, unhealthy)
			}
		}
		// first_available and the levels begin at the front.
		for i := range 3 {
			endpoints[i].SetUp(false)
			endpoints[3+i].SetEjected(true)
		}
		f("half", false, []int{0, 1, 2, 3, 4, 5})
		endpoints[6].SetUp(false)
		f("less than half", true, []int{0, 1, 2, 3, 4, 5, 6})
		endpoints[6].SetUp(true)
		f("half again", false, []int{0, 1, 2, 3, 4, 5})
		// Those who do not take part are not counted: 5 of 11, then 5 of 10.
		endpoints[11].SetMode(Drained)
		f("one of the healthy drained", true, []int{0, 1, 2, 3, 4, 5})
		endpoints[0].SetWeight(0)
		f("one of the unhealthy of weight 0", false, []int{0, 1, 2, 3, 4, 5})
	})
}

// TestPanicBelievesTheRest: breakers and the operator are believed in a panic.
func TestPanicBelievesTheRest(t *testing.T) {
	forPanics(t, 50, 12, func(t *testing.T, p Picker, endpoints []*Endpoint) {
		for _, e := range endpoints {
			e.SetUp(false)
		}
		endpoints[0].SetBroken(true)
		endpoints[1].SetMode(Drained)
		endpoints[2].SetMode(Disabled)
		endpoints[3].Retire()
		endpoints[4].SetWeight(0)
		settled(p, 12)
		set := picked(p, 12)
		for i := range 5 {
			if set[i] {
				t.Errorf("picked %d", i)
			}
		}
		if set[-1] {
			t.Error("picked none")
		}
		for _, e := range endpoints[5:] {
			e.SetBroken(true)
		}
		if i := p.Pick(new(Query)); i != -1 {
			t.Errorf("picked %d when all are broken, disabled or drained", i)
		}
	})
}

// TestPanicAtOnce: the very pick that finds nothing available knows.
func TestPanicAtOnce(t *testing.T) {
	forPanics(t, 1, 60, func(t *testing.T, p Picker, endpoints []*Endpoint) {
		for range 20 {
			for _, e := range endpoints {
				e.SetUp(false)
			}
			if i := p.Pick(new(Query)); i < 0 {
				t.Fatal("a request got no endpoint in a panic")
			}
			for _, e := range endpoints {
				e.SetUp(true)
			}
			settled(p, 60)
		}
		// All that are healthy are broken: nothing is available, so anything
		// else is better than nothing.
		for _, e := range endpoints[1:] {
			e.SetBroken(true)
		}
		endpoints[0].SetUp(false)
		if i := p.Pick(new(Query)); i != 0 {
			t.Errorf("picked %d, want the one that is only down", i)
		}
	})
}

// TestPanicRetries: a retry in a panic goes through all.
func TestPanicRetries(t *testing.T) {
	forPanics(t, 50, 9, func(t *testing.T, p Picker, endpoints []*Endpoint) {
		for _, e := range endpoints {
			e.SetUp(false)
		}
		var q Query
		for n := range 9 {
			i := p.Pick(&q)
			if i < 0 || q.Tried.Has(i) {
				t.Fatalf("try %d: picked %d", n, i)
			}
			q.Tried.Add(i)
		}
		if i := p.Pick(&q); i != -1 {
			t.Errorf("picked %d when all were tried", i)
		}
	})
}

// TestNoPanic: with a threshold of 0 nothing available is nothing.
func TestNoPanic(t *testing.T) {
	forPanics(t, 0, 5, func(t *testing.T, p Picker, endpoints []*Endpoint) {
		for _, e := range endpoints {
			e.SetUp(false)
		}
		for range 50 {
			if i := p.Pick(new(Query)); i != -1 {
				t.Fatalf("picked %d", i)
			}
		}
		if Panicking(p) {
			t.Error("panicking without a threshold")
		}
	})
}

// TestPanicConcurrently: while endpoints come and go around the threshold, every
// request has one that is not broken, and the end is that of the last state.
func TestPanicConcurrently(t *testing.T) {
	forPanics(t, 50, 12, func(t *testing.T, p Picker, endpoints []*Endpoint) {
		endpoints[0].SetBroken(true)
		var picking, changing sync.WaitGroup
		var done atomic.Bool
		changing.Go(func() {
			for i := 0; !done.Load(); i++ {
				endpoints[i%12].SetUp(i/12%2 == 0)
			}
		})
		for range 4 {
			picking.Go(func() {
				var q Query
				for key := range 5000 {
					q.Key, q.HasKey = uint64(key), key%2 == 0
					if i := p.Pick(&q); i <= 0 {
						t.Errorf("picked %d", i)
						return
					}
				}
			})
		}
		picking.Wait()
		done.Store(true)
		changing.Wait()
		for i, e := range endpoints {
			e.SetUp(i > 3)
		}
		set := picked(settled(p, 12), 12)
		for i := range 4 {
			if set[i] {
				t.Errorf("picked %d, which is down, after the storm", i)
			}
		}
	})
}

func TestKeeps(t *testing.T) {
	f := func(what string, change func(e *Endpoint), want bool) {
		t.Helper()
		e := NewEndpoint(1, true)
		change(e)
		if e.Keeps() != want {
			t.Errorf("%s: keeps %v", what, e.Keeps())
		}
	}
	f("well", func(*Endpoint) {}, true)
	f("drained", func(e *Endpoint) { e.SetMode(Drained) }, true)
	f("weight 0", func(e *Endpoint) { e.SetWeight(0) }, true)
	f("warming", func(e *Endpoint) { e.SetRamp(1) }, true)
	f("down", func(e *Endpoint) { e.SetUp(false) }, false)
	f("ejected", func(e *Endpoint) { e.SetEjected(true) }, false)
	f("broken", func(e *Endpoint) { e.SetBroken(true) }, false)
	f("disabled", func(e *Endpoint) { e.SetMode(Disabled) }, false)
	f("retired", func(e *Endpoint) { e.Retire() }, false)
}

// TestLastLook: what a pick is told that has found nothing.
func TestLastLook(t *testing.T) {
	endpoints := fleet(4, 1)
	p := buildWith(t, Settings{Algorithm: Random, Panic: 50}, members(endpoints)).(*random)
	f := func(what string, q *Query, want int, wantPanic bool) {
		t.Helper()
		if i, panics := p.lastLook(q); i != want || panics != wantPanic {
			t.Errorf("%s: %d, %v; want %d, %v", what, i, panics, want, wantPanic)
		}
	}
	var q Query
	endpoints[0].SetUp(false)
	f("one is back", &q, 1, false)
	for i := range 4 {
		q.Tried.Add(i)
	}
	f("all tried", &q, -1, false)
	endpoints[1].SetUp(false)
	endpoints[2].SetUp(false)
	f("all tried in a panic", &q, -1, true)
	q.Tried.Reset()
	f("one is back in a panic", &q, 3, false)
	endpoints[3].SetBroken(true)
	f("none is back in a panic", &q, -1, true)
}

// TestPanicEnds: a panic of a short list is over with the first pick after an
// endpoint has come up.
func TestPanicEnds(t *testing.T) {
	forPanics(t, 10, 8, func(t *testing.T, p Picker, endpoints []*Endpoint) {
		for _, e := range endpoints {
			e.SetUp(false)
		}
		settled(p, 8)
		for up := range endpoints {
			endpoints[up].SetUp(true)
			q := Query{Key: uint64(up), HasKey: up%2 == 0}
			if got := p.Pick(&q); got != up {
				t.Errorf("with %d up alone, %d was picked", up, got)
			}
			endpoints[up].SetUp(false)
			settled(p, 8)
		}
	})
}
