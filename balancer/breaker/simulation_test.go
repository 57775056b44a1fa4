package breaker

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"
)

// simulation is an endpoint with a queue, whose clients do not wait for each other.
type simulation struct {
	limit   *Limit // nil admits all
	random  *rand.Rand
	rate    float64       // requests per second
	workers int           // that serve at a time
	service time.Duration // in the mean
	spread  float64       // service times differ by up to this part

	now      int64
	arrival  int64
	busy     int
	queue    []int64 // when each request arrived
	serving  completions
	limits   []int // at each arrival
	served   []time.Duration
	rejected int
}

type completion struct{ at, arrived int64 }

type completions []completion

func (c completions) Len() int           { return len(c) }
func (c completions) Less(i, j int) bool { return c[i].at < c[j].at }
func (c completions) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *completions) Push(x any)        { *c = append(*c, x.(completion)) }

func (c *completions) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

func newSimulation(limit *Limit, workers int, service time.Duration, load float64) *simulation {
	random := rand.New(rand.NewPCG(1, 2))
	if limit != nil {
		limit.gradient.random = random.Float64
	}
	s := &simulation{limit: limit, random: random, workers: workers, service: service, spread: 0.2}
	s.offer(load)
	return s
}

// offer sets the rate to a multiple of what the workers can serve.
func (s *simulation) offer(load float64) {
	s.rate = load * float64(s.workers) / s.service.Seconds()
}

// run lets time pass and forgets what earlier runs found.
func (s *simulation) run(d time.Duration) {
	s.limits, s.served, s.rejected = nil, nil, 0
	for end := s.now + int64(d); s.now < end; {
		if len(s.serving) > 0 && s.serving[0].at <= s.arrival {
			s.complete()
		} else {
			s.arrive()
		}
	}
}

func (s *simulation) arrive() {
	s.now = s.arrival
	s.arrival += int64(s.random.ExpFloat64() / s.rate * float64(time.Second))
	if s.limit != nil {
		s.limits = append(s.limits, s.limit.Current())
		if !s.limit.Acquire() {
			s.rejected++
			return
		}
	}
	s.queue = append(s.queue, s.now)
	s.work()
}

func (s *simulation) complete() {
	done := heap.Pop(&s.serving).(completion)
	s.now = done.at
	latency := time.Duration(done.at - done.arrived)
	s.served = append(s.served, latency)
	if s.limit != nil {
		s.limit.Release(s.now, latency, Success)
	}
	s.busy--
	s.work()
}

func (s *simulation) work() {
	for s.busy < s.workers && len(s.queue) > 0 {
		took := float64(s.service) * (1 + s.spread*(2*s.random.Float64()-1))
		heap.Push(&s.serving, completion{s.now + int64(took), s.queue[0]})
		s.queue = s.queue[1:]
		s.busy++
	}
}

func (s *simulation) percentile(p float64) time.Duration {
	slices.Sort(s.served)
	return s.served[int(p/100*float64(len(s.served)-1))]
}

// typical is the median limit of the run.
func (s *simulation) typical() int {
	slices.Sort(s.limits)
	return s.limits[len(s.limits)/2]
}

// utilization is how much of what the workers can serve they did.
func (s *simulation) utilization(d time.Duration) float64 {
	return float64(len(s.served)) * s.service.Seconds() / float64(s.workers) / d.Seconds()
}
