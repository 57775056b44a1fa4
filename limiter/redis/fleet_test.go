package redis_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/limiter/redis"
)

// node is what a gateway process has: a limiter, a syncer and clocks of its own.
type node struct {
	l      *limiter.Limiter
	s      *redis.Syncer
	skew   time.Duration
	origin time.Time
}

func (n *node) now() limiter.Instant {
	at := limiter.InstantOf(time.Now(), n.origin)
	at.Wall += int64(n.skew)
	return at
}

// ask makes one request for one unit of a key.
func (n *node) ask(k limiter.Key) limiter.Decision {
	r := limiter.Request{Key: k, Cost: 1, At: n.now()}
	var d limiter.Decision
	n.l.Allow(&r, &d)
	return d
}

// setting is what a fleet is made of.
type setting struct {
	nodes int
	rules []limiter.Rule
	mode  redis.Mode
	with  func(i int, o *redis.Options, n *node)
}

// start makes nodes, waits until each knows of all, and closes them with the test.
func start(t *testing.T, server *testkit.Redis, s setting) []*node {
	t.Helper()
	fleet := launch(t, server, s)
	for _, n := range fleet {
		testkit.Eventually(t, testkit.Patience, "all nodes to know of one another", func() bool {
			st := n.s.State()
			return st.Connected && st.Nodes == s.nodes
		})
	}
	return fleet
}

// launch makes nodes that need not find Redis.
func launch(t *testing.T, server *testkit.Redis, s setting) []*node {
	t.Helper()
	fleet := make([]*node, s.nodes)
	for i := range fleet {
		n := &node{origin: time.Now().Add(-time.Duration(i) * time.Minute)}
		fleet[i] = n
		o := redis.Options{Addresses: []string{server.Addr}, Prefix: t.Name(), Node: fmt.Sprint("node", i), Now: n.now}
		if s.with != nil {
			s.with(i, &o, n)
		}
		var err error
		if n.l, err = limiter.New(s.rules, limiter.Options{Start: n.now(), Shared: true}); err != nil {
			t.Fatal(err)
		}
		if n.s, err = redis.New(o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
			defer cancel()
			_ = n.s.Close(ctx) // Redis may be gone
		})
		if err := n.s.Set([]redis.Member{{Name: "l", Limiter: n.l, Mode: s.mode}}); err != nil {
			t.Fatal(err)
		}
	}
	return fleet
}

// grant is an admitted request.
type grant struct {
	node int
	at   time.Time
}

// load lets every node ask at a rate of its own, in requests a second, for some time, and
// returns what was admitted, in order of time, and how many were offered.
func load(ctx context.Context, fleet []*node, rates []float64, length time.Duration, do func(*node) bool) (grants []grant, offered int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	for i, n := range fleet {
		wg.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			began, sent := time.Now(), 0
			var mine []grant
			for ctx.Err() == nil {
				for due := int(rates[i] * time.Since(began).Seconds()); sent < due && ctx.Err() == nil; sent++ {
					if do(n) {
						mine = append(mine, grant{node: i, at: time.Now()})
					}
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
			mu.Lock()
			grants, offered = append(grants, mine...), offered+sent
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.SortFunc(grants, func(a, b grant) int { return a.at.Compare(b.at) })
	return grants, offered
}

// uneven splits a rate so that the first node has most of it.
func uneven(nodes int, total float64) []float64 {
	rates := make([]float64, nodes)
	for i := range rates {
		rates[i] = 0.2 * total / float64(nodes-1)
	}
	rates[0] = 0.8 * total
	return rates
}
