package breaker_test

import (
	"fmt"
	"time"

	"github.com/salgue441/velocity/balancer/breaker"
)

func Example() {
	b := breaker.New(breaker.Settings{
		ErrorRatio:  50,
		MinRequests: 4,
		OpenFor:     10 * time.Second,
		Jitter:      -1,
	}, func(from, to breaker.State) { fmt.Println(from, "->", to) })

	now := int64(0) // in a program, of a monotonic clock
	request := func(outcome breaker.Outcome) {
		permit, ok := b.Allow(now)
		if !ok {
			fmt.Println("refused")
			return
		}
		b.Record(now, permit, outcome, 20*time.Millisecond)
	}
	for range 4 {
		request(breaker.Failure)
	}
	request(breaker.Success)
	fmt.Println(b.Status(now).Cause)

	now = b.RetryAt()
	request(breaker.Success) // the probe
	now += int64(10 * time.Second)
	request(breaker.Success)
	// Output:
	// closed -> open
	// refused
	// 4 of 4 requests in 10s failed
	// open -> half_open
	// half_open -> closed
}

func ExampleWatch() {
	begun := time.Now()
	watch := breaker.NewWatch(func() int64 { return int64(time.Since(begun)) })
	defer watch.Close()

	halfOpen := make(chan struct{})
	b := breaker.New(breaker.Settings{}, func(_, to breaker.State) {
		// endpoint.SetBroken(to == breaker.Open)
		if to == breaker.HalfOpen {
			close(halfOpen)
		}
	})
	watch.Add(b)
	b.Trip(int64(time.Since(begun)), time.Millisecond)
	<-halfOpen // nobody asked
	fmt.Println("the endpoint may be picked again")
	// Output: the endpoint may be picked again
}

func ExampleLimit() {
	l := breaker.NewLimit(breaker.LimitSettings{Min: 2, Initial: 2})
	fmt.Println(l.Acquire(), l.Acquire(), l.Acquire())
	l.Release(int64(5*time.Millisecond), 5*time.Millisecond, breaker.Success)
	fmt.Println(l.Acquire())
	// Output:
	// true true false
	// true
}
