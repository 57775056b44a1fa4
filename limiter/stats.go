package limiter

// counts are what happened, kept where a lock is held anyway or on a core's own
// cache line.
type counts struct {
	admitted uint64
	evicted  uint64
	overflow uint64
	refused  [MaxRules]uint64
	observed [MaxRules]uint64
}

// refuse counts a refusal by a rule, and admit an admission.
func (c *counts) refuse(rule int) { c.refused[rule]++ }

func (c *counts) admit(observed set) {
	c.admitted++
	for i := 0; observed != 0; i, observed = i+1, observed>>1 {
		if observed.has(0) {
			c.observed[i]++
		}
	}
}

func (c *counts) addTo(s *Stats) {
	s.Admitted += c.admitted
	s.Evicted += c.evicted
	s.Overflowed += c.overflow
	for i := range s.Rules {
		s.Rules[i].Refused += c.refused[i]
		s.Rules[i].Observed += c.observed[i]
	}
}

// Stats are a limiter's counts of requests since it was made, or since the first of
// those that it continues (see Limiter.Next). They only grow, but for Keys.
type Stats struct {
	// Admitted by all rules, and so by each of them. Unlimited ones of FullAllow
	// are not among them.
	Admitted uint64
	// Evicted is the idle keys that made room for others.
	Evicted uint64
	// Overflowed is the requests whose key found no room, whatever became of them.
	Overflowed uint64
	// Keys is how many the table remembers.
	Keys int
	// Rules has one element per rule.
	Rules []RuleStats
}

// RuleStats are the counts of one rule.
type RuleStats struct {
	Name string
	// Refused is the requests that this rule made wait longest. Those of a full
	// table under FullDeny are in Overflowed alone.
	Refused uint64
	// Observed is the requests that this rule would have refused, if it only observes.
	Observed uint64
}

// Stats returns the counts. It takes each lock for a moment, one after the other.
func (l *Limiter) Stats() Stats {
	s := Stats{Rules: make([]RuleStats, len(l.plan.rules))}
	for i, r := range l.plan.rules {
		s.Rules[i].Name = r.Name
	}
	for i := range l.store.table.parts {
		p := &l.store.table.parts[i]
		p.mu.Lock()
		p.counts.addTo(&s)
		s.Keys += p.live
		p.mu.Unlock()
	}
	for _, h := range l.store.hots() {
		h.addTo(&s)
	}
	return s
}
