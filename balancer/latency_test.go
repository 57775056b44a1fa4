package balancer

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

const second = int64(time.Second)

// nearly tells whether a latency is what it should be to within the precision of
// a tick and a float32.
func nearly(got, want time.Duration) bool {
	return math.Abs(float64(got-want)) <= 0.005*float64(want)+1
}

// faded is what remains of a latency after a number of latencyDecay.
func faded(d time.Duration, decays float64) time.Duration {
	return time.Duration(float64(d) * math.Exp(-decays))
}

func TestLatencyEstimate(t *testing.T) {
	e := NewEndpoint(1, true)
	f := func(what string, now int64, want time.Duration) {
		t.Helper()
		if got := e.Latency(now); !nearly(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	start := 5 * second
	f("without samples", start, 0)
	e.Observe(10*time.Millisecond, start)
	f("first sample", start, 10*time.Millisecond)
	e.Observe(100*time.Millisecond, start)
	f("a peak counts at once", start, 100*time.Millisecond)
	e.Observe(10*time.Millisecond, start)
	f("what is lower does not", start, 100*time.Millisecond)
	f("an older caller", start-second, 100*time.Millisecond)
	part := faded(100*time.Millisecond, 1)
	f("decayed", start+10*second, part)
	f("decayed twice", start+20*second, faded(100*time.Millisecond, 2))
	f("forgotten", start+41*second, 0)
	e.Observe(10*time.Millisecond, start+10*second)
	f("drawn down", start+10*second, part+10*time.Millisecond-faded(10*time.Millisecond, 1))
	e.Observe(0, start+100*second)
	if e.latency.at(start+100*second) == 0 {
		t.Error("a sample of zero is no sample")
	}
}

func TestDecay(t *testing.T) {
	for x := 0.0; x <= 4; x += 0.01 {
		if got, want := decay(x), math.Exp(-x); math.Abs(got-want) > 0.004*want {
			t.Errorf("decay(%.2f) is %v, want %v", x, got, want)
		}
	}
}

// TestLatencyFollowsSamples: a steady stream of samples brings the estimate to
// them, whatever their rate.
func TestLatencyFollowsSamples(t *testing.T) {
	for _, gap := range []time.Duration{time.Millisecond, 100 * time.Millisecond, 3 * time.Second} {
		e := NewEndpoint(1, true)
		e.Observe(time.Second, 0)
		now := int64(0)
		for ; now < 60*second; now += int64(gap) {
			e.Observe(10*time.Millisecond, now)
		}
		want := 10*time.Millisecond + faded(time.Second, 6)
		if got := e.Latency(now); got < 7*time.Millisecond || got > want+2*time.Millisecond {
			t.Errorf("every %v: %v, want about %v", gap, got, want)
		}
	}
}

// TestLatencyWrap: ticks are 32 bits of the time, and it may be negative.
func TestLatencyWrap(t *testing.T) {
	for _, now := range []int64{-20 * second, -1, 0, 1<<(32+shiftTick) - 1, 1 << (31 + shiftTick)} {
		e := NewEndpoint(1, true)
		e.Observe(time.Second, now)
		if got := e.Latency(now); !nearly(got, time.Second) {
			t.Errorf("at %d: %v", now, got)
		}
		if got := e.Latency(now + 10*second); got < 360*time.Millisecond || got > 370*time.Millisecond {
			t.Errorf("at %d and ten seconds: %v", now, got)
		}
	}
}

func TestObserveFailure(t *testing.T) {
	e := NewEndpoint(1, true)
	f := func(waited, want time.Duration) {
		t.Helper()
		e.ObserveFailure(waited, 0)
		if got := e.Latency(0); !nearly(got, want) {
			t.Errorf("after a failure in %v: %v, want %v", waited, got, want)
		}
	}
	f(0, leastFailure)
	f(time.Microsecond, 4*leastFailure)
	f(time.Microsecond, 16*leastFailure)
	f(2*time.Second, 2*time.Second)
	f(0, mostFailure)
	f(0, mostFailure)
	f(20*time.Second, 20*time.Second)
}

// TestLatencyConcurrently: the highest of concurrent samples is not lost.
func TestLatencyConcurrently(t *testing.T) {
	e := NewEndpoint(1, true)
	var wait sync.WaitGroup
	for w := range 4 {
		wait.Go(func() {
			for i := range 5000 {
				e.Observe(time.Duration(w*5000+i+1), 1)
				e.Latency(1)
			}
		})
	}
	wait.Wait()
	if got := e.Latency(1); got != 20_000 {
		t.Errorf("highest of 20000 is %d", got)
	}
}

// loop is a closed loop of clients, each of which sends its next request when
// the last one is answered, in simulated time.
type loop struct {
	picker    Picker
	endpoints []*Endpoint
	serves    []time.Duration // how long each endpoint takes to answer, when idle
	clients   []client
	counts    []int
	now       int64
}

type client struct {
	endpoint  int // -1: none
	sent, end int64
}

func newLoop(t *testing.T, clients int, serves []time.Duration, weights ...int) *loop {
	l := &loop{endpoints: fleet(len(serves), weights...), serves: serves, clients: make([]client, clients), counts: make([]int, len(serves))}
	l.picker = build(t, P2C, l.endpoints)
	for i := range l.clients {
		l.clients[i] = client{endpoint: -1, end: int64(i)}
	}
	return l
}

// run serves requests until the simulated time has come and returns how many
// each endpoint was given.
func (l *loop) run(until int64) []int {
	clear(l.counts)
	var q Query
	for {
		next := &l.clients[0]
		for i := range l.clients {
			if l.clients[i].end < next.end {
				next = &l.clients[i]
			}
		}
		if next.end >= until {
			return l.counts
		}
		l.now = next.end
		if i := next.endpoint; i >= 0 {
			l.endpoints[i].End()
			l.endpoints[i].Observe(time.Duration(l.now-next.sent), l.now)
		}
		q.Now = l.now
		i := l.picker.Pick(&q)
		l.endpoints[i].Begin()
		l.counts[i]++
		took := time.Duration(float64(l.serves[i]) * (0.8 + 0.4*rand.Float64()))
		*next = client{endpoint: i, sent: l.now, end: l.now + int64(took)}
	}
}

// TestP2CAvoidsSlow: of endpoints of which one is ten times slower, that one has
// far less than its share, which it gets back once it is as fast as the others.
func TestP2CAvoidsSlow(t *testing.T) {
	fast := 10 * time.Millisecond
	l := newLoop(t, 8, []time.Duration{fast, fast, 10 * fast, fast}, 1)
	share := func(until int64) float64 {
		total := 0
		counts := l.run(until)
		for _, c := range counts {
			total += c
		}
		return float64(counts[2]) / float64(total)
	}
	l.run(second)
	if got := share(11 * second); got > 0.03 {
		t.Errorf("slow: share %.3f of 0.25", got)
	}
	l.serves[2] = fast
	l.run(50 * second)
	if got := share(60 * second); got < 0.2 || got > 0.3 {
		t.Errorf("recovered: share %.3f of 0.25", got)
	}
}

// TestP2CSharesByWeight: endpoints that are equally fast, but for some noise,
// share by weight; a new one of which nothing is known neither starves nor is
// flooded.
func TestP2CSharesByWeight(t *testing.T) {
	serves := []time.Duration{10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond}
	l := newLoop(t, 1, serves, 4, 2, 1, 1)
	for i, c := range l.run(60 * second) {
		want := []float64{0.5, 0.25, 0.125, 0.125}[i] * 6000
		if math.Abs(float64(c)-want) > 0.35*want {
			t.Errorf("endpoint %d served %d, want about %.0f", i, c, want)
		}
	}
}

func TestP2CNewEndpoint(t *testing.T) {
	serves := []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond, 50 * time.Millisecond}
	l := newLoop(t, 16, serves, 1)
	l.endpoints[3].SetUp(false)
	l.run(5 * second)
	l.endpoints[3].SetUp(true)
	// Its first answer takes 40 ms or more. Until then it holds as many as
	// others do, and not all that come.
	counts := l.run(5*second + int64(40*time.Millisecond))
	if counts[3] == 0 || counts[3] > 10 {
		t.Errorf("a new endpoint was given %d before its first answer", counts[3])
	}
}
