package jwt

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"

	"github.com/salgue441/velocity/auth"
)

// ways is how many places a token may have in the cache: one bucket's tags and
// pointers are a cache line and a half.
const ways = 8

// cache remembers tokens that passed, and never one that did not: remembering
// failures would let anybody fill it.
//
// It is a set-associative table of pointers to immutable entries. Reading takes
// no lock and writes nothing, so cores do not contend however hot one token is.
// Its memory is bounded by the number of entries and the longest token. The
// hash is keyed, so nobody can aim at a bucket; a hit compares the whole token.
type cache struct {
	seed    maphash.Seed
	buckets []bucket
	mask    uint64
}

type bucket struct {
	tags    [ways]atomic.Uint32 // of the hash, to look at one entry and not at eight
	entries [ways]atomic.Pointer[entry]
}

// entry is a token that passed.
type entry struct {
	token      string
	identity   *auth.Identity
	until      int64  // Unix nanoseconds
	generation uint64 // of the keys
}

// newCache returns a cache of at least size entries, nil for none.
func newCache(size int) *cache {
	if size <= 0 {
		return nil
	}
	n := uint64(1) << bits.Len64(uint64((size+ways-1)/ways-1))
	return &cache{seed: maphash.MakeSeed(), buckets: make([]bucket, n), mask: n - 1}
}

// get returns the identity of a token that passed with these keys and has not
// ended, or nil.
func (c *cache) get(token []byte, generation uint64, now int64) *auth.Identity {
	h := maphash.Bytes(c.seed, token)
	b := &c.buckets[h&c.mask]
	tag := uint32(h >> 32)
	for i := range b.tags {
		if b.tags[i].Load() != tag {
			continue
		}
		e := b.entries[i].Load()
		if e != nil && e.token == string(token) && e.generation == generation && now < e.until {
			return e.identity
		}
	}
	return nil
}

// put keeps a token that passed: in its own place if it has one, else in one
// that is free or of no more use, else in one that the hash and the clock pick.
func (c *cache) put(token []byte, identity *auth.Identity, generation uint64, until, now int64) {
	h := maphash.Bytes(c.seed, token)
	b := &c.buckets[h&c.mask]
	tag := uint32(h >> 32)
	place := int((h>>40 ^ uint64(now)>>10) % ways)
	for i := range b.entries {
		e := b.entries[i].Load()
		if e != nil && b.tags[i].Load() == tag && e.token == string(token) {
			place = i
			break
		}
		if e == nil || e.generation != generation || e.until <= now {
			place = i
		}
	}
	// A reader between the two stores sees another token's tag or entry and
	// misses. Nothing depends on the pair being consistent.
	b.entries[place].Store(&entry{token: string(token), identity: identity, until: until, generation: generation})
	b.tags[place].Store(tag)
}
