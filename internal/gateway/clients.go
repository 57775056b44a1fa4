package gateway

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// clientShards spreads clients over as many locks.
const clientShards = 32

// clients counts the open connections of each client. A client takes memory
// only while it has one, so that connections bound it.
type clients struct {
	rule   atomic.Pointer[clientRule]
	shards [clientShards]struct {
		mu   sync.Mutex
		open map[netip.Addr]int
	}
}

// clientRule says how many connections a client may have.
type clientRule struct {
	most   int            // zero for no limit
	exempt []netip.Prefix // proxies, which stand for many clients
}

// add counts a connection in, unless its client has as many as it may. Clients
// are counted without a limit as well, so that one that is set later is exact.
func (c *clients) add(client netip.Addr) bool {
	if !client.IsValid() {
		return true
	}
	most := 0
	if r := c.rule.Load(); r != nil && !containsAddr(r.exempt, client) {
		most = r.most
	}
	client = clientKey(client)
	s := &c.shards[shardOf(client)]
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.open[client]
	if most > 0 && n >= most {
		return false
	}
	if s.open == nil {
		s.open = make(map[netip.Addr]int)
	}
	s.open[client] = n + 1
	return true
}

// remove ends what add counted.
func (c *clients) remove(client netip.Addr) {
	if !client.IsValid() {
		return
	}
	client = clientKey(client)
	s := &c.shards[shardOf(client)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[client]--; s.open[client] <= 0 {
		delete(s.open, client)
	}
}

// size is how many clients have a connection.
func (c *clients) size() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.open)
		s.mu.Unlock()
	}
	return n
}

// clientKey is what counts as one client: an IPv4 address, or the network that
// a customer of an IPv6 provider has at the least.
func clientKey(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// shardOf mixes the bytes of an address (FNV-1a).
func shardOf(a netip.Addr) uint32 {
	h := uint32(2166136261)
	for _, b := range a.As16() {
		h = (h ^ uint32(b)) * 16777619
	}
	return (h ^ h>>16) % clientShards
}

func containsAddr(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// clientOf is whom a connection counts for: its peer, and nobody when that is a
// process of this machine or a proxy that announces its clients.
func clientOf(conn net.Conn) netip.Addr {
	switch conn.(type) {
	case *localConn, *proxiedConn:
		return netip.Addr{}
	}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
