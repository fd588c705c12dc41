package main

import (
	"fmt"
	"strings"
)

// The dimensions of the plot, in pixels.
const (
	plotWidth  = 860
	labelWidth = 110
	valueWidth = 150
	barHeight  = 16
	barGap     = 5
	panelTop   = 30 // space above the bars of a panel
	panelGap   = 18
	margin     = 20
)

// Colours of the bars: Meshpass, the other libraries, and the raw operation.
const (
	colourOurs   = "#1a6f4f"
	colourOthers = "#8aa4c2"
	colourRaw    = "#c9c9c9"
)

// plot draws the medians as SVG: a panel for each operation, with its own scale that
// begins at zero.
func plot(results []result) string {
	var b strings.Builder
	y := margin
	text := func(x, y int, anchor, style, text string) {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="%s"%s>%s</text>`+"\n", x, y, anchor, style, text)
	}
	text(margin, y+14, "start", ` font-size="16" font-weight="bold"`, "Median time, in microseconds (shorter is better)")
	y += 30
	for _, r := range results {
		text(margin, y+18, "start", ` font-weight="bold"`, r.work)
		y += panelTop
		longest := r.medians[ours]
		for _, median := range r.medians {
			longest = max(longest, median)
		}
		for _, name := range contenders() {
			median, took := r.medians[name]
			if !took {
				continue
			}
			colour, weight := colourOthers, ""
			switch name {
			case ours:
				colour, weight = colourOurs, ` font-weight="bold"`
			case raw:
				colour = colourRaw
			}
			room := float64(plotWidth - 2*margin - labelWidth - valueWidth)
			width := max(1, room*float64(median)/float64(longest))
			text(margin+labelWidth-8, y+12, "end", weight, name)
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", margin+labelWidth, y, width, barHeight, colour)
			value := micros(median)
			if name != ours {
				value += " (" + ratio(median, r.medians[ours]) + " x)"
			}
			text(margin+labelWidth+int(width)+6, y+12, "start", weight, value)
			y += barHeight + barGap
		}
		y += panelGap
	}
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12" fill="#222">`+"\n"+
		`<title>Median times of Meshpass and other libraries</title>`+"\n"+
		`<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n", plotWidth, y, plotWidth, y)
	return head + b.String() + "</svg>\n"
}
