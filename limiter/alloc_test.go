//go:build !race

package limiter

import "testing"

func TestRequestsAllocateNothing(t *testing.T) {
	for name, rules := range ruleSets() {
		for where, key := range keys {
			s := newSession(t, rules, key, 4)
			r := &Request{Key: key, Cost: 1, At: start, Label: []byte("client")}
			var d Decision
			step := int64(10_000_000)
			s.l.Allow(r, &d) // the first use makes the account
			for what, do := range map[string]func(){
				"allow":  func() { r.At.Mono += step; r.At.Wall += step; s.l.Allow(r, &d) },
				"refuse": func() { s.l.Allow(r, &d) },
				"charge": func() { s.l.Charge(r, 1, r.At); s.l.Charge(r, -1, r.At) },
			} {
				if s.l.Concurrent() && what == "charge" {
					continue
				}
				if allocs := testing.AllocsPerRun(100, do); allocs != 0 {
					t.Errorf("%s, %s, %s: %v allocations", name, where, what, allocs)
				}
			}
		}
	}
}

func TestNewKeysAllocateNothing(t *testing.T) {
	l := build(t, Options{MaxKeys: 500}, Rule{Algorithm: FixedWindow, Limit: 1, Window: 1000})
	var d Decision
	next := uint64(0)
	ask := func() {
		next++
		l.Allow(&Request{Key: hashed(next), Cost: 1, At: later(int64(next))}, &d)
	}
	for range 2000 {
		ask()
	}
	if allocs := testing.AllocsPerRun(2000, ask); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if l.Stats().Evicted == 0 {
		t.Error("nothing was evicted: the test sees less than it should")
	}
}

// TestSharedLimitersAllocateNothing counts for other nodes, and tells them in a buffer that
// has grown.
func TestSharedLimitersAllocateNothing(t *testing.T) {
	for where, key := range keys {
		l := shared(t, Rule{Algorithm: TokenBucket, Limit: 1000, Window: 1000}, Rule{Name: "w", Algorithm: SlidingWindow, Limit: 1000, Window: 1000})
		r := &Request{Key: key, Cost: 1, At: start}
		var d Decision
		buffer := make([]Taken, 0, 64)
		for _, share := range []Share{{}, {Nodes: 3}} {
			l.SetShare(share, start)
			l.Allow(r, &d)
			if allocs := testing.AllocsPerRun(100, func() { r.At.Mono += 1000; l.Allow(r, &d); l.Charge(r, 1, r.At) }); allocs != 0 {
				t.Errorf("%s, %+v: %v allocations", where, share, allocs)
			}
			if allocs := testing.AllocsPerRun(100, func() { buffer = l.AppendTaken(buffer[:0], r.At) }); allocs != 0 {
				t.Errorf("%s, %+v: %v allocations to tell", where, share, allocs)
			}
		}
	}
}
