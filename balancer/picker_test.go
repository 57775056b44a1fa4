package balancer

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// variants are ways to set up an algorithm that change how it works.
var variants = []string{"", "+levels", "+panic", "+bound"}

// forAlgorithms runs a test of what every Picker must do.
func forAlgorithms(t *testing.T, test func(t *testing.T, algorithm string)) {
	t.Helper()
	for _, algorithm := range Algorithms() {
		for _, variant := range variants {
			if variant != "+bound" || algorithm == Ring || algorithm == Maglev {
				t.Run(algorithm+variant, func(t *testing.T) { test(t, algorithm+variant) })
			}
		}
	}
}

// build makes a picker of an algorithm in a variant. Its ring and table are as
// small as precision allows.
func build(t testing.TB, algorithm string, endpoints []*Endpoint) Picker {
	t.Helper()
	s, list := Settings{RingSize: minRing, TableSize: 8191}, members(endpoints)
	s.Algorithm, _, _ = strings.Cut(algorithm, "+")
	switch {
	case strings.HasSuffix(algorithm, "+levels"):
		s.Zone = "here"
		for i := range list {
			list[i].Priority, list[i].Zone = i%2, []string{"here", "there", ""}[i%3]
		}
	case strings.HasSuffix(algorithm, "+panic"):
		s.Panic = 1
	case strings.HasSuffix(algorithm, "+bound"):
		s.BalanceFactor = 150
	}
	return buildWith(t, s, list)
}

func buildWith(t testing.TB, s Settings, members []Member) Picker {
	t.Helper()
	p, err := NewPicker(s, members)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// members lists endpoints with identities that do not depend on the length of
// the list.
func members(endpoints []*Endpoint) []Member {
	list := make([]Member, len(endpoints))
	for i, e := range endpoints {
		list[i] = Member{Endpoint: e, ID: mix(uint64(i) + 1000)}
	}
	return list
}

// forWeighted runs a test of what every Picker must do that shares by weight.
// Consistent hashes do, of requests without a key.
func forWeighted(t *testing.T, test func(t *testing.T, algorithm string)) {
	t.Helper()
	forAlgorithms(t, func(t *testing.T, algorithm string) {
		if !strings.HasPrefix(algorithm, FirstAvailable) && !strings.HasSuffix(algorithm, "+levels") {
			test(t, algorithm)
		}
	})
}

// fleet returns endpoints that are up, with the weights given in turn.
func fleet(n int, weights ...int) []*Endpoint {
	endpoints := make([]*Endpoint, n)
	for i := range endpoints {
		endpoints[i] = NewEndpoint(weights[i%len(weights)], true)
	}
	return endpoints
}

// sizes are on both sides of every threshold.
var sizes = []int{1, 2, 3, maxScan, maxScan + 1, 200}

func TestNewPickerErrors(t *testing.T) {
	f := func(s Settings, members []Member, want string) {
		t.Helper()
		if s.Algorithm == "" {
			s.Algorithm = RoundRobin
		}
		if _, err := NewPicker(s, members); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", s, err, want)
		}
	}
	f(Settings{Algorithm: "fastest"}, nil, `unknown algorithm "fastest"`)
	f(Settings{}, []Member{{}}, "an endpoint is nil")
	f(Settings{}, []Member{{Endpoint: NewEndpoint(1, true), Priority: -1}}, "priority -1 is negative")
	f(Settings{Panic: 101}, nil, "panic threshold 101 %")
	f(Settings{Panic: -1}, nil, "panic threshold -1 %")
	f(Settings{Overprovision: 99}, nil, "overprovision of 99 %")
	f(Settings{BalanceFactor: 99}, nil, "balance factor of 99 %")
	f(Settings{RingSize: -1}, nil, "ring size -1")
	f(Settings{TableSize: 65536}, nil, "table size 65536 is not a prime")
	f(Settings{TableSize: 1}, nil, "table size 1 is not a prime")
	f(Settings{Algorithm: Maglev, TableSize: 2}, members(fleet(3, 1)), "3 endpoints are more than a table of 2 places can hold")
}

func TestPickerCopiesList(t *testing.T) {
	forAlgorithms(t, func(t *testing.T, algorithm string) {
		list := fleet(2, 1)
		p := build(t, algorithm, list)
		list[0], list[1] = NewEndpoint(1, false), NewEndpoint(1, false)
		if p.Pick(new(Query)) < 0 {
			t.Error("the picker saw a change of the caller's list")
		}
	})
}

func TestPickNothing(t *testing.T) {
	forAlgorithms(t, func(t *testing.T, algorithm string) {
		f := func(what string, endpoints []*Endpoint, tried Tried) {
			t.Helper()
			p := build(t, algorithm, endpoints)
			for range 3 {
				if i := p.Pick(&Query{Tried: tried}); i != -1 {
					t.Fatalf("%s: picked %d", what, i)
				}
			}
		}
		f("empty list", nil, Tried{})
		for _, n := range sizes {
			down := make([]*Endpoint, n)
			for i := range down {
				down[i] = NewEndpoint(1, false)
			}
			if !strings.HasSuffix(algorithm, "+panic") {
				f("all down", down, Tried{})
			}
			f("all of weight 0", fleet(n, 0), Tried{})
			draining := fleet(n, 1)
			for _, e := range draining {
				e.Retire()
			}
			f("all draining", draining, Tried{})
		}
		var tried Tried
		for i := range MaxTried {
			tried.Add(i)
		}
		f("all tried", fleet(MaxTried, 1, 7), tried)
	})
}

// TestPickTheOnlyOne leaves one endpoint out of many, of the least weight, by
// every way that there is to exclude the others, after the picker was built.
func TestPickTheOnlyOne(t *testing.T) {
	exclude := []func(*Endpoint){
		func(e *Endpoint) { e.SetUp(false) },
		func(e *Endpoint) { e.Retire() },
		func(e *Endpoint) { e.SetWeight(0) },
	}
	forAlgorithms(t, func(t *testing.T, algorithm string) {
		for _, n := range sizes {
			for _, only := range []int{0, n / 3, n / 2, n - 1} {
				endpoints := fleet(n, 50)
				endpoints[only].SetWeight(1)
				p := build(t, algorithm, endpoints)
				var q Query
				for i, e := range endpoints {
					switch {
					case i == only:
					case i%4 == 3 && q.Tried.Len() < MaxTried:
						q.Tried.Add(i)
					default:
						exclude[i%3](e)
					}
				}
				if i := p.Pick(&q); i != only {
					t.Fatalf("%d endpoints: picked %d, want %d", n, i, only)
				}
			}
		}
	})
}

// TestPickTriesEachOnce walks a request through all endpoints.
func TestPickTriesEachOnce(t *testing.T) {
	forAlgorithms(t, func(t *testing.T, algorithm string) {
		endpoints := fleet(MaxTried, 1, 1000, 3)
		p := build(t, algorithm, endpoints)
		var q Query
		for range endpoints {
			i := p.Pick(&q)
			if i < 0 || q.Tried.Has(i) {
				t.Fatalf("picked %d after %d", i, q.Tried.Len())
			}
			q.Tried.Add(i)
		}
		if i := p.Pick(&q); i != -1 {
			t.Errorf("picked %d when all were tried", i)
		}
	})
}

// TestPickSeesReturn: an endpoint that comes back has its share soon.
func TestPickSeesReturn(t *testing.T) {
	forWeighted(t, func(t *testing.T, algorithm string) {
		for _, n := range sizes {
			endpoints := fleet(n, 1)
			endpoints[n-1].SetUp(false)
			p := build(t, algorithm, endpoints)
			p.Pick(new(Query))
			endpoints[n-1].SetUp(true)
			picks := 0
			// An endpoint is looked at in each pick; it escapes 40 n random looks
			// with a probability of e^-40.
			for p.Pick(new(Query)) != n-1 {
				if picks++; picks > 60*n {
					t.Fatalf("%d endpoints: not picked in %d picks after it came back", n, picks)
				}
			}
		}
	})
}

// assertShares fails if counts differ from weights by more than chance explains:
// a chi-square beyond 5 standard deviations and 10 above its mean, which by chance
// happens in less than one of 50 000 calls, but always if a share is off by some
// per cent.
func assertShares(t *testing.T, what string, counts []int, weights []int) {
	t.Helper()
	var total, weight float64
	for i := range counts {
		total += float64(counts[i])
		weight += float64(weights[i])
	}
	var chi float64
	freedom := -1.0
	for i := range counts {
		if weights[i] == 0 {
			if counts[i] != 0 {
				t.Errorf("%s: endpoint %d of weight 0 was picked %d times", what, i, counts[i])
			}
			continue
		}
		want := total * float64(weights[i]) / weight
		chi += (float64(counts[i]) - want) * (float64(counts[i]) - want) / want
		freedom++
	}
	if limit := freedom + 5*math.Sqrt(2*freedom) + 10; chi > limit {
		t.Errorf("%s: chi-square %.1f beyond %.1f: %v for weights %v", what, chi, limit, counts, weights)
	}
}

func count(p Picker, n, picks int) []int {
	counts := make([]int, n)
	var q Query
	for range picks {
		counts[p.Pick(&q)]++
	}
	return counts
}

// TestPickByWeight holds nothing in flight: all algorithms then go by weight.
func TestPickByWeight(t *testing.T) {
	forWeighted(t, func(t *testing.T, algorithm string) {
		f := func(weights ...int) {
			t.Helper()
			p := build(t, algorithm, fleet(len(weights), weights...))
			assertShares(t, "idle", count(p, len(weights), 40_000), weights)
		}
		f(1, 1, 1)
		f(5, 1, 1)
		f(100, 50, 0, 25)
		f(90, 10)
		f(slices.Repeat([]int{1, 2, 3, 4}, 25)...)
	})
}

// TestPickSpreadsAbsentShare: what an absent endpoint leaves goes to all others
// by weight, not to a neighbour, and it has its share again when it is back.
func TestPickSpreadsAbsentShare(t *testing.T) {
	forWeighted(t, func(t *testing.T, algorithm string) {
		weights := []int{4, 1, 1, 2, 2}
		endpoints := fleet(len(weights), weights...)
		p := build(t, algorithm, endpoints)
		f := func(what string) {
			t.Helper()
			want := make([]int, len(endpoints))
			for i, e := range endpoints {
				if e.Available() {
					want[i] = e.Weight()
				}
			}
			count(p, len(endpoints), 200) // time to see the change
			assertShares(t, what, count(p, len(endpoints), 40_000), want)
		}
		endpoints[0].SetUp(false)
		f("one down")
		endpoints[3].SetUp(false)
		f("two down")
		endpoints[0].SetUp(true)
		f("one back")
		endpoints[1].SetWeight(7)
		f("weight changed")
		endpoints[2].SetWeight(0)
		f("weight 0")
		endpoints[4].Retire()
		f("draining")
	})
}

// TestPickRetrySpreads: second tries go to all others by weight.
func TestPickRetrySpreads(t *testing.T) {
	forWeighted(t, func(t *testing.T, algorithm string) {
		p := build(t, algorithm, fleet(4, 6, 3, 2, 1))
		var q Query
		q.Tried.Add(0)
		counts := make([]int, 4)
		for range 40_000 {
			counts[p.Pick(&q)]++
		}
		assertShares(t, "after a failure at 0", counts, []int{0, 3, 2, 1})
	})
}
