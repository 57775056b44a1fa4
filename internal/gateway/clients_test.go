package gateway

import (
	"net/netip"
	"sync"
	"testing"
)

func TestClients(t *testing.T) {
	var c clients
	add := func(addr string, want bool) {
		t.Helper()
		if got := c.add(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	for range 3 {
		add("192.0.2.1", true) // no limit yet
	}
	c.rule.Store(&clientRule{most: 2, exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	add("192.0.2.1", false)
	add("192.0.2.2", true)
	add("192.0.2.2", true)
	add("192.0.2.2", false)
	add("2001:db8::1", true)
	add("2001:db8::2:0:0:1", true)
	add("2001:db8::ffff", false) // the same /64
	add("2001:db8:0:1::1", true)
	add("fe80::1%eth0", true)
	add("fe80::2%eth1", true)
	add("fe80::3", false)
	for range 5 {
		add("198.51.100.7", true)
	}
	if !c.add(netip.Addr{}) || c.size() != 6 {
		t.Errorf("%d clients", c.size())
	}

	remove := func(addr string, times int) {
		for range times {
			c.remove(netip.MustParseAddr(addr))
		}
	}
	remove("192.0.2.1", 2)
	add("192.0.2.1", true)
	add("192.0.2.1", false)
	remove("192.0.2.1", 2)
	remove("192.0.2.2", 2)
	remove("2001:db8::9", 2)
	remove("2001:db8:0:1::2", 1)
	remove("fe80::9%eth2", 2)
	remove("198.51.100.7", 5)
	c.remove(netip.Addr{})
	if n := c.size(); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}

func TestClientsUnderRace(t *testing.T) {
	var c clients
	c.rule.Store(&clientRule{most: 3})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 2)})
			for range 1000 {
				if c.add(a) {
					c.remove(a)
				}
			}
		})
	}
	wg.Wait()
	if n := c.size(); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}

func TestShardsAreEven(t *testing.T) {
	var used [clientShards]int
	for i := range 3200 {
		used[shardOf(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))]++
	}
	for shard, n := range used {
		if n < 50 || n > 200 {
			t.Errorf("shard %d has %d of 3200 addresses", shard, n)
		}
	}
}
