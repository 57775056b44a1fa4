package balancer

import (
	"strings"
	"testing"
)

// letters writes an order with a letter for each endpoint.
func letters(order []int32) string {
	var b strings.Builder
	for _, i := range order {
		b.WriteByte('a' + byte(i))
	}
	return b.String()
}

func sequenceOf(endpoints []*Endpoint) sequence {
	states, index := make([]uint64, len(endpoints)), make([]int32, len(endpoints))
	for i, e := range endpoints {
		states[i], index[i] = e.state.Load(), int32(i)
	}
	return newSequence(states, maskFlags, index)
}

func TestSequenceIsSmooth(t *testing.T) {
	f := func(weights []int, want string) {
		t.Helper()
		endpoints := make([]*Endpoint, len(weights))
		for i, w := range weights {
			endpoints[i] = NewEndpoint(w, true)
		}
		if got := letters(sequenceOf(endpoints).order); got != want {
			t.Errorf("weights %v: got %s, want %s", weights, got, want)
		}
	}
	f(nil, "")
	f([]int{0, 0}, "")
	f([]int{1}, "a")
	f([]int{100}, "a")
	f([]int{1, 1, 1}, "abc")
	f([]int{5, 1, 1}, "aabacaa")
	f([]int{50, 10, 10}, "aabacaa")
	f([]int{1, 1, 5}, "ccacbcc")
	f([]int{3, 2, 1}, "abacba")
	f([]int{4, 2}, "aba")
	f([]int{4, 0, 2}, "aca")
	f([]int{2, 2, 1, 1}, "abcdab")
}

// TestSpreadEqualsTextbook compares the grouped construction with the one that
// keeps a current weight for each endpoint.
func TestSpreadEqualsTextbook(t *testing.T) {
	textbook := func(shares []uint64) []int32 {
		var total int64
		for _, share := range shares {
			total += int64(share)
		}
		current := make([]int64, len(shares))
		var order []int32
		for range total {
			best := -1
			for i, share := range shares {
				if share == 0 {
					continue
				}
				current[i] += int64(share)
				if best < 0 || current[i] > current[best] {
					best = i
				}
			}
			current[best] -= total
			order = append(order, int32(best))
		}
		return order
	}
	for a := range uint64(5) {
		for b := range uint64(5) {
			for c := range uint64(5) {
				for d := range uint64(5) {
					shares := []uint64{a, b, c, d, 2, a}
					if got, want := letters(spread(shares)), letters(textbook(shares)); got != want {
						t.Fatalf("shares %v: got %s, want %s", shares, got, want)
					}
				}
			}
		}
	}
}

func TestSequenceLengthIsBounded(t *testing.T) {
	f := func(n int, weight func(i int) int, bound int) {
		t.Helper()
		endpoints := make([]*Endpoint, n)
		for i := range endpoints {
			endpoints[i] = NewEndpoint(weight(i), true)
		}
		order := sequenceOf(endpoints).order
		// Rounding may add at most one place for each endpoint.
		if len(order) > bound+n {
			t.Errorf("%d endpoints: length %d, want at most %d", n, len(order), bound+n)
		}
		places := make([]int, n)
		for _, i := range order {
			places[i]++
		}
		for i, p := range places {
			if p == 0 {
				t.Errorf("%d endpoints: endpoint %d of weight %d has no place", n, i, weight(i))
			}
		}
	}
	f(2, func(i int) int { return []int{MaxWeight, 1}[i] }, maxSequence)
	f(100, func(i int) int { return MaxWeight - i }, maxSequence)
	f(3000, func(i int) int { return 1 + i*20 }, 8*3000)
	f(3000, func(int) int { return 77 }, 3000)
}

func TestShrinkKeepsProportions(t *testing.T) {
	shares := []uint64{60000, 30000, 9999, 0}
	shrink(shares)
	for i, want := range []float64{0.600006, 0.300003, 0.099991, 0} {
		got := float64(shares[i]) / float64(shares[0]+shares[1]+shares[2])
		if got < want-0.0005 || got > want+0.0005 {
			t.Errorf("share %d is %.5f, want %.5f", i, got, want)
		}
	}
}
