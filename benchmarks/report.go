package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/meshpass/meshpass/internal/test/plot"
)

// Results is what the command writes as JSON.
type Results struct {
	Go, System  string
	CPUs        int
	AtOnce      int // proxies that make their connections at the same time
	Publish     string
	Watch       string
	Compromises []Compromise
	Storms      []Storm
}

func newResults(plan plan) *Results {
	return &Results{Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(),
		AtOnce: atOnce, Publish: plan.publish.String(), Watch: plan.watch.String()}
}

// tables returns the results in Markdown.
func (r *Results) tables() string {
	var b strings.Builder
	if len(r.Compromises) > 0 {
		first := r.Compromises[0]
		fmt.Fprintf(&b, "%s proxies with %d replicas. The command makes %s streams bad and leaves %s good.\n\n",
			plot.Thousands(first.Proxies), first.Replicas, plot.Thousands(first.Bad), plot.Thousands(first.Good))
		b.WriteString("| command, store | server | last bad stream ended after | bad stream-seconds | bad streams with the next configuration | good streams lost | good proxies back, p50, p99 | CPU of the replicas | of it authentication | reads of the store |\n")
		b.WriteString("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
		for _, c := range r.Compromises {
			back := "none had to"
			if c.Back > 0 {
				back = took(c.BackP50MS) + ", " + took(c.BackP99MS)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", join(c.Command, c.Store), bold(c.Server), c.last(),
				plot.Thousands(int(math.Round(c.BadSeconds))), plot.Thousands(c.BadUpdated), plot.Thousands(c.GoodLost), back, cpu(c.Cost), reads(c.Store, c.Cost))
		}
		b.WriteString("\n")
	}
	if len(r.Storms) > 0 {
		first := r.Storms[0]
		fmt.Fprintf(&b, "%s proxies connect to %d replicas, %d at a time.\n\n", plot.Thousands(first.Proxies), first.Replicas, r.AtOnce)
		b.WriteString("| server | replicas | all have configuration after | one, p50 | p99 | p99 compared with no authentication | CPU of the replicas | of it authentication | reads of the store |\n")
		b.WriteString("|---|---|---:|---:|---:|---:|---:|---:|---:|\n")
		for _, s := range r.Storms {
			compared := "–"
			if i := slices.IndexFunc(r.Storms, func(other Storm) bool { return other.Server == nothing && other.Warm == s.Warm }); i >= 0 && s.Server != nothing {
				compared = fmt.Sprintf("%.2f x", s.P99MS/r.Storms[i].P99MS)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", bold(join(s.Server, s.Store)), map[bool]string{false: "just started", true: "warm"}[s.Warm],
				took(s.AllMS), took(s.P50MS), took(s.P99MS), compared, cpu(s.Cost), reads(s.Store, s.Cost))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "Measured with %s, %s, %d CPUs.\n", r.Go, r.System, r.CPUs)
	return b.String()
}

func join(first, second string) string {
	if second == "" {
		return first
	}
	return first + ", " + second
}

func bold(name string) string {
	if strings.HasPrefix(name, meshpass) {
		return "**" + name + "**"
	}
	return name
}

func (c Compromise) last() string {
	if c.StillOpen > 0 {
		return fmt.Sprintf("%s open after %s", plot.Thousands(c.StillOpen), took(c.WatchedMS))
	}
	return took(c.LastBadMS)
}

// took writes milliseconds.
func took(ms float64) string {
	if ms >= 1000 {
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

func cpu(c Cost) string {
	return fmt.Sprintf("%.1f s | %.2f s (%.0f %%)", c.CPU, c.Auth, 100*c.Auth/c.CPU)
}

func reads(store string, c Cost) string {
	if store == "" {
		return "–"
	}
	return plot.Thousands(int(c.Reads))
}

// curve draws how many bad streams are open after the removal of the key, over a logarithmic
// axis of time.
func (r *Results) curve() []byte {
	p := plot.Plot{
		Title: "Bad streams that are open after the operator's command: those of Meshpass end within a moment, those that are checked once stay",
		X:     "time after the command", XTick: 1000, XMax: 1000,
		Y: "bad streams open",
		XLabel: func(x int) string {
			return map[int]string{0: "1 ms", 1000: "10 ms", 2000: "0.1 s", 3000: "1 s", 4000: "10 s", 5000: "100 s"}[x]
		},
	}
	firstStore := ""
	for _, c := range r.Compromises {
		if c.Command == cutOff {
			continue
		}
		firstStore = cmp.Or(firstStore, c.Store)
		if c.Server != meshpass && c.Store != firstStore && c.Store != "" {
			continue // these do not differ by store
		}
		line := plot.Line{Name: []string{c.Server}}
		if c.Server == meshpass {
			line.Name = []string{join(c.Server, c.Store)}
		}
		before := c.Bad
		for _, at := range c.Curve {
			x := int(1000 * math.Log10(max(at.MS, 1)))
			line.Points = append(line.Points, plot.Point{X: x, Y: before}, plot.Point{X: x, Y: at.Open})
			before = at.Open
			p.XMax = max(p.XMax, x)
		}
		p.Lines = append(p.Lines, line)
		p.YMax = max(p.YMax, c.Bad)
	}
	p.YTick = max(1, int(math.Pow(10, math.Floor(math.Log10(float64(p.YMax))))))
	p.YMax = (p.YMax + p.YTick - 1) / p.YTick * p.YTick
	p.XMax = (p.XMax + 99) / 100 * 100
	return p.SVG()
}

// The lines before and after the tables in performance.md.
const (
	tablesBegin = "<!-- what follows is written by benchmarks -write -->\n"
	tablesEnd   = "<!-- end of what benchmarks -write wrote -->\n"
)

// write puts the tables into performance.md, draws compromise.svg and writes benchmarks.json,
// all in a folder.
func (r *Results) write(folder string) error {
	file := filepath.Join(folder, "performance.md")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(text, []byte(tablesBegin))
	_, after, foundEnd := bytes.Cut(rest, []byte(tablesEnd))
	if !found || !foundEnd {
		return errors.New(file + " has no place for the tables: two comment lines mark it")
	}
	figures, err := json.Marshal(r)
	if err != nil {
		return err
	}
	errs := []error{
		os.WriteFile(file, slices.Concat(before, []byte(tablesBegin+"\n"+r.tables()+"\n"+tablesEnd), after), 0o644),
		os.WriteFile(filepath.Join(folder, "benchmarks.json"), append(figures, '\n'), 0o644),
	}
	if len(r.Compromises) > 0 {
		errs = append(errs, os.WriteFile(filepath.Join(folder, "compromise.svg"), r.curve(), 0o644))
	}
	return errors.Join(errs...)
}
