package balancer

import (
	"math"
	"slices"
	"testing"
)

// TestLoads has the examples that Envoy documents for its priority levels, and
// some beyond those.
func TestLoads(t *testing.T) {
	f := func(healthy, want []int) {
		t.Helper()
		total := slices.Repeat([]int{100}, len(healthy))
		if got := loads(healthy, total, defaultOverprovision); !slices.Equal(got, want) {
			t.Errorf("healthy %v: got %v, want %v", healthy, got, want)
		}
	}
	f([]int{100, 100}, []int{100, 0})
	f([]int{72, 100}, []int{100, 0})
	f([]int{71, 100}, []int{99, 1})
	f([]int{50, 100}, []int{70, 30})
	f([]int{25, 100}, []int{35, 65})
	f([]int{0, 100}, []int{0, 100})

	f([]int{72, 72}, []int{100, 0})
	f([]int{71, 71}, []int{99, 1})
	f([]int{50, 50}, []int{70, 30})
	f([]int{25, 25}, []int{50, 50})

	f([]int{100, 100, 100}, []int{100, 0, 0})
	f([]int{72, 72, 100}, []int{100, 0, 0})
	f([]int{71, 71, 100}, []int{99, 1, 0})
	f([]int{50, 50, 100}, []int{70, 30, 0})
	f([]int{25, 100, 100}, []int{35, 65, 0})
	f([]int{25, 25, 100}, []int{35, 35, 30})
	f([]int{25, 25, 20}, []int{36, 36, 28})

	f([]int{0, 0, 0}, []int{100, 0, 0})
	f([]int{0, 10, 0}, []int{0, 100, 0})
	f([]int{10, 10, 10}, []int{34, 33, 33})
	f([]int{0, 10, 10, 10}, []int{0, 34, 33, 33})

	if got := loads([]int{3, 0, 2}, []int{4, 0, 2}, 100); !slices.Equal(got, []int{75, 0, 25}) {
		t.Errorf("without overprovision and with an empty level: %v", got)
	}
}

// leveled makes a list of levels of 10 endpoints each, with priorities.
func leveled(levels int) []Member {
	list := members(fleet(10*levels, 1))
	for i := range list {
		list[i].Priority = i / 10 * 3 // priorities need not be consecutive
	}
	return list
}

// perLevel counts picks of each level of 10.
func perLevel(p Picker, n, picks int) []int {
	counts := make([]int, n/10)
	for i, c := range count(p, n, picks) {
		counts[i/10] += c
	}
	return counts
}

// TestPriorities: traffic spills to the next level as endpoints become
// unavailable, and comes back.
func TestPriorities(t *testing.T) {
	forLeveled(t, func(t *testing.T, algorithm string) {
		list := leveled(3)
		p := buildWith(t, Settings{Algorithm: algorithm, TableSize: 1009}, list)
		f := func(up [3]int, want ...float64) {
			t.Helper()
			for i, m := range list {
				m.Endpoint.SetUp(i%10 < up[i/10])
			}
			settled(p, len(list))
			for level, got := range perLevel(p, len(list), 20_000) {
				// Five standard deviations of a binomial distribution.
				if part := want[level]; math.Abs(float64(got)/20_000-part) > 5*math.Sqrt(part*(1-part)/20_000) {
					t.Errorf("up %v: level %d has %d of 20000, want %.2f", up, level, got, part)
				}
			}
		}
		f([3]int{10, 10, 10}, 1, 0, 0)
		f([3]int{8, 0, 10}, 1, 0, 0)
		f([3]int{5, 10, 10}, 0.7, 0.3, 0)
		f([3]int{2, 3, 10}, 0.28, 0.42, 0.3)
		f([3]int{0, 0, 1}, 0, 0, 1)
		f([3]int{1, 1, 0}, 0.5, 0.5, 0)
		f([3]int{10, 10, 10}, 1, 0, 0)
	})
}

func forLeveled(t *testing.T, test func(t *testing.T, algorithm string)) {
	t.Helper()
	for _, algorithm := range Algorithms() {
		t.Run(algorithm, func(t *testing.T) { test(t, algorithm) })
	}
}

// TestPriorityBeforeItIsSeen: that a level is gone never costs a request, even
// one that does not know yet.
func TestPriorityBeforeItIsSeen(t *testing.T) {
	forLeveled(t, func(t *testing.T, algorithm string) {
		list := leveled(3)
		p := buildWith(t, Settings{Algorithm: algorithm, TableSize: 1009}, list)
		for _, m := range list[:10] {
			m.Endpoint.SetUp(false)
		}
		for _, m := range list[20:] {
			m.Endpoint.SetUp(false)
		}
		if i := p.Pick(new(Query)); i/10 != 1 {
			t.Errorf("picked %d, want one of the second level", i)
		}
	})
}

// TestRetryLeavesLevel: a request whose level has nothing untried goes through
// all others.
func TestRetryLeavesLevel(t *testing.T) {
	forLeveled(t, func(t *testing.T, algorithm string) {
		list := members(fleet(6, 1))
		for i := range list {
			list[i].Priority = i / 2
		}
		p := buildWith(t, Settings{Algorithm: algorithm, TableSize: 1009}, list)
		var q Query
		for n := range 6 {
			i := p.Pick(&q)
			if i < 0 || q.Tried.Has(i) || i/2 != n/2 {
				t.Fatalf("try %d: picked %d", n, i)
			}
			q.Tried.Add(i)
		}
		if i := p.Pick(&q); i != -1 {
			t.Errorf("picked %d when all were tried", i)
		}
		q.Reset()
		q.Tried.Add(4)
		q.Tried.Add(5)
		for _, m := range list[:2] {
			m.Endpoint.SetUp(false)
		}
		for _, m := range list[2:4] {
			m.Endpoint.SetWeight(0)
		}
		settled(p, 6)
		list[0].Endpoint.SetUp(true)
		if i := p.Pick(&q); i != 0 {
			t.Errorf("picked %d, want to go back to the first level", i)
		}
	})
}

// TestZones: within a priority, the own zone comes first.
func TestZones(t *testing.T) {
	forLeveled(t, func(t *testing.T, algorithm string) {
		list := leveled(2)
		for i := range list {
			list[i].Zone = []string{"a", "b"}[i%2]
		}
		p := buildWith(t, Settings{Algorithm: algorithm, Zone: "b", TableSize: 1009}, list)
		f := func(want ...float64) {
			t.Helper()
			settled(p, len(list))
			got := make([]int, 4)
			for i, c := range count(p, len(list), 20_000) {
				got[i/10*2+(i+1)%2] += c
			}
			for level, part := range want {
				if math.Abs(float64(got[level])/20_000-part) > 5*math.Sqrt(part*(1-part)/20_000) {
					t.Errorf("%d of 20000, want parts %.2f", got, want)
				}
			}
		}
		f(1, 0, 0, 0)
		for _, i := range []int{1, 3, 5} { // 2 of 5 of the own zone are left
			list[i].Endpoint.SetEjected(true)
		}
		f(0.56, 0.44, 0, 0)
		for _, i := range []int{0, 2, 4, 6, 8} {
			list[i].Endpoint.SetBroken(true)
		}
		f(0.56, 0, 0.44, 0)

		if p := buildWith(t, Settings{Algorithm: algorithm, Zone: "c"}, list[:10]); isLevels(p) {
			t.Error("a zone that nobody is in makes levels")
		}
	})
}

// TestOneLevelIsBare: a list without priorities and zones has no levels.
func TestOneLevelIsBare(t *testing.T) {
	list := members(fleet(4, 1))
	for i := range list {
		list[i].Priority, list[i].Zone = 2, "here"
	}
	for _, zone := range []string{"", "here", "there"} {
		if isLevels(buildWith(t, Settings{Algorithm: P2C, Zone: zone}, list)) {
			t.Errorf("zone %q: one level has a picker of levels", zone)
		}
	}
	list[0].Zone = ""
	if isLevels(buildWith(t, Settings{Algorithm: P2C}, list)) {
		t.Error("zones count although the gateway has none")
	}
}

func isLevels(p Picker) bool {
	_, ok := p.(*levels)
	return ok
}

// TestHashStaysAtLevel: when traffic is divided between levels, a key stays with
// the endpoint that it has.
func TestHashStaysAtLevel(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		list := leveled(2)
		for _, m := range list[:5] {
			m.Endpoint.SetUp(false)
		}
		p := buildWith(t, Settings{Algorithm: algorithm}, list)
		first := place(p, keys)
		if !slices.Equal(first, place(p, keys)) {
			t.Error("keys go between levels")
		}
		n := 0
		for _, i := range first {
			if i >= 10 {
				n++
			}
		}
		if math.Abs(float64(n)-0.3*keys) > 5*math.Sqrt(0.3*0.7*keys) {
			t.Errorf("%d of %d keys are at the second level, want 30 %%", n, keys)
		}
	})
}
