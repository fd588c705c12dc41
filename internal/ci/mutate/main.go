// Command mutate tells what the tests are worth: it breaks the code of packages in
// thousands of small ways (mutants), and looks for a test that notices each.
//
//	mutate [FLAG...] FOLDER...
//
// It runs in the folder of a module, and takes the folders of packages. All mutants of
// them are compiled at once, in copies that go test -overlay lays over the files: each
// is a branch that one number in the environment takes. So a mutant costs no more than
// the tests that reach it, which are run until one fails, in order of what they cost.
// A mutant that no test reaches has survived without a run.
//
// The file of -equivalent lists the mutants that no test can notice. A line is the key
// of a mutant, as -survivors prints it; lines that begin with a tab give the reason for
// the keys above them.
//
// The results go to the file of -results, one JSON object a line. What is in it is not
// done again. It exits with status 1 if the score of a package is below -least, or if
// the list of equivalents names a mutant that does not exist or that a test notices.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

type options struct {
	tests      []string
	results    string
	equivalent string
	shard      string
	files      string
	changed    string
	again      bool
	sample     int
	seed       uint64
	parallel   int
	slow       time.Duration
	spend      time.Duration
	least      float64
	pause      string
	list       bool
}

func main() {
	var o options
	var tests string
	flag.StringVar(&tests, "tests", "", "`folders` of further packages whose tests are run, separated by commas")
	flag.StringVar(&o.results, "results", "", "`file` of the results; those in it are taken as they are")
	flag.StringVar(&o.equivalent, "equivalent", "", "`file` that lists mutants that no test can notice")
	flag.StringVar(&o.shard, "shard", "", "`part/of`, such as 2/5: only the mutants of one part")
	flag.StringVar(&o.files, "files", "", "only mutants whose key matches the regular `expression`")
	flag.StringVar(&o.changed, "changed", "", "only mutants in files that differ from the git `revision`")
	flag.BoolVar(&o.again, "again", false, "try again those that survived according to -results")
	flag.IntVar(&o.sample, "sample", 0, "only so `many` mutants, drawn at random")
	flag.Uint64Var(&o.seed, "seed", 1, "`seed` of -sample")
	flag.IntVar(&o.parallel, "parallel", 2, "`how many` mutants are tried at a time")
	flag.DurationVar(&o.slow, "slow", 20*time.Second, "tests that take longer are left out")
	flag.DurationVar(&o.spend, "spend", 2*time.Minute, "tests of so much time are run for a mutant, the quick ones and those of its own package first")
	flag.Float64Var(&o.least, "least", 0, "least score of each package, in per `cent`")
	flag.StringVar(&o.pause, "pause", "", "no test is begun while this `file` exists, so that others can measure")
	flag.BoolVar(&o.list, "list", false, "print the mutants, and try none")
	flag.Parse()
	if tests != "" {
		o.tests = strings.Split(tests, ",")
	}
	if err := run(o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(o options, packages []string) error {
	if len(packages) == 0 {
		return errors.New("no package is given")
	}
	t, err := load(packages)
	if err != nil {
		return err
	}
	chosen, err := o.choose(t.mutants)
	if err != nil {
		return err
	}
	if o.list {
		for _, m := range chosen {
			fmt.Printf("%s\n\tline %d, becomes %s\n", m.key, m.line, m.to)
		}
		return nil
	}
	reasons, err := readEquivalents(o.equivalent)
	if err != nil {
		return err
	}
	verdicts, err := readResults(o.results)
	if err != nil {
		return err
	}
	todo := slices.DeleteFunc(slices.Clone(chosen), func(m *mutant) bool {
		v, known := verdicts[m.key]
		return known && !(o.again && (v.Verdict == "survived" || v.Verdict == "unreached") && reasons[m.key] == "")
	})
	if len(todo) == 0 { // then nothing needs to be compiled
		return report(chosen, t.mutants, verdicts, reasons, o.least)
	}
	work, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	cache := filepath.Join(os.TempDir(), "mutate-rehearsed")
	if err := os.MkdirAll(cache, 0o777); err != nil {
		return err
	}
	overlay, err := t.overlay(work)
	if err != nil {
		return err
	}
	suites, err := build(append(slices.Clone(packages), o.tests...), overlay, work, o.pause)
	if err != nil {
		return err
	}
	tests, seconds := 0, 0.0
	for _, s := range suites {
		if err := s.rehearse(t.size(), o.parallel, o.slow, cache); err != nil {
			return err
		}
		for _, t := range s.tests {
			if t.Failed != "" {
				fmt.Printf("left out: %s %s: %s\n", s.folder, t.Name, t.Failed)
				continue
			}
			tests++
			seconds += t.Seconds
		}
	}
	fmt.Printf("%d mutants, of which %d are chosen; %d tests of %d packages, which take %.0f s\n", len(t.mutants), len(chosen), tests, len(suites), seconds)
	if err := o.hunt(todo, suites, verdicts); err != nil {
		return err
	}
	return report(chosen, t.mutants, verdicts, reasons, o.least)
}

// choose returns the mutants that are to be tried.
func (o options) choose(all []*mutant) ([]*mutant, error) {
	expression, err := regexp.Compile(o.files)
	if err != nil {
		return nil, err
	}
	chosen := slices.DeleteFunc(slices.Clone(all), func(m *mutant) bool { return !expression.MatchString(m.key) })
	if o.changed != "" {
		output, err := command("git", "diff", "--name-only", "--relative", o.changed, "--")
		if err != nil {
			return nil, err
		}
		files := strings.Fields(string(output))
		chosen = slices.DeleteFunc(chosen, func(m *mutant) bool { return !slices.Contains(files, m.file) })
	}
	if o.sample > 0 && o.sample < len(chosen) {
		random := rand.New(rand.NewPCG(o.seed, 0))
		random.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		chosen = chosen[:o.sample]
		slices.SortFunc(chosen, func(a, b *mutant) int { return a.id - b.id })
	}
	if o.shard != "" {
		var part, of int
		if _, err := fmt.Sscanf(o.shard, "%d/%d", &part, &of); err != nil || part < 1 || part > of {
			return nil, fmt.Errorf("-shard %q: want PART/OF, such as 2/5", o.shard)
		}
		kept := chosen[:0]
		for i, m := range chosen {
			if i%of == part-1 {
				kept = append(kept, m)
			}
		}
		chosen = kept
	}
	return chosen, nil
}

// hunt tries mutants, and adds the verdicts to those that are known and to the file of
// results.
func (o options) hunt(todo []*mutant, suites []*suite, verdicts map[string]verdict) error {
	results := os.Stdout
	if o.results != "" {
		var err error
		if results, err = os.OpenFile(o.results, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666); err != nil {
			return err
		}
		defer results.Close()
	}
	h := &hunt{suites: suites, spend: o.spend, killed: map[string]map[*test]int{}}
	var mu sync.Mutex
	var failed error
	began, done := time.Now(), 0
	inParallel(o.parallel, len(todo), func(i int) {
		v := h.try(todo[i])
		line, err := json.Marshal(v)
		mu.Lock()
		defer mu.Unlock()
		if err == nil && o.results != "" {
			_, err = results.Write(append(line, '\n'))
		}
		failed = errors.Join(failed, err)
		verdicts[v.Key] = v
		done++
		if done%100 == 0 {
			fmt.Printf("%d of %d tried, %s\n", done, len(todo), time.Since(began).Round(time.Second))
		}
	})
	return failed
}

func readResults(name string) (map[string]verdict, error) {
	verdicts := map[string]verdict{}
	if name == "" {
		return verdicts, nil
	}
	file, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return verdicts, nil
	} else if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var v verdict
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			continue // the last line of a run that was ended
		}
		verdicts[v.Key] = v
	}
	return verdicts, lines.Err()
}

// readEquivalents maps the keys of mutants to the reason why no test can notice them.
func readEquivalents(name string) (map[string]string, error) {
	reasons := map[string]string{}
	if name == "" {
		return reasons, nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var keys []string
	reason := ""
	for line := range strings.Lines(string(content) + "\n") {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "\t"):
			reason = strings.TrimSpace(reason + " " + strings.TrimSpace(line))
			for _, key := range keys {
				reasons[key] = reason
			}
		case line == "" || strings.HasPrefix(line, "#"):
		default:
			if reason != "" {
				keys, reason = nil, ""
			}
			if _, twice := reasons[line]; twice {
				return nil, fmt.Errorf("%s: listed twice: %s", name, line)
			}
			keys = append(keys, line)
		}
	}
	if len(keys) > 0 && reason == "" {
		return nil, fmt.Errorf("%s: no reason is given: %s", name, keys[len(keys)-1])
	}
	return reasons, nil
}

// gone returns an error for each equivalent of the packages of mutants that is not among them.
func gone(reasons map[string]string, all []*mutant) (wrong []error) {
	exists, read := map[string]bool{}, map[string]bool{}
	for _, m := range all {
		exists[m.key], read[m.pkg] = true, true
	}
	for _, key := range slices.Sorted(maps.Keys(reasons)) {
		if read[folderOf(key)] && !exists[key] {
			wrong = append(wrong, fmt.Errorf("the list of equivalents names a mutant that does not exist: %s", key))
		}
	}
	return wrong
}

// folderOf returns the folder of the package of a mutant.
func folderOf(key string) string {
	file, _, _ := strings.Cut(key, " | ")
	return path.Dir(file)
}

// report prints the survivors and the table.
func report(chosen, all []*mutant, verdicts map[string]verdict, reasons map[string]string, least float64) error {
	type row struct{ mutants, killed, timeout, equivalent, survived int }
	rows := map[string]*row{}
	var order []string
	wrong := gone(reasons, all)
	for _, m := range chosen {
		r := rows[m.pkg]
		if r == nil {
			r = &row{}
			rows[m.pkg] = r
			order = append(order, m.pkg)
		}
		r.mutants++
		v := verdicts[m.key]
		switch v.Verdict {
		case "killed", "timeout":
			r.killed++
			if v.Verdict == "timeout" {
				r.timeout++
			}
			if reasons[m.key] != "" {
				wrong = append(wrong, fmt.Errorf("the list of equivalents names a mutant that %s notices: %s", v.By, m.key))
			}
		default:
			if reasons[m.key] != "" {
				r.equivalent++
				continue
			}
			r.survived++
			fmt.Printf("%s: %s\n\tline %d, becomes %s\n", v.Verdict, m.key, m.line, strings.Join(strings.Fields(m.to), " "))
		}
	}
	fmt.Printf("\n| package | mutants | killed | of these by timeout | equivalent | survived | score |\n|---|---|---|---|---|---|---|\n")
	for _, pkg := range order {
		r := rows[pkg]
		score := 100.0
		if r.mutants > r.equivalent {
			score = 100 * float64(r.killed) / float64(r.mutants-r.equivalent)
		}
		fmt.Printf("| `%s` | %d | %d | %d | %d | %d | %.1f %% |\n", pkg, r.mutants, r.killed, r.timeout, r.equivalent, r.survived, score)
		if score < least {
			wrong = append(wrong, fmt.Errorf("%s: the score %.1f is below %.1f", pkg, score, least))
		}
	}
	return errors.Join(wrong...)
}
