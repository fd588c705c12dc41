package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Of what a failed test or package printed, so many lines are shown from the beginning,
// and as many from the end, each of so many bytes.
const (
	shownLines = 50
	shownBytes = 500
)

// event is what "go doc test2json" calls TestEvent, and what "go help buildjson" adds.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// report follows a run of tests.
type report struct {
	out                     io.Writer
	running                 map[test]*text // what tests, and packages, that have not ended printed
	passed, failed, skipped int            // tests
	broken                  bool           // whether a package failed
	reasons                 map[reason][]string
}

// test is a test, or a package if it has no name.
type test struct{ pkg, name string }

// reason is why tests of a package were skipped.
type reason struct{ pkg, why string }

func newReport(out io.Writer) *report {
	return &report{out: out, running: map[test]*text{}, reasons: map[reason][]string{}}
}

func (r *report) hasFailed() bool { return r.broken || r.failed > 0 }

// read reads the events until the end of a run. What is not an event is printed as it is.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case line[0] == '{' && json.Unmarshal(line, &e) == nil:
			r.follow(e)
		default:
			fmt.Fprintf(r.out, "%s", line)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	return err
}

func (r *report) follow(e event) {
	this := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		if r.running[this] == nil {
			r.running[this] = &text{}
		}
		r.running[this].add(e.Output)
	case "pass", "fail", "skip":
		printed := r.running[this]
		if printed == nil {
			printed = &text{}
		}
		delete(r.running, this)
		if e.Test == "" {
			r.endPackage(e, printed)
		} else {
			r.endTest(e, printed)
		}
	}
}

func (r *report) endTest(e event, printed *text) {
	switch e.Action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		fmt.Fprintf(r.out, "FAIL: %s of %s\n%s", e.Test, e.Package, printed)
	case "skip":
		r.skipped++
		because := reason{e.Package, printed.why()}
		r.reasons[because] = append(r.reasons[because], e.Test)
	}
}

// endPackage prints the line with which go test closes a package, and before it, if that
// failed, what it printed outside of tests and in tests that have not ended.
func (r *report) endPackage(e event, printed *text) {
	closing := printed.takeClosingLine()
	if e.Action == "fail" {
		r.broken = true
		fmt.Fprint(r.out, printed)
		for _, unfinished := range slices.SortedFunc(maps.Keys(r.running), func(a, b test) int { return strings.Compare(a.name, b.name) }) {
			if unfinished.pkg == e.Package {
				r.failed++
				fmt.Fprintf(r.out, "FAIL: %s of %s: it has not ended\n%s", unfinished.name, e.Package, r.running[unfinished])
				delete(r.running, unfinished)
			}
		}
	}
	fmt.Fprint(r.out, closing)
}

// skippedLines returns a line for each reason for which tests of a package were skipped.
func (r *report) skippedLines() string {
	lines := []string{}
	for because, tests := range r.reasons {
		name := tests[0]
		if more := len(tests) - 1; more > 0 {
			name += fmt.Sprintf(" and %d more", more)
		}
		lines = append(lines, fmt.Sprintf("%s: %s: %s\n", because.pkg, name, because.why))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// text is the beginning and the end of what was printed.
type text struct {
	first, last []string
	left        int    // how many lines are between them
	line        string // the beginning of a line that has not ended
}

// progress is what go test itself says about the course of a test.
var progress = regexp.MustCompile(`^\s*(=== (RUN|PAUSE|CONT|NAME) |--- (PASS|FAIL|SKIP): |PASS$)`)

// add adds an output, which is a line or, if that is long, a part of it.
func (t *text) add(output string) {
	t.line += output
	if !strings.HasSuffix(output, "\n") {
		t.line = t.line[:min(len(t.line), shownBytes+1)]
		return
	}
	line := strings.TrimSuffix(t.line, "\n")
	t.line = ""
	if progress.MatchString(line) {
		return
	}
	if len(line) > shownBytes {
		line = line[:shownBytes] + " ..."
	}
	if len(t.first) < shownLines {
		t.first = append(t.first, line+"\n")
		return
	}
	if len(t.last) == shownLines {
		t.last = t.last[1:]
		t.left++
	}
	t.last = append(t.last, line+"\n")
}

func (t *text) String() string {
	middle := ""
	if t.left > 0 {
		middle = fmt.Sprintf("... %d lines are left out ...\n", t.left)
	}
	return strings.Join(t.first, "") + middle + strings.Join(t.last, "") + t.line
}

// takeClosingLine takes the last line out, "ok  \tPACKAGE\t1.234s" or the like.
func (t *text) takeClosingLine() string {
	lines := &t.last
	if len(*lines) == 0 {
		lines = &t.first
	}
	if len(*lines) == 0 {
		return ""
	}
	closing := (*lines)[len(*lines)-1]
	*lines = (*lines)[:len(*lines)-1]
	return closing
}

// why returns what a test said when it was skipped, in one line, without the place.
func (t *text) why() string {
	said := strings.TrimSpace(strings.Join(append(t.first, t.last...), ""))
	said = said[max(0, strings.LastIndex(said, ".go:")):]
	if _, message, found := strings.Cut(strings.TrimPrefix(said, ".go:"), ": "); found {
		said = message
	}
	if said == "" {
		return "no reason is given"
	}
	return strings.Join(strings.Fields(said), " ")
}
