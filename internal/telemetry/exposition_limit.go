package telemetry

// The values of the label `result`.
const (
	limitAdmitted = "admitted"
	limitRefused  = "refused"
	limitObserved = "observed"
)

// limits writes what rate limits did and are.
func (p *page) limits(now []reading[LimitState]) {
	p.family(rateLimitRequests)
	for i := range now {
		labels := now[i].labels + `,rule="`
		p.sample(rateLimitRequests, "", labels+`"`, `result="`, limitAdmitted, now[i].state.Admitted)
		for _, r := range byName(now[i].state.Rules) {
			labels := now[i].labels + "," + label("rule", r.Name)
			p.sample(rateLimitRequests, "", labels, `result="`, limitRefused, r.Refused)
			p.sample(rateLimitRequests, "", labels, `result="`, limitObserved, r.Observed)
		}
	}
	states(p, rateLimitKeys, now, func(s *LimitState) (uint64, bool) { return uint64(max(s.Keys, 0)), true })
	states(p, rateLimitBytes, now, func(s *LimitState) (uint64, bool) { return uint64(max(s.Bytes, 0)), true })
	states(p, rateLimitEvictions, now, func(s *LimitState) (uint64, bool) { return s.Evicted, true })
	states(p, rateLimitOverflows, now, func(s *LimitState) (uint64, bool) { return s.Overflowed, true })
	states(p, rateLimitDelayed, now, func(s *LimitState) (uint64, bool) { return s.Delayed, true })
	states(p, rateLimitWaiting, now, func(s *LimitState) (uint64, bool) { return uint64(max(s.Waiting, 0)), true })
}

// byName adds up rules of the same name: a series that is there twice makes
// Prometheus refuse the page.
func byName(rules []LimitRule) []LimitRule {
	sums := make([]LimitRule, 0, len(rules))
	at := make(map[string]int, len(rules))
	for _, r := range rules {
		i, ok := at[r.Name]
		if !ok {
			at[r.Name] = len(sums)
			sums = append(sums, r)
			continue
		}
		sums[i].Refused += r.Refused
		sums[i].Observed += r.Observed
	}
	return sums
}

// store writes what is known of the rate limits' store, if there is one.
func (p *page) store(now []reading[StoreState]) {
	states(p, storeConnected, now, func(s *StoreState) (uint64, bool) { return oneIf(s.Connected), true })
	states(p, storeDegraded, now, func(s *StoreState) (uint64, bool) { return oneIf(s.Degraded), true })
	p.family(storeLag)
	for i := range now {
		p.float(storeLag, "", max(now[i].state.Lag, 0).Seconds())
	}
	states(p, storeErrors, now, func(s *StoreState) (uint64, bool) { return s.Errors, true })
	p.family(storeRoundTrip)
	for i := range now {
		if took := now[i].state.RoundTrip; took > 0 {
			p.float(storeRoundTrip, "", took.Seconds())
		}
	}
	states(p, storeNodes, now, func(s *StoreState) (uint64, bool) { return uint64(max(s.Nodes, 0)), true })
}
