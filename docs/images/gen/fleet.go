package main

import (
	"math/rand/v2"
	"time"

	"github.com/salgue441/velocity/limiter"
)

// The fleet's limit, and what comes: twice of it all the time would be 200 a second.
const (
	fleetLimit    = 1000
	fleetWindow   = 10 * time.Second
	fleetRate     = 2000 // requests per second, over all nodes
	fleetTrip     = 2 * time.Millisecond
	fleetStep     = 500 * time.Microsecond
	fleetTries    = 24
	fleetShortest = 5 * time.Millisecond
)

// fleet is nodes that exchange counts through a store, as limiter/redis does, on one
// clock that is stepped.
type fleet struct {
	nodes    []*member
	interval time.Duration
	counts   map[int64]float64 // the store: units by the start of their window
	admitted map[int64]int     // by window
	now      time.Duration
}

// member is one node.
type member struct {
	limiter *limiter.Limiter
	next    time.Duration // of the next exchange
	stored  time.Duration // when the store gets what is told
	answer  time.Duration // when its answer comes
	told    []limiter.Taken
	levels  []float64
	rate    float64 // requests per step
	due     float64
}

// never is after all that is simulated.
const never = time.Hour

// newFleet makes nodes whose exchanges have fallen apart, with the first having skew of
// the requests.
func newFleet(nodes int, interval time.Duration, skew float64, random *rand.Rand) (*fleet, error) {
	f := &fleet{interval: interval, counts: map[int64]float64{}, admitted: map[int64]int{}}
	for i := range nodes {
		rule := limiter.Rule{Name: "r", Algorithm: limiter.SlidingWindow, Limit: fleetLimit, Window: fleetWindow}
		l, err := limiter.New([]limiter.Rule{rule}, limiter.Options{Start: f.at(), Shards: 1, Shared: true})
		if err != nil {
			return nil, err
		}
		share := (1 - skew) / float64(max(nodes-1, 1))
		if i == 0 {
			share = skew
		}
		m := &member{limiter: l, stored: never, answer: never, rate: share * fleetRate * fleetStep.Seconds(), due: random.Float64()}
		m.next = time.Duration(random.Int64N(int64(interval)))
		f.nodes = append(f.nodes, m)
	}
	return f, nil
}

func (f *fleet) at() limiter.Instant {
	return limiter.Instant{Mono: int64(time.Hour + f.now), Wall: int64(1_000_000*time.Hour + f.now)}
}

// run steps through a time in which requests come from a moment on, and returns by how
// much a window had more than the limit.
func (f *fleet) run(from, to time.Duration) int {
	for ; f.now < to; f.now += fleetStep {
		for _, m := range f.nodes {
			f.exchange(m)
			if f.now >= from {
				f.offer(m)
			}
		}
	}
	worst := 0
	for _, n := range f.admitted {
		worst = max(worst, n-fleetLimit)
	}
	return worst
}

func (f *fleet) offer(m *member) {
	for m.due += m.rate; m.due >= 1; m.due-- {
		r, d := limiter.Request{Key: limiter.Key{Lo: 1}, Cost: 1, At: f.at()}, limiter.Decision{}
		if m.limiter.Allow(&r, &d) {
			f.admitted[int64(f.now/fleetWindow)]++
		}
	}
}

// exchange does what is due: the node tells, the store counts, the node learns.
func (f *fleet) exchange(m *member) {
	switch {
	case f.now >= m.next:
		m.told = m.limiter.AppendTaken(m.told[:0], f.at())
		m.next, m.stored, m.answer = never, f.now+fleetTrip/2, never
	case f.now >= m.stored:
		m.levels = m.levels[:0]
		for _, t := range m.told {
			if known, ok := f.counts[t.Start]; ok {
				f.counts[t.Start] = known + t.Units
			} else {
				f.counts[t.Start] = max(t.Level, t.Units)
			}
			m.levels = append(m.levels, f.counts[t.Start])
		}
		m.stored, m.answer = never, f.now+fleetTrip/2
	case f.now >= m.answer:
		m.answer, m.next = never, f.now+f.wait(m)
		for i, t := range m.told {
			m.limiter.Apply(t, m.levels[i], f.at())
		}
	}
}

// wait is a quarter while a key is close to its limit.
func (f *fleet) wait(m *member) time.Duration {
	for i, t := range m.told {
		left := t.Left - max(0, m.levels[i]-t.Level)
		if t.Units > 0 && left < 2*t.Units*float64(len(f.nodes)) {
			return max(f.interval/4, fleetShortest)
		}
	}
	return f.interval
}

// worst is the largest excess of many runs whose exchanges fall at other moments: the
// load even or four fifths of it at one node.
func worst(nodes int, interval time.Duration) (int, error) {
	random := rand.New(rand.NewPCG(uint64(nodes), uint64(interval))) // the same on every run
	most := 0
	for try := range fleetTries {
		skew := 1 / float64(nodes)
		if try%2 == 1 {
			skew = 0.8
		}
		f, err := newFleet(nodes, interval, skew, random)
		if err != nil {
			return 0, err
		}
		from := time.Second + time.Duration(random.Int64N(int64(interval)))
		most = max(most, f.run(from, 3*time.Second))
	}
	return most, nil
}

// bound is the formula of limiter/redis for a window.
func bound(nodes int, interval time.Duration) float64 {
	blind := (2*interval + fleetTrip).Seconds()
	return min(fleetRate*blind, float64(nodes-1)*fleetLimit) + float64(nodes)
}
