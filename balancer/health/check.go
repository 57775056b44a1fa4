package health

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// check is the probing of one target. The checker's lock guards it.
type check struct {
	upstream string
	probe    Probe
	target   Target

	due     time.Time
	place   int // in the queue; -1 while it is not there
	stopped bool

	began     time.Time // the last probe; zero before the first
	probed    time.Time
	latency   time.Duration
	cause     string
	succeeded int
	failed    int
	since     time.Time
	beenUp    bool // until then a single success suffices
}

// record counts one probe and reports whether the endpoint changed with it. The
// endpoint's own flag is the only record of up and down.
func (k *check) record(err error, now time.Time) (changed bool) {
	k.probed, k.latency = now, now.Sub(k.began)
	endpoint := k.target.Endpoint
	if err != nil {
		k.cause, k.succeeded, k.failed = err.Error(), 0, k.failed+1
		changed = endpoint.Up() && k.failed >= k.probe.Fall
	} else {
		k.cause, k.succeeded, k.failed = "", k.succeeded+1, 0
		changed = !endpoint.Up() && (!k.beenUp || k.succeeded >= k.probe.Rise)
	}
	if changed {
		k.since = now
		k.beenUp = true
		endpoint.SetUp(err == nil)
	}
	return changed
}

// next is when the probe after the one that began last is due. Endpoints that
// were added together are probed together once, and so that they do not stay
// together the second probe comes anywhere in the second half of the interval.
// Later ones keep the interval within 10 %.
func (k *check) next(first bool) time.Time {
	spread := 0.9 + 0.2*rand.Float64()
	if first {
		spread = 0.5 + 0.5*rand.Float64()
	}
	return k.began.Add(time.Duration(spread * float64(k.probe.Interval)))
}

func (k *check) status() Status {
	return Status{
		URL:       k.target.URL,
		Up:        k.target.Endpoint.Up(),
		Since:     k.since,
		Cause:     k.cause,
		Succeeded: k.succeeded,
		Failed:    k.failed,
		Probed:    k.probed,
		Latency:   k.latency,
	}
}

// queue holds the checks that wait, the one that is due first at the top.
type queue []*check

var _ heap.Interface = (*queue)(nil)

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *queue) Push(x any) {
	k := x.(*check)
	k.place = len(*q)
	*q = append(*q, k)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	k := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	k.place = -1
	return k
}
