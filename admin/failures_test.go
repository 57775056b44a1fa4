package admin

import (
	"net/netip"
	"sync"
	"testing"
	"time"
)

func TestFailuresForgetTheOldestPeerOfAFullSet(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	f := newFailures(func() time.Time { return now })

	// Peers that share a set, found by trying addresses in turn.
	peers := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	for next := peers[0].Next(); len(peers) <= failureWays; next = next.Next() {
		if f.setOf(next) == f.setOf(peers[0]) {
			peers = append(peers, next)
		}
	}
	for _, peer := range peers[:failureWays] {
		for range failureLimit {
			f.add(peer)
		}
		now = now.Add(time.Second)
	}
	f.add(peers[failureWays])

	for i, peer := range peers {
		want := i > 0 && i < failureWays
		if got := f.blocked(peer) > 0; got != want {
			t.Errorf("peer %d of %d is blocked: %v, want %v", i+1, len(peers), got, want)
		}
	}
}

func TestFailuresOfPeersWithoutAddressCountTogether(t *testing.T) {
	f := newFailures(func() time.Time { return time.Unix(1_800_000_000, 0) })
	if f.blocked(netip.Addr{}) != 0 {
		t.Fatal("a free slot passes for a peer without address")
	}
	var wg sync.WaitGroup
	for range failureLimit {
		wg.Go(func() { f.add(netip.Addr{}) })
	}
	wg.Wait()
	if got := f.blocked(netip.Addr{}); got != failureWindow {
		t.Errorf("blocked for %v, want %v", got, failureWindow)
	}
}
