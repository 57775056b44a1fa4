package breaker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Every script is a breaker's life, a line each:
//
//	TIME EVENT... => STATE [SHARE%] [CAUSE]
//
// The events are allow and refuse, which ask and expect the answer, ok, fail, slow
// and ignore, which end the request that was allowed first and has not ended, or
// one that is allowed on the spot if there is none, trip, reset and look. A number
// after an event repeats it.
var scripts = []struct {
	name     string
	settings Settings
	script   string
}{
	{
		name:     "error ratio",
		settings: Settings{ErrorRatio: 50, Ramp: -1},
		script: `
			0s      ok 10 fail 9         => closed 100%
			1s      fail                 => open 0% 10 of 20 requests in 10s failed
			10.9s   refuse               => open 0% 10 of 20 requests in 10s failed
			11s     allow refuse         => half_open 0%
			11.5s   ok allow             => closed 100%`,
	},
	{
		name:     "error ratio wants enough requests",
		settings: Settings{ErrorRatio: 50},
		script: `
			0s   fail 19                 => closed 100%
			1s   ok                      => closed 100%
			2s   fail                    => open 0% 20 of 21 requests in 10s failed`,
	},
	{
		name:     "what is long ago does not count",
		settings: Settings{ErrorRatio: 50},
		script: `
			0s   fail 19                 => closed 100%
			10s  fail 19                 => closed 100%
			20s  ok 30                   => closed 100%
			30s  fail 20                 => open 0% 20 of 20 requests in 10s failed`,
	},
	{
		name:     "all must fail",
		settings: Settings{ErrorRatio: 100, MinRequests: 5},
		script: `
			0s   ok fail 8               => closed 100%
			10s  fail 5                  => open 0% 5 of 5 requests in 10s failed`,
	},
	{
		name:     "in a row",
		settings: Settings{ConsecutiveFailures: 3},
		script: `
			0s   fail 2 ok fail 2        => closed 100%
			1s   ignore 5                => closed 100%
			2s   fail                    => open 0% 3 requests in a row failed`,
	},
	{
		name:     "in a row over a long time",
		settings: Settings{ConsecutiveFailures: 3},
		script: `
			0s     fail                  => closed 100%
			1000s  fail                  => closed 100%
			9000s  fail                  => open 0% 3 requests in a row failed`,
	},
	{
		name:     "median latency",
		settings: Settings{LatencyLimit: 500 * time.Millisecond},
		script: `
			0s   ok 10 slow 10           => closed 100%
			1s   slow                    => open 0% 11 of 21 requests in 10s took longer than 500ms, which is more than 50 %
			11s  slow                    => open 0% a probe took 1s, longer than 500ms`,
	},
	{
		name:     "p99",
		settings: Settings{LatencyLimit: 500 * time.Millisecond, LatencyQuantile: 99, MinRequests: 100},
		script: `
			0s   ok 199 slow 2           => closed 100%
			1s   slow                    => open 0% 3 of 202 requests in 10s took longer than 500ms, which is more than 1 %`,
	},
	{
		name:     "nothing is set",
		settings: Settings{},
		script: `
			0s   fail 1000 slow 1000     => closed 100%`,
	},
	{
		name:     "ignored requests do not count",
		settings: Settings{ErrorRatio: 50},
		script: `
			0s   ignore 100 fail 19      => closed 100%`,
	},
	{
		name:     "what was sent before is not a probe",
		settings: Settings{ConsecutiveFailures: 3, Ramp: -1},
		script: `
			0s   allow 4 fail 3          => open 0% 3 requests in a row failed
			10s  look                    => half_open 0%
			10s  ok                      => half_open 0%
			10s  allow refuse            => half_open 0%
			11s  ok                      => closed 100%`,
	},
	{
		name:     "a failing probe",
		settings: Settings{ConsecutiveFailures: 1, Ramp: -1},
		script: `
			0s   fail                    => open 0% 1 requests in a row failed
			10s  fail                    => open 0% a probe failed
			19s  refuse                  => open 0% a probe failed
			20s  ok                      => closed 100%`,
	},
	{
		name:     "a probe of a client that went away",
		settings: Settings{ConsecutiveFailures: 1, Ramp: -1},
		script: `
			0s   fail                    => open 0% 1 requests in a row failed
			10s  allow refuse ignore     => half_open 0%
			10s  allow refuse ok         => closed 100%`,
	},
	{
		name:     "a probe that never ends",
		settings: Settings{ConsecutiveFailures: 1, Ramp: -1, ProbeTimeout: 5 * time.Second},
		script: `
			0s   fail                    => open 0% 1 requests in a row failed
			10s  allow refuse            => half_open 0%
			14s  refuse                  => half_open 0%
			15s  allow refuse            => half_open 0%
			16s  ok                      => half_open 0%
			16s  refuse                  => half_open 0%
			17s  ok                      => closed 100%`,
	},
	{
		name:     "three probes",
		settings: Settings{ConsecutiveFailures: 1, Ramp: -1, Probes: 3},
		script: `
			0s   fail                    => open 0% 1 requests in a row failed
			10s  allow 3 refuse          => half_open 0%
			11s  ok refuse ignore allow refuse ok => half_open 0%
			12s  ok                      => closed 100%`,
	},
	{
		name:     "ramp",
		settings: Settings{ErrorRatio: 50, ConsecutiveFailures: 5},
		script: `
			0s     fail 5                => open 0% 5 requests in a row failed
			10s    ok                    => half_open 0%
			10s    refuse 20             => half_open 0%
			15s    look                  => half_open 50%
			19.9s  look                  => half_open 99%
			20s    allow 100             => closed 100%`,
	},
	{
		name:     "ramp ends in failures in a row",
		settings: Settings{ErrorRatio: 50},
		script: `
			0s     fail 20               => open 0% 20 of 20 requests in 10s failed
			10s    ok                    => half_open 0%
			19.999999999s  fail 2 ok fail 2 ok fail 2 => half_open 99%
			19.999999999s  fail          => open 0% 3 requests in a row failed`,
	},
	{
		name:     "ramp ends in a ratio",
		settings: Settings{ErrorRatio: 50, MinRequests: 4},
		script: `
			0s     fail 4                => open 0% 4 of 4 requests in 10s failed
			10s    ok                    => half_open 0%
			19.999999999s  fail ok       => half_open 99%
			19.999999999s  fail          => open 0% 2 of 4 requests in 10s failed`,
	},
	{
		name:     "requests of the ramp count when it is over",
		settings: Settings{ConsecutiveFailures: 2},
		script: `
			0s     fail 2                => open 0% 2 requests in a row failed
			10s    ok                    => half_open 0%
			19.999999999s allow 2        => half_open 99%
			20s    look                  => closed 100%
			20s    fail 2                => open 0% 2 requests in a row failed`,
	},
	{
		name:     "longer and longer",
		settings: Settings{ConsecutiveFailures: 1, OpenFor: time.Second, MaxOpenFor: 5 * time.Second, Ramp: -1},
		script: `
			0s    fail                   => open 0% 1 requests in a row failed
			1s    fail                   => open 0% a probe failed
			2.9s  refuse                 => open 0% a probe failed
			3s    fail                   => open 0% a probe failed
			6.9s  refuse                 => open 0% a probe failed
			7s    fail                   => open 0% a probe failed
			12s   fail                   => open 0% a probe failed
			16.9s refuse                 => open 0% a probe failed
			17s   ok                     => closed 100%
			17s   fail                   => open 0% 1 requests in a row failed
			18s   allow                  => half_open 0%`,
	},
	{
		name:     "by the operator",
		settings: Settings{ConsecutiveFailures: 3},
		script: `
			0s     trip                  => open 0% opened by the operator
			9000s  refuse                => open 0% opened by the operator
			9001s  reset allow 5         => closed 100%
			9001s  fail 2                => closed 100%
			9001s  reset fail 2          => closed 100%`,
	},
}

func TestScripts(t *testing.T) {
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			s.settings.Jitter = -1
			p := &player{t: t}
			p.b = New(s.settings, func(_, to State) { p.changes = append(p.changes, to) })
			for line := range strings.Lines(strings.TrimSpace(s.script)) {
				p.line(strings.TrimSpace(line))
			}
			if last := p.b.State(p.now); len(p.changes) > 0 && p.changes[len(p.changes)-1] != last {
				t.Errorf("onChange was last told %v, the state is %v", p.changes[len(p.changes)-1], last)
			}
			if len(slices.Compact(slices.Clone(p.changes))) != len(p.changes) {
				t.Errorf("onChange was told %v", p.changes)
			}
		})
	}
}

type player struct {
	t       *testing.T
	b       *Breaker
	now     int64
	permits []Permit
	changes []State
}

func (p *player) line(line string) {
	p.t.Helper()
	did, want, _ := strings.Cut(line, "=>")
	words := strings.Fields(did)
	at, err := time.ParseDuration(words[0])
	if err != nil {
		p.t.Fatal(err)
	}
	p.now = int64(at)
	for i := 1; i < len(words); i++ {
		times := 1
		if i+1 < len(words) {
			if n, err := strconv.Atoi(words[i+1]); err == nil {
				times = n
			}
		}
		for range times {
			p.event(line, words[i])
		}
		if times > 1 {
			i++
		}
	}
	state := p.b.State(p.now)
	status := p.b.Status(p.now)
	got := fmt.Sprintf("%v %d%%", state, status.Share)
	if state == Open {
		got += " " + status.Cause
	}
	if got != strings.TrimSpace(want) || status.State != state {
		p.t.Errorf("%s\nis %s", line, got)
	}
}

func (p *player) event(line, event string) {
	p.t.Helper()
	switch event {
	case "look":
	case "trip":
		p.b.Trip(p.now, 0)
	case "reset":
		p.b.Reset(p.now)
	case "allow", "refuse":
		permit, ok := p.b.Allow(p.now)
		if ok != (event == "allow") {
			p.t.Errorf("%s\n%s: is the other way", line, event)
		}
		if ok {
			p.permits = append(p.permits, permit)
		}
	default:
		p.end(line, event)
	}
}

func (p *player) end(line, event string) {
	p.t.Helper()
	if len(p.permits) == 0 {
		p.event(line, "allow")
	}
	if len(p.permits) == 0 {
		return
	}
	permit := p.permits[0]
	p.permits = p.permits[1:]
	switch event {
	case "ok":
		p.b.Record(p.now, permit, Success, time.Millisecond)
	case "fail":
		p.b.Record(p.now, permit, Failure, time.Millisecond)
	case "slow":
		p.b.Record(p.now, permit, Success, time.Second)
	case "ignore":
		p.b.Record(p.now, permit, Ignored, time.Second)
	default:
		p.t.Fatalf("%s: no event %q", line, event)
	}
}

func TestRampGrowsLinearly(t *testing.T) {
	b := New(Settings{ConsecutiveFailures: 1, Jitter: -1}, nil)
	p, _ := b.Allow(0)
	b.Record(0, p, Failure, 0)
	begun := int64(10 * time.Second)
	p, _ = b.Allow(begun)
	b.Record(begun, p, Success, 0)
	admitted, want := 0, 0.0
	for i := range 10_000 {
		now := begun + int64(i)*int64(time.Millisecond)
		if p, ok := b.Allow(now); ok {
			admitted++
			b.Record(now, p, Success, 0)
		}
		want += float64(i) / 10_000
		if diff := float64(admitted) - want; diff < -5 || diff > 5 {
			t.Fatalf("%d of the first %d requests, want %.1f", admitted, i+1, want)
		}
	}
}

func TestJitter(t *testing.T) {
	shortest, longest := int64(time.Hour), int64(0)
	for range 1000 {
		b := New(Settings{ConsecutiveFailures: 1, OpenFor: time.Second, Jitter: 20}, nil)
		p, _ := b.Allow(0)
		b.Record(0, p, Failure, 0)
		shortest, longest = min(shortest, b.RetryAt()), max(longest, b.RetryAt())
	}
	if shortest < int64(time.Second) || longest > int64(1200*time.Millisecond) || longest-shortest < int64(100*time.Millisecond) {
		t.Errorf("open for %v to %v, want 1 s to 1.2 s", time.Duration(shortest), time.Duration(longest))
	}
}

func TestSet(t *testing.T) {
	b := New(Settings{ErrorRatio: 50, Jitter: -1}, nil)
	record := func(now int64, n int, outcome Outcome) {
		for range n {
			p, _ := b.Allow(now)
			b.Record(now, p, outcome, 0)
		}
	}
	now := int64(100 * time.Second)
	record(now, 12, Failure)
	b.Set(Settings{ErrorRatio: 50, MinRequests: 13, Window: 4 * time.Second, Jitter: -1})
	if s := b.Status(now); s.State != Closed || s.Requests != 12 || s.Failed != 12 || s.InARow != 12 {
		t.Fatalf("after Set: %+v", s)
	}
	if record(now, 1, Failure); b.State(now) != Open {
		t.Fatal("what was counted before Set does not count")
	}
	retry := b.RetryAt()
	b.Set(Settings{OpenFor: time.Hour})
	if b.RetryAt() != retry || b.State(now) != Open || b.State(retry) != HalfOpen {
		t.Error("Set disturbs an open breaker")
	}
}

// TestSetProbes: fewer or more probes in the midst of probing wedge nothing.
func TestSetProbes(t *testing.T) {
	for _, test := range []struct{ before, allowed, succeeded, after int }{
		{3, 2, 0, 1}, {3, 3, 2, 1}, {3, 3, 2, 2}, {1, 1, 0, 3}, {5, 5, 3, 4}, {5, 3, 3, 3}, {5, 2, 2, 1},
	} {
		settings := Settings{ConsecutiveFailures: 1, Probes: test.before, Jitter: -1}
		b := New(settings, nil)
		p, _ := b.Allow(0)
		b.Record(0, p, Failure, 0)
		now := int64(10 * time.Second)
		for i := range test.allowed {
			p, ok := b.Allow(now)
			if !ok {
				t.Fatal("refused")
			}
			if i < test.succeeded {
				b.Record(now, p, Success, 0)
			}
		}
		settings.Probes = test.after
		b.Set(settings)
		for range 10 { // all that is under way is lost
			now += int64(DefaultProbeTimeout)
			for range 20 {
				p, ok := b.Allow(now)
				if !ok || b.State(now) == Closed {
					break
				}
				b.Record(now, p, Success, 0)
			}
		}
		if state := b.State(now); state != Closed {
			t.Errorf("%+v: %v", test, state)
		}
	}
}

func TestRetryAt(t *testing.T) {
	b := New(Settings{}, nil)
	if b.RetryAt() != 0 || b.Poll(0) != 0 {
		t.Error("a closed breaker is due")
	}
	b.Trip(5, 7)
	if b.RetryAt() != 12 || b.Poll(6) != 12 || b.Status(6).RetryAt != 12 {
		t.Error("a tripped breaker half-opens at another time")
	}
	b.Trip(8, 0)
	if b.RetryAt() != 0 || b.Poll(8) != 0 || b.Status(8).RetryAt != 0 {
		t.Error("a breaker that stays open is due")
	}
}

func TestSettingsDefaults(t *testing.T) {
	var s Settings
	got := New(s, nil).Settings()
	want := Settings{
		Window: 10 * time.Second, MinRequests: 20, LatencyQuantile: 50, OpenFor: 10 * time.Second, MaxOpenFor: 10 * time.Second,
		Jitter: 10, Probes: 1, ProbeTimeout: 30 * time.Second, Ramp: 10 * time.Second,
	}
	if got != want {
		t.Errorf("defaults are %+v, want %+v", got, want)
	}
	if again := got.withDefaults(); again != got {
		t.Errorf("defaults of defaults are %+v", again)
	}
}
