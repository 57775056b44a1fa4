package main

import (
	"context"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/didip/tollbooth/v7"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
	"go.uber.org/ratelimit"
	"golang.org/x/time/rate"

	"github.com/salgue441/velocity/limiter"
)

// rivals are all limiters, Velocity's first. Those that take the time as an argument get
// it without reading the clock; where that is possible both ways both are measured.
func rivals() []rival {
	return []rival{
		{name: "Velocity, time passed", build: velocity(false)},
		{name: "Velocity, clock read", build: velocity(true)},
		{name: "x/time/rate in a sync.Map, time passed", build: xtime(false)},
		{name: "x/time/rate in a sync.Map, clock read", build: xtime(true)},
		{name: "throttled/v2 GCRA, memstore", build: throttledGCRA},
		{name: "tollbooth/v7", build: tollboothKeys},
		{name: "uber-go/ratelimit (blocks)", build: uber, global: true},
	}
}

// hashed is a key whose halves are even. Key 0 is the whole route if there is but one.
func hashed(n uint64) limiter.Key {
	mix := func(z uint64) uint64 {
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	return limiter.Key{Hi: mix(n + 1), Lo: mix(n + 0x9e3779b97f4a7c15)}
}

func velocity(readClock bool) func(int) func() func(uint64) bool {
	return func(keys int) func() func(uint64) bool {
		l, err := limiter.New([]limiter.Rule{{Name: "r", Algorithm: limiter.TokenBucket, Limit: limit, Window: time.Second}}, limiter.Options{MaxKeys: keys})
		if err != nil {
			panic(err)
		}
		started := time.Now()
		var shards atomic.Uint32
		return func() func(uint64) bool {
			r, d := limiter.Request{Cost: 1, Shard: shards.Add(1)}, limiter.Decision{}
			return func(n uint64) bool {
				if keys > 1 {
					r.Key = hashed(n)
				}
				if readClock {
					r.At = limiter.InstantOf(time.Now(), started)
				} else {
					r.At.Mono += 20
				}
				return l.Allow(&r, &d)
			}
		}
	}
}

func xtime(readClock bool) func(int) func() func(uint64) bool {
	return func(int) func() func(uint64) bool {
		var all sync.Map
		return func() func(uint64) bool {
			now := time.Now()
			return func(n uint64) bool {
				l, ok := all.Load(n)
				if !ok {
					l, _ = all.LoadOrStore(n, rate.NewLimiter(limit, limit))
				}
				if readClock {
					return l.(*rate.Limiter).Allow()
				}
				now = now.Add(20)
				return l.(*rate.Limiter).AllowN(now, 1)
			}
		}
	}
}

// names are keys as text, which the others want, made before measuring.
func names(keys int) []string {
	all := make([]string, keys)
	for i := range all {
		all[i] = "client-" + strconv.Itoa(i)
	}
	return all
}

func throttledGCRA(keys int) func() func(uint64) bool {
	store, err := memstore.NewCtx(0)
	if err != nil {
		panic(err)
	}
	l, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{MaxRate: throttled.PerSec(limit), MaxBurst: math.MaxInt32})
	if err != nil {
		panic(err)
	}
	text := names(keys)
	return func() func(uint64) bool {
		ctx := context.Background()
		return func(n uint64) bool {
			limited, _, err := l.RateLimitCtx(ctx, text[n], 1)
			return err == nil && !limited
		}
	}
}

func tollboothKeys(keys int) func() func(uint64) bool {
	l := tollbooth.NewLimiter(limit, nil).SetBurst(limit)
	text := names(keys)
	return func() func(uint64) bool {
		list := make([]string, 1)
		return func(n uint64) bool {
			list[0] = text[n]
			return tollbooth.LimitByKeys(l, list) == nil
		}
	}
}

func uber(int) func() func(uint64) bool {
	l := ratelimit.New(limit)
	return func() func(uint64) bool {
		return func(uint64) bool { l.Take(); return true }
	}
}
