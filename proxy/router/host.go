package router

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

type hostKind uint8

// In order of precedence.
const (
	hostExact hostKind = iota
	hostWildcard
	hostAny
)

// host is one host of a pattern. The name of a wildcard is what follows "*.".
type host struct {
	kind hostKind
	name string
}

func (h host) String() string {
	switch h.kind {
	case hostExact:
		return h.name
	case hostWildcard:
		return "*." + h.name
	default:
		return "*"
	}
}

func (h host) matches(name string) bool {
	switch h.kind {
	case hostExact:
		return name == h.name
	case hostWildcard:
		return len(name) > len(h.name)+1 && strings.HasSuffix(name, h.name) && name[len(name)-len(h.name)-1] == '.'
	default:
		return true
	}
}

// compareHosts orders by specificity only: two exact hosts are equal.
func compareHosts(a, b host) int {
	if c := cmp.Compare(a.kind, b.kind); c != 0 || a.kind != hostWildcard {
		return c
	}
	return cmp.Compare(len(b.name), len(a.name))
}

func (c *compilation) hosts(names []string) []host {
	if len(names) == 0 {
		return []host{{kind: hostAny}}
	}
	var out []host
	for i, name := range names {
		field := fmt.Sprintf("hosts[%d]", i)
		h := host{name: strings.ToLower(name)}
		if suffix, ok := strings.CutPrefix(h.name, "*."); ok {
			h = host{kind: hostWildcard, name: suffix}
		}
		if err := checkHostName(h.name); err != "" {
			c.report(field, "host %q: %s", name, err)
		} else if slices.Contains(out, h) {
			c.report(field, "host %q is listed twice", name)
		} else {
			out = append(out, h)
		}
	}
	return out
}

// checkHostName says what is wrong with a host name, or nothing. An IPv6
// address stands in brackets, as it does in a Host field.
func checkHostName(name string) string {
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		if strings.Trim(name[1:len(name)-1], "0123456789abcdef:.") == "" {
			return ""
		}
		return "not an IPv6 address"
	}
	switch {
	case name == "":
		return "name is empty"
	case name == "*":
		return "leave hosts empty for any host"
	case len(name) > 253:
		return "longer than 253 characters"
	case strings.Contains(name, ":"):
		return "a host has no scheme and no port"
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return "a label is empty"
		case strings.Contains(label, "*"):
			return "\"*\" can only stand for the first labels, as in *.example.org"
		}
		for i := range len(label) {
			c := label[i]
			if c >= 0x80 {
				return "write the punycode form (xn--)"
			}
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return fmt.Sprintf("character %q is not allowed", c)
			}
		}
	}
	return ""
}
