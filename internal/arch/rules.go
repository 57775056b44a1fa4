package arch

// Rule says what some packages may not import. Package patterns are "./" and a path below the module root for our own packages,
// an import path for others, each optionally ending in "/..." for everything beneath, as for the go command.
type Rule struct {
	// Of selects the packages that the rule binds.
	Of []string
	// Never lists packages that must not be reached, directly or through others.
	Never []string
	// Only, when not nil, lists the packages of ours that may be imported directly; an empty list allows none.
	Only []string
	// But lists packages that the rule does not bind although Of selects them.
	But []string
	// Reason is printed with every violation.
	Reason string
}

// Rules returns the import rules of this module. A rule may name packages that do not exist yet.
func Rules() []Rule {
	nothing := []string{}
	// What a request runs through.
	dataPlane := []string{"./proxy/...", "./balancer/...", "./limiter/...", "./auth/...", "./internal/telemetry/..."}
	// What decides without speaking HTTP.
	pure := []string{"./balancer", "./balancer/breaker", "./limiter", "./proxy/router", "./proxy/split"}

	return []Rule{
		{Of: dataPlane, Never: []string{"./internal/config/...", "./admin/...", "./internal/gateway/..."}, Reason: "the data plane runs without knowing who configured it: snapshots are built by gateway and handed down"},
		{Of: []string{"./admin/..."}, Never: []string{"./proxy/...", "./balancer/...", "./limiter/...", "./auth/...", "./internal/gateway/..."}, Reason: "management works on documents and on its own Runtime interface, so that it cannot hold or change live traffic"},
		{Of: []string{"./balancer/..."}, Never: []string{"./limiter/...", "./auth/..."}, Reason: "policies are leaves: combining them is the proxy's work"},
		{Of: []string{"./limiter/..."}, Never: []string{"./balancer/...", "./auth/..."}, Reason: "policies are leaves: combining them is the proxy's work"},
		{Of: []string{"./auth/..."}, Never: []string{"./balancer/...", "./limiter/..."}, Reason: "policies are leaves: combining them is the proxy's work"},
		{Of: []string{"./internal/config/..."}, Only: []string{"./internal/config/..."}, Reason: "configuration is what the operator wrote; when it knows runtime types, the two grow into one"},
		{Of: []string{"./internal/telemetry/..."}, Only: []string{"./internal/telemetry/..."}, Reason: "everything reports to telemetry, so it may depend on nothing of ours"},
		{Of: pure, Never: []string{"github.com/valyala/fasthttp"}, Reason: "decisions take plain values: they are tested without HTTP and cannot keep borrowed memory"},
		{Of: []string{"./balancer", "./balancer/breaker", "./limiter", "./proxy/router", "./proxy/split", "./proxy/certs"}, Only: nothing, Reason: "a leaf that stays a leaf can be read, tested and replaced alone"},
		{Of: []string{"./balancer/health"}, Only: []string{"./balancer"}, Reason: "health changes endpoints and needs to know nothing else"},
		{Of: []string{"./balancer/health/outlier"}, Only: []string{"./balancer"}, Reason: "requests tell it how they ended, so it must not bring probing with it"},
		{Of: []string{"./balancer/discovery/..."}, Only: []string{"./balancer/discovery"}, Reason: "each discovery source brings a heavy dependency and stays in a folder of its own"},
		{Of: []string{"./limiter/redis"}, Only: []string{"./limiter"}, Reason: "synchronising counts is an option, off the request path"},
		{Of: []string{"./auth"}, Only: nothing, Reason: "the contract of authentication depends on no method"},
		{Of: []string{"./auth/..."}, But: []string{"./auth"}, Only: []string{"./auth"}, Reason: "each method brings its dependency and knows the contract only"},
		{Of: []string{"./proxy/upstream"}, Only: []string{"./balancer", "./balancer/breaker", "./balancer/health/outlier", "./internal/proxyproto", "./internal/telemetry", "./proxy/chunked", "./proxy/syntax"}, Reason: "an upstream is endpoints, connections and how they begin, and the current picker, with the metric handles that live exactly as long; who calls it and who changes it are not its business"},
		{Of: []string{"./internal/proxyproto"}, Only: nothing, Reason: "both sides of the gateway speak the PROXY protocol with it, so it knows neither"},
		{Of: []string{"./proxy/chunked"}, Only: []string{"./proxy/syntax"}, Reason: "both sides of the gateway read bodies with it, so it knows neither"},
		{Of: []string{"./proxy/..."}, Never: []string{"./balancer/health", "./balancer/discovery/..."}, Reason: "probing and discovery run beside requests, never within one; only what requests tell outlier detection does"},
		{Of: []string{"./proxy/..."}, But: []string{"./proxy/certs"}, Never: []string{"./proxy/certs"}, Reason: "certificates belong to listeners, which gateway owns"},
		{Of: []string{"./admin/store"}, Only: nothing, Reason: "a store keeps revisions of a document and does not read it"},
		{Of: []string{"./admin/store/..."}, But: []string{"./admin/store"}, Only: []string{"./admin/store"}, Reason: "each store brings its dependency and knows the contract only"},
		{Of: []string{"./admin/analytics"}, Only: []string{"./internal/telemetry"}, Reason: "roll-ups are fed by request events and by nothing else"},
		{Of: []string{"./..."}, But: []string{"./internal/gateway/...", "./cmd/...", "./internal/e2e/..."}, Never: []string{"./internal/gateway/..."}, Reason: "gateway is the top: the only place that sees configuration and runtime together"},
		{Of: []string{"./..."}, But: []string{"./internal/testkit/...", "./internal/e2e/..."}, Never: []string{"./internal/testkit/...", "./internal/e2e/...", "./internal/arch/...", "testing"}, Reason: "what exists for tests is not shipped"},
		{Of: []string{"./..."}, But: []string{"./admin/...", "./internal/gateway/...", "./cmd/...", "./internal/e2e/..."}, Never: []string{"github.com/fasthttp/router"}, Reason: "it serves the admin API; on the data plane it allocates per parameter and panics on a duplicate"},
		{Of: []string{"./..."}, But: []string{"./internal/config/...", "./admin/...", "./internal/gateway/...", "./cmd/...", "./internal/e2e/..."}, Never: []string{"github.com/knadh/koanf/..."}, Reason: "loading configuration is config's work; everyone else receives values"},
	}
}
