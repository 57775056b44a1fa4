package balancer

import (
	"errors"
	"fmt"
	"strings"
)

// The algorithms of NewPicker.
const (
	// RoundRobin is smooth weighted round robin.
	RoundRobin = "round_robin"
	// Random chooses by weight.
	Random = "random"
	// P2C compares two endpoints by latency and requests in flight.
	P2C = "p2c"
	// LeastConnections goes by requests in flight.
	LeastConnections = "least_connections"
	// Ring keeps a key at an endpoint by a consistent hash ring.
	Ring = "ring"
	// Maglev does by a lookup table.
	Maglev = "maglev"
	// FirstAvailable takes the first of the list.
	FirstAvailable = "first_available"
)

// Algorithms lists the names that NewPicker knows.
func Algorithms() []string {
	return []string{RoundRobin, Random, P2C, LeastConnections, Ring, Maglev, FirstAvailable}
}

// Picker chooses from an immutable list of endpoints. It is safe for concurrent
// use, takes no lock, and allocates nothing but when endpoints changed (see the
// package comment).
type Picker interface {
	// Pick returns the index of an available endpoint of positive weight that
	// is not in q.Tried, or -1 if there is none. It does not change q.
	Pick(q *Query) int
}

// Member is one endpoint of a list with what the list says about it.
type Member struct {
	Endpoint *Endpoint
	// ID is the endpoint's identity on every node and in every list, such as a
	// hash of its URL: it decides the place in consistent hashes. Of several
	// members with one ID, the order decides.
	ID uint64
	// Priority is the level of the endpoint; 0 is the highest.
	Priority int
	// Zone is where the endpoint is.
	Zone string
}

// Settings say how a picker chooses.
type Settings struct {
	// Algorithm is one of Algorithms.
	Algorithm string
	// Zone is where the gateway is. Within a priority, endpoints of the same
	// zone come first. Empty has no preference.
	Zone string
	// Overprovision is how much traffic a level can carry with all its
	// endpoints, in percent of what it gets. 0 means 140: a level passes
	// traffic on once fewer than 72 % of it are available.
	Overprovision int
	// Panic is the percentage of healthy endpoints, of those that are enabled
	// and of positive weight, below which health is not believed. 0 always
	// believes it.
	Panic int
	// BalanceFactor is how many of the requests in flight one endpoint may
	// hold before a consistent hash passes it over, in percent of its share by
	// weight. 0 means no limit, otherwise it is at least 100; 125 is usual.
	BalanceFactor int
	// RingSize is the least number of points on a hash ring. 0 means
	// 160 for each endpoint and at least 1024.
	RingSize int
	// TableSize is the number of places of a Maglev table, a prime that should be
	// a hundred times the number of endpoints. 0 means 65537.
	TableSize int
}

const (
	defaultOverprovision = 140
	defaultTableSize     = 65537
	maxTableSize         = 5_000_011
	maxRingSize          = 8 << 20
)

func (s *Settings) check(members []Member) error {
	for _, m := range members {
		if m.Endpoint == nil {
			return errors.New("an endpoint is nil")
		}
		if m.Priority < 0 {
			return fmt.Errorf("priority %d is negative", m.Priority)
		}
	}
	switch {
	case s.Panic < 0 || s.Panic > 100:
		return fmt.Errorf("panic threshold %d %% is not from 0 to 100", s.Panic)
	case s.Overprovision != 0 && s.Overprovision < 100:
		return fmt.Errorf("overprovision of %d %% is below 100", s.Overprovision)
	case s.BalanceFactor != 0 && s.BalanceFactor < 100:
		return fmt.Errorf("balance factor of %d %% is below 100", s.BalanceFactor)
	case s.RingSize < 0 || s.RingSize > maxRingSize:
		return fmt.Errorf("ring size %d is not from 0 to %d", s.RingSize, maxRingSize)
	case s.TableSize != 0 && (s.TableSize > maxTableSize || !isPrime(s.TableSize)):
		return fmt.Errorf("table size %d is not a prime up to %d", s.TableSize, maxTableSize)
	case s.Algorithm == Maglev && len(members) > min(s.tableSize(), maxMaglev):
		return fmt.Errorf("%d endpoints are more than a table of %d places can hold", len(members), s.tableSize())
	}
	return nil
}

func (s *Settings) tableSize() int {
	if s.TableSize == 0 {
		return defaultTableSize
	}
	return s.TableSize
}

func isPrime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

// NewPicker returns a picker over a copy of the list, which may be empty. A nil
// endpoint and settings out of their range are errors.
func NewPicker(s Settings, members []Member) (Picker, error) {
	p, err := newPicker(&s, members)
	if err != nil {
		return nil, fmt.Errorf("build picker: %w", err)
	}
	return p, nil
}

func newPicker(s *Settings, members []Member) (Picker, error) {
	if err := s.check(members); err != nil {
		return nil, err
	}
	g := group{list: make([]*Endpoint, len(members)), index: make([]int32, len(members))}
	for i, m := range members {
		g.list[i], g.index[i] = m.Endpoint, int32(i)
	}
	g.own, g.trust = g.list, newTrust(g.list, s.Panic)
	ids := identities(members)
	if levels := splitLevels(members, s.Zone); len(levels) > 1 {
		return newLevels(s, g, levels, ids)
	}
	return newAlgorithm(s, g, ids)
}

// newAlgorithm returns a picker over one group. ids are those of the whole list.
func newAlgorithm(s *Settings, g group, ids []uint64) (Picker, error) {
	switch s.Algorithm {
	case RoundRobin:
		return newRoundRobin(g), nil
	case Random:
		return newRandom(g), nil
	case P2C:
		return newP2C(g), nil
	case LeastConnections:
		return newLeastConnections(g), nil
	case Ring:
		return newRing(s, g, ids), nil
	case Maglev:
		return newMaglev(s, g, ids), nil
	case FirstAvailable:
		return newFirstAvailable(g), nil
	}
	return nil, fmt.Errorf("unknown algorithm %q, want one of %s", s.Algorithm, strings.Join(Algorithms(), ", "))
}

// attempts is how often a picker asks its sequence before it looks at every
// endpoint: enough that a retry with one or two endpoints tried seldom gets there.
const attempts = 4

// scale maps 32 random bits onto 0 to n-1.
func scale(random uint32, n int) uint64 {
	return uint64(random) * uint64(n) >> 32
}
