// Package plot draws the figures of tests and benchmarks as SVG.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Plot is a set of lines over common axes, which begin at 0. It is drawn as SVG that is
// readable on light and dark pages. The same lines give the same bytes.
type Plot struct {
	Title        string // said in words: what the plot shows
	X, Y         string // what the axes count
	XMax, YMax   int
	XTick, YTick int
	XLabel       func(x int) string // what stands at a tick, if it is not the number
	Lines        []Line             // five at most
}

// Line joins points. Its name stands at its end, so that lines can be told apart without
// their colours.
type Line struct {
	Name   []string // lines of text at its right end
	Dashes string   // as of the SVG attribute stroke-dasharray; "": none
	Points []Point
}

// Point is a point in the units of the axes.
type Point struct{ X, Y int }

const (
	left, right, top, bottom = 70, 190, 16, 48 // margins, in pixels
	width, height            = 560, 320        // between the axes
	lineHeight, charWidth    = 16, 8           // of text, at most
)

// style has the colours of text, axes and lines, on light pages and on dark ones.
const style = `<style>
.page { fill: #ffffff } text { fill: #1f2328; font: 13px sans-serif } .axis { stroke: #59636e } .grid { stroke: #d1d9e0 }
.line { fill: none; stroke-width: 2 } .c0 { stroke: #0550ae } .c1 { stroke: #953800 } .c2 { stroke: #1a7f37 } .c3 { stroke: #6e40aa } .c4 { stroke: #a40e26 }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 } text { fill: #f0f6fc } .axis { stroke: #9198a1 } .grid { stroke: #3d444d }
.c0 { stroke: #79c0ff } .c1 { stroke: #ffa657 } .c2 { stroke: #7ee787 } .c3 { stroke: #d2a8ff } .c4 { stroke: #ff8182 }
}
</style>
`

// label is where a line of text stands, which is a name.
type label struct{ x, y, width float64 }

// covers reports whether two labels would stand on each other.
func (l label) covers(other label) bool {
	return math.Abs(l.y-other.y) < lineHeight && l.x < other.x+other.width && other.x < l.x+l.width
}

// SVG draws the plot.
func (p Plot) SVG() []byte {
	x := func(at int) float64 { return left + width*float64(at)/float64(p.XMax) }
	y := func(at int) float64 { return top + height - height*float64(at)/float64(p.YMax) }

	atTick := p.XLabel
	if atTick == nil {
		atTick = Thousands
	}

	var b bytes.Buffer
	const w, h = left + width + right, top + height + bottom
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", w, h, w, h)
	fmt.Fprintf(&b, "<title>%s</title>\n%s<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", escaped(p.Title), style, w, h)
	for at := 0; at <= p.YMax; at += p.YTick {
		fmt.Fprintf(&b, `<path class="grid" d="M%d %.1fh%d"/>`+"\n", left, y(at), width)
		text(&b, left-8, y(at)+4, "end", Thousands(at))
	}
	for at := 0; at <= p.XMax; at += p.XTick {
		fmt.Fprintf(&b, `<path class="axis" d="M%.1f %dv5"/>`+"\n", x(at), top+height)
		text(&b, x(at), top+height+20, "middle", atTick(at))
	}
	fmt.Fprintf(&b, `<path class="axis" fill="none" d="M%d %dv%dh%d"/>`+"\n", left, top, height, width)
	text(&b, left+width/2, top+height+40, "middle", p.X)
	fmt.Fprintf(&b, `<text transform="translate(14 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", top+height/2, escaped(p.Y))
	var labels []label // that stand already
	for i, line := range p.Lines {
		var points []string
		for _, at := range line.Points {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(at.X), y(at.Y)))
		}
		fmt.Fprintf(&b, `<polyline class="line c%d" stroke-dasharray="%s" points="%s"/>`+"\n", i, line.Dashes, strings.Join(points, " "))
		end := line.Points[len(line.Points)-1]
		at := label{x: x(end.X) + 8, y: min(y(end.Y)+4, top+height-6)} // above the axis
		for _, name := range line.Name {
			at.width = max(at.width, charWidth*float64(len(name)))
		}
		for slices.ContainsFunc(labels, at.covers) {
			at.y -= lineHeight
		}
		for _, name := range line.Name {
			text(&b, at.x, at.y, "start", name)
			labels = append(labels, at)
			at.y += lineHeight
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func text(b *bytes.Buffer, x, y float64, anchor, text string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, escaped(text))
}

func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a builder takes everything
	return b.String()
}

// Thousands writes a number with a comma after its thousands.
func Thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", Thousands(n/1000), n%1000)
}
