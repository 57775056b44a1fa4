package redis_test

import (
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/limiter/redis"
)

// BenchmarkExchange takes from many keys and waits until all has been told: what one key
// costs in an exchange, on the node and in Redis together.
func BenchmarkExchange(b *testing.B) {
	const keys = 8192
	for _, a := range []limiter.Algorithm{limiter.TokenBucket, limiter.FixedWindow} {
		b.Run(string(a), func(b *testing.B) {
			server := testkit.StartRedis(b)
			n := &node{origin: time.Now()}
			var err error
			n.l, err = limiter.New([]limiter.Rule{{Name: "r", Algorithm: a, Limit: 1 << 40, Window: time.Hour}}, limiter.Options{Shared: true, Start: n.now()})
			if err != nil {
				b.Fatal(err)
			}
			n.s, err = redis.New(redis.Options{Addresses: []string{server.Addr}, Now: n.now, Interval: 5 * time.Millisecond})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = n.s.Close(b.Context()) }()
			if err := n.s.Set([]redis.Member{{Name: "l", Limiter: n.l}}); err != nil {
				b.Fatal(err)
			}
			var spent time.Duration
			rounds := 0
			for b.Loop() {
				for i := range uint64(keys) {
					n.ask(limiter.Key{Hi: i << 40, Lo: i + 1})
				}
				before := n.s.State().Exchanges
				testkit.Eventually(b, testkit.Patience, "an exchange", func() bool { return n.s.State().Exchanges > before })
				spent += n.s.State().RoundTrip
				rounds++
			}
			b.ReportMetric(float64(spent.Microseconds())/float64(rounds)/keys, "µs/key")
			b.ReportMetric(0, "ns/op")
			b.Logf("%+v", n.s.State())
		})
	}
}

// BenchmarkDecide is one request in mode Exact over loopback.
func BenchmarkDecide(b *testing.B) {
	server := testkit.StartRedis(b)
	n := &node{origin: time.Now()}
	var err error
	n.l, err = limiter.New([]limiter.Rule{{Name: "r", Algorithm: limiter.TokenBucket, Limit: 1 << 40, Window: time.Hour}}, limiter.Options{Shared: true, Start: n.now()})
	if err != nil {
		b.Fatal(err)
	}
	n.s, err = redis.New(redis.Options{Addresses: []string{server.Addr}, Now: n.now})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = n.s.Close(b.Context()) }()
	if err := n.s.Set([]redis.Member{{Name: "l", Limiter: n.l, Mode: redis.Exact}}); err != nil {
		b.Fatal(err)
	}
	testkit.Eventually(b, testkit.Patience, "Redis", func() bool { return n.s.State().Connected })
	b.ReportAllocs()
	for b.Loop() {
		n.decide(b.Context(), key, 1)
	}
	if failed := n.s.State().FailedDecisions; failed > 0 {
		b.Errorf("%d decisions failed", failed)
	}
}
