package main

import "time"

// Places in the picture of the nodes.
const (
	chartLeft, chartRight  = 90.0, 870.0
	chartTop, chartGround  = 60.0, 290.0
	chartMost              = 900.0 // units
	groupWidth, groupFirst = 260.0, 110.0
	barWidth, barStep      = 44.0, 76.0
)

func drawNodes() ([]byte, error) {
	p := &picture{
		width: 900, height: 360, title: "How much nodes admit above a limit that they share",
		desc: "For 2, 3 and 8 nodes and intervals of 50, 100 and 200 ms, the most that was admitted above a limit of 1000 in 10 s, " +
			"and the bound: it grows with the interval and hardly with the nodes, and no bar reaches it.",
	}
	p.text("name", 24, 30, "Admitted above a limit of 1000 in 10 s, at 2000 requests a second over all nodes")
	y := func(units float64) float64 { return chartGround - units*(chartGround-chartTop)/chartMost }
	for units := 0.0; units <= chartMost; units += 300 {
		p.line("window", chartLeft, y(units), chartRight, y(units))
		p.text("note end", chartLeft-8, y(units)+4, "%d", int(units))
	}
	for g, nodes := range []int{2, 3, 8} {
		x := groupFirst + float64(g)*groupWidth
		for i, ms := range []int{50, 100, 200} {
			interval := time.Duration(ms) * time.Millisecond
			got, err := worst(nodes, interval)
			if err != nil {
				return nil, err
			}
			left, most := x+float64(i)*barStep, bound(nodes, interval)
			p.rect("admitted", left, y(float64(got)), barWidth, chartGround-y(float64(got)))
			p.line("bound", left-6, y(most), left+barWidth+6, y(most))
			p.text("mid", left+barWidth/2, y(float64(got))-5, "%d", got)
			p.text("note mid", left+barWidth/2, y(most)-6, "%d", int(most))
			p.text("note mid", left+barWidth/2, chartGround+16, "%d ms", ms)
		}
		p.text("head", x+barStep+barWidth/2, chartGround+38, "%d nodes", nodes)
	}
	p.line("axis", chartLeft, chartGround, chartRight, chartGround)
	p.rect("admitted", 24, 340, 14, 10)
	p.text("note", 44, 349, "the most of %d runs of each", fleetTries)
	p.line("bound", 250, 345, 280, 345)
	p.text("note", 288, 349, "the bound: 2000/s × (2 × interval + 2 ms round trip) + nodes")
	return p.bytes(), nil
}
