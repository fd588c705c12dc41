package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// contenders returns the names of all contenders, in the order of the table.
func contenders() []string {
	return []string{ours, "golang-jwt", "go-jose", "cap", "tink-go", raw}
}

// table returns the results in Markdown, with the versions and the machine.
func table(results []result) string {
	var b strings.Builder
	b.WriteString("| median, in µs |")
	for _, name := range contenders() {
		fmt.Fprintf(&b, " %s |", name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(contenders())) + "\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s |", r.work)
		for _, name := range contenders() {
			median, took := r.medians[name]
			switch {
			case !took:
				b.WriteString(" – |")
			case name == ours:
				fmt.Fprintf(&b, " **%s** |", micros(median))
			default:
				fmt.Fprintf(&b, " %s (%s x) |", micros(median), ratio(median, r.medians[ours]))
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for _, r := range results {
		fmt.Fprintf(&b, "- %s: %s\n", r.work, compare(r))
	}
	fmt.Fprintf(&b, "\n%s\n", setting())
	return b.String()
}

// compare compares Meshpass with the fastest peer.
func compare(r result) string {
	var fastest string
	for _, name := range contenders() {
		if median, took := r.medians[name]; took && name != ours && name != raw && (fastest == "" || median < r.medians[fastest]) {
			fastest = name
		}
	}
	own, other := r.medians[ours], r.medians[fastest]
	percent := 100 * (float64(own)/float64(other) - 1)
	if strings.HasPrefix(r.work, "issue") {
		return fmt.Sprintf("%+.1f %% compared with %s, the fastest of the others", percent, fastest)
	}
	if own < other {
		return fmt.Sprintf("ahead of all others; the next is %s with %s x", fastest, ratio(other, own))
	}
	return fmt.Sprintf("behind %s by %.1f %%", fastest, percent)
}

func micros(d time.Duration) string {
	if d < 10*time.Microsecond {
		return fmt.Sprintf("%.2f", float64(d.Nanoseconds())/1e3)
	}
	return fmt.Sprintf("%.1f", float64(d.Nanoseconds())/1e3)
}

// ratio returns d as a multiple of ours.
func ratio(d, ours time.Duration) string {
	r := float64(d) / float64(ours)
	if r < 10 {
		return fmt.Sprintf("%.2f", r)
	}
	return fmt.Sprintf("%.0f", r)
}

// setting describes the versions and the machine.
func setting() string {
	parts := []string{runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, fmt.Sprintf("%d CPUs", runtime.NumCPU())}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if slices.Contains(modules, module.Path) {
				parts = append(parts, module.Path+" "+module.Version)
			}
		}
	}
	return "Measured with " + strings.Join(parts, ", ") + "."
}

var modules = []string{
	"github.com/golang-jwt/jwt/v5",
	"github.com/go-jose/go-jose/v4",
	"github.com/hashicorp/cap",
	"github.com/tink-crypto/tink-go/v2",
}

// The lines before and after the table in a README.
const (
	tableBegin = "<!-- what follows is written by bench -write -->\n"
	tableEnd   = "<!-- end of what bench -write wrote -->\n"
)

// replaceTable puts the table into a README.
func replaceTable(file, table string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(text, []byte(tableBegin))
	_, after, foundEnd := bytes.Cut(rest, []byte(tableEnd))
	if !found || !foundEnd {
		return errors.New(file + " has no place for the table: two comment lines mark it")
	}
	text = slices.Concat(before, []byte(tableBegin+"\n"+table+"\n"+tableEnd), after)
	return os.WriteFile(file, text, 0o644)
}
