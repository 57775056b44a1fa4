package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Runtime is what the management API needs of the running gateway. Its methods
// may be called concurrently. What they return is not kept after the answer, and
// must not change meanwhile; nothing in it may be secret.
type Runtime interface {
	// Status describes the process and what it has loaded.
	Status() Status

	// Config returns the effective configuration as YAML with defaults filled in
	// and secrets redacted.
	Config() ([]byte, error)

	// Routes lists the routes in the order in which they are tried.
	Routes() []Route

	// Upstreams lists the upstreams in the order of the configuration.
	Upstreams() []Upstream

	// Dependencies lists everything that requests depend on, in any order. Kind
	// and name together are unique.
	Dependencies() []Dependency

	// SetEndpoint changes an endpoint at once, without a reload, and returns it as
	// it was and as it is. What was changed stays until the process ends or the
	// endpoint is removed; a reload in which the configured weight differs from
	// the one before ends a weight. FindEndpoint says which endpoint is meant. An
	// error is a *NotFound or an *Ambiguous.
	SetEndpoint(upstream, endpoint string, change EndpointChange) (before, after Endpoint, err error)

	// ResetEndpoint ends an endpoint's ejection and closes its circuit breaker,
	// where there is one or the other. Otherwise it is as SetEndpoint.
	ResetEndpoint(upstream, endpoint string) (before, after Endpoint, err error)

	// SetBreaker opens or closes an upstream's own circuit breaker, and returns it
	// as it was and as it is. An error is a *NotFound or ErrNoBreaker.
	SetBreaker(upstream string, change BreakerChange) (before, after CircuitBreaker, err error)

	// RateLimits lists the rate limits in the order of the configuration.
	RateLimits() []RateLimit

	// RateLimitKey reads what is left for a key of a limit and takes nothing. The
	// key is the text that the limit's key template made, empty for a limit that
	// counts all requests together; the plan is empty for the limit's own rules. An
	// error is a *NotFound of KindRateLimit, KindPlan or, if nothing is remembered of
	// the key, KindKey; or ErrNoStore. It does not wait for the store for long.
	RateLimitKey(name, plan, key string) (KeyState, error)

	// ResetRateLimitKey forgets what a key took; what requests under way hold of a
	// concurrency rule they still hold. Otherwise it is as RateLimitKey.
	ResetRateLimitKey(name, plan, key string) error

	// Reload reads the configuration again and swaps to it, unless it is
	// unchanged. A configuration that cannot be used is an *InvalidConfig, and
	// leaves the running one in place, as does any other error.
	Reload(ctx context.Context) (Reload, error)

	// Explain says what would happen to a request, without sending anything. The
	// URL is absolute; headers keep their order; clientIP is empty when the
	// caller named none. An error means that the gateway would refuse to read
	// such a request, and says why.
	Explain(method, url string, headers [][2]string, clientIP string) (Explanation, error)

	// WriteMetrics writes every metric in the Prometheus text format.
	WriteMetrics(w io.Writer)
}

// Status describes the process and what it has loaded.
type Status struct {
	Version       string     `json:"version"`
	Commit        string     `json:"commit"`
	GoVersion     string     `json:"go_version"`
	StartedAt     time.Time  `json:"started_at"`
	UptimeSeconds int64      `json:"uptime_seconds"`
	Ready         bool       `json:"ready"`     // takes traffic
	NotReady      []string   `json:"not_ready"` // what is required and missing, a sentence each, without addresses and secrets
	Draining      bool       `json:"draining"`
	Config        ConfigView `json:"config"`
	Counts        Counts     `json:"counts"`
	Connections   int64      `json:"connections"` // open, from clients
	Listeners     []Listener `json:"listeners"`
	Warnings      []string   `json:"warnings"`
}

// ConfigView says which configuration is running.
type ConfigView struct {
	Hash       string     `json:"hash"`
	Files      []string   `json:"files"`
	LoadedAt   time.Time  `json:"loaded_at"`
	Revision   uint64     `json:"revision"`              // counts the swaps since the start, from 1
	LastReload *ReloadTry `json:"last_reload,omitempty"` // nil until one was tried
}

// ReloadTry is the outcome of one attempt to reload.
type ReloadTry struct {
	At       time.Time       `json:"at"`
	Success  bool            `json:"success"`
	Error    string          `json:"error,omitempty"`
	Problems []ConfigProblem `json:"problems,omitempty"`
}

// Counts are the sizes of what is loaded.
type Counts struct {
	Routes      int `json:"routes"`
	Upstreams   int `json:"upstreams"`
	Endpoints   int `json:"endpoints"`
	EndpointsUp int `json:"endpoints_up"`
}

// Listener is an open listening socket.
type Listener struct {
	Name    string `json:"name"` // "gateway" or "admin"
	Address string `json:"address"`
	TLS     bool   `json:"tls"`
}

// Route is one route as it was built.
type Route struct {
	Name       string   `json:"name"`
	Origin     string   `json:"origin"` // file:line, or where else it came from
	Hosts      []string `json:"hosts"`  // none means every host
	Path       string   `json:"path"`
	Methods    []string `json:"methods"`    // none means every method
	Predicates []string `json:"predicates"` // in words, all of which must hold
	Priority   int      `json:"priority"`
	Action     Action   `json:"action"`
	Phases     []string `json:"phases"` // in the order in which they run
}

// Action is what a route does with a request.
type Action struct {
	Type     string `json:"type"`               // "forward", "redirect" or "respond"
	Upstream string `json:"upstream,omitempty"` // of a forward
	Status   int    `json:"status,omitempty"`   // of a redirect or respond
	Location string `json:"location,omitempty"` // of a redirect
}

// Reload is the outcome of a successful reload.
type Reload struct {
	Changed  bool     `json:"changed"` // false when the configuration was the running one
	Hash     string   `json:"hash"`    // of what runs now
	Warnings []string `json:"warnings"`
}

// Explanation says what would happen to a request and why.
type Explanation struct {
	Method        string      `json:"method"`
	URL           string      `json:"url"`
	CanonicalPath string      `json:"canonical_path"`   // what routes were matched against
	Route         string      `json:"route"`            // the winner; empty when none matched
	Status        int         `json:"status,omitempty"` // when the gateway answers by itself
	Code          string      `json:"code,omitempty"`   // of the error it answers
	Allow         []string    `json:"allow,omitempty"`  // with Status 405
	Action        *Action     `json:"action,omitempty"`
	Phases        []string    `json:"phases"`
	Candidates    []Candidate `json:"candidates"`
}

// Candidate is a route that was considered.
type Candidate struct {
	Route  string `json:"route"`
	Origin string `json:"origin"`
	Won    bool   `json:"won"`
	Reason string `json:"reason"`
}

// ConfigProblem is one thing that is wrong with the configuration. Its fields
// are those of the configuration's own problem type, so that one converts to the
// other. Line and Column count from 1; zero means that there is no place. One of
// a request's body has no File; its Path is the member.
type ConfigProblem struct {
	File       string `json:"file,omitempty"`
	Line       int    `json:"line,omitempty"`
	Column     int    `json:"column,omitempty"`
	Path       string `json:"path,omitempty"`
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"`
	Warning    bool   `json:"warning,omitempty"`
}

// InvalidConfig is the error of a Reload whose configuration cannot be used.
type InvalidConfig struct {
	Problems []ConfigProblem // all of them, in the order of files and lines
}

// Error says how many problems there are; the list is for machines.
func (e *InvalidConfig) Error() string {
	if len(e.Problems) == 1 {
		return "the configuration has 1 problem"
	}
	return "the configuration has " + strconv.Itoa(len(e.Problems)) + " problems"
}

// NotFound is the error of a name that nothing has.
type NotFound struct {
	Kind  string   // "upstream" or "endpoint", or that of a rate limit
	Name  string   // as it was asked for
	Known []string // all names of the kind, none of a key; the answer shows those nearest to Name
}

// Error says what there is not.
func (e *NotFound) Error() string {
	if e.Kind == KindKey {
		return fmt.Sprintf("nothing is remembered of the key %q", e.Name)
	}
	return fmt.Sprintf("no %s is named %q", e.Kind, e.Name)
}

// Ambiguous is the error of a host and port that several endpoints of an
// upstream have.
type Ambiguous struct {
	Name string   // as it was asked for
	URLs []string // which tell the endpoints apart
}

// Error says how many there are.
func (e *Ambiguous) Error() string {
	return fmt.Sprintf("%d endpoints are at %s; name one by its URL", len(e.URLs), e.Name)
}

// ErrNoStore is the error of a rate limit's key that only the store knows of,
// which does not answer.
var ErrNoStore = errors.New("the store of the rate limits does not answer")

// ErrNoBreaker is the error of an upstream that has no circuit breaker of its own.
var ErrNoBreaker = errors.New("the upstream has no circuit breaker of its own")
