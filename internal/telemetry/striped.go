package telemetry

import "sync/atomic"

// maxShards bounds how many cache-line groups a handle is striped over. Four
// keep a busy route below 4 KiB and leave little contention.
const maxShards = 4

// striped is the counters S of one set of labels, several times over, so that
// cores do not contend for them. A shard is allocated when it is first used.
type striped[S any] struct {
	labels string
	mask   uint32
	shards [maxShards]atomic.Pointer[S]
}

func (m *striped[S]) shard(n uint32) *S {
	return acquire(&m.shards[n&m.mask])
}

// each calls f for every shard that has been used.
func (m *striped[S]) each(f func(*S)) {
	for i := range m.shards {
		if s := m.shards[i].Load(); s != nil {
			f(s)
		}
	}
}

// stripes is how a scrape reads handles of any kind.
func (m *striped[S]) stripes() *striped[S] { return m }

// sum adds up what read returns of every shard, and tells whether any has been
// used. Shards are read one after another, so that what is in flight may be seen
// to end but not to begin: less than none is none.
func sum[S any, N int64 | uint64](m *striped[S], read func(*S) N) (n uint64, used bool) {
	var total N
	m.each(func(s *S) {
		used = true
		total += read(s)
	})
	return uint64(max(total, 0)), used
}

// acquire returns what p points to, allocated by whoever comes first.
func acquire[T any](p *atomic.Pointer[T]) *T {
	if v := p.Load(); v != nil {
		return v
	}
	return allocate(p)
}

// allocate is apart to keep acquire short.
func allocate[T any](p *atomic.Pointer[T]) *T {
	v := new(T)
	if !p.CompareAndSwap(nil, v) {
		return p.Load()
	}
	return v
}
