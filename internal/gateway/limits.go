package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/proxy"
	"github.com/salgue441/velocity/proxy/transform"
)

// pluginLimit is the name of the limit that the plugin makes for all routes.
const pluginLimit = "plugin:rate-limiter"

// routeLimit is the name of a route's own limit.
func routeLimit(route string) string { return "route:" + route }

// limitKey is the identity of a limiter across reloads.
type limitKey struct {
	limit string // the limit's name
	plan  string
	held  bool // it limits requests under way
}

// plannedLimit is a rate limit as management and metrics see it.
type plannedLimit struct {
	name   string
	config *config.RateLimit
	limit  *proxy.RateLimit
	routes []string
}

// buildLimit compiles a rate limit under a name. Limiters that live on are
// continued with their counts.
func (b *builder) buildLimit(name string, c *config.RateLimit) (*proxy.RateLimit, error) {
	l := &proxy.RateLimit{
		HideKey: c.KeyIsSensitive(), NetBits: c.IPv6Prefix, Seed: b.seed(),
		Cost: 1, CostField: []byte(textproto.CanonicalMIMEHeaderKey(c.CostHeader)),
		Refusal: proxy.ErrRateLimited, Standard: c.Headers, Legacy: c.LegacyHeaders,
		MaxWait: time.Duration(c.MaxWait), MaxWaiting: c.MaxWaiting,
		Counts: b.living.limitCounts[name],
	}
	if c.Status != proxy.ErrRateLimited.Status {
		l.Refusal = proxy.NewRefusal(c.Status)
	}
	if l.Counts == nil {
		l.Counts = new(proxy.LimitCounts)
	}
	for _, r := range c.RefundStatuses {
		l.Refunds.Add(r.From, r.To)
	}
	var err error
	parse := func(t config.Template) transform.Template {
		parsed, problem := transform.ParseTemplate(string(t))
		err = errors.Join(err, problem)
		return parsed
	}
	l.Key, l.Plan = parse(c.Key), parse(c.Plan)
	if cost := parse(c.Cost); err == nil {
		if text, static := cost.Static(); static {
			l.Cost, err = strconv.ParseInt(string(text), 10, 64)
		} else {
			l.CostFrom = cost
		}
	}
	if err != nil {
		return nil, err
	}
	if l.Default, err = b.buildPlan(name, "", c, c.All(), c.MaxConcurrent); err != nil {
		return nil, err
	}
	for _, p := range c.Plans {
		plan, err := b.buildPlan(name, p.Name, c, p.Rules, p.MaxConcurrent)
		if err != nil {
			return nil, err
		}
		l.Plans = append(l.Plans, plan)
	}
	b.plan.limits = append(b.plan.limits, plannedLimit{name: name, config: c, limit: l})
	return l, nil
}

// noteLimit tells that a route has a limit.
func (b *builder) noteLimit(name, route string) {
	for i := range b.plan.limits {
		if l := &b.plan.limits[i]; l.name == name {
			l.routes = append(l.routes, route)
		}
	}
}

func (b *builder) buildPlan(limit, plan string, c *config.RateLimit, rules []config.LimitRule, concurrent int) (proxy.LimitPlan, error) {
	p := proxy.LimitPlan{Name: plan}
	options := limiter.Options{MaxKeys: c.MaxKeys, Full: limiter.Full(c.WhenFull), Start: b.living.now, Shared: b.config.Database.Redis != nil}
	var err error
	if concurrent > 0 {
		rule := limiter.Rule{Name: "concurrent", Algorithm: limiter.Concurrency, Limit: int64(concurrent), Observe: c.Observe}
		if p.Held, err = b.continueLimiter(limitKey{limit, plan, true}, []limiter.Rule{rule}, options); err != nil {
			return p, err
		}
	}
	if len(rules) == 0 {
		return p, nil
	}
	compiled := make([]limiter.Rule, len(rules))
	for i, r := range rules {
		if compiled[i], err = limitRule(r, c.Observe); err != nil {
			return p, err
		}
		p.Names = append(p.Names, r.Name)
	}
	p.Policy = limitPolicy(compiled)
	p.Rate, err = b.continueLimiter(limitKey{limit, plan, false}, compiled, options)
	return p, err
}

func limitRule(c config.LimitRule, observe bool) (limiter.Rule, error) {
	r := limiter.Rule{
		Name: c.Name, Algorithm: limiter.Algorithm(c.Algorithm), Limit: int64(c.Requests), Window: time.Duration(c.Window),
		Burst: int64(c.Burst), Observe: c.Observe || observe,
	}
	if c.Period != "" {
		location, err := time.LoadLocation(c.Timezone)
		if err != nil {
			return r, fmt.Errorf("rule %s: %w", c.Name, err)
		}
		r.Algorithm, r.Period, r.Location = limiter.FixedWindow, limiter.Period(c.Period), location
	}
	return r, r.Validate()
}

// limitPolicy is the value of RateLimit-Policy: "minute";q=100;w=60. A calendar
// period has the length of its shortest, so that nobody counts on too much.
func limitPolicy(rules []limiter.Rule) []byte {
	items := make([]string, len(rules))
	for i, r := range rules {
		window := int64(r.Window / time.Second)
		switch r.Period {
		case limiter.Day:
			window = 24 * 60 * 60
		case limiter.Month:
			window = 28 * 24 * 60 * 60
		}
		items[i] = fmt.Sprintf("%q;q=%d;w=%d", r.Name, r.Limit, max(window, 1))
	}
	return []byte(strings.Join(items, ", "))
}

// continueLimiter returns the limiter of an identity with the counts of the one
// before, as far as its rules are the same, or a new one.
func (b *builder) continueLimiter(key limitKey, rules []limiter.Rule, o limiter.Options) (*limiter.Limiter, error) {
	var l *limiter.Limiter
	var err error
	if before := b.living.limiters[key]; before != nil {
		l, err = before.Next(rules, o, b.living.now)
		for _, r := range before.Rules() {
			if !slices.ContainsFunc(rules, r.Same) && slices.ContainsFunc(rules, func(n limiter.Rule) bool { return n.Name == r.Name }) {
				b.plan.freshLimits = append(b.plan.freshLimits, key.limit+" "+r.Name)
			}
		}
	} else {
		l, err = limiter.New(rules, o)
	}
	if err != nil {
		return nil, err
	}
	b.plan.limiters[key] = l
	return l, nil
}

func (b *builder) seed() uint64 { return limitSeed(b.config, b.living.seed) }

// limitSeed is the secret of the hash of keys: that of this process or, where gateways
// share counts, one that all who know the store's password have.
func limitSeed(c *config.Config, own uint64) uint64 {
	r := c.Database.Redis
	if r == nil {
		return own
	}
	sum := sha256.Sum256([]byte("velocity rate limits\x00" + r.Prefix + "\x00" + r.Password.Reveal()))
	return binary.BigEndian.Uint64(sum[:])
}
