package limiter

import (
	"cmp"
	"slices"
)

// MaxLabel is how much of a label is kept.
const MaxLabel = 48

const (
	topKeys = 8
	sizeTop = 96
)

// top counts the keys that are refused most, in fixed memory (space-saving, Metwally
// et al. 2005): a key that has no slot takes over the smallest one with its count, which
// is then the most that this key's count is too high. Every key of which more than
// 1/topKeys of the refusals are is among them. Each part of the table has one, and
// all refusals of a key fall into one part.
type top struct{ slots []topSlot }

type topSlot struct {
	key    Key
	count  uint64
	excess uint64 // of the count, inherited
	size   uint8
	label  [MaxLabel]byte
}

// add counts a refusal.
func (t *top) add(k Key, label []byte) {
	least := 0
	for i := range t.slots {
		s := &t.slots[i]
		if s.count != 0 && s.key == k {
			s.count++
			return
		}
		if s.count < t.slots[least].count {
			least = i
		}
	}
	s := &t.slots[least]
	s.key, s.excess = k, s.count
	s.count++
	s.size = uint8(copy(s.label[:], label))
}

// RefusedKey is a key that is refused often.
type RefusedKey struct {
	Key   Key
	Label string // as given by the request that brought the key in, cut at MaxLabel
	// Refused is how often, at most; it is at least Refused - Excess.
	Refused, Excess uint64
}

// TopRefused returns the n keys that were refused most, most first. The zero Key is
// not among them: its refusals are the only ones of its limiter, or in Stats.
func (l *Limiter) TopRefused(n int) []RefusedKey {
	var keys []RefusedKey
	for i := range l.store.table.parts {
		p := &l.store.table.parts[i]
		p.mu.Lock()
		for _, s := range p.top.slots {
			if s.count != 0 {
				keys = append(keys, RefusedKey{Key: s.key, Label: string(s.label[:s.size]), Refused: s.count, Excess: s.excess})
			}
		}
		p.mu.Unlock()
	}
	slices.SortFunc(keys, func(a, b RefusedKey) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.Key.Hi, b.Key.Hi), cmp.Compare(a.Key.Lo, b.Key.Lo))
	})
	return keys[:min(max(n, 0), len(keys))]
}
