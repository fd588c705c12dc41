package main

import (
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is a module with tests that are good in parts.
var sample = map[string]string{
	"go.mod": "module sample\n\ngo 1.25.0\n",
	"door/door.go": `package door

import "errors"

const adult = 18

// Open is tested well.
func Open(age int, member bool) bool { return age >= adult && member }

// Limit is tested well, and has a mutant that does the same as the code.
func Limit(n int) int {
	if n > 10 {
		return 10
	}
	return n
}

// Check returns an error that no test looks at.
func Check(name string) error {
	if name == "" {
		return errors.New("no name")
	}
	return nil
}

// Count hangs without its last statement.
func Count(n int) (steps int) {
	for steps < n {
		steps++
	}
	return steps
}

func Unused() int { return 1 }
`,
	"door/door_test.go": `package door

import "testing"

func TestLimit(t *testing.T) {
	for n, want := range map[int]int{9: 9, 10: 10, 11: 10} {
		if Limit(n) != want {
			t.Error(n)
		}
	}
}

func TestCheck(t *testing.T) { Check("") }

func TestCount(t *testing.T) {
	if Count(3) != 3 {
		t.Error()
	}
}

func TestThatFails(t *testing.T) { t.Error("also in code that is not broken") }
`,
	"visitor/visitor.go": "package visitor\n",
	"visitor/visitor_test.go": `package visitor

import (
	"testing"

	"sample/door"
)

func TestOpen(t *testing.T) {
	for _, member := range []bool{false, true} {
		for age := 17; age <= 19; age++ {
			if door.Open(age, member) != (member && age > 17) {
				t.Error(age, member)
			}
		}
	}
}
`,
}

// inSample writes the sample to the working directory of the test.
func inSample(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it uses timeout of coreutils and maps a file into memory")
	}
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "")
	t.Chdir(t.TempDir())
	for name, text := range sample {
		write(t, name, text)
	}
	usual := patience
	patience = 5 * time.Second // a mutant that hangs takes so long; a busy machine may take a second for one that does not
	t.Cleanup(func() { patience = usual })
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func inDoor() options {
	return options{tests: []string{"visitor"}, results: "results.jsonl", parallel: 2, slow: 20 * time.Second, spend: time.Minute}
}

func TestEveryMutantOfASampleHasTheVerdictThatItsTestsDeserve(t *testing.T) {
	inSample(t)
	if err := run(inDoor(), []string{"door"}); err != nil {
		t.Fatal(err)
	}
	verdicts, err := readResults("results.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	const file = "door/door.go | "
	want := map[string]string{
		"Open | && to || | age >= adult && member": "killed",
		"Open | negate | age >= adult":             "killed",
		"Open | >= to > | age >= adult":            "killed",
		"Open | one more | adult":                  "killed",
		"Open | one less | adult":                  "killed",
		"Open | negate | member":                   "killed",

		"Limit | negate | n > 10":         "killed",
		"Limit | > to >= | n > 10":        "survived", // it does the same
		"Limit | one more | 10":           "killed",
		"Limit | one less | 10":           "survived", // it does the same
		"Limit | return zero | return 10": "killed",
		"Limit | one more | 10 | 2":       "killed",
		"Limit | one less | 10 | 2":       "killed",
		"Limit | return zero | return n":  "killed",

		`Check | negate | name == ""`:                            "survived",
		`Check | another text | ""`:                              "survived",
		`Check | return no error | return errors.New("no name")`: "survived",
		"Count | negate | steps < n":                             "killed",
		"Count | < to <= | steps < n":                            "killed",
		"Count | no assignment | steps++":                        "timeout",
		"Count | return zero | return steps":                     "killed",
		"Unused | return zero | return 1":                        "unreached",
		"Unused | one more | 1":                                  "unreached",
		"Unused | one less | 1":                                  "unreached",
	}
	for key, verdict := range want {
		if got := verdicts[file+key].Verdict; got != verdict {
			t.Errorf("%s: %q, want %q", key, got, verdict)
		}
	}
	for key := range verdicts {
		if _, ok := want[strings.TrimPrefix(key, file)]; !ok {
			t.Errorf("not expected: %s", key)
		}
	}
	if by := verdicts[file+"Open | negate | member"].By; by != "visitor TestOpen" {
		t.Errorf("it is noticed by %q", by)
	}
}

func TestARunGoesOnWhereOneEndedAndShardsShareTheWork(t *testing.T) {
	inSample(t)
	o := inDoor()
	o.files = "Open|Limit"
	for _, shard := range []string{"1/2", "2/2"} {
		o.shard = shard
		if err := run(o, []string{"door"}); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile("results.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(content), "\n"); lines != 14 {
		t.Errorf("two shards tried %d mutants, want 14", lines)
	}
	o.shard = ""
	if err := run(o, []string{"door"}); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile("results.jsonl"); err != nil || string(again) != string(content) {
		t.Errorf("what was known was tried again: %v", err)
	}
}

func TestTheListOfEquivalentsHasReasonsAndIsHeldAgainstTheVerdicts(t *testing.T) {
	inSample(t)
	o := inDoor()
	o.files, o.least, o.equivalent = "Limit", 100, "equivalent.txt"
	for _, c := range []struct{ list, want string }{
		{"# A list.\n\ndoor/door.go | Limit | > to >= | n > 10\ndoor/door.go | Limit | one less | 10\n\tBoth return 10.\n", ""},
		{"door/door.go | Limit | > to >= | n > 10\n\tIt returns 10 too.\n", "the score 85.7 is below 100.0"},
		{"door/door.go | Limit | negate | n > 10\n\tA lie.\n", "that door TestLimit notices"},
		{"door/door.go | Limit | negate | n > 11\n\tIt was.\n", "does not exist"},
		{"door/door.go | Limit | negate | n > 10\n", "no reason is given"},
	} {
		write(t, o.equivalent, c.list)
		err := run(o, []string{"door"})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s\nsays %v, want %q", c.list, err, c.want)
		}
	}
}

func TestMutantsThatDoNotCompileDoNotCount(t *testing.T) {
	inSample(t)
	write(t, "door/door.go", "package door\n\ntype size [4]byte\n\nfunc Last(s []byte) byte { return size(s)[3] }\n\nfunc Same[T comparable](a, b T) bool { return a == b }\n")
	tree, err := load([]string{"door"})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, m := range tree.mutants {
		keys[strings.TrimPrefix(m.key, "door/door.go | ")] = true
	}
	want := []string{"Last | one less | 3", "Last | one more | 3", "Last | return zero | return size(s)[3]", "Same | negate | a == b"}
	if got := slices.Sorted(maps.Keys(keys)); !slices.Equal(got, want) {
		t.Errorf("mutants: %q, want %q", got, want)
	}
}

func TestTheListOfEquivalentsOfThisRepositoryNamesMutantsThatExist(t *testing.T) {
	t.Chdir(filepath.Join("..", "..", ".."))
	reasons, err := readEquivalents("internal/ci/equivalent-mutants.txt")
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]bool{}
	for key := range reasons {
		folders[folderOf(key)] = true
	}
	tree, err := load(slices.Sorted(maps.Keys(folders)))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range gone(reasons, tree.mutants) {
		t.Error(err)
	}
}
