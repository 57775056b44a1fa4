package telemetry

import (
	"io"
	"runtime"

	"github.com/VictoriaMetrics/metrics"
)

// WritePrometheus writes all metrics in the Prometheus text format (version
// 0.0.4): ours, with HELP and TYPE, then those of the Go runtime and of the
// process. A route or endpoint that was never used has no counters yet, and an
// upstream, endpoint or rate limit that is not observed has no state.
//
// It holds no lock while writing, and of the text only a piece of constant size.
// The error of a failed write is kept by w, if w cares: the page is broken off,
// and there is nobody else to tell.
func (r *Registry) WritePrometheus(w io.Writer) {
	h := r.handles()
	upstreamStates, endpointStates := readings(h.upstreams), readings(h.endpoints)
	limitStates, storeStates := readings(h.limits), r.gateway.storeReadings()
	p := newPage(w)
	p.routes(h.routes)
	p.endpoints(h.endpoints, endpointStates)
	p.breakers(upstreamStates, endpointStates)
	p.upstreams(upstreamStates)
	p.discovery(upstreamStates)
	p.limits(limitStates)
	p.store(storeStates)
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
	summed(p, requestsFlight, routes, func(s *routeShard) int64 { return s.inFlight.Load() })
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
	summed(p, requestBytes, routes, func(s *routeShard) uint64 { return s.bytesIn.Load() })
	summed(p, responseBytes, routes, func(s *routeShard) uint64 { return s.bytesOut.Load() })
	p.repeats(routes)
	summed(p, fallbacksTotal, routes, func(s *routeShard) uint64 { return s.fallbacks.Load() })
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
		p.float(configTime, "", float64(at)/1e9)
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
