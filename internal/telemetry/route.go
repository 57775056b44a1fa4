package telemetry

import "sync/atomic"

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
	striped[routeShard]
	// rare holds the durations of every class but 2xx, not striped: it
	// keeps five more histograms per shard out of memory. Entries appear
	// with their first answer.
	rare [classCount]atomic.Pointer[histogram]
	// repeats appears with the first attempt beyond a first one, so that a
	// route whose upstream is well has none.
	repeats atomic.Pointer[repeats]
	// upgrades appears with the first connection that switches protocols.
	upgrades atomic.Pointer[upgradeCounts]
}

// RetryCause says why a request was sent again.
type RetryCause uint8

// The causes of a retry, with the value of the label `cause` beside each.
const (
	// RetryConnect: no connection was had ("connect_failure").
	RetryConnect RetryCause = iota
	// RetryStale: a kept connection turned out to be closed, and its
	// replacement was free ("stale_connection").
	RetryStale
	// RetryReset: the connection ended before the reply
	// ("reset_before_response").
	RetryReset
	// RetryTimeout: the reply did not come in time ("timeout").
	RetryTimeout
	// RetryStatus: the status of the reply asked for it ("status").
	RetryStatus
	// RetryHeader: a header field of the reply asked for it ("header").
	RetryHeader
	retryCauses
)

var causeLabels = [retryCauses]string{"connect_failure", "stale_connection", "reset_before_response", "timeout", "status", "header"}

// repeats counts the attempts of a route that are not a request's first. They
// are rare, so all shards share one.
type repeats struct {
	retries   [retryCauses]atomic.Uint64
	hedges    atomic.Uint64
	hedgesWon atomic.Uint64
}

// upgradeCounts counts the connections of a route that have switched protocols.
type upgradeCounts struct {
	begun, ended   atomic.Uint64
	received, sent atomic.Uint64
}

// routeShard is a whole number of cache lines, see TestShardSizes.
type routeShard struct {
	inFlight  atomic.Int64 // may be negative; only the sum over shards means something
	bytesIn   atomic.Uint64
	bytesOut  atomic.Uint64
	fallbacks atomic.Uint64
	gateway   histogram
	success   histogram // duration of 2xx
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

// FellBack counts a request that the route's fallback answered, instead of an
// upstream that could not. The shard is that of Begin: while an upstream is out,
// this is every request.
func (m *RouteMetrics) FellBack(shard uint32) {
	m.shard(shard).fallbacks.Add(1)
}

// Retried counts an attempt that was made because an earlier one failed.
func (m *RouteMetrics) Retried(cause RetryCause) { acquire(&m.repeats).retries[cause].Add(1) }

// Hedged counts a second attempt that was made because the first had not been
// answered yet.
func (m *RouteMetrics) Hedged() { acquire(&m.repeats).hedges.Add(1) }

// HedgeWon counts a hedge whose reply the client got.
func (m *RouteMetrics) HedgeWon() { acquire(&m.repeats).hedgesWon.Add(1) }

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

func (m *RouteMetrics) rareClass(class int) *histogram {
	return acquire(&m.rare[class])
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
