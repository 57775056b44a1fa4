package redis_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/limiter/redis"
)

func TestOptionsThatCannotBe(t *testing.T) {
	now := func() limiter.Instant { return limiter.Instant{} }
	f := func(want string, o redis.Options) {
		t.Helper()
		if _, err := redis.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("no address", redis.Options{Now: now})
	f("no clock", redis.Options{Addresses: []string{"a:1"}})
	f("not a Cluster", redis.Options{Addresses: []string{"a:1"}, Now: now, Cluster: true, Master: "m"})
	f("several addresses", redis.Options{Addresses: []string{"a:1", "b:1"}, Now: now})
	f("database 1", redis.Options{Addresses: []string{"a:1"}, Now: now, Cluster: true, DB: 1})
	f("interval must", redis.Options{Addresses: []string{"a:1"}, Now: now, Interval: 1})
	f("time limits", redis.Options{Addresses: []string{"a:1"}, Now: now, Timeout: -1})
	f("tags must", redis.Options{Addresses: []string{"a:1"}, Now: now, Tags: -1})
	f("nodes must", redis.Options{Addresses: []string{"a:1"}, Now: now, Nodes: -1})
	f("unknown behaviour", redis.Options{Addresses: []string{"a:1"}, Now: now, OnFailure: "hope"})
}

func TestMembersThatCannotBe(t *testing.T) {
	server := testkit.StartRedis(t)
	n := launch(t, server, setting{nodes: 1, rules: perYear(1)})[0]
	f := func(want string, list ...redis.Member) {
		t.Helper()
		if err := n.s.Set(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	logs, err := limiter.New([]limiter.Rule{{Name: "r", Algorithm: limiter.SlidingLog, Limit: 1, Window: 1}}, limiter.Options{Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	f("needs a name", redis.Member{Limiter: n.l})
	f("needs a name", redis.Member{Name: "l"})
	f("unknown mode", redis.Member{Name: "l", Limiter: n.l, Mode: "now"})
	f("the name is taken", redis.Member{Name: "l", Limiter: n.l}, redis.Member{Name: "l", Limiter: n.l})
	f("cannot be exact", redis.Member{Name: "l", Limiter: logs, Mode: redis.Exact})
}

// TestReload replaces limiters: counts go on, on this node and on others.
func TestReload(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	fleet := start(t, server, setting{nodes: 2, rules: perYear(100)})
	n := fleet[0]
	take(t, n, 10)
	more := append(perYear(100), limiter.Rule{Name: "more", Algorithm: limiter.TokenBucket, Limit: 1000, Window: time.Hour})
	for i, rules := range [][]limiter.Rule{perYear(100), more, perYear(100)} {
		take(t, n, 1)
		next, err := n.l.Next(rules, limiter.Options{Shared: true}, n.now())
		if err != nil {
			t.Fatal(err)
		}
		if err := n.s.Set([]redis.Member{{Name: "l", Limiter: next}}); err != nil {
			t.Fatal(err)
		}
		n.ask(key) // a request that was under way asks the old one
		old := n.l
		n.l = next
		settled(t, fleet)
		if i == 0 && old.Clock(0) != next.Clock(0) {
			t.Error("the clocks differ")
		}
	}
	take(t, fleet[1], 1)
	settled(t, fleet)
	if n := left(fleet[1]); n != 100-10-3-3-1 {
		t.Errorf("%d left, want %d", n, 100-10-3-3-1)
	}
}

// TestClocks gives nodes clocks that are seconds apart. They agree on windows.
func TestClocks(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	skews := []time.Duration{0, 3700 * time.Millisecond, -2300 * time.Millisecond}
	fleet := start(t, server, setting{nodes: 3, rules: perSecond(limiter.FixedWindow, 500), with: func(i int, _ *redis.Options, n *node) { n.skew = skews[i] }})
	settled(t, fleet)
	at := time.Now()
	first := fleet[0].l.Clock(int64(at.Sub(fleet[0].origin)))
	for i, n := range fleet {
		if d := time.Duration(n.l.Clock(int64(at.Sub(n.origin))) - first); d.Abs() > 20*time.Millisecond {
			t.Errorf("node %d is %v apart", i, d)
		}
		if d := n.s.State().Clock + skews[i]; d.Abs() > 20*time.Millisecond {
			t.Errorf("node %d thinks that Redis is %v ahead", i, n.s.State().Clock)
		}
	}
	grants, _ := load(t.Context(), fleet, uneven(3, 1500), 2500*time.Millisecond, func(n *node) bool { return n.ask(key).Allowed })
	rule := fleet[0].l.Rules()[0]
	if excess, most := excessOf(rule, grants, fleet[0]), bound(rule, 3, 1500, 20*time.Millisecond); excess > most {
		t.Errorf("%.0f above the limit, at most %.0f may be", excess, most)
	}
}

// TestChangesAreTold wants a word when Redis goes and comes.
func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	var mu sync.Mutex
	var told []bool
	fleet := start(t, server, setting{nodes: 1, rules: perYear(1), with: func(_ int, o *redis.Options, _ *node) {
		o.OnChange = func(s redis.State) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, s.Connected)
		}
	}})
	server.Kill(t)
	connected(t, fleet, false)
	server.Restart(t)
	connected(t, fleet, true)
	testkit.Eventually(t, testkit.Patience, "the last word", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) == 3 && told[0] && !told[1] && told[2]
	})
	if s := fleet[0].s.State(); s.Failures == 0 || s.Error == "" || s.Degraded() || s.Lag(time.Now()) > testkit.Patience {
		t.Errorf("%+v", s)
	}
}

// TestHeldIsDivided wants Concurrency, which is not exchanged, divided by the nodes.
func TestHeldIsDivided(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	fleet := start(t, server, setting{nodes: 3, rules: []limiter.Rule{{Name: "held", Algorithm: limiter.Concurrency, Limit: 10}}})
	for _, k := range []limiter.Key{{}, key} {
		var held []*limiter.Request
		for _, n := range fleet {
			for range 10 {
				r := &limiter.Request{Key: k, Cost: 1, At: n.now()}
				var d limiter.Decision
				if n.l.Allow(r, &d) {
					held = append(held, r)
				}
			}
		}
		if len(held) != 9 {
			t.Errorf("%d held, want 3 on each of 3 nodes", len(held))
		}
		for i, r := range held {
			fleet[i/3].l.Release(r)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	for _, n := range fleet[1:] {
		if err := n.s.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, testkit.Patience, "the node to be alone", func() bool { return fleet[0].s.State().Nodes == 1 })
	if n := drain(fleet[0]); n != 10 {
		t.Errorf("%d held by the last node, want 10", n)
	}
}
