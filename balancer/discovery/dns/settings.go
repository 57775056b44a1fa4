package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	wire "github.com/miekg/dns"
)

// What Settings mean when they say nothing.
const (
	DefaultTimeout    = 2 * time.Second
	DefaultAttempts   = 2
	DefaultMinRefresh = 5 * time.Second
	DefaultMaxRefresh = 5 * time.Minute
	DefaultUDPSize    = 1232 // fits an IPv6 packet of the smallest MTU
	DefaultResolvConf = "/etc/resolv.conf"
	DefaultHosts      = "/etc/hosts"
)

// Type is what a name is asked for.
type Type uint8

// The types of names.
const (
	// Host asks for addresses; the port comes from the settings.
	Host Type = iota
	// Service asks for services: host names with ports, weights and priorities.
	Service
)

// Family is which addresses of a host are targets.
type Family uint8

// The families of addresses.
const (
	// Auto takes the IPv4 addresses of a host, and the IPv6 ones if it has none: a
	// host with one of each is one server, not two.
	Auto Family = iota
	// IPv4 and IPv6 take those addresses only.
	IPv4
	IPv6
	// All takes every address as a target of its own.
	All
)

// Settings are what to watch and how. Only Name, and Port for hosts, are needed.
type Settings struct {
	// Name is the host, or the service as in _http._tcp.example.com. Search domains
	// apply unless it ends in a dot.
	Name string
	Type Type
	// Port is that of the targets. For services 0 takes the port of each record.
	Port   int
	Family Family

	// Servers are who is asked, as addresses with or without port. Those of
	// resolv.conf are asked if there is none, and its search domains apply.
	Servers []string
	// Search are search domains, in place of those of resolv.conf.
	Search []string
	// Ndots is how many dots make a name be asked for as it is before search domains
	// are tried; 0 means that of resolv.conf, or 1.
	Ndots int

	// Timeout is how long one server has to answer one question; 0 means that of
	// resolv.conf, or DefaultTimeout with servers of the settings.
	Timeout time.Duration
	// Attempts is how often the list of servers is gone through; 0 means as above.
	Attempts int
	// MinRefresh and MaxRefresh bound how long an answer holds, whatever its TTL.
	MinRefresh, MaxRefresh time.Duration

	// ResolvConf and Hosts are read anew for each refresh.
	ResolvConf, Hosts string
}

// normalized fills in defaults and checks.
func (s Settings) normalized() (Settings, error) {
	if _, ok := wire.IsDomainName(s.Name); !ok || s.Name == "" {
		return s, fmt.Errorf("%q is not a domain name", s.Name)
	}
	if s.Port < 0 || s.Port > 65535 || s.Port == 0 && s.Type == Host {
		return s, fmt.Errorf("port %d is not within 1 to 65535", s.Port)
	}
	servers := make([]string, len(s.Servers))
	for i, server := range s.Servers {
		var err error
		if servers[i], err = serverAddress(server, "53"); err != nil {
			return s, err
		}
	}
	s.Servers = servers
	s.Name = strings.ToLower(s.Name)
	if s.MinRefresh <= 0 {
		s.MinRefresh = DefaultMinRefresh
	}
	if s.MaxRefresh <= 0 {
		s.MaxRefresh = max(DefaultMaxRefresh, s.MinRefresh)
	}
	if s.MinRefresh > s.MaxRefresh {
		return s, errors.New("shortest refresh is longer than the longest")
	}
	if s.ResolvConf == "" {
		s.ResolvConf = DefaultResolvConf
	}
	if s.Hosts == "" {
		s.Hosts = DefaultHosts
	}
	return s, nil
}

// serverAddress adds the port if there is none. A server has to be an address: who
// would say what its name means?
func serverAddress(server, port string) (string, error) {
	if _, err := netip.ParseAddrPort(server); err == nil {
		return server, nil
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(server, "["), "]"))
	if err != nil {
		return "", fmt.Errorf("DNS server %q is not an IP address", server)
	}
	return net.JoinHostPort(ip.String(), port), nil
}
