package dns

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// maxHosts is the size up to which a hosts file is read.
const maxHosts = 8 << 20

// hostsFile is what hosts(5) says, by name in lower case.
type hostsFile map[string][]netip.Addr

// readHosts reads a hosts file; one that does not exist says nothing.
func readHosts(path string) (hostsFile, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return parseHosts(""), nil
	}
	if err == nil && info.Size() > maxHosts {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxHosts)
	}
	if err != nil {
		return nil, fmt.Errorf("read hosts: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read hosts: %w", err)
	}
	return parseHosts(string(text)), nil
}

// parseHosts skips what it does not understand, as every reader of the file does.
func parseHosts(text string) hostsFile {
	hosts := make(hostsFile)
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		ip, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = hostsName(name)
			hosts[name] = append(hosts[name], ip.Unmap())
		}
	}
	// RFC 6761 section 6.3: nobody else is to be asked for it.
	if hosts["localhost"] == nil {
		hosts["localhost"] = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return hosts
}

func hostsName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func (h hostsFile) has(name string) bool { return h.of(name, All) != nil }

// of returns the addresses of a name in the wanted families, nil if the file does
// not have any.
func (h hostsFile) of(name string, family Family) []netip.Addr {
	name = hostsName(name)
	all := h[name]
	if all == nil && strings.HasSuffix(name, ".localhost") {
		all = h["localhost"]
	}
	var v4, v6 []netip.Addr
	for _, ip := range all {
		if ip.Is4() {
			v4 = append(v4, ip)
		} else {
			v6 = append(v6, ip)
		}
	}
	switch {
	case family == All:
		return all
	case family == IPv4, family == Auto && v4 != nil:
		return v4
	}
	return v6
}
