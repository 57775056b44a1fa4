package redis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/limiter/redis"
)

// key is what these tests limit by.
var key = limiter.Key{Hi: 7, Lo: 7}

// perYear has a window that hardly any test outlives.
func perYear(limit int64) []limiter.Rule {
	return []limiter.Rule{{Name: "year", Algorithm: limiter.FixedWindow, Limit: limit, Window: 8760 * time.Hour}}
}

func perSecond(a limiter.Algorithm, limit int64) []limiter.Rule {
	return []limiter.Rule{{Name: "second", Algorithm: a, Limit: limit, Window: time.Second, Burst: map[limiter.Algorithm]int64{limiter.GCRA: 20}[a]}}
}

// drain asks until a node refuses and returns how often it did not.
func drain(n *node) int {
	for i := 0; ; i++ {
		if !n.ask(key).Allowed {
			return i
		}
	}
}

// take lets a node admit so many.
func take(t *testing.T, n *node, count int) {
	t.Helper()
	for i := range count {
		if d := n.ask(key); !d.Allowed {
			t.Fatalf("refused after %d: %+v", i, d)
		}
	}
}

// left is what a node believes is left of its first rule.
func left(n *node) int64 {
	d, _ := n.l.Read(key, n.now())
	return d[0].Remaining
}

// settled waits until every node has exchanged twice more.
func settled(t *testing.T, fleet []*node) {
	t.Helper()
	before := make([]uint64, len(fleet))
	for i, n := range fleet {
		before[i] = n.s.State().Exchanges
	}
	for i, n := range fleet {
		testkit.Eventually(t, testkit.Patience, "exchanges", func() bool {
			return n.s.State().Connected && n.s.State().Exchanges >= before[i]+2
		})
	}
}

func connected(t *testing.T, fleet []*node, want bool) {
	t.Helper()
	for _, n := range fleet {
		testkit.Eventually(t, testkit.Patience, fmt.Sprint("connected to be ", want), func() bool { return n.s.State().Connected == want })
	}
}

// TestWithoutRedis takes Redis away in several ways under load. Traffic flows on; each node
// admits its share of the limit, however uneven the load is, and all reconverge.
func TestWithoutRedis(t *testing.T) {
	for name, how := range map[string]struct {
		away, back func(*testkit.Redis, testing.TB)
	}{
		"killed": {(*testkit.Redis).Kill, (*testkit.Redis).Restart},
		"frozen": {(*testkit.Redis).Freeze, (*testkit.Redis).Thaw},
	} {
		for _, a := range []limiter.Algorithm{limiter.TokenBucket, limiter.GCRA, limiter.SlidingWindow, limiter.FixedWindow, limiter.SlidingLog} {
			t.Run(fmt.Sprint(name, "/", a), func(t *testing.T) {
				t.Parallel()
				testWithoutRedis(t, a, how.away, how.back)
			})
		}
	}
}

func testWithoutRedis(t *testing.T, a limiter.Algorithm, away, back func(*testkit.Redis, testing.TB)) {
	const limit, nodes = 300, 3
	server := testkit.StartRedis(t)
	fleet := start(t, server, setting{nodes: nodes, rules: perSecond(a, limit)})
	rates := uneven(nodes, 1500)
	ask := func(n *node) bool { return n.ask(key).Allowed }
	load(t.Context(), fleet, rates, 500*time.Millisecond, ask)

	away(server, t)
	load(t.Context(), fleet, rates, 1200*time.Millisecond, ask) // time to notice
	for i, n := range fleet {
		if st := n.s.State(); st.Connected || st.Nodes != nodes || st.Error == "" {
			t.Errorf("node %d: %+v", i, st)
		}
	}
	// Windows that began before are over after one; then each has its share.
	load(t.Context(), fleet, rates, time.Second, ask)
	began := time.Now()
	grants, _ := load(t.Context(), fleet, rates, 2*time.Second, ask)
	took := time.Since(began).Seconds()
	per := make([]int, nodes)
	for _, g := range grants {
		per[g.node]++
	}
	for i, n := range per {
		// The load began and ended inside of windows.
		share := limit / float64(nodes)
		if most := share*(took+1) + 1; float64(n) > most {
			t.Errorf("node %d admitted %d, its share is %.0f", i, n, most)
		}
		if least := 0.7 * min(share, rates[i]) * (took - 1); float64(n) < least {
			t.Errorf("node %d admitted only %d, want %.0f", i, n, least)
		}
	}

	back(server, t)
	connected(t, fleet, true)
	settled(t, fleet)
	grants, _ = load(t.Context(), fleet, rates, 2*time.Second, ask)
	first := 0
	for _, g := range grants {
		if g.node == 0 {
			first++
		}
	}
	t.Logf("%s: without Redis %v in %.1f s, after it %d in 2 s of which node 0 %d", a, per, took, len(grants), first)
	if len(grants) < limit {
		t.Errorf("only %d admitted in 2 s after Redis was back", len(grants))
	}
	if a != limiter.SlidingLog && float64(first) < 1.2*limit/nodes*2 {
		t.Errorf("node 0 admitted %d in 2 s after Redis was back: it still has a share", first)
	}
}

// TestFromTheStart begins without Redis.
func TestFromTheStart(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	server.Kill(t)
	fleet := launch(t, server, setting{nodes: 3, rules: perYear(99), with: func(_ int, o *redis.Options, _ *node) { o.Nodes = 3 }})
	total := 0
	for _, n := range fleet {
		testkit.Eventually(t, testkit.Patience, "a failure", func() bool { return n.s.State().Failures > 0 })
		total += drain(n)
	}
	if total != 99 {
		t.Errorf("%d admitted without Redis, want 99", total)
	}
	server.Restart(t)
	connected(t, fleet, true)
	settled(t, fleet)
	for i, n := range fleet {
		testkit.Eventually(t, testkit.Patience, "all nodes", func() bool { return n.s.State().Nodes == 3 })
		if more := drain(n); more > 0 {
			t.Errorf("node %d admitted %d more when Redis came", i, more)
		}
	}
}

// TestDataLost flushes and restarts Redis in the middle of a window. The nodes know what was
// taken, and whoever comes first does not decide what is forgotten.
func TestDataLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*testing.T, *testkit.Redis){
		"flushed":   func(t *testing.T, r *testkit.Redis) { r.Do(t, "FLUSHALL") },
		"restarted": func(t *testing.T, r *testkit.Redis) { r.Kill(t); r.Restart(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testkit.StartRedis(t)
			fleet := start(t, server, setting{nodes: 3, rules: perYear(1000)})
			take(t, fleet[0], 500)
			settled(t, fleet)
			take(t, fleet[1], 1)
			settled(t, fleet)
			lose(t, server)
			settled(t, fleet)
			take(t, fleet[2], 3) // it knows nothing of the others
			settled(t, fleet)
			take(t, fleet[0], 1)
			settled(t, fleet)
			take(t, fleet[1], 1)
			settled(t, fleet)
			take(t, fleet[2], 1)
			settled(t, fleet)
			// Each knows what had been told when it told itself; node 1 brought the unit
			// that only it remembered.
			for i, want := range []int64{1000 - 504, 1000 - 506, 1000 - 507} {
				if n := left(fleet[i]); n != want {
					t.Errorf("node %d believes that %d are left, want %d", i, n, want)
				}
			}
			if fleet[0].s.State().Losses+fleet[1].s.State().Losses == 0 {
				t.Error("the loss was not noticed")
			}
		})
	}
}

// TestToldOnce lets answers get lost: Redis is frozen, gets what was taken into its
// sockets, and finds it there when it goes on, together with what was sent again.
func TestToldOnce(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	fleet := start(t, server, setting{nodes: 2, rules: perYear(100_000)})
	taken := 0
	for range 3 {
		server.Freeze(t)
		for n := 1; n <= 30; n++ {
			take(t, fleet[0], n)
			taken += n
		}
		connected(t, fleet[:1], false)
		server.Thaw(t)
		connected(t, fleet, true)
		settled(t, fleet)
	}
	take(t, fleet[1], 1)
	settled(t, fleet)
	if n := left(fleet[1]); n != int64(100_000-taken-1) {
		t.Errorf("%d left, want %d", n, 100_000-taken-1)
	}
}

// TestOnFailure wants the behaviours that can be chosen.
func TestOnFailure(t *testing.T) {
	t.Parallel()
	for _, failure := range []redis.Failure{redis.Deny, redis.Allow} {
		t.Run(string(failure), func(t *testing.T) {
			t.Parallel()
			server := testkit.StartRedis(t)
			fleet := start(t, server, setting{nodes: 2, rules: perYear(10), with: func(_ int, o *redis.Options, _ *node) { o.OnFailure = failure }})
			for _, k := range []limiter.Key{{}, key} {
				if d := fleet[0].ask(k); !d.Allowed {
					t.Fatalf("with Redis: %+v", d)
				}
			}
			server.Kill(t)
			connected(t, fleet, false)
			for range 30 {
				for _, k := range []limiter.Key{{}, key} {
					d := fleet[0].ask(k)
					if d.Allowed != (failure == redis.Allow) {
						t.Fatalf("without Redis: %+v", d)
					}
					if !d.Allowed && d.RetryAfter != time.Second {
						t.Fatalf("retry after %v", d.RetryAfter)
					}
				}
			}
			server.Restart(t)
			connected(t, fleet, true)
			if d := fleet[1].ask(key); !d.Allowed && failure == redis.Deny {
				t.Errorf("with Redis again: %+v", d)
			}
		})
	}
}

// TestNodesComeAndGo counts those that live: one that leaves is missed at once, one that
// dies after some seconds, and one that Redis has forgotten for a moment not at all.
func TestNodesComeAndGo(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	fleet := start(t, server, setting{nodes: 4, rules: perYear(10)})
	server.Do(t, "FLUSHALL")
	settled(t, fleet)
	for i, n := range fleet {
		if got := n.s.State().Nodes; got != 4 {
			t.Errorf("node %d knows of %d nodes after a loss of data", i, got)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	if err := fleet[3].s.Close(ctx); err != nil {
		t.Error(err)
	}
	for _, n := range fleet[:3] {
		testkit.Eventually(t, testkit.Patience, "3 nodes", func() bool { return n.s.State().Nodes == 3 })
	}
	server.Do(t, "ZADD", t.Name()+"{"+t.Name()+"-0}:nodes", "1", "dead") // seen in 1970
	settled(t, fleet[:3])
	if got := fleet[0].s.State().Nodes; got != 3 {
		t.Errorf("%d nodes, one of which is dead", got)
	}
}

// TestCloseTells wants what was taken just before the end.
func TestCloseTells(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	fleet := start(t, server, setting{nodes: 2, rules: perYear(100), with: func(_ int, o *redis.Options, _ *node) { o.Interval = 500 * time.Millisecond }})
	take(t, fleet[0], 40)
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	if err := fleet[0].s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	take(t, fleet[1], 1)
	settled(t, fleet[1:])
	if n := left(fleet[1]); n != 59 {
		t.Errorf("%d left, want 59", n)
	}
}
