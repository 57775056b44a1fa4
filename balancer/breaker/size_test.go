package breaker

import (
	"testing"
	"unsafe" //nolint:depguard // the sizes that the documentation states are what is tested
)

func TestSizes(t *testing.T) {
	f := func(name string, got, most uintptr) {
		t.Helper()
		t.Logf("%s: %d bytes", name, got)
		if got > most {
			t.Errorf("%s takes %d bytes, want at most %d", name, got, most)
		}
	}
	var b Breaker
	f("window", unsafe.Sizeof(window{}), 248)
	f("Breaker with its window", unsafe.Sizeof(b)+unsafe.Sizeof(live{})+unsafe.Sizeof(window{}), 700)
	f("histogram", unsafe.Sizeof(histogram{}), 1600)
	f("Limit", unsafe.Sizeof(Limit{})+unsafe.Sizeof(LimitSettings{}), 4096)
	// What every request reads and what requests write lie in different cache lines.
	f("what Allow reads", unsafe.Offsetof(b.turn), 64)
	var l Limit
	f("what Acquire reads", unsafe.Offsetof(l.inFlight), 64)
	if unsafe.Sizeof(uintptr(0)) == 8 && (unsafe.Offsetof(b.turn)%64 != 0 || unsafe.Offsetof(l.inFlight)%64 != 0) {
		t.Error("cache lines are shared")
	}
}
