package redis_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/limiter/redis"
)

// decide makes one request that Redis is asked about.
func (n *node) decide(ctx context.Context, k limiter.Key, cost int64) limiter.Decision {
	r := limiter.Request{Key: k, Cost: cost, At: n.now()}
	var d limiter.Decision
	n.s.Decide(ctx, n.l, &r, &d)
	return d
}

// TestExact lets three nodes take one limit at the same time: exactly that is admitted.
func TestExact(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	for _, a := range []limiter.Algorithm{limiter.TokenBucket, limiter.GCRA, limiter.SlidingWindow, limiter.FixedWindow} {
		for where, k := range map[string]limiter.Key{"key": key, "whole": {}} {
			t.Run(fmt.Sprint(a, "/", where), func(t *testing.T) {
				rule := limiter.Rule{Name: "r", Algorithm: a, Limit: 200, Window: 8760 * time.Hour}
				if a == limiter.GCRA {
					rule.Burst = 200
				}
				fleet := start(t, server, setting{nodes: 3, rules: []limiter.Rule{rule}, mode: redis.Exact})
				var admitted atomic.Int64
				var wg sync.WaitGroup
				for _, n := range fleet {
					for range 4 {
						wg.Go(func() {
							for range 40 {
								if n.decide(t.Context(), k, 1).Allowed {
									admitted.Add(1)
								}
							}
						})
					}
				}
				wg.Wait()
				if got := admitted.Load(); got != 200 || fleet[0].s.State().FailedDecisions != 0 {
					t.Errorf("%d admitted, want 200; %+v", got, fleet[0].s.State())
				}
				d := fleet[1].decide(t.Context(), k, 1)
				if d.Allowed || d.Remaining != 0 || d.RetryAfter <= 0 || d.Limit != 200 {
					t.Errorf("%+v", d)
				}
				if d := fleet[1].decide(t.Context(), k, 1000); d.Allowed || d.RetryAfter != limiter.Never {
					t.Errorf("above the limit: %+v", d)
				}
			})
		}
	}
}

// TestExactTakesAllOrNone has two rules, of which the second refuses.
func TestExactTakesAllOrNone(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	rules := []limiter.Rule{
		{Name: "many", Algorithm: limiter.FixedWindow, Limit: 100, Window: 8760 * time.Hour},
		{Name: "few", Algorithm: limiter.TokenBucket, Limit: 10, Window: 8760 * time.Hour},
		{Name: "seen", Algorithm: limiter.SlidingWindow, Limit: 1, Window: 8760 * time.Hour, Observe: true},
	}
	fleet := start(t, server, setting{nodes: 2, rules: rules, mode: redis.Exact})
	for range 30 {
		fleet[0].decide(t.Context(), key, 1)
	}
	d := fleet[1].decide(t.Context(), key, 1)
	if d.Allowed || d.Rule != 1 {
		t.Errorf("%+v", d)
	}
	// What is left is told as this node's half of it, which it would have without Redis.
	states, _ := fleet[1].l.Read(key, fleet[1].now())
	if states[0].Remaining != 45 || states[1].Remaining != 0 {
		t.Errorf("%+v", states)
	}
}

// TestExactCharges settles the cost of a request after it.
func TestExactCharges(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	fleet := start(t, server, setting{nodes: 2, rules: perYear(100), mode: redis.Exact})
	r := limiter.Request{Key: key, Cost: 50, At: fleet[0].now()}
	var d limiter.Decision
	if !fleet[0].s.Decide(t.Context(), fleet[0].l, &r, &d) {
		t.Fatalf("%+v", d)
	}
	fleet[0].l.Charge(&r, -30, fleet[0].now())
	settled(t, fleet)
	if d := fleet[1].decide(t.Context(), key, 1); d.Remaining != 79 {
		t.Errorf("%+v, want 79 left", d)
	}
}

// TestExactWithoutRedis wants decisions in time, and a share each.
func TestExactWithoutRedis(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	const limit = 100 * time.Millisecond
	fleet := start(t, server, setting{nodes: 4, rules: perYear(100), mode: redis.Exact, with: func(_ int, o *redis.Options, _ *node) { o.ExactTimeout = limit }})
	server.Freeze(t)
	for i, n := range fleet {
		admitted := 0
		for range 60 {
			began := time.Now()
			if n.decide(t.Context(), key, 1).Allowed {
				admitted++
			}
			if took := time.Since(began); took > limit+400*time.Millisecond {
				t.Errorf("a decision took %v", took)
			}
		}
		if admitted != 25 {
			t.Errorf("node %d admitted %d, want 25", i, admitted)
		}
		if n.s.State().FailedDecisions == 0 {
			t.Error("no decision failed")
		}
	}
	server.Thaw(t)
	connected(t, fleet, true)
	settled(t, fleet)
	if d := fleet[0].decide(t.Context(), key, 1); d.Allowed {
		t.Errorf("after all was taken: %+v", d)
	}
}

// TestExactAndAsyncShareCounts mixes both modes.
func TestExactAndAsyncShareCounts(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	exact := start(t, server, setting{nodes: 1, rules: perYear(100), mode: redis.Exact})
	async := launch(t, server, setting{nodes: 1, rules: perYear(100), with: func(_ int, o *redis.Options, _ *node) { o.Node = "async" }})
	connected(t, async, true)
	exact[0].decide(t.Context(), key, 30)
	take(t, async[0], 10)
	settled(t, async)
	if n := left(async[0]); n != 60 {
		t.Errorf("%d left, want 60", n)
	}
	if d := exact[0].decide(t.Context(), key, 1); d.Remaining != 59 {
		t.Errorf("%+v, want 59 left", d)
	}
}
