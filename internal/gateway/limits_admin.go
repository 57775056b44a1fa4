package gateway

import (
	"cmp"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/proxy"
)

// topRefused is how many refused keys of a limit management shows.
const topRefused = 10

// plansOf lists the plans of a limit, the default first.
func plansOf(l *proxy.RateLimit) []*proxy.LimitPlan {
	plans := []*proxy.LimitPlan{&l.Default}
	for i := range l.Plans {
		plans = append(plans, &l.Plans[i])
	}
	return plans
}

// limitersOf lists the limiters of a plan.
func limitersOf(p *proxy.LimitPlan) []*limiter.Limiter {
	return slices.DeleteFunc([]*limiter.Limiter{p.Rate, p.Held}, func(l *limiter.Limiter) bool { return l == nil })
}

// RateLimits implements admin.Runtime.
func (g *Gateway) RateLimits() []admin.RateLimit {
	plan := g.running.Load().plan
	out := make([]admin.RateLimit, len(plan.limits))
	for i := range plan.limits {
		out[i] = g.limitView(plan, &plan.limits[i])
	}
	return out
}

func (g *Gateway) limitView(plan *plan, p *plannedLimit) admin.RateLimit {
	v := admin.RateLimit{
		Name: p.name, Routes: p.routes, Mode: limitMode(plan), Key: string(p.config.Key), MaxKeys: p.config.MaxKeys,
		Rules: []admin.RateLimitRule{}, Plans: []admin.RateLimitPlan{}, TopRefused: []admin.RefusedKey{},
		Delayed: p.limit.Counts.Delayed.Load(), Waiting: p.limit.Counts.Waiting.Load(), Store: g.storeView(),
	}
	for _, lp := range plansOf(p.limit) {
		rules := []admin.RateLimitRule{}
		for _, l := range limitersOf(lp) {
			stats := l.Stats()
			rules = append(rules, ruleViews(l.Rules(), &stats)...)
			v.Keys += stats.Keys
			v.Evicted += stats.Evicted
			v.Overflowed += stats.Overflowed
			for _, k := range l.TopRefused(topRefused) {
				v.TopRefused = append(v.TopRefused, admin.RefusedKey{Key: k.Label, Plan: lp.Name, Refused: k.Refused, Excess: k.Excess})
			}
		}
		v.Admitted += admittedBy(lp)
		if lp.Name == "" {
			v.Rules = rules
		} else {
			v.Plans = append(v.Plans, admin.RateLimitPlan{Name: lp.Name, Rules: rules})
		}
	}
	slices.SortStableFunc(v.TopRefused, func(a, b admin.RefusedKey) int { return cmp.Compare(b.Refused, a.Refused) })
	v.TopRefused = v.TopRefused[:min(len(v.TopRefused), topRefused)]
	return v
}

// admittedBy counts the requests that a plan let through: what came past the last
// of its limiters.
func admittedBy(p *proxy.LimitPlan) uint64 {
	switch {
	case p.Rate != nil:
		return p.Rate.Stats().Admitted
	case p.Held != nil:
		return p.Held.Stats().Admitted
	}
	return 0
}

func ruleViews(rules []limiter.Rule, stats *limiter.Stats) []admin.RateLimitRule {
	views := make([]admin.RateLimitRule, len(rules))
	for i, r := range rules {
		views[i] = admin.RateLimitRule{
			Name: r.Name, Algorithm: string(r.Algorithm), Limit: r.Limit, Period: string(r.Period), Burst: r.Burst, Observe: r.Observe,
			Refused: stats.Rules[i].Refused, Observed: stats.Rules[i].Observed,
		}
		if r.Window > 0 {
			views[i].Window = r.Window.String()
		}
	}
	return views
}

// findLimit returns a limit, one of its plans and the key of a text.
func (g *Gateway) findLimit(name, planName, text string) (*proxy.LimitPlan, limiter.Key, error) {
	plan := g.running.Load().plan
	names := make([]string, len(plan.limits))
	at := -1
	for i := range plan.limits {
		if names[i] = plan.limits[i].name; names[i] == name {
			at = i
		}
	}
	if at < 0 {
		return nil, limiter.Key{}, &admin.NotFound{Kind: admin.KindRateLimit, Name: name, Known: names}
	}
	l := plan.limits[at].limit
	var key limiter.Key // of all requests together
	if !l.Key.Empty() {
		key = l.HashKey([]byte(text))
	}
	var plans []string
	for _, p := range plansOf(l) {
		if p.Name == planName {
			return p, key, nil
		}
		plans = append(plans, p.Name)
	}
	return nil, key, &admin.NotFound{Kind: admin.KindPlan, Name: planName, Known: plans}
}

// RateLimitKey implements admin.Runtime.
func (g *Gateway) RateLimitKey(name, plan, key string) (admin.KeyState, error) {
	p, k, err := g.findLimit(name, plan, key)
	if err != nil {
		return admin.KeyState{}, err
	}
	s := admin.KeyState{Limit: name, Plan: plan, Key: key, Rules: []admin.KeyRule{}}
	now, known := g.proxy.Instant(time.Now()), false
	for _, l := range limitersOf(p) {
		rules := l.Rules()
		decisions, found := l.Read(k, now)
		known = known || found
		for i, d := range decisions {
			r := admin.KeyRule{Name: rules[i].Name, Limit: d.Limit, Remaining: d.Remaining, ResetSeconds: d.Reset.Seconds()}
			if waits := d.Allowed || rules[i].Algorithm != limiter.Concurrency; waits && d.RetryAfter != limiter.Never {
				r.RetryAfterSeconds = new(d.RetryAfter.Seconds())
			}
			s.Rules = append(s.Rules, r)
		}
	}
	if !known {
		return s, &admin.NotFound{Kind: admin.KindKey, Name: key}
	}
	return s, nil
}

// ResetRateLimitKey implements admin.Runtime.
func (g *Gateway) ResetRateLimitKey(name, plan, key string) error {
	p, k, err := g.findLimit(name, plan, key)
	if err != nil {
		return err
	}
	now, known := g.proxy.Instant(time.Now()), false
	for _, l := range limitersOf(p) {
		known = l.Reset(k, now) || known
	}
	if !known {
		return &admin.NotFound{Kind: admin.KindKey, Name: key}
	}
	return nil
}

// limitState is what metrics show of a limit, by its name: it may be another after
// a reload.
func (g *Gateway) limitState(name string) telemetry.LimitState {
	var s telemetry.LimitState
	r := g.running.Load()
	if r == nil {
		return s
	}
	for i := range r.plan.limits {
		p := &r.plan.limits[i]
		if p.name != name {
			continue
		}
		s.Delayed, s.Waiting = p.limit.Counts.Delayed.Load(), p.limit.Counts.Waiting.Load()
		for _, lp := range plansOf(p.limit) {
			s.Admitted += admittedBy(lp)
			for _, l := range limitersOf(lp) {
				stats := l.Stats()
				s.Keys += stats.Keys
				s.Bytes += l.Bytes()
				s.Evicted += stats.Evicted
				s.Overflowed += stats.Overflowed
				for _, rule := range stats.Rules {
					s.Rules = append(s.Rules, telemetry.LimitRule{Name: rule.Name, Refused: rule.Refused, Observed: rule.Observed})
				}
			}
		}
	}
	return s
}

func limitMode(p *plan) string {
	r := p.config.Database.Redis
	switch {
	case r == nil:
		return admin.LimitLocal
	case r.Mode == "exact":
		return admin.LimitExact
	}
	return admin.LimitAsync
}

// observedEvery is how often what limits would have refused is logged.
const observedEvery = 10 * time.Second

// reportObserved logs what limits that only observe would have refused, until Run
// ends: a line for each limit and interval, not for each request.
func (g *Gateway) reportObserved() {
	tick := time.NewTicker(observedEvery)
	defer tick.Stop()
	reported := make(map[[2]string]uint64)
	for {
		select {
		case <-g.stopped:
			return
		case <-tick.C:
		}
		for _, l := range g.RateLimits() {
			for _, rule := range observingRules(&l) {
				key := [2]string{l.Name, rule.Name}
				if n := rule.Observed - min(rule.Observed, reported[key]); n > 0 {
					g.log.Info("rate limit would have refused requests", zap.String("limit", l.Name), zap.String("rule", rule.Name),
						zap.Uint64("requests", n), zap.Duration("within", observedEvery))
				}
				reported[key] = rule.Observed
			}
		}
	}
}

func observingRules(l *admin.RateLimit) []admin.RateLimitRule {
	rules := slices.Clone(l.Rules)
	for _, p := range l.Plans {
		for _, r := range p.Rules {
			r.Name = p.Name + "/" + r.Name
			rules = append(rules, r)
		}
	}
	return slices.DeleteFunc(rules, func(r admin.RateLimitRule) bool { return !r.Observe })
}
