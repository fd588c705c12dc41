// Command corpus keeps the inputs that fuzzing found and that are worth replaying. For each
// fuzz target it takes what is in testdata/fuzz and in Go's cache, runs each input by
// itself, and keeps the fewest that together reach what all of them reach: blocks of our
// code, each so often (once, twice, at least four times, ...). Small inputs come first.
// The seeds that a target adds itself are always run, so that nothing is kept for what
// they reach. go test replays what is kept.
//
//	corpus [FOLDER TARGET]...
//
// Files that a person has named are kept as they are: only those named by the go command,
// with 16 hexadecimal digits, come and go.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

func main() {
	most := flag.Int("most", 16, "`how many` files of a target are kept")
	size := flag.Int64("size", 6<<10, "size of the largest `bytes` that are kept")
	flag.Parse()
	args := flag.Args()
	for ; len(args) >= 2; args = args[2:] {
		if err := refresh(args[0], args[1], *most, *size); err != nil {
			fmt.Fprintf(os.Stderr, "corpus: %s %s: %v\n", args[0], args[1], err)
			os.Exit(1)
		}
	}
}

// named matches the name that the go command gives to an input.
var named = regexp.MustCompile(`^[0-9a-f]{16}$`)

// input is a file with what a target is given.
type input struct {
	name    string
	content []byte
	reached map[string]bool // block, and how often
}

func refresh(folder, target string, most int, size int64) error {
	work, err := os.MkdirTemp("", "corpus")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	binary := filepath.Join(work, "fuzz.test")
	if output, err := exec.Command("go", "test", "-c", "-cover", "-covermode", "count", "-coverpkg", "github.com/meshpass/meshpass/...", "-o", binary, "./"+folder).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	list := exec.Command("go", "list", "-f", "{{.ImportPath}}", "./"+folder)
	path, err := list.Output()
	if err != nil {
		return err
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return err
	}
	kept := filepath.Join(folder, "testdata", "fuzz", target)
	found := filepath.Join(strings.TrimSpace(string(cache)), "fuzz", strings.TrimSpace(string(path)), target)
	inputs, err := read(size, kept, found)
	if err != nil {
		return err
	}

	// The target reads its inputs from the working directory.
	place := filepath.Join(work, "place")
	corpus := filepath.Join(place, "testdata", "fuzz", target)
	if err := copyTestdata(folder, place); err != nil {
		return err
	}
	if err := os.RemoveAll(corpus); err != nil {
		return err
	}
	if err := os.MkdirAll(corpus, 0o777); err != nil {
		return err
	}
	for _, in := range inputs {
		if err := os.WriteFile(filepath.Join(corpus, in.name), in.content, 0o666); err != nil {
			return err
		}
	}
	run := func(names string) (map[string]bool, error) {
		profile, err := os.CreateTemp(work, "profile")
		if err != nil {
			return nil, err
		}
		profile.Close()
		cmd := exec.Command(binary, "-test.run", "^"+target+"$/^"+names, "-test.coverprofile", profile.Name())
		cmd.Dir = place
		if output, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("an input fails: %s\n%s", names, output)
		}
		return reached(profile.Name())
	}
	always, err := run("seed#")
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	failed := make([]error, len(inputs))
	slots := make(chan struct{}, 2)
	for i, in := range inputs {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			in.reached, failed[i] = run(in.name + "$")
		})
	}
	wait.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	total := map[string]bool{}
	for _, in := range inputs {
		for block := range in.reached {
			if !always[block] {
				total[block] = true
			}
		}
	}
	all := len(inputs)
	chosen := choose(inputs, always, most)
	bytes, covered := 0, map[string]bool{}
	for _, in := range chosen {
		bytes += len(in.content)
		for block := range in.reached {
			if !always[block] {
				covered[block] = true
			}
		}
	}
	fmt.Printf("%s %s: %d of %d inputs, %d bytes; beyond the seeds they reach %d of %d\n", folder, target, len(chosen), all, bytes, len(covered), len(total))
	return write(kept, chosen)
}

// read returns the inputs in folders, each once, the smallest first.
func read(size int64, folders ...string) ([]*input, error) {
	var inputs []*input
	seen := map[string]bool{}
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
			if err != nil {
				return nil, err
			}
			if seen[string(content)] || named.MatchString(entry.Name()) && int64(len(content)) > size {
				continue
			}
			seen[string(content)] = true
			inputs = append(inputs, &input{name: entry.Name(), content: content})
		}
	}
	slices.SortFunc(inputs, func(a, b *input) int {
		if c := len(a.content) - len(b.content); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return inputs, nil
}

func copyTestdata(from, to string) error {
	if err := os.MkdirAll(filepath.Join(to, "testdata"), 0o777); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(from, "testdata")); err != nil {
		return nil // it has none
	}
	return os.CopyFS(filepath.Join(to, "testdata"), os.DirFS(filepath.Join(from, "testdata")))
}

// reached reads a profile: the blocks that were executed, and the order of magnitude of
// how often.
func reached(profile string) (map[string]bool, error) {
	content, err := os.ReadFile(profile)
	if err != nil {
		return nil, err
	}
	blocks := map[string]bool{}
	for line := range bytes.Lines(content) {
		block, count, ok := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if !ok || bytes.HasPrefix(line, []byte("mode:")) {
			continue
		}
		_, count, _ = bytes.Cut(count, []byte(" "))
		number, err := strconv.ParseUint(string(count), 10, 64)
		if err != nil {
			return nil, err
		}
		for power := range min(bits.Len64(number), 6) {
			blocks[fmt.Sprintf("%s %d", block, power)] = true
		}
	}
	return blocks, nil
}

// choose returns the inputs that a person has named, and of the others those that add most,
// one after the other.
func choose(inputs []*input, covered map[string]bool, most int) []*input {
	covered = clone(covered)
	var chosen []*input
	take := func(in *input) {
		chosen = append(chosen, in)
		for block := range in.reached {
			covered[block] = true
		}
	}
	var rest []*input
	for _, in := range inputs {
		if named.MatchString(in.name) {
			rest = append(rest, in)
		} else {
			take(in)
		}
	}
	for range most {
		var best *input
		bestGain := 0
		for _, in := range rest {
			gain := 0
			for block := range in.reached {
				if !covered[block] {
					gain++
				}
			}
			if gain > bestGain {
				best, bestGain = in, gain
			}
		}
		if best == nil {
			break
		}
		take(best)
	}
	return chosen
}

func clone(set map[string]bool) map[string]bool {
	c := make(map[string]bool, len(set))
	for name := range set {
		c[name] = true
	}
	return c
}

func write(folder string, inputs []*input) error {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if named.MatchString(entry.Name()) {
			if err := os.Remove(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	if len(inputs) == 0 {
		return nil
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	for _, in := range inputs {
		if err := os.WriteFile(filepath.Join(folder, in.name), in.content, 0o666); err != nil {
			return err
		}
	}
	return nil
}
