package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RateLimit bounds how often requests may come, counted for each client or for
// whatever `key` says. Requests beyond are answered 429.
// [rate-limiting.md](rate-limiting.md) explains it.
//
//	routes:
//	  - path: /api/*
//	    targets: [{url: "http://127.0.0.1:3000"}]
//	    rate_limit: {requests: 1000, window: 1m}
//	  - path: /reports/*
//	    targets: [{url: "http://127.0.0.1:3000"}]
//	    rate_limit:
//	      key: "${header.X-Tenant}"
//	      rules:
//	        - {name: second, requests: 10, window: 1s, algorithm: token_bucket}
//	        - {name: month, requests: 100000, period: month, timezone: Europe/Berlin}
//	      max_concurrent: 4
type RateLimit struct {
	// Requests is how many a window admits. It is the short form of one rule.
	Requests int `yaml:"requests" default:"1000" min:"0" max:"1000000000000"`

	// Window is the time that `requests` is for.
	Window Duration `yaml:"window" default:"1m"`

	// Algorithm is `sliding_window` (the trailing window, estimated from two
	// counters), `sliding_log` (the trailing window to the request, for up to 1024
	// requests), `token_bucket` (a steady rate with bursts), `gcra` (requests
	// spaced evenly) or `fixed_window` (windows that follow one another).
	Algorithm string `yaml:"algorithm" default:"sliding_window" enum:"sliding_window,sliding_log,token_bucket,gcra,fixed_window"`

	// Burst is how many requests `token_bucket` and `gcra` admit at once. 0 means
	// `requests` for `token_bucket` and 1 for `gcra`.
	Burst int `yaml:"burst" default:"0" min:"0" max:"1000000000000"`

	// Rules lists several limits that all hold, in place of the short form. A
	// request that one of them refuses takes nothing of the others.
	Rules []LimitRule `yaml:"rules"`

	// Plans lists other limits for requests of which `plan` is their name.
	Plans []LimitPlan `yaml:"plans"`

	// Plan is which of `plans` holds for a request, a template such as
	// `${header.X-Plan}`. For a name that is not listed the limit itself holds.
	Plan Template `yaml:"plan"`

	// MaxConcurrent bounds the requests of one key that are under way at one time;
	// further ones are answered 429. 0 means no limit.
	MaxConcurrent int `yaml:"max_concurrent" default:"0" min:"0" max:"1000000000"`

	// Key is what is counted separately, a template such as
	// `${header.X-Api-Key}` or `${client_net}/${param.id}`. Empty counts all
	// requests of the route together.
	Key Template `yaml:"key" default:"${client_net}"`

	// IPv6Prefix is how many bits of an IPv6 address `${client_net}` keeps in
	// `key`: whoever has one address often has all of its /64.
	IPv6Prefix int `yaml:"ipv6_prefix" default:"64" min:"1" max:"128"`

	// Cost is how many units a request takes, a number or a template such as
	// `${header.X-Cost}`. What is not a number takes 1.
	Cost Template `yaml:"cost" default:"1"`

	// CostHeader names a field in which the upstream's response says what the
	// request has really cost; the difference is charged or given back, and the
	// field is removed. Absent, `cost` stands.
	CostHeader string `yaml:"cost_header"`

	// RefundStatuses lists statuses of responses whose request is given back what
	// it took, each one number or a range such as `500-599`.
	RefundStatuses []StatusRange `yaml:"refund_statuses"`

	// Observe refuses nothing: it counts what it would have refused.
	Observe bool `yaml:"observe" default:"false"`

	// Status is the status of a refusal.
	Status int `yaml:"status" default:"429" min:"400" max:"599"`

	// MaxWait delays requests that would be refused, for so long at the longest,
	// until they are admitted. 0 refuses them at once.
	MaxWait Duration `yaml:"max_wait" default:"0s"`

	// MaxWaiting bounds the requests that are delayed at one time.
	MaxWaiting int `yaml:"max_waiting" default:"100" min:"1" max:"1000000"`

	// Headers sends `RateLimit` and `RateLimit-Policy`
	// (draft-ietf-httpapi-ratelimit-headers-11).
	Headers bool `yaml:"headers" default:"true"`

	// LegacyHeaders sends `X-RateLimit-Limit`, `X-RateLimit-Remaining` and
	// `X-RateLimit-Reset`.
	LegacyHeaders bool `yaml:"legacy_headers" default:"false"`

	// MaxKeys bounds the keys that are remembered; when there are more, those idle
	// longest are forgotten.
	MaxKeys int `yaml:"max_keys" default:"65536" min:"16" max:"100000000"`

	// WhenFull says what happens to a new key while every other is in use:
	// `share` counts all such keys together, `deny` refuses them, `allow` lets
	// them through.
	WhenFull string `yaml:"when_full" default:"share" enum:"share,deny,allow"`
}

// LimitRule is one of several limits: `requests` in a `window`, or in a calendar
// `period`.
type LimitRule struct {
	// Name tells the rule from the others in headers, metrics and the API.
	Name string `yaml:"name" required:"true"`

	// Requests is how many a window admits.
	Requests int `yaml:"requests" required:"true" min:"0" max:"1000000000000"`

	// Window is the time that `requests` is for.
	Window Duration `yaml:"window" default:"0s"`

	// Period is a calendar window in place of `window`: a `day` or a `month`.
	Period string `yaml:"period" enum:"day,month"`

	// Timezone is where a period begins, such as `Europe/Berlin`.
	Timezone string `yaml:"timezone" default:"UTC"`

	// Algorithm is as above; a `period` has `fixed_window`.
	Algorithm string `yaml:"algorithm" default:"sliding_window" enum:"sliding_window,sliding_log,token_bucket,gcra,fixed_window"`

	// Burst is as above.
	Burst int `yaml:"burst" default:"0" min:"0" max:"1000000000000"`

	// Observe refuses nothing: it counts what the rule would have refused.
	Observe bool `yaml:"observe" default:"false"`
}

// LimitPlan is the limits of one plan.
type LimitPlan struct {
	// Name is the plan's name.
	Name string `yaml:"name" required:"true"`

	// Rules lists its limits. Empty has none.
	Rules []LimitRule `yaml:"rules"`

	// MaxConcurrent bounds the requests of one key that are under way. 0 means no
	// limit.
	MaxConcurrent int `yaml:"max_concurrent" default:"0" min:"0" max:"1000000000"`
}

// maxLimitRules is how many rules a limit or a plan may have.
const maxLimitRules = 8

// The largest number of requests of a sliding log, which remembers each.
const maxLogRequests = 1024

// All returns the rules: those listed, or the short form as a rule named
// "default".
func (r *RateLimit) All() []LimitRule {
	if len(r.Rules) > 0 {
		return r.Rules
	}
	return []LimitRule{{Name: "default", Requests: r.Requests, Window: r.Window, Algorithm: r.Algorithm, Burst: r.Burst, Timezone: "UTC"}}
}

// KeyIsSensitive reports whether what Key makes may be a credential, by the names of
// its variables.
func (r *RateLimit) KeyIsSensitive() bool { return isSensitive(string(r.Key)) }

func (r *RateLimit) check(s scope) {
	short := []string{"requests", "window", "algorithm", "burst"}
	if s.hasList("rules") {
		checkRules(s, "rules", r.Rules)
		for _, key := range short {
			if s.has(key) {
				s.problem(key, "has no effect beside rules")
			}
		}
	} else {
		if r.Window <= 0 {
			s.problem("window", "must be longer than 0")
		}
		checkAlgorithm(s, "", r.Algorithm, r.Burst, r.Requests)
	}
	names := map[string]bool{}
	for i, p := range r.Plans {
		at := "plans[" + strconv.Itoa(i) + "]"
		if p.Name != "" && names[p.Name] {
			s.problem(at+".name", "%q is listed twice", p.Name)
		}
		names[p.Name] = true
		checkRules(s, at+".rules", p.Rules)
	}
	if s.has("plans") != s.has("plan") {
		given, missing := "plans", "plan"
		if s.has("plan") {
			given, missing = missing, given
		}
		s.problem(given, "needs %s beside it", missing)
	}
	if s.has("cost_header") && !isToken(r.CostHeader) {
		s.problem("cost_header", "%q is not a header name", r.CostHeader)
	}
	if s.has("max_waiting") && r.MaxWait == 0 {
		s.problem("max_waiting", "has no effect without max_wait")
	}
	if !strings.Contains(string(r.Cost), "${") {
		if n, err := strconv.ParseInt(string(r.Cost), 10, 64); err != nil || n < 0 {
			s.problem("cost", "expected a number or a template, got %q", r.Cost)
		}
	}
}

// checkTemplates checks the variables; params are the route's path parameters.
func (r *RateLimit) checkTemplates(s scope, field string, params []string) {
	checkTemplate(s, field+".key", r.Key, params)
	checkTemplate(s, field+".plan", r.Plan, params)
	checkTemplate(s, field+".cost", r.Cost, params)
}

func checkRules(s scope, field string, rules []LimitRule) {
	if len(rules) > maxLimitRules {
		s.problem(field, "may have at most %d rules", maxLimitRules)
	}
	var names []string
	for i, rule := range rules {
		at := field + "[" + strconv.Itoa(i) + "]"
		switch {
		case rule.Name == "":
		case !isToken(rule.Name) || len(rule.Name) > 64:
			s.problem(at+".name", "may have up to 64 letters, digits and characters such as '-' and '_', got %q", rule.Name)
		case slices.Contains(names, rule.Name):
			s.problem(at+".name", "%q is listed twice", rule.Name)
		}
		names = append(names, rule.Name)
		checkRuleWindow(s, at, &rule)
		algorithm := rule.Algorithm
		if rule.Period != "" {
			algorithm = "fixed_window"
		}
		checkAlgorithm(s, at, algorithm, rule.Burst, rule.Requests)
	}
}

func checkRuleWindow(s scope, at string, rule *LimitRule) {
	switch {
	case rule.Period != "" && rule.Window != 0:
		s.problem(at+".window", "only one of window and period may be given")
	case rule.Period == "" && rule.Window <= 0:
		s.problem(at, "needs window or period")
	case rule.Period == "" && rule.Timezone != "UTC":
		s.problem(at+".timezone", "has no effect without period")
	}
	if _, err := time.LoadLocation(rule.Timezone); err != nil || rule.Timezone == "Local" {
		s.problem(at+".timezone", "expected a time zone such as Europe/Berlin, got %q", rule.Timezone)
	}
}

func checkAlgorithm(s scope, at, algorithm string, burst, requests int) {
	field := func(key string) string { return strings.TrimPrefix(at+"."+key, ".") }
	if burst != 0 && algorithm != "token_bucket" && algorithm != "gcra" {
		s.problem(field("burst"), "has no effect with algorithm %s, only with token_bucket and gcra", cmp.Or(algorithm, "sliding_window"))
	}
	if algorithm == "sliding_log" && requests > maxLogRequests {
		s.problem(field("requests"), "sliding_log remembers each request and takes at most %d; use sliding_window", maxLogRequests)
	}
}
