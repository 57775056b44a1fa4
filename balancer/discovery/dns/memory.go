package dns

import (
	"net/netip"
	"time"

	wire "github.com/miekg/dns"
)

// question is a fully qualified name in lower case, and what it is asked for.
type question struct {
	name  string
	qtype uint16
}

// answer is what a question was answered with. One without content says that
// there is none of that type, or with missing that there is no such name at all.
type answer struct {
	addrs    []netip.Addr
	services []wire.SRV
	missing  bool
	ttl      time.Duration
}

// memory keeps answers between refreshes: until they expire they are not asked
// for again, and after that they stand in for a server that does not answer.
type memory struct {
	entries map[question]*entry
}

type entry struct {
	answer
	expires time.Time
	used    bool
}

func newMemory() *memory { return &memory{entries: make(map[question]*entry)} }

// get returns what is known, and whether it still holds.
func (m *memory) get(q question, now time.Time) (e *entry, fresh bool) {
	e = m.entries[q]
	if e == nil {
		return nil, false
	}
	e.used = true
	return e, now.Before(e.expires)
}

func (m *memory) put(q question, a answer, now time.Time) *entry {
	e := &entry{answer: a, expires: now.Add(a.ttl), used: true}
	m.entries[q] = e
	return e
}

// forgetUnused drops what the last refresh had no use for.
func (m *memory) forgetUnused() {
	for q, e := range m.entries {
		if !e.used {
			delete(m.entries, q)
		}
		e.used = false
	}
}
