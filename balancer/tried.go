package balancer

// MaxTried is how many endpoints a Tried remembers.
const MaxTried = 15

// Tried is the set of endpoint indices that one request has already tried. Its
// zero value is empty, and it fills one cache line. Pick takes it through an
// interface, so a local variable would move to the heap: keep it in what is
// pooled for the request. It is not safe for concurrent use. A nil *Tried may be
// read and is empty.
//
// Beyond MaxTried indices the oldest is forgotten: a request that has failed at
// so many endpoints may come back to its first.
type Tried struct {
	indices [MaxTried]int32
	added   uint32 // since Reset, the forgotten ones included
}

// Add puts index i into the set.
func (t *Tried) Add(i int) {
	if t.Has(i) {
		return
	}
	t.indices[t.added%MaxTried] = int32(i)
	t.added++
}

// Has reports whether index i is in the set.
func (t *Tried) Has(i int) bool {
	if t == nil {
		return false
	}
	for _, tried := range t.indices[:t.Len()] {
		if tried == int32(i) {
			return true
		}
	}
	return false
}

// Len is the number of indices in the set.
func (t *Tried) Len() int {
	if t == nil {
		return 0
	}
	return int(min(t.added, MaxTried))
}

// Reset empties the set.
func (t *Tried) Reset() { t.added = 0 }
