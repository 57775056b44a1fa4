package proxy

import (
	"strconv"
	"strings"

	"github.com/salgue441/velocity/balancer"
)

// retryPolicy reads the keys of a route directive that are about retries:
//
//	retries=N floor=N percent=N on=C,C statuses=N,N-N retriable=NAME:VALUE
//	retry-methods=M,M per=D back-off=D back-off-max=D retry-after=D repeat no-key
//
// Without on, it is what the configuration has for its default.
func retryPolicy(w line) RetryPolicy {
	w.t.Helper()
	p := RetryPolicy{
		Attempts: w.int("retries", 0), BudgetPercent: w.int("percent", 0), BudgetFloor: w.int("floor", 0),
		On: OnConnectFailure, Methods: IdempotentMethods(), IdempotencyKey: !w.has("no-key"),
		PerAttempt: w.duration("per"), BackOff: w.duration("back-off"), MaxBackOff: w.duration("back-off-max"),
		MaxRetryAfter: w.duration("retry-after"), RepeatEndpoints: w.has("repeat"),
	}
	if on, ok := w.keys["on"]; ok {
		p.On = 0
		for _, c := range strings.Split(on, ",") {
			p.On |= map[string]Conditions{"connect": OnConnectFailure, "reset": OnReset, "timeout": OnTimeout}[c]
		}
	}
	for _, r := range w.split("statuses") {
		from, to, isRange := strings.Cut(r, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil {
			w.t.Fatalf("statuses %q", r)
		}
		p.Statuses.Add(first, last)
	}
	if h, ok := w.keys["retriable"]; ok {
		name, value, _ := strings.Cut(h, ":")
		p.Headers = []RetriableHeader{{Name: name, Value: value}}
	}
	if m := w.split("retry-methods"); m != nil {
		p.Methods = m
	}
	return p
}

// hedgePolicy reads the keys of a route directive that are about hedging:
//
//	hedge=D|pN hedge-floor=N hedge-percent=N
func hedgePolicy(w line) HedgePolicy {
	w.t.Helper()
	p := HedgePolicy{
		Methods: []string{"GET", "HEAD", "OPTIONS"}, BudgetPercent: w.int("hedge-percent", 0), BudgetFloor: w.int("hedge-floor", 0),
	}
	percentile, ok := strings.CutPrefix(w.keys["hedge"], "p")
	if !ok {
		p.After = w.duration("hedge")
		return p
	}
	var err error
	if p.Percentile, err = strconv.Atoi(percentile); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// startAtFirst turns the round of an upstream so that its first server is next.
func (s *site) startAtFirst(name string) {
	state := s.upstreams[name].State()
	for {
		var q balancer.Query
		if state.Pick(&q) == state.Endpoints[len(state.Endpoints)-1] {
			return
		}
	}
}

// wantMetric checks one series; a series that is missing is 0.
func (s *site) wantMetric(series string, want int) {
	s.t.Helper()
	got := "0"
	for line := range strings.Lines(s.metrics()) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			got = strings.TrimSpace(value)
		}
	}
	if got != strconv.Itoa(want) {
		s.t.Errorf("%s is %s, want %d", series, got, want)
	}
}
