package telemetry

import (
	"math"
	"testing"
)

func TestSum(t *testing.T) {
	m := &striped[endpointShard]{mask: 3}
	inFlight := func(s *endpointShard) int64 { return s.inFlight.Load() }
	f := func(want uint64, wantUsed bool) {
		t.Helper()
		if n, used := sum(m, inFlight); n != want || used != wantUsed {
			t.Errorf("sum = %d, %v, want %d, %v", n, used, want, wantUsed)
		}
	}
	f(0, false)
	m.shard(1).inFlight.Add(-1) // ended on another shard than it began on
	f(0, true)
	m.shard(2).inFlight.Add(3)
	f(2, true)
	m.shard(7).opened.Add(math.MaxUint64)
	if n, _ := sum(m, func(s *endpointShard) uint64 { return s.opened.Load() }); n != math.MaxUint64 {
		t.Errorf("sum of a counter = %d, want all of it", n)
	}
}
