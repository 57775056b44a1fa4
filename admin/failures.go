package admin

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	failureLimit  = 10 // wrong tokens from one peer within failureWindow
	failureWindow = time.Minute

	// The table is small and of one size, so that failing from many addresses
	// costs the attacker's addresses and not our memory.
	failureSets = 256
	failureWays = 4
)

// failures counts the wrong tokens of each peer in fixed windows. A peer maps to
// one set; in a full set the peer whose window is oldest is forgotten. It is safe
// for concurrent use.
type failures struct {
	now  func() time.Time
	seed maphash.Seed // attackers must not be able to choose each other's set

	mu   sync.Mutex
	sets [failureSets][failureWays]failureCount
}

type failureCount struct {
	peer  netip.Addr
	start time.Time // of the window; zero means that the slot is free
	count int
}

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, seed: maphash.MakeSeed()}
}

// blocked returns how long peer must wait before its next token is looked at;
// zero means that it need not.
func (f *failures) blocked(peer netip.Addr) time.Duration {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.findLocked(peer)
	if c == nil || c.count < failureLimit {
		return 0
	}
	return max(0, c.start.Add(failureWindow).Sub(now))
}

// add counts a wrong token of peer.
func (f *failures) add(peer netip.Addr) {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.findLocked(peer)
	if c == nil {
		c = f.oldestLocked(peer)
		*c = failureCount{peer: peer}
	}
	if now.Sub(c.start) >= failureWindow {
		c.start, c.count = now, 0
	}
	c.count++
}

func (f *failures) setOf(peer netip.Addr) *[failureWays]failureCount {
	return &f.sets[maphash.Comparable(f.seed, peer)%failureSets]
}

func (f *failures) findLocked(peer netip.Addr) *failureCount {
	set := f.setOf(peer)
	for i := range set {
		if set[i].peer == peer && !set[i].start.IsZero() {
			return &set[i]
		}
	}
	return nil
}

func (f *failures) oldestLocked(peer netip.Addr) *failureCount {
	set := f.setOf(peer)
	oldest := &set[0]
	for i := range set {
		if set[i].start.Before(oldest.start) {
			oldest = &set[i]
		}
	}
	return oldest
}
