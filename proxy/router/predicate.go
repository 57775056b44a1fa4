package router

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Fields gives predicates the parts of a request that are read only when a
// route asks for them. Values are borrowed until the method is called again.
type Fields interface {
	// Header returns the value of a header. The name is in canonical form
	// (as of net/textproto) and must be compared without case. How several
	// values of one name are put together is the implementation's choice.
	Header(name string) (value []byte, ok bool)
	// Query returns the decoded value of a query parameter.
	Query(name string) (value []byte, ok bool)
	// Cookie returns the value of a cookie.
	Cookie(name string) (value []byte, ok bool)
	// ClientIP returns the client's address, or the zero Addr.
	ClientIP() netip.Addr
}

// noFields stands in where a request has none.
type noFields struct{}

func (noFields) Header(string) ([]byte, bool) { return nil, false }
func (noFields) Query(string) ([]byte, bool)  { return nil, false }
func (noFields) Cookie(string) ([]byte, bool) { return nil, false }
func (noFields) ClientIP() netip.Addr         { return netip.Addr{} }

// predicates are the conditions of a route beyond host, path and method.
type predicates struct {
	headers, queries, cookies []matcher
	inside, outside           []netip.Prefix // where the client must be, and must not be
	key                       string         // equal for predicates that say the same
}

type matcher struct {
	name   string
	kind   MatchKind
	value  string
	re     *regexp.Regexp
	invert bool
}

// orNone returns empty predicates for nil.
func (p *predicates) orNone() *predicates {
	if p == nil {
		return &predicates{}
	}
	return p
}

func (p *predicates) match(f Fields) bool {
	for i := range p.headers {
		m := &p.headers[i]
		if !m.match(f.Header(m.name)) {
			return false
		}
	}
	for i := range p.queries {
		m := &p.queries[i]
		if !m.match(f.Query(m.name)) {
			return false
		}
	}
	for i := range p.cookies {
		m := &p.cookies[i]
		if !m.match(f.Cookie(m.name)) {
			return false
		}
	}
	return len(p.inside)+len(p.outside) == 0 || p.matchClient(f.ClientIP())
}

func (p *predicates) matchClient(ip netip.Addr) bool {
	ip = ip.Unmap()
	return (len(p.inside) == 0 || anyContains(p.inside, ip)) && !anyContains(p.outside, ip)
}

func anyContains(networks []netip.Prefix, ip netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

func (m *matcher) match(value []byte, ok bool) bool {
	return (ok && m.matchValue(value)) != m.invert
}

func (m *matcher) matchValue(value []byte) bool {
	switch m.kind {
	case Exact:
		return string(value) == m.value
	case Prefix:
		return len(value) >= len(m.value) && string(value[:len(m.value)]) == m.value
	case Regex:
		return m.re.Match(value)
	default:
		return true
	}
}

// identity returns a text that is the same for predicates that differ only in
// the order they were written in.
func (p *predicates) identity() string {
	var parts []string
	for _, set := range []struct {
		of       string
		matchers []matcher
	}{{"header", p.headers}, {"query", p.queries}, {"cookie", p.cookies}} {
		for i := range set.matchers {
			m := &set.matchers[i]
			parts = append(parts, fmt.Sprintf("%s %q %d %q %t", set.of, m.name, m.kind, m.value, m.invert))
		}
	}
	for _, n := range p.inside {
		parts = append(parts, "in "+n.String())
	}
	for _, n := range p.outside {
		parts = append(parts, "not in "+n.String())
	}
	slices.Sort(parts)
	return strings.Join(slices.Compact(parts), "\n")
}

// unmapPrefix writes a network of IPv4-mapped addresses as one of IPv4, as
// clients' addresses are, and clears the bits beyond the mask.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}
