package arch

import (
	"slices"
	"strings"
	"testing"
)

func TestCheckFindsViolations(t *testing.T) {
	f := func(g Graph, want ...string) {
		t.Helper()
		got := Check(g, Rules())
		for _, w := range want {
			if !slices.ContainsFunc(got, func(v string) bool { return strings.HasPrefix(v, w) }) {
				t.Errorf("graph %v: no violation %q in %q", g, w, got)
			}
		}
		if len(want) == 0 && len(got) > 0 {
			t.Errorf("graph %v: unexpected violations %q", g, got)
		}
	}

	// A graph as the design draws it.
	f(Graph{
		"./cmd/velocity":         {"./internal/gateway", "os"},
		"./internal/gateway":     {"./internal/config", "./proxy", "./admin", "./proxy/certs", "./balancer/health"},
		"./internal/config":      {"github.com/knadh/koanf/v2", "internal/config"},
		"./proxy":                {"./proxy/router", "./proxy/upstream", "./auth", "./limiter", "./internal/telemetry", "github.com/valyala/fasthttp"},
		"./proxy/upstream":       {"./balancer", "./balancer/breaker", "github.com/valyala/fasthttp"},
		"./balancer/health":      {"./balancer"},
		"./auth/jwt":             {"./auth", "github.com/valyala/fasthttp"},
		"./admin":                {"./internal/config", "./admin/store", "github.com/fasthttp/router"},
		"./admin/store/postgres": {"./admin/store"},
		"./internal/e2e":         {"./internal/testkit", "testing"},
	})

	// Directly.
	f(Graph{"./proxy": {"./internal/config"}}, "./proxy -> ./internal/config must not reach")
	f(Graph{"./admin/dashboard": {"./proxy/router"}}, "./admin/dashboard -> ./proxy/router must not reach")
	f(Graph{"./auth/jwt": {"./limiter"}}, "./auth/jwt -> ./limiter must not reach", "./auth/jwt must not import ./limiter")
	f(Graph{"./internal/config": {"./proxy"}}, "./internal/config must not import ./proxy")
	f(Graph{"./balancer": {"github.com/valyala/fasthttp"}}, "./balancer -> github.com/valyala/fasthttp must not reach")
	f(Graph{"./proxy/router": {"github.com/valyala/fasthttp"}}, "./proxy/router -> github.com/valyala/fasthttp must not reach")
	f(Graph{"./limiter": {"./internal/telemetry"}}, "./limiter must not import ./internal/telemetry")
	f(Graph{"./balancer/discovery/dns": {"./balancer"}}, "./balancer/discovery/dns must not import ./balancer")
	f(Graph{"./proxy": {"github.com/fasthttp/router"}}, "./proxy -> github.com/fasthttp/router must not reach")
	f(Graph{"./proxy": {"testing"}}, "./proxy -> testing must not reach")

	// Through others: a package of ours that no rule names, and a dependency.
	f(Graph{"./proxy": {"./internal/new"}, "./internal/new": {"./internal/gateway"}},
		"./proxy -> ./internal/new -> ./internal/gateway must not reach ./internal/gateway")
	f(Graph{"./limiter": {"example.com/x"}, "example.com/x": {"github.com/valyala/fasthttp"}},
		"./limiter -> example.com/x -> github.com/valyala/fasthttp must not reach")

	// The shortest chain is reported, and a cycle, which the compiler refuses, ends all the same.
	f(Graph{"./proxy": {"./a", "./b"}, "./a": {"./b"}, "./b": {"./proxy", "./admin"}}, "./proxy -> ./b -> ./admin must not reach")
}

func TestEveryRuleHasAReasonAndASubject(t *testing.T) {
	for i, rule := range Rules() {
		if len(rule.Of) == 0 || rule.Reason == "" || len(rule.Never) == 0 && rule.Only == nil {
			t.Errorf("rule %d forbids nothing or does not say why: %+v", i, rule)
		}
	}
}

func TestMatchesAny(t *testing.T) {
	f := func(pattern, pkg string, want bool) {
		t.Helper()
		if got := matchesAny([]string{pattern}, pkg); got != want {
			t.Errorf("pattern %q, package %q: got %v, want %v", pattern, pkg, got, want)
		}
	}
	f("./proxy", "./proxy", true)
	f("./proxy", "./proxy/router", false)
	f("./proxy/...", "./proxy", true)
	f("./proxy/...", "./proxy/router", true)
	f("./proxy/...", "./proxyother", false)
	f("./...", "./proxy", true)
	f("./...", "github.com/valyala/fasthttp", false)
	f("./internal/config", "internal/config", false)
}
