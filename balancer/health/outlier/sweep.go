package outlier

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// rounding is taken off the threshold: the mean of equal rates may come out above
// all of them.
const rounding = 1e-9

// sample is one endpoint's success rate over an interval.
type sample struct {
	passive  *Passive
	rate     float64 // in percent
	requests uint64
}

// sweep ends an interval: it applies the rules about rates to what was counted in
// it, and takes one time off endpoints that were in service all through.
func (g *group) sweep(now time.Time) {
	all := make([]sample, 0, len(g.members))
	var local []sample
	for _, p := range g.members {
		t := p.tally()
		added := t.since(p.watch.seen)
		p.watch.seen = t
		if p.watch.out {
			continue
		}
		if !g.settings.SplitLocal {
			all = appendSample(all, p, added.successes, added.serverErrors+added.localErrors)
			continue
		}
		all = appendSample(all, p, added.successes, added.serverErrors)
		local = appendSample(local, p, added.successes+added.serverErrors, added.localErrors)
	}
	g.remember(all)
	g.compare(all, SuccessRate, now)
	g.limit(all, FailurePercentage, now)
	g.compare(local, SuccessRateLocal, now)
	g.limit(local, FailurePercentageLocal, now)
	g.forgive(now)
}

func appendSample(samples []sample, p *Passive, successes, failures uint64) []sample {
	requests := successes + failures
	if requests == 0 {
		return samples
	}
	rate := 100 * float64(successes) / float64(requests)
	return append(samples, sample{passive: p, rate: rate, requests: requests})
}

// remember keeps the rates that the admin API shows.
func (g *group) remember(samples []sample) {
	volume := min(g.settings.SuccessRate.RequestVolume, g.settings.FailurePercentage.RequestVolume)
	for _, s := range samples {
		if s.requests >= uint64(volume) {
			s.passive.watch.rate = s.rate
		}
	}
}

// compare ejects endpoints whose rate is far below the others'.
func (g *group) compare(samples []sample, cause Cause, now time.Time) {
	rule := g.settings.SuccessRate
	if rule.Disabled {
		return
	}
	eligible := ofVolume(samples, rule.RequestVolume)
	if len(eligible) < rule.MinHosts {
		return
	}
	mean, stdev := meanAndDeviation(eligible)
	threshold := mean - stdev*float64(rule.StdevFactor)/1000 - rounding
	for _, s := range eligible {
		if s.rate >= threshold {
			return
		}
		g.detect(s.passive, cause, now, func() string {
			return fmt.Sprintf("success rate %.1f%% of %d requests is below %.1f%% (mean %.1f%%, deviation %.1f)",
				s.rate, s.requests, threshold, mean, stdev)
		})
	}
}

// limit ejects endpoints of which too many requests failed.
func (g *group) limit(samples []sample, cause Cause, now time.Time) {
	rule := g.settings.FailurePercentage
	if !rule.Enabled {
		return
	}
	eligible := ofVolume(samples, rule.RequestVolume)
	if len(eligible) < rule.MinHosts {
		return
	}
	for _, s := range eligible {
		if 100-s.rate < float64(rule.Threshold) {
			return
		}
		g.detect(s.passive, cause, now, func() string {
			return fmt.Sprintf("%.1f%% of %d requests failed, the limit is %d%%", 100-s.rate, s.requests, rule.Threshold)
		})
	}
}

// ofVolume returns the samples with enough requests, the worst first: if not all
// outliers may be ejected, those are.
func ofVolume(samples []sample, volume int) []sample {
	eligible := make([]sample, 0, len(samples))
	for _, s := range samples {
		if s.requests >= uint64(volume) {
			eligible = append(eligible, s)
		}
	}
	slices.SortStableFunc(eligible, func(a, b sample) int { return cmp.Compare(a.rate, b.rate) })
	return eligible
}

// meanAndDeviation returns the mean of the rates and their standard deviation as a
// population, in percentage points.
func meanAndDeviation(samples []sample) (mean, stdev float64) {
	for _, s := range samples {
		mean += s.rate
	}
	mean /= float64(len(samples))
	for _, s := range samples {
		stdev += (s.rate - mean) * (s.rate - mean)
	}
	return mean, math.Sqrt(stdev / float64(len(samples)))
}

// forgive takes one time off the endpoints that have been back for an interval.
func (g *group) forgive(now time.Time) {
	for _, p := range g.members {
		w := &p.watch
		if !w.out && w.times > 0 && now.Sub(w.returned) >= g.settings.Interval {
			w.times--
		}
	}
}
