package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// suite is the compiled tests of a package.
type suite struct {
	folder string // as given
	dir    string
	binary string
	pause  string // no process is begun while this file exists
	tests  []*test
}

// test is a test, a fuzz target with its seeds, or an example.
type test struct {
	Name    string
	Seconds float64
	Failed  string `json:",omitempty"` // why it takes no part: it fails in code that is not broken
	Slow    bool   `json:",omitempty"` // it was ended, after Seconds
	Reached []int  // ids of mutants

	suite   *suite
	reaches map[int]bool
}

// build compiles the tests of packages with the rewritten files.
func build(packages []string, overlay, to, pause string) ([]*suite, error) {
	var suites []*suite
	for _, pkg := range packages {
		pkg = strings.TrimPrefix(pkg, "./")
		dir, err := filepath.Abs(pkg)
		if err != nil {
			return nil, err
		}
		s := &suite{folder: pkg, dir: dir, pause: pause, binary: filepath.Join(to, strings.ReplaceAll(pkg, "/", "-")+".test")}
		if _, err := command("go", "test", "-c", "-overlay", overlay, "-o", s.binary, "./"+pkg); err != nil {
			return nil, err
		}
		if _, err := os.Stat(s.binary); err == nil { // a package without tests has none
			suites = append(suites, s)
		}
	}
	return suites, nil
}

// patience is for how long tests that reach a mutant may hang, beyond five times what they
// take in code that is not broken.
var patience = 10 * time.Second

var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// outcome is how tests ended.
type outcome struct {
	passed, timeout bool
	first           string // the test that failed first
	output          string
	took            time.Duration
}

// run runs tests of a suite by name, in one process.
func (s *suite) run(names []string, limit time.Duration, environ ...string) outcome {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	limit = limit.Round(time.Millisecond) // as timeout is told, so that what it ends took no less
	// timeout kills the children of the tests too. The limit of memory ends mutants that
	// collect without end.
	cmd := exec.Command("sh", "-c", `ulimit -v 12000000; exec timeout -s KILL "$@"`, "sh",
		fmt.Sprintf("%.3f", limit.Seconds()), s.binary, "-test.failfast", "-test.timeout=0",
		"-test.run=^("+strings.Join(quoted, "|")+")$")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), environ...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = 2 * time.Second
	for {
		if _, err := os.Stat(s.pause); err != nil {
			break
		}
		time.Sleep(time.Second)
	}
	began := time.Now()
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	o := outcome{passed: err == nil, output: output.String(), took: time.Since(began)}
	if err != nil {
		o.timeout = o.took >= limit
		if match := failedTest.FindStringSubmatch(o.output); match != nil {
			o.first = match[1]
		}
	}
	return o
}

// rehearse runs each test by itself in the code that is not broken: how long it takes,
// and which mutants it reaches. What is known of the same binary is not done again.
func (s *suite) rehearse(size, parallel int, slow time.Duration, cache string) error {
	content, err := os.ReadFile(s.binary)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	known := filepath.Join(cache, "rehearsed-"+hex.EncodeToString(sum[:8])+".json")
	if saved, err := os.ReadFile(known); err == nil {
		if err := json.Unmarshal(saved, &s.tests); err != nil {
			return err
		}
	} else if err := s.rehearseAnew(size, parallel, slow, known); err != nil {
		return err
	}
	again := slices.DeleteFunc(slices.Clone(s.tests), func(t *test) bool { return !t.Slow || t.Seconds >= slow.Seconds() })
	if len(again) > 0 { // -slow is higher than it was
		if err := s.rehearseAll(again, size, parallel, slow, known); err != nil {
			return err
		}
	}
	for _, t := range s.tests {
		t.suite, t.reaches = s, map[int]bool{}
		for _, id := range t.Reached {
			t.reaches[id] = true
		}
	}
	return nil
}

func (s *suite) rehearseAnew(size, parallel int, slow time.Duration, known string) error {
	list := exec.Command(s.binary, "-test.list", ".")
	list.Dir = s.dir
	names, err := list.Output()
	if err != nil {
		return fmt.Errorf("%s -test.list: %w", s.binary, err)
	}
	for name := range strings.FieldsSeq(string(names)) {
		s.tests = append(s.tests, &test{Name: name})
	}
	return s.rehearseAll(s.tests, size, parallel, slow, known)
}

func (s *suite) rehearseAll(tests []*test, size, parallel int, slow time.Duration, known string) error {
	failed := make([]error, len(tests))
	inParallel(parallel, len(tests), func(i int) { failed[i] = s.rehearseOne(tests[i], size, slow) })
	if err := errors.Join(failed...); err != nil {
		return err
	}
	saved, err := json.Marshal(s.tests)
	if err != nil {
		return err
	}
	return os.WriteFile(known, saved, 0o666)
}

func (s *suite) rehearseOne(t *test, size int, slow time.Duration) error {
	file, err := os.CreateTemp("", "reached")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if err := file.Truncate(int64(size)); err != nil {
		return err
	}
	o := s.run([]string{t.Name}, slow, "MUTATE_REACHED="+file.Name())
	t.Seconds, t.Slow, t.Failed, t.Reached = o.took.Seconds(), o.timeout, "", nil
	switch {
	case o.timeout:
		t.Failed = fmt.Sprintf("it takes longer than %s", slow)
	case !o.passed:
		t.Failed = "it fails"
		if lines := strings.Split(strings.TrimSpace(o.output), "\n"); len(lines) > 0 {
			t.Failed += ":\n\t" + strings.Join(lines[:min(12, len(lines))], "\n\t")
		}
	}
	reached, err := os.ReadFile(file.Name())
	if err != nil {
		return err
	}
	for id, hit := range reached {
		if hit == 1 {
			t.Reached = append(t.Reached, id)
		}
	}
	return nil
}

// inParallel calls a function with 0 to n-1.
func inParallel(workers, n int, call func(int)) {
	var wait sync.WaitGroup
	next := make(chan int)
	for range workers {
		wait.Go(func() {
			for i := range next {
				call(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
}

// hunt looks for a test that notices mutants. It learns which tests notice what.
type hunt struct {
	suites []*suite
	spend  time.Duration // the tests that are run for one mutant take so long in code that is not broken

	mu     sync.Mutex
	killed map[string]map[*test]int // by function: how often a test noticed one of its mutants
}

// verdict is what became of a mutant.
type verdict struct {
	Key     string
	Verdict string // killed, timeout, survived, unreached
	By      string `json:",omitempty"` // the test that noticed it
	Seconds float64
}

func (h *hunt) try(m *mutant) verdict {
	v := verdict{Key: m.key, Verdict: "unreached"}
	for _, batch := range h.plan(m) {
		var names []string
		seconds := 0.0
		for _, t := range batch {
			names = append(names, t.Name)
			seconds += t.Seconds
		}
		s := batch[0].suite
		limit := patience + time.Duration(5*seconds*float64(time.Second))
		o := s.run(names, limit, fmt.Sprintf("MUTATE_ACTIVE=%d", m.id))
		v.Verdict, v.Seconds = "survived", v.Seconds+o.took.Seconds()
		if !o.passed {
			v.Verdict, v.By = "killed", s.folder+" "+o.first
			if o.timeout {
				v.Verdict = "timeout"
			}
			h.learn(m, batch, o.first)
			break
		}
	}
	return v
}

func (h *hunt) learn(m *mutant, batch []*test, first string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range batch {
		if t.Name == first || len(batch) == 1 {
			key := m.file + " " + m.fn
			if h.killed[key] == nil {
				h.killed[key] = map[*test]int{}
			}
			h.killed[key][t]++
		}
	}
}

// plan returns the tests that reach a mutant, as they are run: first those that noticed
// others in the same function, then those of its own package and the quick ones. Those
// of one batch are in one suite.
func (h *hunt) plan(m *mutant) [][]*test {
	h.mu.Lock()
	good := h.killed[m.file+" "+m.fn]
	noticed := map[*test]int{}
	for t, n := range good {
		noticed[t] = n
	}
	h.mu.Unlock()

	var all []*test
	for _, s := range h.suites {
		for _, t := range s.tests {
			if t.Failed == "" && t.reaches[m.id] {
				all = append(all, t)
			}
		}
	}
	cost := func(t *test) float64 {
		if t.suite.folder != m.pkg {
			return t.Seconds * 4
		}
		return t.Seconds
	}
	slices.SortFunc(all, func(a, b *test) int {
		if cost(a) < cost(b) {
			return -1
		}
		return 1
	})
	var batches [][]*test
	taken := map[*test]bool{}
	take := func(tests []*test) {
		bySuite := map[*suite][]*test{}
		var order []*suite
		for _, t := range tests {
			if taken[t] {
				continue
			}
			taken[t] = true
			if bySuite[t.suite] == nil {
				order = append(order, t.suite)
			}
			bySuite[t.suite] = append(bySuite[t.suite], t)
		}
		for _, s := range order {
			batches = append(batches, bySuite[s])
		}
	}
	var first []*test
	for _, t := range all {
		if noticed[t] > 0 {
			first = append(first, t)
		}
	}
	slices.SortStableFunc(first, func(a, b *test) int { return noticed[b] - noticed[a] })
	first = first[:min(5, len(first))]
	take(slices.DeleteFunc(first, func(t *test) bool { return t.Seconds > 3 }))
	from, total, step := 0, 0.0, 1.5
	for i, t := range all {
		total += t.Seconds
		if total > h.spend.Seconds() && i > 0 {
			all = all[:i]
			break
		}
		if total > step {
			take(all[from : i+1])
			from, total, step = i+1, 0, step*4
		}
	}
	take(all[from:])
	return batches
}
