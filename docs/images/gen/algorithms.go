package main

import (
	"time"

	"github.com/salgue441/velocity/limiter"
)

// All algorithms have the same limit.
const (
	limit  = 100
	window = 10 * time.Second
	length = 30 * time.Second
	bin    = 250 * time.Millisecond
)

// loadOf is a column: requests over time.
type loadOf struct {
	name  string
	times []time.Duration
}

// evenly returns times from one on, at a rate per second.
func evenly(from, to time.Duration, rate int) (times []time.Duration) {
	for t := from; t < to; t += time.Second / time.Duration(rate) {
		times = append(times, t)
	}
	return times
}

func loads() []loadOf {
	return []loadOf{
		{"a burst of 150, then 8/s", append(evenly(0, 500*time.Millisecond, 300), evenly(500*time.Millisecond, length, 8)...)},
		{"20/s throughout", evenly(0, length, 20)},
		{"100 before the window's end, 100 after", append(evenly(9*time.Second, 10*time.Second, 100), evenly(10*time.Second, 11*time.Second, 100)...)},
	}
}

// result is what a limiter admitted.
type result struct {
	bins []int
	most int // in any window
}

// simulate asks a limiter about every request. Time begins with a window.
func simulate(rule limiter.Rule, times []time.Duration) (result, error) {
	at := func(t time.Duration) limiter.Instant {
		return limiter.Instant{Mono: int64(time.Hour + t), Wall: int64(1_000_000*time.Hour + t)}
	}
	l, err := limiter.New([]limiter.Rule{rule}, limiter.Options{Start: at(0), Shards: 1})
	if err != nil {
		return result{}, err
	}
	out := result{bins: make([]int, length/bin)}
	var admitted []time.Duration
	first := 0
	for _, t := range times {
		r, d := limiter.Request{Key: limiter.Key{Lo: 1}, Cost: 1, At: at(t)}, limiter.Decision{}
		if !l.Allow(&r, &d) {
			continue
		}
		admitted = append(admitted, t)
		for admitted[first] <= t-window {
			first++
		}
		out.most = max(out.most, len(admitted)-first)
		out.bins[t/bin]++
	}
	return out, nil
}

// Places of the panels.
const (
	panelLeft, panelTop     = 130.0, 56.0
	panelWidth, panelHeight = 240.0, 74.0
	panelStepX, panelStepY  = 254.0, 104.0
	headroom                = 24.0
	legendTop               = 576.0
)

func drawAlgorithms() ([]byte, error) {
	p := &picture{
		width: 900, height: 606, title: "Requests admitted by each algorithm under the same load",
		desc: "Five rows for sliding_window, sliding_log, token_bucket, gcra and fixed_window, each with a limit of 100 in 10 s, and three columns of loads. " +
			"Only fixed_window admits 200 within 2 s, around the end of a window; gcra admits 10 a second whatever comes.",
	}
	for c, load := range loads() {
		p.text("head", panelLeft+float64(c)*panelStepX+panelWidth/2, 26, "%s", load.name)
	}
	for r, a := range []limiter.Algorithm{limiter.SlidingWindow, limiter.SlidingLog, limiter.TokenBucket, limiter.GCRA, limiter.FixedWindow} {
		y := panelTop + float64(r)*panelStepY
		p.text("name", 12, y+34, "%s", a)
		if a == limiter.GCRA {
			p.text("note", 12, y+52, "burst 1")
		}
		for c, load := range loads() {
			got, err := simulate(limiter.Rule{Name: "r", Algorithm: a, Limit: limit, Window: window}, load.times)
			if err != nil {
				return nil, err
			}
			drawPanel(p, panelLeft+float64(c)*panelStepX, y, load, got)
		}
	}
	p.rect("offered", panelLeft, legendTop, 14, 10)
	p.text("note", panelLeft+20, legendTop+9, "requests that had come")
	p.rect("admitted", panelLeft+180, legendTop, 14, 10)
	p.text("note", panelLeft+200, legendTop+9, "of these admitted")
	p.text("note end", panelLeft+2*panelStepX+panelWidth, legendTop+9, "seconds; windows begin at the dotted lines")
	return p.bytes(), nil
}

// drawPanel draws sums: how many had been offered and admitted until a time.
func drawPanel(p *picture, x, y float64, load loadOf, got result) {
	offered := make([]int, len(got.bins))
	for _, t := range load.times {
		offered[t/bin]++
	}
	scale := (panelHeight - headroom) / float64(len(load.times))
	each := panelWidth / float64(len(got.bins))
	ground := y + panelHeight
	p.rect("panel", x, y, panelWidth, panelHeight)
	p.area("offered", x, ground, each, sums(offered, scale))
	p.area("admitted", x, ground, each, sums(got.bins, scale))
	for t := time.Duration(0); t <= length; t += window {
		at := x + panelWidth*float64(t)/float64(length)
		if t > 0 && t < length {
			p.line("window", at, y+headroom, at, ground)
		}
		p.text("note mid", at, ground+14, "%d", int(t.Seconds()))
	}
	p.line("axis", x, ground, x+panelWidth, ground)
	p.text("label", x+6, y+16, "%d of %d", sum(got.bins), len(load.times))
	p.text("label end", x+panelWidth-6, y+16, "at most %d in 10 s", got.most)
}

// sums are the heights of what had come by the end of each bin, from 0 on.
func sums(bins []int, scale float64) []float64 {
	heights := make([]float64, 1, len(bins)+1)
	for i := range bins {
		heights = append(heights, float64(sum(bins[:i+1]))*scale)
	}
	return heights
}

func sum(bins []int) (n int) {
	for _, b := range bins {
		n += b
	}
	return n
}
