package redis_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
	"github.com/salgue441/velocity/limiter"
)

// TestOverAdmissionIsBounded holds the formula of the package comment for every algorithm
// with 3 and 8 nodes, of which one has 80 % of the load, for a key and for the zero Key.
func TestOverAdmissionIsBounded(t *testing.T) {
	server := testkit.StartRedis(t)
	for _, nodes := range []int{3, 8} {
		for _, a := range []limiter.Algorithm{limiter.TokenBucket, limiter.GCRA, limiter.SlidingWindow, limiter.FixedWindow, limiter.SlidingLog} {
			for where, key := range map[string]limiter.Key{"key": {Hi: 1, Lo: 2}, "whole": {}} {
				rule := limiter.Rule{Name: "r", Algorithm: a, Limit: 500, Window: time.Second}
				if a == limiter.GCRA {
					rule.Burst = 20
				}
				t.Run(fmt.Sprintf("%d/%s/%s", nodes, a, where), func(t *testing.T) {
					t.Parallel()
					testBound(t, server, nodes, rule, key)
				})
			}
		}
	}
}

func testBound(t *testing.T, server *testkit.Redis, nodes int, rule limiter.Rule, key limiter.Key) {
	const total, length = 1500.0, 2500 * time.Millisecond
	fleet := start(t, server, setting{nodes: nodes, rules: []limiter.Rule{rule}})
	slowest := &slowest{}
	grants, offered := load(t.Context(), fleet, uneven(nodes, total), length, func(n *node) bool {
		slowest.look(n)
		return n.ask(key).Allowed
	})
	excess := excessOf(rule, grants, fleet[0])
	t.Logf("%d nodes, %s: offered %d, admitted %d, limit %d per %v, excess %.0f, bound %.0f (round trip up to %v)",
		nodes, rule.Algorithm, offered, len(grants), rule.Limit, rule.Window, excess, bound(rule, nodes, total, slowest.most()), slowest.most())
	if most := bound(rule, nodes, total, slowest.most()); excess > most {
		t.Errorf("%.0f above the limit, at most %.0f may be", excess, most)
	}
	least := 0.75 * length.Seconds() * float64(rule.Limit)
	if rule.Algorithm == limiter.SlidingLog {
		least = 0.9 * length.Seconds() * (float64(rule.Limit)/float64(nodes) + float64(nodes-1)*min(float64(rule.Limit)/float64(nodes), 0.2*total/float64(nodes-1)))
	}
	if float64(len(grants)) < least {
		t.Errorf("only %d were admitted, want %.0f", len(grants), least)
	}
}

// bound is the formula of the package comment, with T the interval that the rule
// tolerates.
func bound(rule limiter.Rule, nodes int, offered float64, roundTrip time.Duration) float64 {
	if rule.Algorithm == limiter.SlidingLog {
		return float64(nodes)
	}
	t := min(100*time.Millisecond, rule.Window/10)
	rate := float64(rule.Limit) / rule.Window.Seconds()
	capacity := float64(rule.Limit)
	if rule.Burst > 0 {
		capacity = float64(rule.Burst)
	}
	blind := (2*t + roundTrip).Seconds()
	most := offered * blind
	switch rule.Algorithm {
	case limiter.TokenBucket, limiter.GCRA:
		return min(most, float64(nodes-1)*(capacity+rate*blind)) + rate*t.Seconds() + float64(nodes)
	case limiter.SlidingWindow:
		// The estimate of one window after another.
		return min(most, float64(nodes-1)*capacity) + float64(nodes)
	}
	return min(most, float64(nodes-1)*capacity) + float64(nodes)
}

// excessOf is how much more was admitted than one node would have, at the worst moment.
func excessOf(rule limiter.Rule, grants []grant, n *node) float64 {
	worst := 0.0
	switch rule.Algorithm {
	case limiter.TokenBucket, limiter.GCRA:
		// The level of a bucket that lets everything in.
		capacity := float64(rule.Limit)
		if rule.Burst > 0 {
			capacity = float64(rule.Burst)
		}
		level, last := 0.0, time.Time{}
		for _, g := range grants {
			level = max(0, level-g.at.Sub(last).Seconds()*float64(rule.Limit)/rule.Window.Seconds()) + 1
			last = g.at
			worst = max(worst, level-capacity)
		}
	case limiter.SlidingLog:
		for i, from := 0, 0; i < len(grants); i++ {
			for grants[i].at.Sub(grants[from].at) >= rule.Window {
				from++
			}
			worst = max(worst, float64(i-from+1)-float64(rule.Limit))
		}
	default:
		windows := map[int64]float64{}
		for _, g := range grants {
			at := n.l.Clock(int64(g.at.Sub(n.origin))) / int64(rule.Window)
			windows[at]++
			worst = max(worst, windows[at]-float64(rule.Limit))
		}
	}
	return worst
}

// slowest remembers the longest time that an exchange took.
type slowest struct{ node sync.Map }

func (s *slowest) look(n *node) {
	now := n.s.State().RoundTrip
	if old, ok := s.node.Load(n); !ok || old.(time.Duration) < now {
		s.node.Store(n, now)
	}
}

func (s *slowest) most() time.Duration {
	most := time.Duration(0)
	s.node.Range(func(_, v any) bool {
		most = max(most, v.(time.Duration))
		return true
	})
	return most
}

// TestAllAtOnce empties a limit on all nodes before any has told another: the most that
// can be. Of a bucket it is a debt that all of them wait for.
func TestAllAtOnce(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	for _, a := range []limiter.Algorithm{limiter.TokenBucket, limiter.FixedWindow} {
		rule := limiter.Rule{Name: string(a), Algorithm: a, Limit: 100, Window: 8760 * time.Hour}
		if a == limiter.TokenBucket {
			rule.Window, rule.Limit = 1000*time.Second, 100
		}
		fleet := start(t, server, setting{nodes: 3, rules: []limiter.Rule{rule}})
		total := 0
		for _, n := range fleet {
			total += drain(n)
		}
		if total > 300 {
			t.Errorf("%s: %d admitted, more than the limit on each of 3 nodes", a, total)
		}
		settled(t, fleet)
		least := int64(0)
		for i, n := range fleet {
			if more := drain(n); more != 0 {
				t.Errorf("%s: node %d admitted %d more", a, i, more)
			}
			d, _ := n.l.Read(key, n.now())
			least = min(least, d[0].Remaining)
		}
		// Whoever told last knows of all.
		if most := int64(100 - total + 2); least > most {
			t.Errorf("%s: %d are owed, want %d", a, -least, -most)
		}
	}
}
