package limiter

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestRulesThatCannotBe(t *testing.T) {
	f := func(want string, opts Options, rules ...Rule) {
		t.Helper()
		if _, err := New(rules, opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", rules, err, want)
		}
	}
	ok := Rule{Name: "ok", Algorithm: TokenBucket, Limit: 1, Window: time.Second}
	f("want 1 to 8 rules, not 0", Options{})
	f("want 1 to 8 rules, not 9", Options{}, make([]Rule, 9)...)
	f("the name is taken", Options{}, ok, ok)
	f("max keys must be", Options{MaxKeys: -1}, ok)
	f("unknown behaviour", Options{Full: "open"}, ok)
	f("shards must not", Options{Shards: -1}, ok)
	f("a limiter each", Options{}, ok, Rule{Name: "c", Algorithm: Concurrency, Limit: 1})
	f("unknown algorithm", Options{}, Rule{Algorithm: "leaky"})
	f("limit must be", Options{}, Rule{Algorithm: TokenBucket, Limit: -1, Window: 1})
	f("limit must be", Options{}, Rule{Algorithm: FixedWindow, Limit: MaxLimit + 1, Window: 1})
	f("at most 1024", Options{}, Rule{Algorithm: SlidingLog, Limit: 1025, Window: 1})
	f("of concurrency must be at most", Options{}, Rule{Algorithm: Concurrency, Limit: 1 << 40})
	f("burst must be", Options{}, Rule{Algorithm: GCRA, Limit: 1, Window: 1, Burst: -1})
	f("burst is for", Options{}, Rule{Algorithm: FixedWindow, Limit: 1, Window: 1, Burst: 1})
	f("window must be positive", Options{}, Rule{Algorithm: FixedWindow, Limit: 1})
	f("concurrency has no window", Options{}, Rule{Algorithm: Concurrency, Limit: 1, Window: 1})
	f("period is for", Options{}, Rule{Algorithm: GCRA, Limit: 1, Period: Day})
	f("unknown period", Options{}, Rule{Algorithm: FixedWindow, Limit: 1, Period: "year"})
	f("exclude each other", Options{}, Rule{Algorithm: FixedWindow, Limit: 1, Period: Day, Window: 1})
	f("too many to count exactly", Options{}, Rule{Algorithm: TokenBucket, Limit: 281474976710597, Window: 86_400_000_000_007})
}

// TestLargestNumbers makes sums overflow that could.
func TestLargestNumbers(t *testing.T) {
	for _, a := range []Algorithm{TokenBucket, GCRA, SlidingWindow, FixedWindow} {
		for where, key := range keys {
			r := Rule{Algorithm: a, Limit: MaxLimit, Window: 365 * 24 * time.Hour}
			l := build(t, Options{Shards: 2}, r)
			most := r.burst()
			if a != TokenBucket && a != GCRA {
				most = r.Limit
			}
			if d := ask(l, key, math.MaxInt64, start); d.Allowed || d.RetryAfter != Never {
				t.Errorf("%s, %s: above the limit: %+v", a, where, d)
			}
			if d := ask(l, key, most, start); !d.Allowed {
				t.Errorf("%s, %s: all: %+v", a, where, d)
			}
			req := &Request{Key: key, Cost: 1, At: start}
			for range 3 {
				l.Charge(req, math.MaxInt64, start)
			}
			if d := ask(l, key, 1, start); d.Allowed || d.Remaining >= 0 || d.RetryAfter <= 0 {
				t.Errorf("%s, %s: owed: %+v", a, where, d)
			}
			l.Charge(req, math.MinInt64, start)
			l.Charge(req, math.MinInt64, start)
			if d := ask(l, key, most, start); !d.Allowed {
				t.Errorf("%s, %s: refunded: %+v", a, where, d)
			}
			ask(l, key, 1, Instant{Mono: math.MaxInt64, Wall: math.MaxInt64})
			if d := ask(l, key, 1, Instant{Mono: math.MinInt64, Wall: math.MinInt64}); d.Remaining > most {
				t.Errorf("%s, %s: at the end of time: %+v", a, where, d)
			}
		}
	}
}

// TestClockGoesBackward takes all there is, and tries again earlier.
func TestClockGoesBackward(t *testing.T) {
	for name, rules := range ruleSets() {
		for where, key := range keys {
			s := newSession(t, rules, key, 2)
			most, _ := s.most()
			at := later(int64(100 * 24 * time.Hour))
			ask(s.l, key, most, at)
			for _, back := range []time.Duration{1, time.Second, time.Minute, 25 * time.Hour, 40 * 24 * time.Hour} {
				earlier := Instant{Mono: at.Mono - int64(back), Wall: at.Wall - int64(back)}
				if d := ask(s.l, key, 1, earlier); d.Allowed {
					t.Errorf("%s, %s: %v back: %+v", name, where, back, d)
				}
			}
		}
	}
}

// TestRefusedTakesNothing has one rule refuse and looks at the others.
func TestRefusedTakesNothing(t *testing.T) {
	for where, key := range keys {
		l := build(t, Options{Shards: 2},
			Rule{Algorithm: TokenBucket, Limit: 100, Window: time.Minute},
			Rule{Algorithm: FixedWindow, Limit: 3, Window: time.Hour},
			Rule{Algorithm: SlidingLog, Limit: 50, Window: time.Hour})
		for range 20 {
			ask(l, key, 1, start)
		}
		d, _ := l.Read(key, start)
		if d[0].Remaining != 97 || d[1].Remaining != 0 || d[2].Remaining != 47 {
			t.Errorf("%s: %+v", where, d)
		}
		if s := l.Stats(); s.Admitted != 3 || s.Rules[1].Refused != 17 || s.Rules[0].Refused != 0 {
			t.Errorf("%s: %+v", where, s)
		}
	}
}

// TestObserve counts and does not refuse, and takes nothing of a rule that would have.
func TestObserve(t *testing.T) {
	for where, key := range keys {
		l := build(t, Options{Shards: 2},
			Rule{Algorithm: TokenBucket, Limit: 3, Window: time.Hour, Observe: true},
			Rule{Algorithm: FixedWindow, Limit: 10, Window: time.Hour})
		for i := range 12 {
			if d := ask(l, key, 1, start); d.Allowed != (i < 10) {
				t.Errorf("%s: request %d: %+v", where, i, d)
			}
		}
		if s := l.Stats(); s.Admitted != 10 || s.Rules[0].Observed != 7 || s.Rules[1].Refused != 2 || s.Rules[0].Refused != 0 {
			t.Errorf("%s: %+v", where, s)
		}
		if d, _ := l.Read(key, start); d[0].Remaining != 0 {
			t.Errorf("%s: %+v", where, d)
		}
	}
}

// TestRefund never leaves more than if the request had not been made.
func TestRefund(t *testing.T) {
	second := int64(time.Second)
	f := func(r Rule, after, want int64) {
		t.Helper()
		for where, key := range keys {
			l := build(t, Options{Shards: 2}, r)
			req := &Request{Key: key, Cost: 8, At: start}
			var d Decision
			l.Allow(req, &d)
			l.Charge(req, -6, later(after))
			if d, _ := l.Read(key, later(after)); d[0].Remaining != want {
				t.Errorf("%s, %s, %d s: %d left, want %d", r.Algorithm, where, after/second, d[0].Remaining, want)
			}
		}
	}
	bucket := Rule{Algorithm: TokenBucket, Limit: 10, Window: 10 * time.Second}
	f(bucket, 0, 8)
	f(bucket, 2*second, 8) // 2 have flowed in, so 4 of 6 come back
	f(bucket, 7*second, 9)
	f(bucket, 20*second, 10)
	hour := int64(time.Hour)
	f(Rule{Algorithm: FixedWindow, Limit: 10, Window: time.Hour}, 0, 8)
	f(Rule{Algorithm: FixedWindow, Limit: 10, Window: time.Hour}, hour, 10)
	f(Rule{Algorithm: FixedWindow, Limit: 10, Period: Day}, 0, 8)
	f(Rule{Algorithm: FixedWindow, Limit: 10, Period: Day}, 24*hour, 10)
	f(Rule{Algorithm: SlidingLog, Limit: 10, Window: time.Hour}, second, 8)
	f(Rule{Algorithm: SlidingLog, Limit: 10, Window: time.Hour}, hour, 10)
	f(Rule{Algorithm: SlidingWindow, Limit: 10, Window: time.Hour}, 0, 8)
	f(Rule{Algorithm: SlidingWindow, Limit: 10, Window: time.Hour}, 2*hour, 10)
}

// TestReset forgets a key, and only that.
func TestReset(t *testing.T) {
	l := build(t, Options{}, Rule{Algorithm: FixedWindow, Limit: 3, Window: time.Hour})
	for _, k := range []Key{{}, hashed(1), hashed(2)} {
		ask(l, k, 3, start)
	}
	if !l.Reset(Key{}, start) || !l.Reset(hashed(1), start) || l.Reset(hashed(3), start) {
		t.Error("reset did not tell what it found")
	}
	for k, want := range map[Key]bool{{}: true, hashed(1): true, hashed(2): false} {
		if d := ask(l, k, 3, start); d.Allowed != want {
			t.Errorf("%v: %+v, want %v", k, d, want)
		}
	}
}

// TestSlidingWindowError drives the estimate to its worst and checks the bound that
// SlidingWindow states against a log of everything.
func TestSlidingWindowError(t *testing.T) {
	const limit = 100
	window := int64(time.Second)
	for seed := range uint64(20) {
		next := fromSeed(seed)
		l := build(t, Options{}, Rule{Algorithm: SlidingWindow, Limit: limit, Window: time.Second})
		exact := &logModel{rule: Rule{Limit: math.MaxInt32, Window: time.Second}}
		aligned := map[int64]int64{}
		at := start
		for range 3000 {
			if next(3) == 0 {
				at = Instant{Mono: at.Mono + next(window/40), Wall: at.Wall}
			}
			since := (at.Mono - start.Mono + start.Wall) % window
			number := (at.Mono - start.Mono + start.Wall) / window
			trailing := math.MaxInt32 - exact.left(at)
			slackUp := aligned[number-1] * since / window
			slackDown := aligned[number-1] * (window - since) / window
			d := ask(l, hashed(1), 1, at)
			if d.Allowed {
				exact.take(at, 1)
				aligned[number]++
				if trailing+1 > limit+slackUp+1 || aligned[number] > limit {
					t.Fatalf("%d in the trailing window, %d in the aligned one", trailing+1, aligned[number])
				}
			} else if trailing < limit-slackDown-1 {
				t.Fatalf("refused with %d in the trailing window", trailing)
			}
		}
	}
}

// TestNext keeps counts across reloads.
func TestNext(t *testing.T) {
	second := Rule{Name: "second", Algorithm: TokenBucket, Limit: 100, Window: time.Hour}
	day := Rule{Name: "day", Algorithm: FixedWindow, Limit: 1000, Period: Day, Location: mustLocation("Europe/Paris")}
	log := Rule{Name: "log", Algorithm: SlidingLog, Limit: 20, Window: time.Hour}
	left := func(l *Limiter, k Key) (left []int64) {
		d, _ := l.Read(k, start)
		for i := range d {
			left = append(left, d[i].Remaining)
		}
		return left
	}
	for where, key := range keys {
		f := func(want []int64, opts Options, rules ...Rule) {
			t.Helper()
			old := build(t, Options{Shards: 2, MaxKeys: 100}, second, day, log)
			ask(old, key, 7, start)
			next, err := old.Next(rules, opts, start)
			if err != nil {
				t.Fatal(err)
			}
			for i, n := range left(next, key) {
				if n != want[i] {
					t.Errorf("%s: %d left of rule %d, want %d", where, n, i, want[i])
				}
			}
		}
		same := Options{Shards: 2, MaxKeys: 100}
		observed := second
		observed.Observe = true
		again := day
		again.Location = mustLocation("Europe/Paris")
		f([]int64{93, 993, 13}, same, observed, again, log)
		f([]int64{93, 993, 13}, Options{MaxKeys: 200}, second, day, log)
		f([]int64{13, 993}, same, log, day)
		raised := second
		raised.Limit = 200
		f([]int64{200, 993, 13}, same, raised, day, log)
	}
}
