package prommetrics_test

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// drawing is a panel of the dashboard with its lines.
type drawing struct {
	title, unit string
	began       time.Time
	length      time.Duration
	lines       []series
}

// The measures of the picture, in pixels.
const (
	columns     = 3
	panelWidth  = 420
	panelHeight = 250
	plotLeft    = 62
	plotTop     = 34
	plotHeight  = 130
	plotWidth   = panelWidth - plotLeft - 14
	legendLine  = 13
)

var colours = []string{"#1f77b4", "#d95f02", "#2a9d4e", "#c2185b", "#7b4fb5", "#8a6d3b", "#008b9a", "#6b6b6b"}

// draw returns the panels as an SVG.
func draw(panels []drawing) []byte {
	var out bytes.Buffer
	rows := (len(panels) + columns - 1) / columns
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n",
		columns*panelWidth, rows*panelHeight)
	fmt.Fprintln(&out, `<rect width="100%" height="100%" fill="#fff"/>`)
	for i, p := range panels {
		fmt.Fprintf(&out, `<g transform="translate(%d %d)">`+"\n", i%columns*panelWidth, i/columns*panelHeight)
		p.draw(&out)
		fmt.Fprintln(&out, "</g>")
	}
	fmt.Fprintln(&out, "</svg>")
	return out.Bytes()
}

func (p drawing) draw(out *bytes.Buffer) {
	type line struct {
		name   string
		points [][2]float64
	}
	var lines []line
	top := 0.0
	for _, s := range p.lines {
		points := s.points()
		if len(points) == 0 {
			continue
		}
		lines = append(lines, line{s.name, points})
		for _, point := range points {
			top = max(top, point[1])
		}
	}
	slices.SortFunc(lines, func(a, b line) int { return strings.Compare(a.name, b.name) })
	top = niceTop(top)
	fmt.Fprintf(out, `<rect x="4" y="4" width="%d" height="%d" rx="4" fill="none" stroke="#d0d0d0"/>`+"\n", panelWidth-8, panelHeight-8)
	fmt.Fprintf(out, `<text x="14" y="22" font-size="12" font-weight="bold">%s</text>`+"\n", html.EscapeString(p.title))
	for i := range 5 {
		y := plotTop + plotHeight*float64(4-i)/4
		fmt.Fprintf(out, `<path d="M%d %.1fH%d" stroke="#e6e6e6"/><text x="%d" y="%.1f" text-anchor="end" fill="#555">%s</text>`+"\n",
			plotLeft, y, plotLeft+plotWidth, plotLeft-5, y+4, format(top*float64(i)/4, p.unit))
	}
	began, length := float64(p.began.UnixMilli())/1000, p.length.Seconds()
	for i, l := range lines {
		var path strings.Builder
		for n, point := range l.points {
			command := "L"
			if n == 0 || point[0]-l.points[n-1][0] > length/15 { // a gap
				command = "M"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", command, plotLeft+plotWidth*min((point[0]-began)/length, 1), plotTop+plotHeight*(1-point[1]/top))
		}
		colour := colours[i%len(colours)]
		fmt.Fprintf(out, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", path.String(), colour)
	}
	for i, l := range lines {
		x, y := 14+i%2*(panelWidth-20)/2, plotTop+plotHeight+18+i/2*legendLine
		fmt.Fprintf(out, `<rect x="%d" y="%d" width="10" height="3" fill="%s"/><text x="%d" y="%d" fill="#333">%s</text>`+"\n",
			x, y-5, colours[i%len(colours)], x+15, y, html.EscapeString(l.name))
	}
}

// niceTop returns the end of the scale, which four divide into round numbers.
func niceTop(highest float64) float64 {
	if highest <= 0 {
		return 1
	}
	unit := 1.0
	for unit > highest {
		unit /= 10
	}
	for unit*10 <= highest {
		unit *= 10
	}
	for _, step := range []float64{1, 2, 4, 6, 8} {
		if step*unit >= highest {
			return step * unit
		}
	}
	return 10 * unit
}

// format writes a value in a unit of Grafana.
func format(value float64, unit string) string {
	short := func(v float64) string { return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64) }
	switch {
	case unit == "s" && value == 0:
		return "0"
	case unit == "s" && value < 1e-3:
		return short(value*1e6) + " µs"
	case unit == "s" && value < 1:
		return short(value*1e3) + " ms"
	case unit == "s":
		return short(value) + " s"
	case unit == "reqps" || unit == "ops":
		return short(value) + " /s"
	}
	return short(value)
}
