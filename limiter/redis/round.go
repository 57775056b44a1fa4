package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/salgue441/velocity/limiter"
)

// beatEvery is how often a node says that it lives while it has nothing else to say.
const beatEvery = 500 * time.Millisecond

// round exchanges what there is to exchange and returns when to come again.
func (s *Syncer) round(ctx context.Context) (time.Duration, error) {
	c, err := s.connected()
	if err == nil {
		limited, cancel := context.WithTimeout(ctx, s.opts.Timeout)
		wait := time.Duration(0)
		err = s.exchange(limited, c, &wait)
		cancel()
		if err == nil {
			return wait, nil
		}
	}
	if ctx.Err() != nil {
		return 0, err // it is we who end
	}
	s.report(func(st *State) {
		st.Connected, st.Error = false, err.Error()
		st.Failures++
	})
	return 0, err
}

// exchange tells what was taken and applies what comes back. wait, unless nil, is set to
// when the next exchange is due.
func (s *Syncer) exchange(ctx context.Context, c rueidis.Client, wait *time.Duration) error {
	began := time.Now()
	// What piles up on the way to a server that does not answer is all done when it goes
	// on: nothing new is sent before it has answered, and what is sent again counts once.
	healthy := s.healthy.Load()
	if healthy && len(s.pending) == 0 {
		s.collect()
	}
	sent := s.pending[:min(s.width, len(s.pending))]
	s.pending = slices.Clone(s.pending[len(sent):])
	if healthy && len(sent) == 0 && began.Sub(s.beaten) < beatEvery {
		if wait != nil {
			*wait = s.interval(nil)
		}
		return nil
	}
	calls := make([]invocation, 0, 1+len(sent))
	alive := max(livesFor, 3*s.opts.Interval)
	calls = append(calls, invocation{s.scripts.beat, []string{s.names.nodes()}, []string{s.opts.Node, strconv.FormatInt(alive.Milliseconds(), 10)}})
	for _, b := range sent {
		calls = append(calls, s.invocation(b, began))
	}
	before := s.opts.Now()
	results := invoke(ctx, c, calls)
	after := s.opts.Now()
	nodes, redisNow, err := readBeat(results[0])
	problems := []error{err}
	lost := false
	for i, b := range sent {
		changed, err := s.receive(b, results[i+1], after)
		lost = lost || changed
		if err != nil {
			problems = append(problems, err)
			s.pending = append(s.pending, b)
		}
	}
	if err := errors.Join(problems...); err != nil {
		s.age(began)
		s.width = max(1, s.width/2)
		return fmt.Errorf("exchange counts: %w", err)
	}
	s.beaten, s.width = began, min(2*s.width, mostBatches)
	s.setClock(redisNow, before, after)
	count := s.nodes.observe(nodes, began, alive)
	s.report(func(st *State) {
		st.Connected, st.LastExchange, st.RoundTrip, st.Nodes = true, time.Now(), time.Since(began), count
		st.Clock = s.clock
		st.Exchanges++
		if lost {
			st.Losses++
		}
	})
	if wait == nil {
		return nil
	}
	if *wait = shortestInterval; healthy && len(s.pending) == 0 {
		*wait = s.interval(sent)
	}
	return nil
}

// readBeat returns how many nodes live, and the time of Redis in ns.
func readBeat(r rueidis.RedisResult) (nodes int, now int64, err error) {
	values, err := r.ToArray()
	if err != nil {
		return 0, 0, fmt.Errorf("tell that the node lives: %w", err)
	}
	if len(values) != 2 {
		return 0, 0, fmt.Errorf("tell that the node lives: %d values came back", len(values))
	}
	ms, err := values[0].AsFloat64()
	if err != nil {
		return 0, 0, fmt.Errorf("tell that the node lives: %w", err)
	}
	count, err := values[1].AsInt64()
	if err != nil {
		return 0, 0, fmt.Errorf("tell that the node lives: %w", err)
	}
	return int(count), int64(ms * 1e6), nil
}

// setClock makes windows begin by Redis's clock. The answer was given at some moment
// between two readings; a difference that this explains changes nothing.
func (s *Syncer) setClock(redisNow int64, before, after limiter.Instant) {
	wall := before.Wall + (after.Mono-before.Mono)/2
	mono := before.Mono + (after.Mono-before.Mono)/2
	doubt := max((after.Mono-before.Mono)/2, int64(time.Millisecond))
	if ahead := time.Duration(redisNow - wall); (ahead - s.clock).Abs() > time.Duration(doubt) {
		s.clock = ahead
	}
	for _, m := range s.members.Load().list {
		if off := redisNow - m.Limiter.Clock(mono); off > doubt || off < -doubt {
			m.Limiter.SetClock(redisNow, mono, after)
		}
	}
}

// interval is how long to wait until the next exchange, after one that told what was
// taken. A key that would reach its limit within two more, were all nodes as fast on it
// as this one, is worth a quarter.
func (s *Syncer) interval(sent []*batch) time.Duration {
	wait := s.opts.Interval
	for _, m := range s.members.Load().list {
		wait = min(wait, m.tolerates())
	}
	for _, b := range sent {
		for i := range b.entries {
			if e := &b.entries[i]; e.Units > 0 && e.left < 2*e.Units*float64(s.nodes.known) {
				return max(wait/4, shortestInterval)
			}
		}
	}
	return wait
}
