package balancer

import (
	"sync"
	"testing"
	"unsafe" //nolint:depguard // measures the layout
)

func TestEndpointFlags(t *testing.T) {
	e := NewEndpoint(7, false)
	f := func(up, retired, available bool, weight int) {
		t.Helper()
		if e.Up() != up || e.Retired() != retired || e.Available() != available || e.Weight() != weight {
			t.Errorf("up %v, retired %v, available %v, weight %d; want %v, %v, %v, %d",
				e.Up(), e.Retired(), e.Available(), e.Weight(), up, retired, available, weight)
		}
	}
	f(false, false, false, 7)
	e.SetUp(true)
	e.SetUp(true)
	f(true, false, true, 7)
	e.SetWeight(MaxWeight)
	f(true, false, true, MaxWeight)
	e.SetWeight(MaxWeight + 1)
	f(true, false, true, MaxWeight)
	e.SetWeight(-1)
	f(true, false, true, 0)
	e.Retire()
	f(true, true, false, 0)
	e.SetUp(false)
	f(false, true, false, 0)
	e.SetUp(true)
	f(true, true, false, 0)
}

// TestEndpointKeptAway: each of what may keep traffic away does so by itself, and
// taking it back leaves the others in place.
func TestEndpointKeptAway(t *testing.T) {
	changes := map[string]func(e *Endpoint, away bool){
		"down":    func(e *Endpoint, away bool) { e.SetUp(!away) },
		"ejected": func(e *Endpoint, away bool) { e.SetEjected(away) },
		"broken":  func(e *Endpoint, away bool) { e.SetBroken(away) },
		"drained": func(e *Endpoint, away bool) { e.SetMode(map[bool]Mode{true: Drained}[away]) },
		"disabled": func(e *Endpoint, away bool) {
			e.SetMode(Drained)
			e.SetMode(map[bool]Mode{true: Disabled}[away])
		},
	}
	for name, change := range changes {
		e := NewEndpoint(8, true)
		change(e, true)
		if e.Available() || shareOf(e.state.Load(), maskFlags) != 0 || e.Weight() != 8 || e.Ramp() != FullRamp {
			t.Errorf("%s: available %v, share %d, weight %d, ramp %d", name, e.Available(), shareOf(e.state.Load(), maskFlags), e.Weight(), e.Ramp())
		}
		change(e, false)
		if !e.Available() || shareOf(e.state.Load(), maskFlags) != 8*FullRamp {
			t.Errorf("no longer %s: available %v, share %d", name, e.Available(), shareOf(e.state.Load(), maskFlags))
		}
	}
}

func TestEndpointRamp(t *testing.T) {
	e := NewEndpoint(100, true)
	for _, c := range []struct {
		weight, ramp int
		share        uint64
	}{
		{100, FullRamp, 100 * FullRamp},
		{100, FullRamp / 2, 50 * FullRamp},
		{100, 0, 100},
		{1, 1, 1},
		{1, FullRamp / 4, FullRamp / 4},
		{0, FullRamp / 2, 0},
		{MaxWeight, 1000, MaxWeight * FullRamp},
	} {
		e.SetWeight(c.weight)
		e.SetRamp(c.ramp)
		if shareOf(e.state.Load(), maskFlags) != c.share {
			t.Errorf("weight %d, ramp %d: share %d, want %d", c.weight, c.ramp, shareOf(e.state.Load(), maskFlags), c.share)
		}
	}
}

// TestEndpointConcurrentChanges: changes of weight and flags, which share a word,
// do not undo one another.
func TestEndpointConcurrentChanges(t *testing.T) {
	e := NewEndpoint(0, false)
	var wait sync.WaitGroup
	wait.Go(func() {
		for i := range 10_000 {
			e.SetWeight(i)
		}
	})
	wait.Go(func() {
		for i := range 10_001 {
			e.SetUp(i%2 == 0)
		}
	})
	wait.Go(func() {
		for range 10_000 {
			e.Begin()
			e.Begin()
			e.End()
		}
		e.Retire()
	})
	wait.Wait()
	if e.Weight() != 9999 || !e.Up() || !e.Retired() || e.InFlight() != 10_000 {
		t.Errorf("weight %d, up %v, retired %v, in flight %d", e.Weight(), e.Up(), e.Retired(), e.InFlight())
	}
}

// TestEndpointLayout: what requests write is apart from what picks read, and an
// array or a size class of endpoints does not mix two of them.
func TestEndpointLayout(t *testing.T) {
	const line = 64
	if size := unsafe.Sizeof(Endpoint{}); size%line != 0 {
		t.Errorf("size %d is not whole cache lines", size)
	}
	if offset := unsafe.Offsetof(Endpoint{}.inFlight); offset%line != 0 {
		t.Errorf("inFlight is at %d", offset)
	}
	if unsafe.Offsetof(Endpoint{}.inFlight)/line != unsafe.Offsetof(Endpoint{}.latency)/line {
		t.Error("inFlight and latency, which are compared together, lie apart")
	}
}

func TestTried(t *testing.T) {
	var none *Tried
	if none.Has(0) || none.Len() != 0 {
		t.Error("a nil set is not empty")
	}
	var tried Tried
	if tried.Has(0) || tried.Len() != 0 {
		t.Error("the zero value is not empty")
	}
	for i := range MaxTried {
		tried.Add(2 * i)
		tried.Add(2 * i)
	}
	for i := range 2 * MaxTried {
		if tried.Has(i) != (i%2 == 0) {
			t.Errorf("Has(%d) is %v", i, tried.Has(i))
		}
	}
	if tried.Len() != MaxTried {
		t.Errorf("length %d, want %d", tried.Len(), MaxTried)
	}
	tried.Add(1001)
	if tried.Has(0) || !tried.Has(2) || !tried.Has(1001) || tried.Len() != MaxTried {
		t.Error("a full set did not forget its oldest")
	}
	tried.Reset()
	if tried.Has(1001) || tried.Has(0) || tried.Len() != 0 {
		t.Error("Reset left something")
	}
	if size := unsafe.Sizeof(tried); size != 64 {
		t.Errorf("size %d, want a cache line", size)
	}
}
