package telemetry

func (p *page) endpoints(endpoints []*EndpointMetrics) {
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
	p.endpointState(upstreamConnections, endpoints, func(s EndpointState) uint64 { return uint64(max(s.Connections, 0)) })
	p.endpointState(upstreamUp, endpoints, func(s EndpointState) uint64 { return oneIf(s.Up) })
}

func (p *page) endpointState(f familyIndex, endpoints []*EndpointMetrics, read func(EndpointState) uint64) {
	p.family(f)
	for _, m := range endpoints {
		if state := m.state.Load(); state != nil {
			p.sample(f, "", m.labels, "", "", read((*state)()))
		}
	}
}
