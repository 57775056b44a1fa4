package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Target is one server as a source knows it. Targets are compared with ==.
type Target struct {
	// Address is host:port, with an IP address as host wherever the source has one.
	Address string
	// Weight is the share of requests relative to the other targets; 0 means that
	// the source says nothing about it.
	Weight int
	// Priority orders targets: those of the lowest number are used first.
	Priority int
	// Zone is where the target is, in the words of the source; empty if unknown.
	Zone string
	// Draining targets are known but must get no new requests.
	Draining bool
}

// Address puts host and port together in the one form in which equal addresses
// are equal strings. The host is an IP address or a name. Addresses that no
// server has (unspecified, multicast) are refused: connecting to them would reach
// the gateway itself, or nobody.
func Address(host string, port int) (string, error) {
	if port < 1 || port > 65535 {
		return "", fmt.Errorf("port %d is not within 1 to 65535", port)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); ip.IsUnspecified() || ip.IsMulticast() {
			return "", fmt.Errorf("%s is not the address of a server", ip)
		}
		return netip.AddrPortFrom(ip, uint16(port)).String(), nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !isHostname(host) {
		return "", fmt.Errorf("%q is neither an IP address nor a host name", host)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// SplitAddress undoes Address, and accepts a port by itself being absent: it is
// then defaultPort, or an error if that is 0.
func SplitAddress(address string, defaultPort int) (host string, port int, err error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		if host = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"); defaultPort != 0 && isHost(host) {
			return host, defaultPort, nil
		}
		return "", 0, fmt.Errorf("%q is not host:port", address)
	}
	n, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q is not within 1 to 65535", service)
	}
	return host, int(n), nil
}

func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || isHostname(s)
}

// isHostname accepts what resolvers do: letters, digits, hyphens and underscores
// in labels of 1 to 63 bytes.
func isHostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.TrimLeft(label, hostnameBytes) != "" {
			return false
		}
	}
	return true
}

const hostnameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

var errNoPort = errors.New("no port")

// canonical is the target in the form in which equal targets are ==.
func (t Target) canonical() (Target, error) {
	host, port, err := SplitAddress(t.Address, 0)
	if err == nil && port == 0 {
		err = errNoPort
	}
	if err != nil {
		return t, err
	}
	t.Address, err = Address(host, port)
	t.Weight = max(t.Weight, 0)
	return t, err
}

// order sorts by address, and within it the entry that speaks for the address first.
func order(a, b Target) int {
	return cmp.Or(
		strings.Compare(a.Address, b.Address),
		compareBool(a.Draining, b.Draining),
		cmp.Compare(a.Priority, b.Priority),
		cmp.Compare(b.Weight, a.Weight),
		strings.Compare(a.Zone, b.Zone),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// normalize returns targets in the form in which equal lists are equal slices:
// addresses canonical, each once, sorted, and at most limit of them. Of several
// entries for an address the one counts that gives it most traffic. dropped is
// how many were left out because their address is none or the list too long.
func normalize(targets []Target, limit int) (list []Target, dropped int) {
	list = make([]Target, 0, len(targets))
	for _, t := range targets {
		t, err := t.canonical()
		if err != nil {
			dropped++
			continue
		}
		list = append(list, t)
	}
	slices.SortFunc(list, order)
	list = slices.CompactFunc(list, func(a, b Target) bool { return a.Address == b.Address })
	if len(list) > limit {
		dropped += len(list) - limit
		list = list[:limit:limit]
	}
	return list, dropped
}
