package limiter

import (
	"sync"
	"sync/atomic"
	"time"
)

// hot is one account whose units are spread over shards, so that requests on
// different cores do not wait for one cache line. The account is the parent. A
// visit to it, under its lock, charges it for a batch of units and puts them in a
// shard, from where requests take them with one compare-and-swap. Units in shards
// are charged and not used: outstanding.
//
// Never refused while a unit is left: a request whose shard has too few visits the
// parent, and if the parent has too few it collects the units of all shards before
// it refuses. Units get into shards only under the lock (Concurrency apart, see
// collectLocked), so after the last shard has been emptied the parent holds all
// there are, and the refusal is true at that moment.
//
// Never more admitted than the limit: each unit is in one place, moved by atomic
// exchange. What could add units is time. A bucket that is full takes nothing in,
// and outstanding units count as lying in it: it fills up to its capacity less
// what is outstanding, as if all that was used since were used just now. So what is
// admitted is never more than a bucket behind one lock would admit. It could be
// less, by what would have flowed in after a use that the parent does not know of;
// hence shards are good only until the moment at which the bucket, unused, would
// be full (horizon), and at most slack longer. It follows that the parent and the
// shards together lack at most what flows in during slack: nothing below
// slackRate units a second, where the horizon is not extended, and else 100 µs
// worth, after a moment at which the bucket was full. Windows end at their end,
// with nothing lost: what is outstanding is collected before a window's count is
// carried over.
//
// Several rules: a unit in a shard is one of every rule, so that they are taken
// together at no further cost, and the argument holds for the rule with the
// fewest.
type hot struct {
	// Read by every request, written by visits.
	view struct {
		horizon     atomic.Int64 // monotonic: shards are good before it
		horizonWall atomic.Int64
		empty       atomic.Int64 // monotonic: less than one unit is left before it
		remaining   atomic.Int64 // in the parent
		resetAt     atomic.Int64
		rule        atomic.Int64 // that remaining and resetAt are about
		divided     atomic.Bool  // shares are not whole
		_           [72]byte
	}

	shards []hotShard
	step   func(step) // nil but in tests, which run the steps of several requests in every order
	_      [96]byte

	mu          sync.Mutex
	account     account
	shares      *shares
	outstanding int64
	told        int64 // see exchange.go
	began       int64 // when the shards were last all empty
	counts      counts
	_           [16]byte
}

// hotShard has two cache lines of its own: neighbours are fetched in pairs.
type hotShard struct {
	// units in the low half; the high half changes whenever units are put in or
	// collected, so that a compare-and-swap notices.
	word     atomic.Uint64
	admitted atomic.Uint64
	refused  [MaxRules]atomic.Uint64
	seen     uint64 // by collectLocked
	_        [40]byte
}

const (
	unitsMask = 1<<32 - 1
	version   = 1 << 32

	// maxBatch is the most that a visit puts into a shard: past a hundred the cost
	// of the visit is lost in that of the requests it saves.
	maxBatch = 256
	// slack and slackRate: see hot.
	slack     = int64(100 * time.Microsecond)
	slackRate = 10_000
)

// step is an atomic step of the algorithm.
type step uint8

const (
	stepLoad step = iota
	stepHorizon
	stepTake
	stepLock
	stepCollect
	stepVerify
	stepPut
	stepUnlock
	stepEmpty
	stepRelease
)

func newHot(p *plan, shards int, w *shares) *hot {
	n := 1
	for n < shards && n < 256 {
		n *= 2
	}
	h := &hot{shards: make([]hotShard, n), account: newAccount(p), shares: w}
	h.view.divided.Store(w != nil)
	if p.concurrent {
		h.view.horizon.Store(never)
		h.view.horizonWall.Store(never)
	}
	return h
}

func (h *hot) at(s step) {
	if h.step != nil {
		h.step(s)
	}
}

func (h *hot) shard(n uint32) *hotShard { return &h.shards[n&uint32(len(h.shards)-1)] }

// allow decides about a request.
func (h *hot) allow(p *plan, r *Request, d *Decision) bool {
	s := h.shard(r.Shard)
	if left, ok := h.take(s, r.Cost, r.At); ok {
		s.admitted.Add(1)
		h.describe(p, r.At.Mono, left, d)
		return true
	}
	h.at(stepEmpty)
	if r.Cost <= 1 && r.At.Mono < h.view.empty.Load() && (!p.calendars || r.At.Wall < h.view.horizonWall.Load()) {
		return h.refuse(p, s, r.At.Mono, d)
	}
	return h.visit(p, s, r, d)
}

// take takes n units from the shard if it has so many and they are good. None is
// not taken from a shard: whether one is left only the parent knows.
func (h *hot) take(s *hotShard, n int64, at Instant) (left int64, ok bool) {
	for n > 0 {
		h.at(stepLoad)
		word := s.word.Load()
		held := int64(word & unitsMask)
		if held < n {
			return 0, false
		}
		// After the word, whose units may have been put in for a shorter time than
		// those that were there before.
		h.at(stepHorizon)
		if at.Mono >= h.view.horizon.Load() || at.Wall >= h.view.horizonWall.Load() {
			return 0, false
		}
		h.at(stepTake)
		if s.word.CompareAndSwap(word, word-uint64(n)) {
			return held - n, true
		}
	}
	return 0, false
}

// describe tells what a request that a shard admitted can know.
func (h *hot) describe(p *plan, now, held int64, d *Decision) {
	d.Allowed, d.RetryAfter = true, 0
	d.Rule = int(h.view.rule.Load())
	d.Limit = p.counters[d.Rule].limit
	d.Remaining = h.view.remaining.Load() + held
	d.Reset = until(now, h.view.resetAt.Load())
}

// refuse turns a request for one unit away without a lock: nothing was left at the last visit, and nothing
// can have come since.
func (h *hot) refuse(p *plan, s *hotShard, now int64, d *Decision) bool {
	d.Rule = int(h.view.rule.Load())
	s.refused[d.Rule].Add(1)
	d.Allowed, d.Limit, d.Remaining = false, p.counters[d.Rule].limit, h.view.remaining.Load()
	d.Reset = until(now, h.view.resetAt.Load())
	d.RetryAfter = until(now, h.view.empty.Load())
	return false
}
