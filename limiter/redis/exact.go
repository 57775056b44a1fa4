package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/salgue441/velocity/limiter"
)

// Decide asks Redis about a request, in one round trip that takes at most
// Options.ExactTimeout, if the limiter's mode is Exact, and else the limiter itself.
// While Redis cannot be asked the limiter decides with this node's share, or as
// Options.OnFailure says. It reports whether the request is allowed, as Allow does, and
// allocates, as that does not. What a request took is changed by the limiter's Charge and
// told with the next exchange.
func (s *Syncer) Decide(ctx context.Context, l *limiter.Limiter, r *limiter.Request, d *limiter.Decision) bool {
	m := s.members.Load().of[l]
	if m == nil || m.Mode != Exact {
		return l.Allow(r, d)
	}
	err := s.ask(ctx, m, r, d)
	if err == nil {
		return d.Allowed
	}
	s.mu.Lock()
	s.state.FailedDecisions++
	s.state.Error = err.Error()
	s.mu.Unlock()
	switch s.opts.OnFailure {
	case Deny:
		*d = limiter.Decision{Rule: 0, Limit: m.rules[0].limit, RetryAfter: time.Second}
		return false
	case Allow:
		l.Allow(r, d)
		d.Allowed, d.RetryAfter = true, 0
		return true
	case Share:
	}
	return l.Allow(r, d)
}

// unaskedError is why Redis was not asked about a request.
type unaskedError string

func (e unaskedError) Error() string { return string(e) }

const (
	errBusy unaskedError = "too many requests wait for Redis"
	errAway unaskedError = "the last exchange with Redis did not work"
)

// ask lets Redis decide.
func (s *Syncer) ask(ctx context.Context, m *member, r *limiter.Request, d *limiter.Decision) error {
	c := s.client.Load()
	if c == nil || !s.healthy.Load() {
		return errAway
	}
	select {
	case s.deciding <- struct{}{}:
		defer func() { <-s.deciding }()
	default:
		return errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.ExactTimeout)
	defer cancel()
	starts := m.Limiter.AppendStarts(nil, r.At)
	result := invoke(ctx, *c, []invocation{s.question(m, r, starts)})[0]
	allowed, levels, err := readAnswer(result, starts)
	if err != nil {
		select {
		case s.suspected <- struct{}{}:
		default:
		}
		return fmt.Errorf("decide: %w", err)
	}
	m.Limiter.Settle(r, levels, allowed, d)
	return nil
}

// question is the script with the request.
func (s *Syncer) question(m *member, r *limiter.Request, starts []int64) invocation {
	account := limiter.Keyed
	if r.Key == (limiter.Key{}) {
		account = limiter.Whole
	}
	tag := s.names.tag(m, r.Key)
	keys := make([]string, 0, 2*len(m.rules))
	args := make([]string, 0, 1+6*len(m.rules))
	args = append(args, strconv.FormatInt(max(r.Cost, 0), 10))
	for i := range m.rules {
		rule := &m.rules[i]
		key := s.names.count(tag, m, account, i, r.Key, starts[i])
		before, x := key, rule.rate
		if rule.kind != "b" {
			x = rule.end(starts[i])
		}
		if rule.kind == "s" {
			before = s.names.count(tag, m, account, i, r.Key, starts[i]-int64(rule.Window))
		}
		observe := "0"
		if rule.Observe {
			observe = "1"
		}
		keys = append(keys, key, before)
		args = append(args, rule.kind, strconv.FormatInt(rule.limit, 10), format(x), format(float64(starts[i])/1e6), format(float64(rule.Window)/1e6), observe)
	}
	return invocation{script: s.scripts.decide, keys: keys, args: args}
}

// readAnswer returns what Redis decided, with the levels of the rules.
func readAnswer(result rueidis.RedisResult, starts []int64) (allowed bool, levels []limiter.Level, err error) {
	values, err := result.ToArray()
	if err != nil {
		return false, nil, err
	}
	if len(values) != 1+2*len(starts) {
		return false, nil, fmt.Errorf("%d values came back for %d rules", len(values), len(starts))
	}
	n, err := values[0].AsInt64()
	if err != nil {
		return false, nil, err
	}
	levels = make([]limiter.Level, len(starts))
	for i := range levels {
		levels[i].Start = starts[i]
		if levels[i].Units, err = values[1+2*i].AsFloat64(); err != nil {
			return false, nil, err
		}
		if levels[i].Before, err = values[2+2*i].AsFloat64(); err != nil {
			return false, nil, err
		}
	}
	return n == 1, levels, nil
}
