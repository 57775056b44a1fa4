package outlier

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

var epoch = time.Unix(1_700_000_000, 0)

// quiet returns a group of n endpoints that no goroutine serves.
func quiet(settings Settings, n int) *group {
	g := newGroup(&Detector{groups: make(map[string]*group)}, "users", epoch)
	g.configure(settings.withDefaults(), epoch)
	targets := make([]Target, n)
	for i := range targets {
		targets[i].Passive = passive()
	}
	g.list(targets, epoch)
	return g
}

// serve counts requests of which some were answered 500 and some not at all. With
// no new requests it makes failures of successes.
func serve(p *Passive, requests, errors, local int) {
	p.successes.Add(uint64(requests - errors - local))
	p.serverErrors.Add(uint64(errors))
	p.localErrors.Add(uint64(local))
}

// out returns which members are ejected.
func (g *group) outs() []int {
	var indices []int
	for i, p := range g.members {
		if p.watch.out != p.endpoint.Ejected() {
			panic("flag and record differ")
		}
		if p.watch.out {
			indices = append(indices, i)
		}
	}
	return indices
}

func TestMeanAndDeviation(t *testing.T) {
	f := func(rates []float64, wantMean, wantStdev float64) {
		t.Helper()
		var samples []sample
		for _, rate := range rates {
			samples = append(samples, sample{rate: rate})
		}
		mean, stdev := meanAndDeviation(samples)
		if math.Abs(mean-wantMean) > 1e-9 || math.Abs(stdev-wantStdev) > 1e-9 {
			t.Errorf("%v: mean %v, deviation %v, want %v, %v", rates, mean, stdev, wantMean, wantStdev)
		}
	}
	f([]float64{50, 100, 100, 100, 100}, 90, 20)
	f([]float64{100, 100, 100}, 100, 0)
	f([]float64{2, 4, 4, 4, 5, 5, 7, 9}, 5, 2)
	f([]float64{0, 100}, 50, 50)
}

// TestSuccessRate: each endpoint has 200 requests unless said otherwise.
func TestSuccessRate(t *testing.T) {
	f := func(name string, settings Settings, errors []int, want ...int) {
		t.Helper()
		settings.MaxEjectionPercent = 100
		g := quiet(settings, len(errors))
		for i, p := range g.members {
			serve(p, 200, errors[i], 0)
		}
		g.sweep(epoch)
		if got := g.outs(); !slices.Equal(got, want) {
			t.Errorf("%s: ejected %v, want %v", name, got, want)
		}
	}
	// Rates 50, 100, 100, 100, 100: mean 90, deviation 20, threshold 52.
	f("below", Settings{}, []int{100, 0, 0, 0, 0}, 0)
	// The one of 4 lies sqrt(3) deviations below, whatever its rate.
	f("too few to stand out", Settings{SuccessRate: Rate{MinHosts: 4}}, []int{200, 0, 0, 0})
	f("too few to stand out, less tolerant", Settings{SuccessRate: Rate{MinHosts: 4, StdevFactor: 1700}}, []int{200, 0, 0, 0}, 0)
	f("fewer than needed", Settings{SuccessRate: Rate{StdevFactor: 1700}}, []int{200, 0, 0, 0})
	f("all equally bad", Settings{SuccessRate: Rate{StdevFactor: 1}}, []int{101, 101, 101, 101, 101})
	// Rates 49, 51, 100, 100, 100: mean 80, deviation 24.5; 80-1.9*24.5 = 33.4.
	f("two share the blame", Settings{}, []int{102, 98, 0, 0, 0})
	f("two, less tolerant", Settings{SuccessRate: Rate{StdevFactor: 1000}}, []int{102, 98, 0, 0, 0}, 0, 1)
	f("less tolerant", Settings{SuccessRate: Rate{StdevFactor: 2100}}, []int{100, 0, 0, 0, 0})
	f("disabled", Settings{SuccessRate: Rate{Disabled: true}}, []int{100, 0, 0, 0, 0})
}

// TestEqualRatesAreNoOutliers: the mean of these five comes out above each of them.
func TestEqualRatesAreNoOutliers(t *testing.T) {
	g := quiet(Settings{SuccessRate: Rate{StdevFactor: 1}}, 5)
	for _, p := range g.members {
		serve(p, 700, 257, 0)
	}
	g.sweep(epoch)
	if got := g.outs(); got != nil {
		t.Errorf("ejected %v", got)
	}
}

func TestSuccessRateNeedsVolume(t *testing.T) {
	f := func(requests []int, want ...int) {
		t.Helper()
		g := quiet(Settings{SuccessRate: Rate{StdevFactor: 1000}}, len(requests))
		for i, p := range g.members {
			errors := 0
			if i == 0 {
				errors = requests[0]
			}
			serve(p, requests[i], errors, 0)
		}
		g.sweep(epoch)
		if got := g.outs(); !slices.Equal(got, want) {
			t.Errorf("requests %v: ejected %v, want %v", requests, got, want)
		}
	}
	f([]int{100, 100, 100, 100, 100}, 0)
	f([]int{99, 100, 100, 100, 100, 100}) // the bad one is not looked at
	f([]int{100, 100, 100, 100, 99})      // four are left
	f([]int{100, 100, 100, 100, 99, 100}, 0)
}

// TestRatesAreOfOneInterval: what was counted before does not count again.
func TestRatesAreOfOneInterval(t *testing.T) {
	g := quiet(Settings{}, 5)
	for _, p := range g.members {
		serve(p, 60, 0, 0)
	}
	serve(g.members[0], 0, 60, 0)
	g.sweep(epoch)
	for _, p := range g.members {
		serve(p, 60, 0, 0)
	}
	g.sweep(epoch)
	if got := g.outs(); got != nil {
		t.Errorf("ejected %v though no interval had 100 requests", got)
	}
}

func TestSuccessRateSplit(t *testing.T) {
	f := func(split bool, errors, local int, wantCause Cause) {
		t.Helper()
		g := quiet(Settings{SplitLocal: split}, 5)
		for _, p := range g.members {
			serve(p, 200, 0, 0)
		}
		serve(g.members[0], 0, errors, local)
		g.sweep(epoch)
		if got := g.outs(); !slices.Equal(got, []int{0}) {
			t.Fatalf("split %v, errors %d and %d: ejected %v", split, errors, local, got)
		}
		if got := g.members[0].watch.last.Cause; got != wantCause {
			t.Errorf("split %v, errors %d and %d: cause %v, want %v", split, errors, local, got, wantCause)
		}
	}
	f(false, 50, 0, SuccessRate)
	f(false, 0, 50, SuccessRate)
	f(true, 50, 0, SuccessRate)
	f(true, 0, 50, SuccessRateLocal)
	// 100 of 200 had no answer, and of the other 100 all were errors.
	f(true, 100, 100, SuccessRate)
}

// TestSplitVolume: a request without an answer is none of the volume of answers.
func TestSplitVolume(t *testing.T) {
	g := quiet(Settings{SplitLocal: true}, 5)
	for _, p := range g.members {
		serve(p, 150, 0, 51)
	}
	serve(g.members[0], 0, 99, 0)
	g.sweep(epoch)
	if got := g.outs(); got != nil {
		t.Errorf("ejected %v though none had 100 answers", got)
	}
}

func TestFailurePercentage(t *testing.T) {
	f := func(name string, rule Percentage, requests, errors []int, want ...int) {
		t.Helper()
		g := quiet(Settings{MaxEjectionPercent: 100, SuccessRate: Rate{Disabled: true}, FailurePercentage: rule}, len(requests))
		for i, p := range g.members {
			serve(p, requests[i], errors[i], 0)
		}
		g.sweep(epoch)
		if got := g.outs(); !slices.Equal(got, want) {
			t.Errorf("%s: ejected %v, want %v", name, got, want)
		}
	}
	hundred := []int{100, 100, 100, 100, 100}
	f("off by default", Percentage{}, hundred, []int{100, 100, 100, 100, 100})
	f("at the limit", Percentage{Enabled: true}, hundred, []int{85, 84, 0, 90, 0}, 0, 3)
	f("all", Percentage{Enabled: true}, hundred, []int{100, 100, 100, 100, 100}, 0, 1, 2, 3, 4)
	f("other limit", Percentage{Enabled: true, Threshold: 10}, hundred, []int{9, 10, 11, 0, 0}, 1, 2)
	f("volume", Percentage{Enabled: true}, []int{49, 50, 50, 50, 50, 50}, []int{49, 50, 0, 0, 0, 0}, 1)
	f("too few", Percentage{Enabled: true}, []int{50, 50, 50, 50, 49}, []int{50, 0, 0, 0, 0})
}

func TestFailurePercentageSplit(t *testing.T) {
	g := quiet(Settings{SplitLocal: true, SuccessRate: Rate{Disabled: true}, FailurePercentage: Percentage{Enabled: true}}, 5)
	for _, p := range g.members {
		serve(p, 100, 0, 0)
	}
	serve(g.members[2], 0, 0, 90)
	g.sweep(epoch)
	if got := g.outs(); !slices.Equal(got, []int{2}) {
		t.Fatalf("ejected %v", got)
	}
	last := g.members[2].watch.last
	if last.Cause != FailurePercentageLocal || last.Detail != "90.0% of 100 requests failed, the limit is 85%" {
		t.Errorf("cause %v: %s", last.Cause, last.Detail)
	}
}

// TestWorstFirst: where not all may go, those that serve worst do.
func TestWorstFirst(t *testing.T) {
	g := quiet(Settings{MaxEjectionPercent: 40, SuccessRate: Rate{Disabled: true}, FailurePercentage: Percentage{Enabled: true}}, 5)
	for i, errors := range []int{86, 99, 87, 0, 95} {
		serve(g.members[i], 100, errors, 0)
	}
	g.sweep(epoch)
	if got := g.outs(); !slices.Equal(got, []int{1, 4}) {
		t.Errorf("ejected %v, want 1 and 4", got)
	}
	if c := g.counters; c.Detected[FailurePercentage] != 4 || c.Ejected[FailurePercentage] != 2 || c.Overflow != 2 {
		t.Errorf("counters %+v", c)
	}
}

func TestSuccessRateDetail(t *testing.T) {
	g := quiet(Settings{}, 5)
	for _, p := range g.members {
		serve(p, 200, 0, 0)
	}
	serve(g.members[4], 0, 100, 0)
	g.sweep(epoch)
	w := &g.members[4].watch
	if want := "success rate 50.0% of 200 requests is below 52.0% (mean 90.0%, deviation 20.0)"; w.last.Detail != want {
		t.Errorf("detail %q, want %q", w.last.Detail, want)
	}
	if w.rate != 50 || g.members[0].watch.rate != 100 {
		t.Errorf("rates %v and %v", w.rate, g.members[0].watch.rate)
	}
}

func TestTally(t *testing.T) {
	got := tally{successes: 10, serverErrors: 9, localErrors: 5}.since(tally{successes: 4, serverErrors: 1, localErrors: 5})
	if want := (tally{successes: 6, serverErrors: 8}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCauseNames(t *testing.T) {
	seen := make(map[string]bool)
	for cause := range Causes {
		name := cause.String()
		if name == "unknown" || seen[name] || strings.ToLower(name) != name {
			t.Errorf("cause %d is called %q", cause, name)
		}
		seen[name] = true
	}
	if Causes.String() != "unknown" {
		t.Error("a cause that does not exist has a name")
	}
}
