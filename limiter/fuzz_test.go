package limiter

import (
	"slices"
	"testing"
)

// FuzzLimiter lets the input choose the rules, the times and the requests.
func FuzzLimiter(f *testing.F) {
	sets := ruleSets()
	var names []string
	for name := range sets {
		names = append(names, name)
	}
	slices.Sort(names)
	for i := range names {
		f.Add([]byte{byte(i), byte(i), 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8, 3, 2, 7, 9, 5})
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		next := func(n int64) int64 {
			value := uint64(0)
			for size := uint64(n); size > 0 && len(input) > 0; size >>= 8 {
				value = value<<8 | uint64(input[0])
				input = input[1:]
			}
			return int64(value % uint64(n))
		}
		rules := sets[names[next(int64(len(names)))]]
		key := []Key{{}, hashed(1)}[next(2)]
		s := newSession(t, rules, key, 1<<next(3))
		for n := 0; len(input) > 0 && n < 500; n++ {
			s.advance(next)
			s.act(next)
		}
	})
}
