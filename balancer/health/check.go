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
	awaited bool // by Round, until the first probe has ended
	paused  bool // when it was due last, the endpoint was disabled

	began     time.Time // the last probe; zero before the first
	probed    time.Time
	latency   time.Duration
	cause     string
	succeeded int
	failed    int
	since     time.Time
	beenUp    bool // until then a single success suffices
	stale     bool // what is known is from before a pause: the next result decides alone
}

// record counts one probe and reports whether the endpoint changed with it. The
// endpoint's own flag is the only record of up and down.
func (k *check) record(err error, now time.Time) (changed bool) {
	k.probed, k.latency = now, now.Sub(k.began)
	endpoint := k.target.Endpoint
	if err != nil {
		k.cause, k.succeeded, k.failed = err.Error(), 0, k.failed+1
		changed = endpoint.Up() && (k.stale || k.failed >= k.probe.Fall)
	} else {
		k.cause, k.succeeded, k.failed = "", k.succeeded+1, 0
		changed = !endpoint.Up() && (!k.beenUp || k.stale || k.succeeded >= k.probe.Rise)
	}
	k.stale = false
	if changed {
		k.since = now
		k.beenUp = true
		endpoint.SetUp(err == nil)
	}
	return changed
}

// interval is the time from the last probe to the next one, but for the jitter.
func (k *check) interval() time.Duration {
	up := k.target.Endpoint.Up()
	if changing := up && k.failed > 0 || !up && k.succeeded > 0; changing && k.probe.FastInterval > 0 {
		return k.probe.FastInterval
	}
	if !up {
		return k.probe.DownInterval
	}
	return k.probe.Interval
}

// next is when the probe after the one that began last is due. Endpoints that
// were added together are probed together once, as fast as the bound on running
// probes lets them. So that they do not stay together, the second probe comes
// anywhere in the interval. Later ones keep the interval within 10 %.
func (k *check) next(first bool) time.Time {
	spread := 0.9 + 0.2*rand.Float64()
	if first {
		spread = rand.Float64()
	}
	return k.began.Add(time.Duration(spread * float64(k.interval())))
}

// pause puts a check off whose endpoint is disabled. It looks again about when the
// probe would have been due, so that it goes on without Wake, too, if later. What
// was put off together may be enabled together, and is spread for that.
func (k *check) pause(now time.Time) {
	k.paused, k.stale = true, !k.probed.IsZero()
	k.succeeded, k.failed = 0, 0
	interval := k.interval()
	k.due = now.Add(interval/2 + rand.N(interval))
}

func (k *check) status() Status {
	return Status{
		URL:       k.target.URL,
		Up:        k.target.Endpoint.Up(),
		Paused:    k.paused,
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
