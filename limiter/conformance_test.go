package limiter

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
	_ "time/tzdata" // rules name locations
)

// start is when the limiters of these tests are made: a moment in the middle of windows.
var start = Instant{Mono: 12_345, Wall: time.Date(2024, 2, 28, 13, 37, 11, 987_654_321, time.UTC).UnixNano()}

func mustLocation(name string) *time.Location {
	l, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return l
}

// ruleSets are what the suite runs over. Limits and windows without a common divisor
// are there to make rounding show.
func ruleSets() map[string][]Rule {
	sets := map[string][]Rule{}
	one := func(name string, r Rule) {
		r.Name = name
		sets[fmt.Sprintf("%s/%s", r.Algorithm, name)] = []Rule{r}
	}
	for _, a := range []Algorithm{TokenBucket, GCRA, SlidingWindow, SlidingLog, FixedWindow} {
		one("none", Rule{Algorithm: a, Limit: 0, Window: time.Second})
		one("one", Rule{Algorithm: a, Limit: 1, Window: time.Second})
		one("seven", Rule{Algorithm: a, Limit: 7, Window: 3 * time.Second})
		one("hundred", Rule{Algorithm: a, Limit: 100, Window: time.Minute})
		one("prime", Rule{Algorithm: a, Limit: 997, Window: 1009 * time.Millisecond})
		one("fine", Rule{Algorithm: a, Limit: 13, Window: 101})
		if a != SlidingLog {
			one("day", Rule{Algorithm: a, Limit: 1_000_000, Window: 24 * time.Hour})
			one("million", Rule{Algorithm: a, Limit: 999_983, Window: time.Minute})
		}
	}
	one("coarse", Rule{Algorithm: TokenBucket, Limit: 999_983, Window: 30 * 24 * time.Hour})
	one("coarse", Rule{Algorithm: GCRA, Limit: 999_983, Window: 30 * 24 * time.Hour, Burst: 500_000})
	one("fast", Rule{Algorithm: TokenBucket, Limit: 1_000_000, Window: time.Second})
	one("fast", Rule{Algorithm: GCRA, Limit: 1_000_000, Window: time.Second, Burst: 20_000})
	one("burst", Rule{Algorithm: TokenBucket, Limit: 10, Window: time.Second, Burst: 37})
	one("burst", Rule{Algorithm: GCRA, Limit: 10, Window: time.Second, Burst: 37})
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/Havana", "Asia/Kathmandu"} {
		one("day "+zone, Rule{Algorithm: FixedWindow, Limit: 20, Period: Day, Location: mustLocation(zone)})
		one("month "+zone, Rule{Algorithm: FixedWindow, Limit: 20, Period: Month, Location: mustLocation(zone)})
	}
	for _, n := range []int64{0, 1, 5, 1000} {
		one(fmt.Sprint(n), Rule{Algorithm: Concurrency, Limit: n})
	}
	sets["several"] = []Rule{
		{Name: "second", Algorithm: TokenBucket, Limit: 10, Window: time.Second},
		{Name: "minute", Algorithm: SlidingWindow, Limit: 100, Window: time.Minute},
		{Name: "day", Algorithm: FixedWindow, Limit: 1000, Period: Day, Location: mustLocation("America/New_York")},
	}
	sets["all"] = []Rule{
		{Name: "bucket", Algorithm: TokenBucket, Limit: 50, Window: time.Second, Burst: 200},
		{Name: "gcra", Algorithm: GCRA, Limit: 60, Window: time.Second, Burst: 150},
		{Name: "sliding", Algorithm: SlidingWindow, Limit: 120, Window: 2 * time.Second},
		{Name: "log", Algorithm: SlidingLog, Limit: 170, Window: 3 * time.Second},
		{Name: "fixed", Algorithm: FixedWindow, Limit: 500, Window: 10 * time.Second},
		{Name: "day", Algorithm: FixedWindow, Limit: 100_000, Period: Day},
	}
	return sets
}

// source chooses a number below n.
type source func(n int64) int64

func fromSeed(seed uint64) source { return rand.New(rand.NewPCG(seed, 99)).Int64N }

// keys are the places where a limiter may keep an account.
var keys = map[string]Key{"keyed": {Hi: 1, Lo: 2}, "whole": {}}

// session drives a limiter and the models of its rules side by side. The models are told
// what the limiter decided, and judge every decision.
type session struct {
	t      testing.TB
	rules  []Rule
	l      *Limiter
	models []model
	key    Key
	at     Instant
	held   []*Request
	lag    int64 // units that the limiter may be behind
	shift  int64 // of the limiter's monotonic clock, ahead of the session's
}

// now is the session's time by the limiter's clocks.
func (s *session) now() Instant { return Instant{Mono: s.at.Mono + s.shift, Wall: s.at.Wall} }

func newSession(t testing.TB, rules []Rule, key Key, shards int) *session {
	l, err := New(rules, Options{Start: start, Shards: shards, MaxKeys: 10})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, rules: rules, l: l, key: key, at: start}
	for _, r := range rules {
		s.models = append(s.models, newModel(r, start))
		if l.plan.counters[len(s.models)-1].tick > 1 {
			s.lag = 1
		}
		if perSlack := r.Limit * slack / max(1, int64(r.Window)); key == (Key{}) && r.Algorithm != FixedWindow && r.Algorithm != SlidingWindow {
			if l.plan.counters[len(s.models)-1].slack {
				s.lag = max(s.lag, perSlack+1)
			}
		}
	}
	return s
}

// left is the fewest units that any model has, and the rule that has them.
func (s *session) left(at Instant) (int64, int) {
	least, rule := int64(0), -1
	for i, m := range s.models {
		if n := m.left(at); rule < 0 || n < least {
			least, rule = n, i
		}
	}
	return least, rule
}

func (s *session) later(d time.Duration) Instant {
	return Instant{Mono: s.at.Mono + int64(d), Wall: s.at.Wall + int64(d)}
}

// allow asks for n units and judges the answer.
func (s *session) allow(n int64, shard uint32) {
	s.t.Helper()
	left, _ := s.left(s.at)
	r := &Request{Key: s.key, Cost: n, At: s.now(), Shard: shard}
	var d Decision
	allowed := s.l.Allow(r, &d)
	switch need := max(n, 1); {
	case allowed != d.Allowed:
		s.t.Fatalf("Allow returned %v and decided %+v", allowed, d)
	case allowed && left < need:
		s.t.Fatalf("at %+v: %d allowed with %d left", s.at, n, left)
	case !allowed && left >= need+s.lag:
		s.t.Fatalf("at %+v: %d refused with %d left: %+v", s.at, n, left, d)
	}
	if allowed {
		for _, m := range s.models {
			m.take(s.at, max(n, 0))
		}
		s.held = append(s.held, r)
	}
	s.describes(max(n, 1), &d)
}

// describes judges the rest of a decision.
func (s *session) describes(n int64, d *Decision) {
	s.t.Helper()
	m := s.models[d.Rule]
	if limit := s.l.plan.counters[d.Rule].limit; d.Limit != limit {
		s.t.Fatalf("limit %d, want %d", d.Limit, limit)
	}
	if s.key != (Key{}) && s.lag == 0 {
		if left := m.left(s.at); d.Remaining != left {
			s.t.Fatalf("at %+v: remaining %d, want %d", s.at, d.Remaining, left)
		}
		s.resets(d)
	} else if left := m.left(s.at); d.Remaining > left {
		s.t.Fatalf("at %+v: remaining %d estimated, only %d left", s.at, d.Remaining, left)
	}
	if !d.Allowed && s.lag == 0 {
		s.retries(n, d)
	} else if d.Allowed && d.RetryAfter != 0 {
		s.t.Fatalf("allowed and retry after %v", d.RetryAfter)
	}
}

func (s *session) resets(d *Decision) {
	s.t.Helper()
	if s.l.Concurrent() || d.Limit == 0 {
		return
	}
	m := s.models[d.Rule]
	if left := m.left(s.later(d.Reset)); left != d.Limit {
		s.t.Fatalf("at %+v: %d of %d left after the reset in %v", s.at, left, d.Limit, d.Reset)
	}
	if d.Reset > 0 && m.left(s.later(d.Reset-1)) >= d.Limit {
		s.t.Fatalf("at %+v: the reset could come before %v", s.at, d.Reset)
	}
}

func (s *session) retries(n int64, d *Decision) {
	s.t.Helper()
	if s.l.Concurrent() {
		if most, _ := s.most(); (d.RetryAfter == Never) != (n > most) {
			s.t.Fatalf("%d of %d held: retry after %v", n, most, d.RetryAfter)
		}
		return
	}
	if most, _ := s.most(); n > most {
		if d.RetryAfter != Never {
			s.t.Fatalf("%d can never be had, but retry after %v", n, d.RetryAfter)
		}
		return
	}
	if left, _ := s.left(s.later(d.RetryAfter)); left < n {
		s.t.Fatalf("at %+v: %d left %v later, too few for %d: %+v", s.at, left, d.RetryAfter, n, d)
	}
	if left, _ := s.left(s.later(d.RetryAfter - 1)); left >= n {
		s.t.Fatalf("at %+v: %d left before %v have passed, enough for %d: %+v", s.at, left, d.RetryAfter, n, d)
	}
}

// most is the most that can be had at once.
func (s *session) most() (int64, int) {
	least, rule := int64(0), -1
	for i := range s.l.plan.counters {
		if n := s.l.plan.counters[i].limit; rule < 0 || n < least {
			least, rule = n, i
		}
	}
	return least, rule
}

// advance lets time pass: nothing, a moment, or several windows.
func (s *session) advance(next source) {
	window := int64(time.Hour)
	for _, r := range s.rules {
		if r.Window > 0 {
			window = min(window, int64(r.Window))
		} else if r.Period != "" {
			window = int64(20 * time.Hour)
		}
	}
	limit, _ := s.most()
	var d int64
	switch next(8) {
	case 0, 1, 2:
	case 3, 4:
		d = next(2*window/max(limit, 1) + 2)
	case 5:
		d = next(window/5 + 2)
	case 6:
		d = next(3*window + 2)
	case 7:
		d = window - 1 + next(3)
	}
	s.at = s.later(time.Duration(d))
}

// act makes one random request.
func (s *session) act(next source) {
	s.t.Helper()
	most, _ := s.most()
	shard := uint32(next(8))
	switch next(8) {
	case 0:
		s.allow(0, shard)
	case 1:
		s.allow(next(most+3), shard)
	case 2:
		s.allow(next(most/8+2), shard)
	case 3:
		s.release(next)
	default:
		s.allow(1, shard)
	}
}

// release ends a request; rates are charged one more unit now and then.
func (s *session) release(next source) {
	if len(s.held) == 0 {
		return
	}
	i := int(next(int64(len(s.held))))
	r := s.held[i]
	s.held[i] = s.held[len(s.held)-1]
	s.held = s.held[:len(s.held)-1]
	if s.l.Concurrent() {
		r.Shard = uint32(next(8))
		s.l.Release(r)
		s.models[0].take(s.at, -r.Cost)
		return
	}
	n := 1 + next(3)
	s.l.Charge(r, n, s.now())
	for _, m := range s.models {
		m.take(s.at, n)
	}
}

// TestConformance compares every algorithm with its model over random requests.
func TestConformance(t *testing.T) {
	for name, rules := range ruleSets() {
		for where, key := range keys {
			for _, shards := range []int{1, 4} {
				t.Run(fmt.Sprintf("%s/%s/%d", name, where, shards), func(t *testing.T) {
					for seed := range uint64(3) {
						s, next := newSession(t, rules, key, shards), fromSeed(seed)
						for range 1000 {
							s.advance(next)
							s.act(next)
						}
					}
				})
			}
		}
	}
}

// TestNoTickIsGained empties a full bucket in the middle of a tick: the rest of the tick
// is not all of it.
func TestNoTickIsGained(t *testing.T) {
	for name, rules := range ruleSets() {
		s := newSession(t, rules, keys["keyed"], 1)
		if s.l.plan.counters[0].tick == 1 {
			continue
		}
		for range 50 {
			s.at = s.later(7 * time.Microsecond)
			most, _ := s.most()
			s.allow(most, 0)
			d := ask(s.l, s.key, 1, s.at)
			if d.Allowed {
				t.Fatalf("%s: %+v", name, d)
			}
			s.at = s.later(d.RetryAfter)
			s.allow(1, 0)
			s.at = s.later(31 * 24 * time.Hour)
		}
	}
}
