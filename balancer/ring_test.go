package balancer

import (
	"slices"
	"testing"
)

func TestPointsFor(t *testing.T) {
	f := func(size uint64, weights, want []uint64) {
		t.Helper()
		counts, total := pointsFor(weights, size)
		sum := uint64(0)
		for _, n := range counts {
			sum += n
		}
		if !slices.Equal(counts, want) || sum != total {
			t.Errorf("%v, %d: got %v of %d, want %v", weights, size, counts, total, want)
		}
	}
	f(1024, []uint64{0, 0}, nil)
	f(1024, []uint64{1}, []uint64{1024})
	f(1024, []uint64{1, 0, 3}, []uint64{256, 0, 768})
	f(1024, []uint64{100, 100, 100, 100}, []uint64{400, 400, 400, 400})
	f(1024, []uint64{65535, 1}, []uint64{1023, 1})
	f(16, []uint64{64, 32}, []uint64{16, 8})
}

// FuzzRing checks the order and the lookup of a ring for any weights.
func FuzzRing(f *testing.F) {
	f.Add(uint8(3), uint16(1), uint16(2), uint16(0), uint32(7))
	f.Add(uint8(1), uint16(65535), uint16(1), uint16(9), uint32(1<<32-1))
	f.Fuzz(func(t *testing.T, n uint8, a, b, c uint16, hash uint32) {
		endpoints := fleet(int(n%40), int(a), int(b), int(c))
		p := buildWith(t, Settings{Algorithm: Ring, RingSize: 1 + int(n)}, members(endpoints)).(*ring)
		circle := p.current.Load().value
		if !slices.IsSortedFunc(circle.points, func(x, y uint64) int { return int(int64(x>>32) - int64(y>>32)) }) {
			t.Fatal("points are not in order")
		}
		want, _ := slices.BinarySearchFunc(circle.points, hash, func(point uint64, h uint32) int { return int(int64(point>>32) - int64(h)) })
		if got := circle.find(hash); got != want {
			t.Errorf("hash %d is at %d, want %d", hash, got, want)
		}
	})
}
