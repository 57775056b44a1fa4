package main

import (
	"fmt"
	"strconv"
	"strings"
)

// picture is an SVG that is being written.
type picture struct {
	body          strings.Builder
	width, height int
	title, desc   string
}

// style has the colours for light and for dark.
const style = `  <style>
    text { font-family: "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; font-size: 12px; fill: #1f2328 }
    .head { font-weight: 600; font-size: 13px; text-anchor: middle }
    .name { font-weight: 600; font-size: 13px }
    .note { fill: #59636e }
    .mid { text-anchor: middle }
    .end { text-anchor: end }
    .ground { fill: #ffffff }
    .panel { fill: #f6f8fa }
    .axis { fill: none; stroke: #818b98 }
    .window { fill: none; stroke: #818b98; stroke-dasharray: 2 3 }
    .offered { fill: #d1d9e0 }
    .admitted { fill: #0969da }
    .bound { fill: none; stroke: #cf222e; stroke-width: 2.5 }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      .note { fill: #9198a1 }
      .ground { fill: #0d1117 }
      .panel { fill: #151b23 }
      .axis, .window { stroke: #656c76 }
      .offered { fill: #3d444d }
      .admitted { fill: #4493f8 }
      .bound { stroke: #f85149 }
    }
  </style>
`

// number is a coordinate, to a tenth.
func number(v float64) string { return strconv.FormatFloat(float64(int(v*10+0.5))/10, 'f', -1, 64) }

func (p *picture) rect(class string, x, y, width, height float64) {
	if width > 0 && height > 0 {
		fmt.Fprintf(&p.body, "  <rect class=%q x=%q y=%q width=%q height=%q/>\n", class, number(x), number(y), number(width), number(height))
	}
}

func (p *picture) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&p.body, "  <path class=%q d=\"M%s,%s L%s,%s\"/>\n", class, number(x1), number(y1), number(x2), number(y2))
}

func (p *picture) text(class string, x, y float64, format string, args ...any) {
	fmt.Fprintf(&p.body, "  <text class=%q x=%q y=%q>%s</text>\n", class, number(x), number(y), fmt.Sprintf(format, args...))
}

// area fills from a ground line up to heights that follow one another.
func (p *picture) area(class string, x, ground, each float64, heights []float64) {
	fmt.Fprintf(&p.body, "  <path class=%q d=\"M%s,%s", class, number(x), number(ground))
	for i, h := range heights {
		if i == 0 || i == len(heights)-1 || h-heights[i-1] != heights[i+1]-h {
			fmt.Fprintf(&p.body, " L%s,%s", number(x+float64(i)*each), number(ground-h))
		}
	}
	fmt.Fprintf(&p.body, " L%s,%sz\"/>\n", number(x+float64(len(heights)-1)*each), number(ground))
}

// bytes is the whole file.
func (p *picture) bytes() []byte {
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title desc">
  <title id="title">%s</title>
  <desc id="desc">%s</desc>
%s  <rect class="ground" width="%d" height="%d" rx="8"/>
%s</svg>
`, p.width, p.height, p.width, p.height, p.title, p.desc, style, p.width, p.height, p.body.String())
}
