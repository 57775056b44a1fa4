package testkit

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// instanceHeader is how the sample upstream says which one it is.
const instanceHeader = "X-Echo-Instance"

// Traffic is what a Load sends.
type Traffic struct {
	// Addr is the gateway's address.
	Addr string
	// Clients is how many connections send, each one request at a time and the
	// next on the same connection.
	Clients int
	// Pause is the least time from one request of a client to its next. It may
	// not be zero: the machine is the test's, the gateway's and the upstreams'.
	Pause time.Duration
	// Target is what is asked for; empty means /plain.
	Target string
	// Headers are the header lines of a client's n-th request, from zero. Nil
	// means none. It is called from many goroutines.
	Headers func(client, n int) []string
}

// Sample is what became of one request.
type Sample struct {
	// At is when it was sent, from the start of the Load.
	At time.Duration
	// Took is how long the client waited for the end of the answer.
	Took time.Duration
	// Status is the answer's status, zero if there was no answer.
	Status int
	// Instance is the sample upstream that answered, empty if none did.
	Instance string
	// Client is who sent it, from zero.
	Client int
	// Err is why there was no answer.
	Err error
}

// Lost reports whether the client did not get what it wanted.
func (s *Sample) Lost() bool { return s.Err != nil || s.Status >= 500 }

// Samples are in no order.
type Samples []Sample

// Load is traffic under way.
type Load struct {
	traffic Traffic
	began   time.Time
	stop    chan struct{}
	running sync.WaitGroup
	once    sync.Once

	mu      sync.Mutex
	samples Samples
}

// StartLoad sends traffic until Stop, or the end of the test.
func StartLoad(tb testing.TB, traffic Traffic) *Load {
	tb.Helper()
	if traffic.Target == "" {
		traffic.Target = "/plain"
	}
	l := &Load{traffic: traffic, began: time.Now(), stop: make(chan struct{})}
	for i := range traffic.Clients {
		l.running.Go(func() { l.client(i) })
	}
	tb.Cleanup(func() { l.Stop() })
	return l
}

// Now is the time since the load began, which samples count from.
func (l *Load) Now() time.Duration { return time.Since(l.began) }

// At is the time of the load at a moment.
func (l *Load) At(moment time.Time) time.Duration { return moment.Sub(l.began) }

// Run lets the load go on for d and returns the samples of that time.
func (l *Load) Run(d time.Duration) Samples {
	from := l.Now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
	return l.Samples().Between(from, from+d)
}

// Samples are those so far.
func (l *Load) Samples() Samples {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.samples)
}

// Stop ends the load and returns all samples.
func (l *Load) Stop() Samples {
	l.once.Do(func() { close(l.stop) })
	l.running.Wait()
	return l.Samples()
}

func (l *Load) client(number int) {
	// Clients that all begin at once would send all at once for ever.
	tick := time.NewTicker(max(1, l.traffic.Pause*time.Duration(number)/time.Duration(l.traffic.Clients)))
	defer tick.Stop()
	var c *Conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		if n == 0 {
			tick.Reset(l.traffic.Pause)
		}
		s := Sample{At: l.Now(), Client: number}
		var r Response
		if c == nil {
			c, s.Err = NewConn(l.traffic.Addr)
		}
		if s.Err == nil {
			var headers []string
			if l.traffic.Headers != nil {
				headers = l.traffic.Headers(number, n)
			}
			r, s.Err = c.Try("GET", l.traffic.Target, headers...)
		}
		s.Took = l.Now() - s.At
		if s.Err == nil {
			s.Status, s.Instance = r.Status, r.Header.Get(instanceHeader)
		}
		if c != nil && (s.Err != nil || r.Close) {
			c.Close()
			c = nil
		}
		l.mu.Lock()
		l.samples = append(l.samples, s)
		l.mu.Unlock()
	}
}

// Where returns those for which keep reports true.
func (s Samples) Where(keep func(*Sample) bool) Samples {
	var kept Samples
	for i := range s {
		if keep(&s[i]) {
			kept = append(kept, s[i])
		}
	}
	return kept
}

// Between returns those that were sent from one time to before another.
func (s Samples) Between(from, to time.Duration) Samples {
	return s.Where(func(x *Sample) bool { return x.At >= from && x.At < to })
}

// Lost returns those that were.
func (s Samples) Lost() Samples { return s.Where((*Sample).Lost) }

// Of returns those that an instance answered.
func (s Samples) Of(instance string) Samples {
	return s.Where(func(x *Sample) bool { return x.Instance == instance })
}

// Share is the part of all that an instance answered, from 0 to 1.
func (s Samples) Share(instance string) float64 {
	if len(s) == 0 {
		return 0
	}
	return float64(len(s.Of(instance))) / float64(len(s))
}

// Percentile is the time that p of 100 did not exceed; 100 is the longest.
func (s Samples) Percentile(p float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	took := make([]time.Duration, len(s))
	for i := range s {
		took[i] = s[i].Took
	}
	slices.Sort(took)
	return took[min(len(took)-1, int(float64(len(took))*p/100))]
}

// Outcomes counts them by status, or by error.
func (s Samples) Outcomes() map[string]int {
	counts := make(map[string]int)
	for i := range s {
		key := strconv.Itoa(s[i].Status)
		if s[i].Err != nil {
			key = s[i].Err.Error()
		}
		counts[key]++
	}
	return counts
}
