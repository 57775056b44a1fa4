package dns

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	wire "github.com/miekg/dns"

	"github.com/salgue441/velocity/balancer/discovery"
)

// round is one refresh: the configuration of the moment, and when the first of
// the answers that it used expires.
type round struct {
	settings Settings
	memory   *memory
	resolver resolver
	config   *wire.ClientConfig
	local    hostsFile
	expires  time.Time
}

func newRound(settings Settings, m *memory) (*round, error) {
	r := &round{settings: settings, memory: m, expires: time.Now().Add(settings.MaxRefresh)}
	var err error
	if r.config, err = clientConfig(settings); err != nil {
		return nil, err
	}
	r.resolver = resolver{
		servers:  r.config.Servers,
		timeout:  time.Duration(r.config.Timeout) * time.Second,
		attempts: r.config.Attempts,
	}
	if settings.Timeout > 0 {
		r.resolver.timeout = settings.Timeout
	}
	if settings.Attempts > 0 {
		r.resolver.attempts = settings.Attempts
	}
	r.local, err = readHosts(settings.Hosts)
	return r, err
}

// clientConfig is resolv.conf(5) overruled by the settings. A machine without the
// file has a server of its own, as resolv.conf(5) says.
func clientConfig(settings Settings) (*wire.ClientConfig, error) {
	config := &wire.ClientConfig{Ndots: 1, Timeout: int(DefaultTimeout / time.Second), Attempts: DefaultAttempts}
	if len(settings.Servers) > 0 {
		config.Servers = settings.Servers
	} else {
		file, err := wire.ClientConfigFromFile(settings.ResolvConf)
		if err == nil {
			config = file
		} else if !os.IsNotExist(err) {
			return nil, fmt.Errorf("read resolver configuration: %w", err)
		}
		if len(config.Servers) == 0 {
			config.Servers = []string{"127.0.0.1"}
		}
		for i, server := range config.Servers {
			if config.Servers[i], err = serverAddress(server, "53"); err != nil {
				return nil, fmt.Errorf("read %s: %w", settings.ResolvConf, err)
			}
		}
	}
	if settings.Search != nil {
		config.Search = settings.Search
	}
	if settings.Ndots > 0 {
		config.Ndots = settings.Ndots
	}
	return config, nil
}

// names are what a name may stand for, in the order in which they are asked.
func (r *round) names(name string) []string {
	if _, err := netip.ParseAddr(name); err == nil || r.local.has(name) {
		return []string{name}
	}
	return r.config.NameList(name)
}

// addresses are those of a host in the wanted families. With an error they are
// what was known before, if anything.
func (r *round) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{ip}, nil
	}
	if addrs := r.local.of(name, r.settings.Family); addrs != nil {
		r.until(time.Now().Add(r.settings.MinRefresh)) // the file may change
		return addrs, nil
	}
	name = wire.CanonicalName(name)
	var addrs []netip.Addr
	for _, qtype := range []uint16{wire.TypeA, wire.TypeAAAA} {
		if qtype == wire.TypeA && r.settings.Family == IPv6 || qtype == wire.TypeAAAA && r.settings.Family == IPv4 {
			continue
		}
		e, err := r.ask(ctx, question{name, qtype})
		if e != nil {
			addrs = append(addrs, e.addrs...)
		}
		if err != nil {
			return addrs, err
		}
		if e.missing || r.settings.Family == Auto && len(addrs) > 0 {
			break
		}
	}
	return addrs, nil
}

// ask returns the answer to a question, from memory while it holds. With an error
// it is what was known before, nil if that is nothing.
func (r *round) ask(ctx context.Context, q question) (*entry, error) {
	now := time.Now()
	e, fresh := r.memory.get(q, now)
	if !fresh {
		a, extra, err := r.resolver.resolve(ctx, q)
		if err != nil {
			return e, err
		}
		now = time.Now()
		for q, a := range extra {
			a.ttl = r.bound(a.ttl)
			r.memory.put(q, a, now)
		}
		a.ttl = r.bound(a.ttl)
		e = r.memory.put(q, a, now)
	}
	r.until(e.expires)
	return e, nil
}

// bound is how long an answer of a TTL holds. TTLs of 0 are common in registries,
// and mean that nobody should cache, not that everybody should ask all the time.
func (r *round) bound(ttl time.Duration) time.Duration {
	return min(max(ttl, r.settings.MinRefresh), r.settings.MaxRefresh)
}

// until lets the round expire then, unless it does so before.
func (r *round) until(t time.Time) {
	if t.Before(r.expires) {
		r.expires = t
	}
}

// appendTargets adds a target like t for each address, and skips addresses that
// no server has.
func appendTargets(dst []discovery.Target, addrs []netip.Addr, t discovery.Target, port int) ([]discovery.Target, error) {
	var bad error
	for _, ip := range addrs {
		address, err := discovery.Address(ip.String(), port)
		if err != nil {
			bad = err
			continue
		}
		t.Address = address
		dst = append(dst, t)
	}
	return dst, bad
}
