package telemetry

import (
	"sync/atomic"
)

// maxShards bounds how many cache-line groups a handle is striped over. Four
// keep a busy route below 4 KiB and leave little contention.
const maxShards = 4

// Status classes, the values of the label `code`.
const (
	class1xx = iota
	class2xx
	class3xx
	class4xx
	class5xx
	classOther // no answer was sent, or a code outside 100–599
	classCount
)

var classLabels = [classCount]string{"1xx", "2xx", "3xx", "4xx", "5xx", "other"}

func classOf(status int) int {
	if status < 100 || status > 599 {
		return classOther
	}
	return status/100 - 1
}

// RouteMetrics counts the requests of one route. Resolve it once with
// Registry.Route, keep it in the snapshot: Begin and Record are a few atomic
// additions and never allocate once a shard has been used. All methods are safe
// for concurrent use, also after the handle was retired.
type RouteMetrics struct {
	labels string
	mask   uint32
	shards [maxShards]atomic.Pointer[routeShard]
	// rare holds the durations of every class but 2xx, not striped: it
	// keeps five more histograms per shard out of memory. Entries appear
	// with their first answer.
	rare [classCount]atomic.Pointer[histogram]
	// upgrades appears with the first connection that switches protocols.
	upgrades atomic.Pointer[upgradeCounts]
}

// upgradeCounts counts the connections of a route that have switched protocols.
type upgradeCounts struct {
	begun, ended   atomic.Uint64
	received, sent atomic.Uint64
}

// routeShard is a whole number of cache lines, see TestShardSizes.
type routeShard struct {
	inFlight atomic.Int64 // may be negative; only the sum over shards means something
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
	retries  atomic.Uint64
	gateway  histogram
	success  histogram // duration of 2xx
}

// Begin counts a request as in flight until Record. Pass the Shard that the
// event will carry; another one is not wrong, merely slower.
func (m *RouteMetrics) Begin(shard uint32) {
	m.shard(shard).inFlight.Add(1)
}

// Record counts a finished request and ends what Begin started: call both
// exactly once per request.
func (m *RouteMetrics) Record(e *Event) {
	s := m.shard(e.Shard)
	s.inFlight.Add(-1)
	if class := classOf(e.Status); class == class2xx {
		s.success.observe(e.Duration)
	} else {
		m.rareClass(class).observe(e.Duration)
	}
	s.gateway.observe(e.GatewayDuration())
	if e.Attempts > 1 {
		s.retries.Add(uint64(e.Attempts - 1))
	}
	if e.Status == switchingProtocols {
		return // its bytes were counted as they went, and are no body
	}
	if e.BytesIn > 0 {
		s.bytesIn.Add(uint64(e.BytesIn))
	}
	if e.BytesOut > 0 {
		s.bytesOut.Add(uint64(e.BytesOut))
	}
}

// switchingProtocols is the status of a request after which the connection no
// longer speaks HTTP.
const switchingProtocols = 101

// UpgradeBegin counts a connection that has switched protocols; it is open until
// UpgradeEnd.
func (m *RouteMetrics) UpgradeBegin() { acquire(&m.upgrades).begun.Add(1) }

// UpgradeEnd ends what UpgradeBegin started.
func (m *RouteMetrics) UpgradeEnd() { acquire(&m.upgrades).ended.Add(1) }

// UpgradeReceived counts bytes that came from such a client and were passed on.
func (m *RouteMetrics) UpgradeReceived(n int) { acquire(&m.upgrades).received.Add(uint64(n)) }

// UpgradeSent counts bytes that such a client was sent.
func (m *RouteMetrics) UpgradeSent(n int) { acquire(&m.upgrades).sent.Add(uint64(n)) }

func (m *RouteMetrics) shard(n uint32) *routeShard {
	return acquire(&m.shards[n&m.mask])
}

func (m *RouteMetrics) rareClass(class int) *histogram {
	return acquire(&m.rare[class])
}

// acquire returns what p points to, allocated by whoever comes first.
func acquire[T any](p *atomic.Pointer[T]) *T {
	if v := p.Load(); v != nil {
		return v
	}
	return allocate(p)
}

// allocate is apart so that acquire inlines.
func allocate[T any](p *atomic.Pointer[T]) *T {
	v := new(T)
	if !p.CompareAndSwap(nil, v) {
		return p.Load()
	}
	return v
}

// each calls f for every shard that has been used.
func (m *RouteMetrics) each(f func(*routeShard)) {
	for i := range m.shards {
		if s := m.shards[i].Load(); s != nil {
			f(s)
		}
	}
}

// duration sums the durations of one status class into t.
func (m *RouteMetrics) duration(class int, t *tally) {
	if class == class2xx {
		m.each(func(s *routeShard) { t.add(&s.success) })
		return
	}
	if h := m.rare[class].Load(); h != nil {
		t.add(h)
	}
}
