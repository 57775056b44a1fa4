package config

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Retries sends a request again whose attempt failed, to another server: on the
// failures in `on`, and on replies by `statuses` and `retriable_headers`. Only a
// request whose body is at hand is sent again, and unless nothing of it reached
// a server, only one that may reach a server twice. [retries.md](retries.md)
// explains it.
//
//	routes:
//	  - path: /api/*
//	    targets: [{url: "http://10.0.0.1:3000"}, {url: "http://10.0.0.2:3000"}]
//	    timeout: 10s
//	    retries:
//	      attempts: 2
//	      on: [connect_failure, reset_before_response, timeout]
//	      statuses: [502, 503]
//	      per_attempt_timeout: 3s
type Retries struct {
	// Attempts is how many more attempts may follow the first. 0 never
	// retries.
	Attempts int `yaml:"attempts" default:"1" min:"0" max:"10"`

	// On lists failures: `connect_failure` (nothing was sent),
	// `reset_before_response` (the connection ended before the header of the
	// reply), `timeout` (the header did not come in time) and `5xx` (any
	// reply of the status 500 to 599).
	On []string `yaml:"on" default:"connect_failure" enum:"connect_failure,reset_before_response,timeout,5xx"`

	// Statuses lists statuses of replies, each one number or a range such as
	// `520-529`.
	Statuses []StatusRange `yaml:"statuses"`

	// RetriableHeaders lists fields of replies.
	RetriableHeaders []RetriableHeader `yaml:"retriable_headers"`

	// Methods lists the methods of requests that may reach a server twice.
	Methods []string `yaml:"methods" default:"GET,HEAD,OPTIONS,PUT,DELETE,TRACE"`

	// IdempotencyKey also lets requests with an `Idempotency-Key` reach a
	// server twice, whatever their method.
	IdempotencyKey bool `yaml:"idempotency_key" default:"true"`

	// PerAttemptTimeout bounds an attempt up to the header of its reply. It
	// does not apply to requests whose body streams. 0 means no limit.
	PerAttemptTimeout Duration `yaml:"per_attempt_timeout" default:"0s"`

	// BackOff spaces the attempts.
	BackOff BackOff `yaml:"back_off"`

	// MaxRetryAfter is the longest `Retry-After` of a reply that is waited for;
	// a reply that asks for more is passed on. 0 disregards the field.
	MaxRetryAfter Duration `yaml:"max_retry_after" default:"1s"`

	// RepeatServers begins again with all servers once each was tried.
	RepeatServers bool `yaml:"repeat_servers" default:"false"`

	// Budget keeps retries from making an outage worse.
	Budget RetryBudget `yaml:"budget"`
}

// RetriableHeader is a field of a reply that makes it one to try again.
type RetriableHeader struct {
	// Name is the field's name.
	Name string `yaml:"name" required:"true"`

	// Value is the field's whole value. Absent, every value will do.
	Value string `yaml:"value"`
}

// BackOff spaces the attempts: the wait before a retry is random between 0 and
// `base`, which doubles from retry to retry up to `max`.
type BackOff struct {
	// Base is the longest wait before the first retry. 0 does not wait.
	Base Duration `yaml:"base" default:"25ms"`

	// Max is the longest wait before any retry.
	Max Duration `yaml:"max" default:"250ms"`
}

// RetryBudget bounds the retries in flight to an upstream.
type RetryBudget struct {
	// Percent is the share of the requests in flight that may be retries.
	Percent int `yaml:"percent" default:"20" min:"0" max:"100"`

	// Min is how many retries in flight are always allowed.
	Min int `yaml:"min" default:"3" min:"0" max:"1000000"`
}

// Hedge makes a second attempt at another server when the first was not answered
// in time, and takes the reply that comes first. Requests with a streamed body
// are not hedged. [retries.md](retries.md#hedging) explains it.
//
//	routes:
//	  - path: /search/*
//	    targets: [{url: "http://10.0.0.1:3000"}, {url: "http://10.0.0.2:3000"}]
//	    hedge: {after: p95}
type Hedge struct {
	// After is how long the first attempt has: a duration such as `50ms`, or a
	// percentile such as `p95` of the times that recent replies of the
	// upstream took, from `p50` to `p99`.
	After string `yaml:"after" default:"p95"`

	// Methods lists the methods of requests that are hedged. A `DELETE` whose
	// hedge finds nothing left may be answered 404.
	Methods []string `yaml:"methods" default:"GET,HEAD,OPTIONS" enum:"GET,HEAD,OPTIONS,TRACE,PUT,DELETE"`

	// Budget keeps hedges from adding much load.
	Budget HedgeBudget `yaml:"budget"`
}

// HedgeBudget bounds the hedges in flight to an upstream. It is apart from that
// of retries.
type HedgeBudget struct {
	// Percent is the share of the requests in flight that may be hedges.
	Percent int `yaml:"percent" default:"5" min:"0" max:"100"`

	// Min is how many hedges in flight are always allowed.
	Min int `yaml:"min" default:"1" min:"0" max:"1000000"`
}

// Delay returns what After says: a percentile or, if that is 0, a duration.
func (h *Hedge) Delay() (percentile int, after time.Duration, err error) {
	if digits, ok := strings.CutPrefix(h.After, "p"); ok {
		n, err := strconv.Atoi(digits)
		if err != nil || n < 50 || n > 99 {
			return 0, 0, errors.New("expected a percentile from p50 to p99, got " + strconv.Quote(h.After))
		}
		return n, 0, nil
	}
	d, err := parseDuration(h.After)
	if err == nil && d == 0 {
		err = errors.New("must be longer than 0")
	}
	return 0, time.Duration(d), err
}

func (h *Hedge) check(s scope) {
	if _, _, err := h.Delay(); err != nil {
		s.problem("after", "%s", err.Error())
	}
}

func (r *Retries) check(s scope) {
	checkMethods(s, "methods", r.Methods)
	for i, status := range r.Statuses {
		if status.From >= 100 && status.From < 200 {
			s.problem("statuses["+strconv.Itoa(i)+"]", "statuses below 200 are not final replies")
		}
	}
}

func (h *RetriableHeader) check(s scope) {
	if h.Name != "" && !isToken(h.Name) {
		s.problem("name", "%q is not a header name", h.Name)
	}
	if s.has("value") && h.Value == "" {
		s.problem("value", "must not be empty; leave it out to accept any value")
	}
}

func (b *BackOff) check(s scope) {
	if b.Max < b.Base {
		field := "base"
		if s.has("max") {
			field = "max"
		}
		s.problem(field, "max %s is below base %s", b.Max, b.Base)
	}
}
