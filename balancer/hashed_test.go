package balancer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// forHashes runs a test of what every consistent hash must do.
func forHashes(t *testing.T, test func(t *testing.T, algorithm string)) {
	t.Helper()
	for _, algorithm := range []string{Ring, Maglev} {
		t.Run(algorithm, func(t *testing.T) { test(t, algorithm) })
	}
}

// place returns which endpoint each of the keys 0 to n-1 has.
func place(p Picker, keys int) []int {
	at := make([]int, keys)
	q := Query{HasKey: true}
	for key := range at {
		q.Key = uint64(key)
		at[key] = p.Pick(&q)
	}
	return at
}

// settled picks until changes have been seen; each endpoint is looked at in a
// pick with a probability of 1/n, and escapes 40 n looks in one of e^40 runs.
func settled(p Picker, n int) Picker {
	var q Query
	for range 40 * n {
		p.Pick(&q)
	}
	return p
}

const keys = 20_000

// TestHashKeepsKeys: a key stays where it is, whatever else is picked.
func TestHashKeepsKeys(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		p := build(t, algorithm, fleet(10, 1, 3))
		if first := place(p, keys); !slices.Equal(first, place(settled(p, 10), keys)) {
			t.Error("keys moved by themselves")
		}
	})
}

// TestHashSharesByWeight: the keys of an endpoint are in proportion to its weight
// within what the number of its points allows, four standard deviations.
func TestHashSharesByWeight(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		f := func(weights ...int) {
			t.Helper()
			p := buildWith(t, Settings{Algorithm: algorithm}, members(fleet(len(weights), weights...)))
			counts, total := make([]int, len(weights)), 0
			for _, i := range place(p, keys) {
				counts[i]++
			}
			for _, w := range weights {
				total += w
			}
			for i, w := range weights {
				part := float64(w) / float64(total)
				variance := part * (1 - part) / keys // of the sample of keys
				if algorithm == Ring {
					points := max(minRing, float64(ringPoints*len(weights))) * part
					variance += part * part / points
				} else {
					variance += part * part / 1000 // places that are taken by rounding
				}
				if got := float64(counts[i]) / keys; math.Abs(got-part) > 4.5*math.Sqrt(variance) {
					t.Errorf("weights %v: endpoint %d has %.4f of the keys, want %.4f ± %.4f", weights, i, got, part, 4.5*math.Sqrt(variance))
				}
			}
		}
		f(1)
		f(100, 100, 100)
		f(5, 3, 1, 1)
		f(100, 50, 0, 25)
		f(slices.Repeat([]int{100}, 50)...)
		f(slices.Repeat([]int{1, 2, 3, 4}, 10)...)
	})
}

// moved compares two placements: how many of the keys of endpoint gone are
// elsewhere, and how many others are.
func moved(before, after []int, gone int) (its, others int) {
	for key, i := range before {
		switch i {
		case after[key]:
		case gone:
			its++
		default:
			others++
		}
	}
	return its, others
}

// TestHashMovesOnlyWhatMust: whatever makes an endpoint unavailable moves its keys
// and no others, and when it is back they come back. Those that have moved are spread.
func TestHashMovesOnlyWhatMust(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		for _, n := range []int{2, 5, 50} {
			endpoints := fleet(n, 100)
			p := buildWith(t, Settings{Algorithm: algorithm}, members(endpoints))
			before := place(p, keys)
			gone := endpoints[n/2]
			for name, change := range map[string]func(away bool){
				"down":    func(away bool) { gone.SetUp(!away) },
				"ejected": gone.SetEjected,
				"broken":  gone.SetBroken,
				"drained": func(away bool) { gone.SetMode(map[bool]Mode{true: Drained}[away]) },
			} {
				change(true)
				after := place(settled(p, n), keys)
				its, others := moved(before, after, n/2)
				if others != 0 || slices.Contains(after, n/2) {
					t.Errorf("%d endpoints, %s: %d keys moved between others", n, name, others)
				}
				if want := keys / float64(n); math.Abs(float64(its)-want) > 0.3*want {
					t.Errorf("%d endpoints, %s: %d keys moved, want about %.0f", n, name, its, want)
				}
				counts := make([]int, n)
				for key, i := range after {
					if before[key] == n/2 {
						counts[i]++
					}
				}
				most := 3*float64(its)/float64(n-1) + 20
				if got := slices.Max(counts); float64(got) > most {
					t.Errorf("%d endpoints, %s: %d of %d keys went to one, want at most %.0f", n, name, got, its, most)
				}
				change(false)
				if !slices.Equal(before, place(settled(p, n), keys)) {
					t.Errorf("%d endpoints, no longer %s: keys did not come back", n, name)
				}
			}
		}
	})
}

// TestHashListShrinks: another list, without one of the endpoints, moves the
// keys of that and next to no others.
func TestHashListShrinks(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		for _, n := range []int{5, 20, 100} {
			list := members(fleet(n, 100))
			s := Settings{Algorithm: algorithm}
			before := place(buildWith(t, s, list), keys)
			after := place(buildWith(t, s, list[:n-1]), keys)
			its, others := moved(before, after, n-1)
			if want := keys / float64(n); math.Abs(float64(its)-want) > 0.3*want {
				t.Errorf("%d endpoints: %d keys moved, want about %.0f", n, its, want)
			}
			most := 0
			if algorithm == Maglev {
				most = keys * 4 / 100
			}
			if others > most {
				t.Errorf("%d endpoints: %d keys moved between others, want at most %d", n, others, most)
			}
		}
	})
}

// TestHashDoesNotGoByOrder: nodes that list the same endpoints in other orders agree.
func TestHashDoesNotGoByOrder(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		list := members(fleet(30, 1, 2, 5))
		down := list[7].Endpoint
		p := buildWith(t, Settings{Algorithm: algorithm}, list)
		shuffled := slices.Clone(list)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		other := buildWith(t, Settings{Algorithm: algorithm}, shuffled)
		for range 2 {
			a, b := place(p, keys), place(other, keys)
			for key := range a {
				if list[a[key]].ID != shuffled[b[key]].ID {
					t.Fatalf("key %d is at %d and, in another order, at %d", key, list[a[key]].ID, shuffled[b[key]].ID)
				}
			}
			down.SetUp(false)
		}
	})
}

// TestHashEqualIDs: members without an ID of their own are told apart.
func TestHashEqualIDs(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		list := members(fleet(4, 1))
		for i := range list {
			list[i].ID = 0
		}
		counts := make([]int, 4)
		for _, i := range place(buildWith(t, Settings{Algorithm: algorithm}, list), keys) {
			counts[i]++
		}
		if slices.Min(counts) < keys/8 {
			t.Errorf("endpoints without ID have %v keys", counts)
		}
	})
}

// TestHashTriedGoesOn: where a key goes next depends on the key as well, and all
// agree on it.
func TestHashTriedGoesOn(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		p := build(t, algorithm, fleet(8, 1))
		for key := range uint64(200) {
			q := Query{HasKey: true, Key: key}
			var order []int
			for range 8 {
				i := p.Pick(&q)
				if i < 0 || q.Tried.Has(i) {
					t.Fatalf("key %d: %d after %v", key, i, order)
				}
				q.Tried.Add(i)
				order = append(order, i)
			}
			q.Tried.Reset()
			for _, want := range order {
				if i := p.Pick(&q); i != want {
					t.Fatalf("key %d: %d is not in the order %v of before", key, i, order)
				}
				q.Tried.Add(want)
			}
		}
	})
}

// TestHashWeightChange: tables follow weights, and nothing else rebuilds them.
func TestHashWeightChange(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		endpoints := fleet(4, 100)
		p := build(t, algorithm, endpoints)
		table := tableOf(p)
		endpoints[0].SetUp(false)
		endpoints[1].SetRamp(10)
		endpoints[2].SetEjected(true)
		settled(p, 4)
		if tableOf(p) != table {
			t.Error("health or ramp rebuilt the table")
		}
		endpoints[0].SetUp(true)
		endpoints[1].SetRamp(FullRamp)
		endpoints[2].SetEjected(false)
		endpoints[3].SetWeight(300)
		counts := make([]int, 4)
		for _, i := range place(settled(p, 4), keys) {
			counts[i]++
		}
		if tableOf(p) == table || math.Abs(float64(counts[3])-keys/2) > keys/10 {
			t.Errorf("weight 300 of 600 has %d of %d keys", counts[3], keys)
		}
	})
}

// tableOf identifies the present table.
func tableOf(p Picker) string {
	switch p := p.(type) {
	case *ring:
		return fmt.Sprintf("%p", p.current.Load().value)
	case *maglev:
		return fmt.Sprintf("%p", p.current.Load().value)
	}
	panic("BUG: no consistent hash")
}

// TestHashRamp: a warming endpoint has the part of its keys that its ramp allows;
// as the ramp goes up, each key comes over once.
func TestHashRamp(t *testing.T) {
	forHashes(t, func(t *testing.T, algorithm string) {
		endpoints := fleet(5, 100)
		p := build(t, algorithm, endpoints)
		full := place(p, keys)
		all := 0
		for _, i := range full {
			if i == 2 {
				all++
			}
		}
		var before []int
		for _, ramp := range []int{26, 77, 128, 200, FullRamp} {
			endpoints[2].SetRamp(ramp)
			after := place(settled(p, 5), keys)
			n := 0
			for key, i := range after {
				switch {
				case i == 2:
					n++
				case before != nil && before[key] == 2:
					t.Fatalf("ramp %d: key %d left the warming endpoint", ramp, key)
				case full[key] != 2 && i != full[key]:
					t.Fatalf("ramp %d: key %d moved between others", ramp, key)
				}
			}
			want := float64(all*ramp) / FullRamp
			if math.Abs(float64(n)-want) > 5*math.Sqrt(want)+5 {
				t.Errorf("ramp %d: %d keys, want about %.0f", ramp, n, want)
			}
			before = after
		}
		for _, e := range endpoints {
			e.SetRamp(1)
		}
		if slices.Contains(place(p, keys), -1) {
			t.Error("a key has no place while all are warming up")
		}
	})
}
