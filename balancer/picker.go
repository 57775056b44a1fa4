package balancer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// The algorithms of NewPicker.
const (
	RoundRobin       = "round_robin"
	Random           = "random"
	P2C              = "p2c"
	LeastConnections = "least_connections"
)

// Algorithms lists the names that NewPicker knows.
func Algorithms() []string { return []string{RoundRobin, Random, P2C, LeastConnections} }

// Picker chooses from an immutable list of endpoints. It is safe for concurrent
// use, takes no lock, and allocates nothing but when endpoints changed (see the
// package comment).
type Picker interface {
	// Pick returns the index of an available endpoint of positive weight that
	// is not in tried, or -1 if there is none. The key is what algorithms that
	// keep a caller at one endpoint go by; the others ignore it. tried may be nil.
	Pick(key uint64, tried *Tried) int
}

// NewPicker returns a picker over a copy of the list, which may be empty. An
// unknown algorithm and a nil endpoint are errors.
func NewPicker(algorithm string, endpoints []*Endpoint) (Picker, error) {
	if slices.Contains(endpoints, nil) {
		return nil, errors.New("build picker: an endpoint is nil")
	}
	endpoints = slices.Clone(endpoints)
	switch algorithm {
	case RoundRobin:
		return newRoundRobin(endpoints), nil
	case Random:
		return newRandom(endpoints), nil
	case P2C:
		return newP2C(endpoints), nil
	case LeastConnections:
		return newLeastConnections(endpoints), nil
	}
	return nil, fmt.Errorf("build picker: unknown algorithm %q, want one of %s", algorithm, strings.Join(Algorithms(), ", "))
}

// attempts is how often a picker asks its sequence before it looks at every
// endpoint: enough that a retry with one or two endpoints tried seldom gets there.
const attempts = 4

// pickAny is what every algorithm falls back to when its quick way found only
// endpoints that are unavailable or tried: a weighted random choice among all
// that are left, in time proportional to the list. It alone may say that there
// is none, because it alone has looked at all of them.
func pickAny(endpoints []*Endpoint, tried *Tried) int {
	var total uint64
	for i, e := range endpoints {
		if !tried.Has(i) {
			total += e.share()
		}
	}
	if total == 0 {
		return -1
	}
	at, last := rand.Uint64N(total), -1
	for i, e := range endpoints {
		share := e.share()
		if share == 0 || tried.Has(i) {
			continue
		}
		if at < share {
			return i
		}
		at -= share
		last = i // shares may have shrunk since they were added up
	}
	return last
}
