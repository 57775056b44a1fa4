package telemetry

import (
	"fmt"
	"io"
	"runtime"
	"strconv"

	"github.com/VictoriaMetrics/metrics"
)

// WritePrometheus writes all metrics in the Prometheus text format (version
// 0.0.4): ours, with HELP and TYPE, then those of the Go runtime and of the
// process. A route or endpoint that was never used has no series yet.
//
// It holds no lock while writing, and memory does not grow with the number of
// series. The error of a failed write is kept by w, if w cares: the page is
// broken off, and there is nobody else to tell.
func (r *Registry) WritePrometheus(w io.Writer) {
	routes, endpoints := r.handles()
	p := &page{w: w, buf: make([]byte, 0, pageFlush+pageSlack)}
	p.routes(routes)
	p.endpoints(endpoints)
	p.gateway(&r.gateway, r.version)
	p.flush()
	if p.err == nil {
		metrics.WriteProcessMetrics(w)
	}
}

func (p *page) routes(routes []*RouteMetrics) {
	p.family(requestsTotal)
	for _, m := range routes {
		for class := range classCount {
			var t tally
			m.duration(class, &t)
			if t.count > 0 {
				p.sample(requestsTotal, "", m.labels, `code="`, classLabels[class], t.count)
			}
		}
	}
	p.family(requestsFlight)
	for _, m := range routes {
		var used bool
		var n int64
		m.each(func(s *routeShard) { used = true; n += s.inFlight.Load() })
		if used {
			// Shards are read one after another, so a request may be
			// seen to end but not to begin.
			p.sample(requestsFlight, "", m.labels, "", "", uint64(max(n, 0)))
		}
	}
	p.family(requestDuration)
	for _, m := range routes {
		for class := range classCount {
			var t tally
			m.duration(class, &t)
			p.histogram(requestDuration, m.labels, `code="`+classLabels[class]+`"`, &t)
		}
	}
	p.family(gatewayDuration)
	for _, m := range routes {
		var t tally
		m.each(func(s *routeShard) { t.add(&s.gateway) })
		p.histogram(gatewayDuration, m.labels, "", &t)
	}
	p.routeCounter(requestBytes, routes, func(s *routeShard) uint64 { return s.bytesIn.Load() })
	p.routeCounter(responseBytes, routes, func(s *routeShard) uint64 { return s.bytesOut.Load() })
	p.repeats(routes)
	p.upgradeCounter(upgradesTotal, routes, func(c *upgradeCounts) uint64 { return c.begun.Load() })
	p.upgradeCounter(upgradesOpen, routes, func(c *upgradeCounts) uint64 {
		ended := c.ended.Load() // first, as with connections
		return c.begun.Load() - ended
	})
	p.upgradeCounter(upgradeReceived, routes, func(c *upgradeCounts) uint64 { return c.received.Load() })
	p.upgradeCounter(upgradeSent, routes, func(c *upgradeCounts) uint64 { return c.sent.Load() })
}

// repeats writes the counters of a route that needed one of them.
func (p *page) repeats(routes []*RouteMetrics) {
	p.family(retriesTotal)
	for _, m := range routes {
		r := m.repeats.Load()
		for cause := range retryCauses {
			if r != nil && r.retries[cause].Load() > 0 {
				p.sample(retriesTotal, "", m.labels, `cause="`, causeLabels[cause], r.retries[cause].Load())
			}
		}
	}
	p.repeatCounter(hedgesTotal, routes, func(r *repeats) uint64 { return r.hedges.Load() })
	p.repeatCounter(hedgesWonTotal, routes, func(r *repeats) uint64 { return r.hedgesWon.Load() })
}

func (p *page) repeatCounter(f familyIndex, routes []*RouteMetrics, read func(*repeats) uint64) {
	p.family(f)
	for _, m := range routes {
		if r := m.repeats.Load(); r != nil {
			p.sample(f, "", m.labels, "", "", read(r))
		}
	}
}

func (p *page) upgradeCounter(f familyIndex, routes []*RouteMetrics, read func(*upgradeCounts) uint64) {
	p.family(f)
	for _, m := range routes {
		if c := m.upgrades.Load(); c != nil {
			p.sample(f, "", m.labels, "", "", read(c))
		}
	}
}

func (p *page) routeCounter(f familyIndex, routes []*RouteMetrics, read func(*routeShard) uint64) {
	p.family(f)
	for _, m := range routes {
		var used bool
		var n uint64
		m.each(func(s *routeShard) { used = true; n += read(s) })
		if used {
			p.sample(f, "", m.labels, "", "", n)
		}
	}
}

func (p *page) endpoints(endpoints []*EndpointMetrics) {
	p.family(upstreamRequests)
	for _, m := range endpoints {
		for class := range classCount {
			var n uint64
			m.each(func(s *endpointShard) { n += s.answers[class].Load() })
			if n > 0 {
				p.sample(upstreamRequests, "", m.labels, `code="`, classLabels[class], n)
			}
		}
	}
	p.family(upstreamFlight)
	for _, m := range endpoints {
		var used bool
		var n int64
		m.each(func(s *endpointShard) { used = true; n += s.inFlight.Load() })
		if used {
			p.sample(upstreamFlight, "", m.labels, "", "", uint64(max(n, 0)))
		}
	}
	p.family(upstreamDuration)
	for _, m := range endpoints {
		var t tally
		m.each(func(s *endpointShard) { t.add(&s.header) })
		p.histogram(upstreamDuration, m.labels, "", &t)
	}
	p.endpointCounter(upstreamOpened, endpoints, func(s *endpointShard) uint64 { return s.opened.Load() })
	p.endpointCounter(upstreamReused, endpoints, func(s *endpointShard) uint64 { return s.reused.Load() })
	p.family(upstreamFailures)
	for _, m := range endpoints {
		for kind := range failureKinds {
			var n uint64
			m.each(func(s *endpointShard) { n += s.failures[kind].Load() })
			if n > 0 {
				p.sample(upstreamFailures, "", m.labels, `kind="`, failureLabels[kind], n)
			}
		}
	}
	p.endpointState(upstreamConnections, endpoints, func(s EndpointState) uint64 { return uint64(max(s.Connections, 0)) })
	p.endpointState(upstreamUp, endpoints, func(s EndpointState) uint64 { return oneIf(s.Up) })
}

func (p *page) endpointCounter(f familyIndex, endpoints []*EndpointMetrics, read func(*endpointShard) uint64) {
	p.family(f)
	for _, m := range endpoints {
		var used bool
		var n uint64
		m.each(func(s *endpointShard) { used = true; n += read(s) })
		if used {
			p.sample(f, "", m.labels, "", "", n)
		}
	}
}

func (p *page) endpointState(f familyIndex, endpoints []*EndpointMetrics, read func(EndpointState) uint64) {
	p.family(f)
	for _, m := range endpoints {
		if state := m.state.Load(); state != nil {
			p.sample(f, "", m.labels, "", "", read((*state)()))
		}
	}
}

func (p *page) gateway(m *GatewayMetrics, version string) {
	p.family(configReloads)
	for result := range reloadResults {
		p.sample(configReloads, "", "", `result="`, reloadLabels[result], m.reloads[result].Load())
	}
	p.family(configSuccess)
	if last := m.lastResult.Load(); last > 0 {
		p.value(configSuccess, oneIf(ReloadResult(last-1) != ReloadFailed))
	}
	p.family(configTime)
	if at := m.lastGood.Load(); at != 0 {
		p.float(configTime, float64(at)/1e9)
	}
	p.family(configInfo)
	if hash := m.configHash.Load(); hash != nil {
		p.sample(configInfo, "", label("hash", *hash), "", "", 1)
	}
	// Closed is read first: a connection accepted in between counts as open,
	// and one closed in between cannot make the difference negative.
	closed := m.closed.Load()
	accepted := m.accepted.Load()
	p.single(connectionsAccepted, accepted)
	p.single(connectionsOpen, accepted-min(closed, accepted))
	p.single(connectionsRefused, m.refused.Load())
	p.single(proxyErrors, m.badProxy.Load())
	p.single(panicsTotal, m.panics.Load())
	p.family(requestsLimited)
	for l := NoLimit + 1; l < limits; l++ {
		p.sample(requestsLimited, "", "", `limit="`, l.String(), m.limited[l].Load())
	}
	p.single(memoryUsed, m.memory.Load())
	p.single(memoryLimit, m.ceiling.Load())
	p.single(memoryShedding, oneIf(m.shedding.Load()))
	p.single(logLinesWritten, m.accessLog.Written())
	p.single(logLinesDropped, m.accessLog.Dropped())
	p.single(logErrors, m.accessLog.Errors())
	p.family(buildInfo)
	p.sample(buildInfo, "", label("version", version)+","+label("go_version", runtime.Version()), "", "", 1)
}

func oneIf(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

const (
	pageFlush = 64 << 10 // bytes gathered before a write
	pageSlack = 4 << 10  // room for the line that crosses the mark
)

// page builds the text in a buffer of constant size. After a failed write it
// goes on as a no-op.
type page struct {
	w   io.Writer
	buf []byte
	err error
}

func (p *page) flush() {
	if p.err == nil {
		_, p.err = p.w.Write(p.buf)
	}
	p.buf = p.buf[:0]
}

func (p *page) family(f familyIndex) {
	m := &families[f]
	p.buf = fmt.Appendf(p.buf, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
}

// single writes a family with one sample and no labels.
func (p *page) single(f familyIndex, n uint64) {
	p.family(f)
	p.value(f, n)
}

func (p *page) value(f familyIndex, n uint64) { p.sample(f, "", "", "", "", n) }

func (p *page) float(f familyIndex, v float64) {
	p.start(f, "", "", "", "")
	p.buf = strconv.AppendFloat(p.buf, v, 'g', -1, 64)
	p.end()
}

// sample writes one line. The labels are formatted already; extra is one more
// label up to its opening quote, with extraValue after it.
func (p *page) sample(f familyIndex, suffix, labels, extra, extraValue string, n uint64) {
	p.start(f, suffix, labels, extra, extraValue)
	p.buf = strconv.AppendUint(p.buf, n, 10)
	p.end()
}

func (p *page) start(f familyIndex, suffix, labels, extra, extraValue string) {
	b := append(p.buf, families[f].name...)
	b = append(b, suffix...)
	if labels != "" || extra != "" {
		b = append(b, '{')
		b = append(b, labels...)
		if extra != "" {
			if labels != "" {
				b = append(b, ',')
			}
			b = append(b, extra...)
			b = append(b, extraValue...)
			b = append(b, '"')
		}
		b = append(b, '}')
	}
	p.buf = append(b, ' ')
}

func (p *page) end() {
	p.buf = append(p.buf, '\n')
	if len(p.buf) >= pageFlush {
		p.flush()
	}
}

// histogram writes the buckets, sum and count of t, or nothing when it is empty.
func (p *page) histogram(f familyIndex, labels, extra string, t *tally) {
	if t.count == 0 {
		return
	}
	if extra != "" {
		labels += "," + extra
	}
	var below uint64
	for i, n := range t.buckets {
		below += n
		p.sample(f, "_bucket", labels, `le="`, boundLabels[i], below)
	}
	p.start(f, "_sum", labels, "", "")
	p.buf = strconv.AppendFloat(p.buf, float64(t.nanos)/1e9, 'g', -1, 64)
	p.end()
	p.sample(f, "_count", labels, "", "", t.count)
}
