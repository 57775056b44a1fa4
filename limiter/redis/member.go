package redis

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/salgue441/velocity/limiter"
)

// Mode is how a limiter is shared between nodes.
type Mode string

// The modes.
const (
	// Async decides on the node and exchanges counts between. It is the default.
	Async Mode = "async"
	// Exact asks Redis about every request, by Decide. The limiter itself keeps to this
	// node's share all the time, for requests that Redis does not answer in time.
	Exact Mode = "exact"
)

// Member is a limiter that is shared between nodes.
type Member struct {
	// Name is the same on all nodes and after a reload. Limiters share counts by it
	// and by what is the Same of their rules.
	Name string
	// Limiter must have been made with Options.Shared.
	Limiter *limiter.Limiter
	// Mode defaults to Async.
	Mode Mode
}

// member is a Member with what is needed of it in every round.
type member struct {
	Member
	hash  uint64
	rules []rule
	share limiter.Share // as last set, under Syncer.mu as took
	took  time.Time     // when what it took was last asked for
}

// rule is a rule as the scripts know it.
type rule struct {
	limiter.Rule
	id    string
	kind  string  // of decideSource
	limit int64   // most at once
	rate  float64 // units per ms, 0 for windows
}

func newMember(m Member) (*member, error) {
	m.Mode = cmp.Or(m.Mode, Async)
	if m.Name == "" || m.Limiter == nil {
		return nil, errors.New("a limiter needs a name")
	}
	if m.Mode != Async && m.Mode != Exact {
		return nil, fmt.Errorf("limiter %q: unknown mode %q, want %s or %s", m.Name, m.Mode, Async, Exact)
	}
	h := fnv.New64a()
	fmt.Fprint(h, m.Name)
	made := &member{Member: m, hash: h.Sum64()}
	for _, r := range m.Limiter.Rules() {
		compiled := newRule(m.Name, r)
		if m.Mode == Exact && compiled.kind == "" {
			return nil, fmt.Errorf("limiter %q: rule %q: %s cannot be exact across nodes", m.Name, r.Name, r.Algorithm)
		}
		made.rules = append(made.rules, compiled)
	}
	return made, nil
}

func newRule(name string, r limiter.Rule) rule {
	made := rule{Rule: r, id: identify(name, r), limit: r.Limit}
	switch r.Algorithm {
	case limiter.TokenBucket, limiter.GCRA:
		made.kind = "b"
		if r.Limit > 0 {
			made.limit = cmp.Or(r.Burst, r.Limit)
			if r.Algorithm == limiter.GCRA {
				made.limit = cmp.Or(r.Burst, 1)
			}
			made.rate = float64(r.Limit) / (float64(r.Window) / 1e6)
		}
	case limiter.SlidingWindow:
		made.kind = "s"
	case limiter.FixedWindow:
		made.kind = "f"
	case limiter.SlidingLog, limiter.Concurrency:
	}
	return made
}

// end is until when, in Unix time in ms, a window's count is of use: some seconds longer
// than the last window that looks at it, for nodes that are late.
func (r *rule) end(start int64) float64 {
	const late = 5000
	switch {
	case r.Period == limiter.Day:
		return float64(start)/1e6 + 25*3600_000 + late
	case r.Period == limiter.Month:
		return float64(start)/1e6 + (31*24+1)*3600_000 + late
	case r.Algorithm == limiter.SlidingWindow:
		return float64(start)/1e6 + 2*float64(r.Window)/1e6 + late
	}
	return float64(start)/1e6 + float64(r.Window)/1e6 + late
}

// tolerates is how long an exchange may be away: a tenth of the time that the limit is
// for.
func (m *member) tolerates() time.Duration {
	least := longestInterval
	for i := range m.rules {
		if r := &m.rules[i]; r.Window > 0 && r.kind != "" {
			least = min(least, max(r.Window/10, shortestInterval))
		}
	}
	return least
}
