package telemetry

// endpoints writes what is counted of endpoints, then what they are.
func (p *page) endpoints(endpoints []*EndpointMetrics, now []reading[EndpointState]) {
	summedBy(p, upstreamRequests, endpoints, `code="`, classLabels[:], func(s *endpointShard, class int) uint64 { return s.answers[class].Load() })
	summed(p, upstreamFlight, endpoints, func(s *endpointShard) int64 { return s.inFlight.Load() })
	p.family(upstreamDuration)
	for _, m := range endpoints {
		var t tally
		m.each(func(s *endpointShard) { t.add(&s.header) })
		p.histogram(upstreamDuration, m.labels, "", &t)
	}
	summed(p, upstreamOpened, endpoints, func(s *endpointShard) uint64 { return s.opened.Load() })
	summed(p, upstreamReused, endpoints, func(s *endpointShard) uint64 { return s.reused.Load() })
	summedBy(p, upstreamFailures, endpoints, `kind="`, failureLabels[:], func(s *endpointShard, kind int) uint64 { return s.failures[kind].Load() })

	states(p, upstreamConnections, now, func(s *EndpointState) (uint64, bool) { return uint64(max(s.Connections, 0)), true })
	states(p, upstreamUp, now, func(s *EndpointState) (uint64, bool) { return oneIf(s.Up), true })
	states(p, upstreamEjected, now, func(s *EndpointState) (uint64, bool) { return oneIf(s.Ejected), true })
	states(p, upstreamWeight, now, func(s *EndpointState) (uint64, bool) { return uint64(max(s.Weight, 0)), true })
	p.family(upstreamLatency)
	for i := range now {
		if latency := now[i].state.Latency; latency > 0 {
			p.float(upstreamLatency, now[i].labels, float64(latency)/1e9)
		}
	}
	p.probes(endpoints)
}

// probes writes both results of an endpoint that has been probed: the first
// failure is to be an increase from zero.
func (p *page) probes(endpoints []*EndpointMetrics) {
	p.family(healthProbes)
	for _, m := range endpoints {
		passed, failed := m.probesPassed.Load(), m.probesFailed.Load()
		if passed+failed > 0 {
			p.sample(healthProbes, "", m.labels, `result="`, "success", passed)
			p.sample(healthProbes, "", m.labels, `result="`, "failure", failed)
		}
	}
}

// breakers writes the breakers of upstreams, whose endpoint is empty, and those
// of endpoints.
func (p *page) breakers(upstreams []reading[UpstreamState], endpoints []reading[EndpointState]) {
	p.breaker(breakerState, upstreams, endpoints, func(state BreakerState, _ uint64) uint64 { return uint64(state - BreakerClosed) })
	p.breaker(breakerOpened, upstreams, endpoints, func(_ BreakerState, opened uint64) uint64 { return opened })
}

func (p *page) breaker(f familyIndex, upstreams []reading[UpstreamState], endpoints []reading[EndpointState], value func(state BreakerState, opened uint64) uint64) {
	p.family(f)
	for i := range upstreams {
		if s := &upstreams[i].state; s.Breaker != BreakerNone {
			p.sample(f, "", upstreams[i].labels, `endpoint="`, "", value(s.Breaker, s.BreakerOpened))
		}
	}
	for i := range endpoints {
		if s := &endpoints[i].state; s.Breaker != BreakerNone {
			p.sample(f, "", endpoints[i].labels, "", "", value(s.Breaker, s.BreakerOpened))
		}
	}
}

// upstreams writes what upstreams are.
func (p *page) upstreams(now []reading[UpstreamState]) {
	states(p, upstreamPanic, now, func(s *UpstreamState) (uint64, bool) { return oneIf(s.Panicking), true })
	states(p, upstreamQueue, now, func(s *UpstreamState) (uint64, bool) { return uint64(max(s.Waiting, 0)), true })
	states(p, upstreamConcurrency, now, func(s *UpstreamState) (uint64, bool) { return uint64(max(s.InFlight, 0)), true })
	states(p, upstreamLimit, now, func(s *UpstreamState) (uint64, bool) { return uint64(s.Limit), s.Limit > 0 })
	states(p, upstreamRejected, now, func(s *UpstreamState) (uint64, bool) { return s.LimitRejected, s.Limit > 0 })
	p.family(upstreamEjections)
	for i := range now {
		for _, e := range now[i].state.Ejections {
			labels := now[i].labels + "," + label("cause", e.Cause)
			p.sample(upstreamEjections, "", labels, `enforced="`, "true", e.Enforced)
			p.sample(upstreamEjections, "", labels, `enforced="`, "false", e.Observed)
		}
	}
}

// discovery writes where upstreams have their endpoints from, if not from the
// configuration.
func (p *page) discovery(now []reading[UpstreamState]) {
	p.source(discoveryTargets, now, func(d *DiscoveryState) uint64 { return uint64(max(d.Targets, 0)) })
	p.source(discoveryStale, now, func(d *DiscoveryState) uint64 { return oneIf(d.Stale) })
	p.family(discoveryTime)
	for i := range now {
		if d := now[i].state.Discovery; d != nil && !d.Updated.IsZero() {
			p.float(discoveryTime, now[i].labels, float64(d.Updated.UnixNano())/1e9)
		}
	}
	p.source(discoveryFailures, now, func(d *DiscoveryState) uint64 { return d.Failures })
}

func (p *page) source(f familyIndex, now []reading[UpstreamState], read func(*DiscoveryState) uint64) {
	states(p, f, now, func(s *UpstreamState) (uint64, bool) {
		if s.Discovery == nil {
			return 0, false
		}
		return read(s.Discovery), true
	})
}
