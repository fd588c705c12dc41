package meshpass_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Documents name a test, a benchmark or a fuzz target with the folder of its package, as in
// `keystore/dir.TestDirConforms`, so that a reader can run it; this folder is `meshpass`. A
// subtest may follow after a slash if its name stands in the source as it is, with spaces.
var (
	aTest     = regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)`)
	qualified = regexp.MustCompile("`([\\w./-]+)\\.((?:Test|Fuzz|Benchmark|Example)\\w*)(?:/([^`]+))?`")
	bare      = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+`)
)

func TestTheTestsThatDocumentsNameExist(t *testing.T) {
	needsClone(t)
	forEachDocument(t, func(file, content string) {
		problems, names := missingTests(content)
		for _, problem := range problems {
			t.Errorf("%s:%v", file, problem)
		}
		if file == "docs/threats.md" || file == "docs/reliability.md" {
			assert.Greater(t, names, 20, "%s names tests", file)
		}
	})
}

func TestEachThreatInTheDocumentsNamesATest(t *testing.T) {
	content, err := os.ReadFile("docs/threats.md")
	require.NoError(t, err)
	// An entry begins with a name in bold type and ends with the next one, or with a heading.
	entries := regexp.MustCompile(`(?m)^(?:\*\*|#)`).FindAllStringIndex(string(content), -1)
	threats := 0
	for i, at := range entries {
		end := len(content)
		if i+1 < len(entries) {
			end = entries[i+1][0]
		}
		entry := string(content[at[0]:end])
		if strings.HasPrefix(entry, "**") {
			threats++
			assert.Regexp(t, qualified, entry, "each threat names the tests that hold it")
		}
	}
	assert.Greater(t, threats, 20)
}

func TestTheCommandsThatDocumentsNameExist(t *testing.T) {
	needsClone(t)
	help, err := os.ReadFile("cmd/meshpass/testdata/help.golden")
	require.NoError(t, err)
	seen := map[string]int{}
	forEachDocument(t, func(file, content string) {
		for number, line := range strings.Split(content, "\n") {
			for _, command := range commandsIn(line) {
				words := wordsOf(command)
				if err := missing(words, string(help)); err != nil {
					t.Errorf("%s:%d: %s: %v", file, number+1, command, err)
				}
				if len(words) > 1 {
					seen[words[0]]++
				}
			}
		}
	})
	for _, tool := range []string{"go", "meshpass"} {
		assert.Greater(t, seen[tool], 20, tool)
	}
}

func TestATestOrACommandThatDoesNotExistIsReported(t *testing.T) {
	needsClone(t)
	for text, want := range map[string]string{
		"see `meshpass.TestNoSuchTest`": "1: there is no TestNoSuchTest in .",
		"\n`keystore/dir.FuzzNothing`":  "2: there is no FuzzNothing in keystore/dir",
		"`keystore/no.TestDirConforms`": "1: keystore/no has no tests",
		"TestDirConforms":               "1: name TestDirConforms with its folder",
		"`keystore/dir.TestDirNeverTakesWhatItCannotReadForMissing/a socket`": `1: there is no "a socket" in the tests of keystore/dir`,
	} {
		problems, _ := missingTests(text)
		if assert.Len(t, problems, 1, text) {
			assert.EqualError(t, problems[0], want)
		}
	}
	problems, names := missingTests("`keystore/dir.TestDirNeverTakesWhatItCannotReadForMissing/a folder`, `dataplane.BenchmarkFlood`")
	assert.Empty(t, problems)
	assert.Equal(t, 2, names)

	const help = "$ meshpass help keys add\n      --first\n\n$ meshpass help keys\n\n$ meshpass help \n      --store URL\n"
	for line, want := range map[string]string{
		"    .ci/no-such-script 5": "no-such-script",
		"    .ci/fuzz 5":           "",
		"Run `X=1 go test ./dataplane -run 'No{2}Test'` twice": "no test matches",
		"    $ go test ./dataplane -run 'CacheHit|NoSuch'":     "",
		"    go test ./dataplane -run '^$' -bench NoSuch":      "no benchmark matches",
		"    (cd keystore/dir && go test -bench 'Dir(List)')":  "",
		"    go -C keystore/no test":                           "has no tests",
		"    go test ./keystore/...   # all of them":           "",
		"    go run ./token":                                   "no command",
		"    go run ./examples/quickstart":                     "",
		"`meshpass keys add --first --store dir:./keys`":       "",
		"`meshpass keys add --second`":                         "--second",
		"`meshpass kyes`":                                      "no command",
	} {
		commands := commandsIn(line)
		require.Len(t, commands, 1, line)
		err := missing(wordsOf(commands[0]), help)
		if want == "" {
			assert.NoError(t, err, line)
		} else {
			assert.ErrorContains(t, err, want, line)
		}
	}
	assert.Empty(t, commandsIn("We go test by test, and `gofmt` and `meshpass` help."))
}

func needsClone(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("go.work"); err != nil {
		t.Skip("documents name tests and commands of other modules, which only a clone has")
	}
}

// forEachDocument calls visit with each document about the whole repository.
func forEachDocument(t *testing.T, visit func(file, content string)) {
	t.Helper()
	walk(t, func(file string) {
		if folder := path.Dir(file); path.Ext(file) == ".md" && (folder == "." || folder == "docs") {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			visit(file, string(content))
		}
	})
}

// missingTests returns what is wrong with the tests that a document names, and how many it
// names.
func missingTests(document string) (problems []error, names int) {
	for number, line := range strings.Split(document, "\n") {
		report := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("%d: "+format, append([]any{number + 1}, args...)...))
		}
		for _, name := range qualified.FindAllStringSubmatch(line, -1) {
			names++
			folder := name[1]
			if folder == "meshpass" {
				folder = "."
			}
			in := lookInto(folder)
			switch {
			case len(in.functions) == 0:
				report("%s has no tests", folder)
			case !slices.Contains(in.functions, name[2]):
				report("there is no %s in %s", name[2], folder)
			case name[3] != "" && !in.texts[name[3]]:
				report("there is no %q in the tests of %s", name[3], folder)
			}
		}
		rest := qualified.ReplaceAllString(line, "")
		for _, command := range commandsIn(line) {
			rest = strings.ReplaceAll(rest, command, "")
		}
		for _, name := range bare.FindAllString(rest, -1) {
			report("name %s with its folder", name)
		}
	}
	return problems, names
}

// command matches a command line that is checked, as far as it goes.
var command = regexp.MustCompile(`^(?:\$ )?((?:\(cd \S+ && )?(?:[A-Z_]+=\S+ )*(?:go (?:-C \S+ )?(?:test|run)\b|\.ci/\w|examples/\w+/\w+\b|meshpass [a-z]).*)$`)

// commandsIn returns the commands in the code of a line: all of it, or what stands between
// backquotes.
func commandsIn(line string) (commands []string) {
	code := []string{line}
	if !strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "$ ") {
		code = nil
		for i, part := range strings.Split(line, "`") {
			if i%2 == 1 {
				code = append(code, part)
			}
		}
	}
	for _, c := range code {
		c = strings.ReplaceAll(c, `\|`, "|") // in a table
		if match := command.FindStringSubmatch(strings.TrimSpace(c)); match != nil {
			commands = append(commands, match[1])
		}
	}
	return commands
}

// word matches a word of a command line, with its quotes.
var word = regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`)

// wordsOf returns the words of a command, up to a comment, a pipe or another command. The
// first may be cd.
func wordsOf(line string) (words []string) {
	line = strings.Replace(strings.TrimPrefix(line, "("), " && ", " ", 1)
	for _, w := range word.FindAllString(line, -1) {
		if strings.HasPrefix(w, "#") || w == "|" || w == "||" || w == "&&" || w == ">" || w == "<" {
			break
		}
		if len(words) == 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(w) {
			continue
		}
		words = append(words, strings.NewReplacer("'", "", `"`, "").Replace(w))
	}
	if len(words) > 0 && words[0] == "cd" {
		words[len(words)-1] = strings.TrimSuffix(words[len(words)-1], ")")
	}
	return words
}

// missing says what a command needs that is not there.
func missing(words []string, help string) error {
	folder := "."
	if words[0] == "cd" {
		folder, words = words[1], words[2:]
	}
	if len(words) > 2 && words[1] == "-C" {
		folder, words = path.Join(folder, words[2]), slices.Delete(slices.Clone(words), 1, 3)
	}
	switch {
	case strings.HasPrefix(words[0], ".ci/"), strings.HasPrefix(words[0], "examples/"):
		if info, err := os.Stat(words[0]); err != nil || info.Mode()&0o111 == 0 && runtime.GOOS != "windows" {
			return fmt.Errorf("%s is no script", words[0])
		}
	case words[0] == "meshpass":
		return missingOfTool(words[1:], help)
	case words[1] == "run":
		at := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "./") })
		if at < 0 || !lookInto(path.Join(folder, words[at])).command {
			return errors.New("no command is there")
		}
	case words[1] == "test":
		return missingOfTests(folder, words[2:])
	}
	return nil
}

// missingOfTests says which arguments of go test name nothing.
func missingOfTests(folder string, args []string) error {
	var functions []string
	packages := slices.DeleteFunc(slices.Clone(args), func(w string) bool { return w != "work" && w != "." && !strings.HasPrefix(w, "./") })
	if len(packages) == 0 {
		packages = []string{"."}
	}
	for _, p := range packages {
		root, all := strings.CutSuffix(p, "/...")
		folders := []string{path.Join(folder, root)}
		if p == "work" {
			folders = below(".", true)
		} else if all {
			folders = below(folders[0], false)
		}
		found := len(functions)
		for _, f := range folders {
			functions = append(functions, lookInto(f).functions...)
		}
		if len(functions) == found {
			return fmt.Errorf("%s has no tests", path.Join(folder, p))
		}
	}
	for flag, kinds := range map[string]string{"-run": "Test|Fuzz|Example", "-bench": "Benchmark", "-fuzz": "Fuzz"} {
		at := slices.Index(args, flag)
		if at < 0 || at+1 == len(args) || args[at+1] == "^$" {
			continue
		}
		pattern, _, _ := strings.Cut(args[at+1], "/")
		expression, err := regexp.Compile(pattern)
		if err != nil {
			return err
		}
		kind := regexp.MustCompile("^(" + kinds + ")")
		if !slices.ContainsFunc(functions, func(f string) bool { return kind.MatchString(f) && expression.MatchString(f) }) {
			return fmt.Errorf("no %s matches %s", map[bool]string{true: "benchmark", false: "test"}[flag == "-bench"], args[at+1])
		}
	}
	return nil
}

// missingOfTool says which command or flag the tool's help does not have.
func missingOfTool(args []string, help string) error {
	section := func(name string) (text string, ok bool) {
		_, text, ok = strings.Cut("\n"+help, "\n$ meshpass help "+name+"\n")
		text, _, _ = strings.Cut(text, "\n$ meshpass help ")
		return text, ok
	}
	text, known := section(args[0])
	if !known {
		return fmt.Errorf("meshpass has no command %s", args[0])
	}
	if len(args) > 1 {
		if sub, ok := section(args[0] + " " + args[1]); ok {
			text = sub
		}
	}
	general, _ := section("")
	for _, a := range args {
		flag, _, _ := strings.Cut(a, "=")
		if len(flag) > 2 && strings.HasPrefix(flag, "--") && !regexp.MustCompile(regexp.QuoteMeta(flag)+`\b`).MatchString(text+general) {
			return fmt.Errorf("%s has no flag %s", args[0], flag)
		}
	}
	return nil
}

// inFolder is what the Go files of a folder hold.
type inFolder struct {
	functions []string        // of tests, benchmarks, fuzz targets and examples
	texts     map[string]bool // the texts of its tests
	command   bool            // it is a package main
}

// looked are the folders that were looked into.
var looked = map[string]inFolder{}

func lookInto(folder string) inFolder {
	folder = path.Clean(folder)
	if in, ok := looked[folder]; ok {
		return in
	}
	in := inFolder{texts: map[string]bool{}}
	files, _ := filepath.Glob(filepath.Join(filepath.FromSlash(folder), "*.go"))
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		switch {
		case err != nil: // compilers say so
		case !strings.HasSuffix(file, "_test.go"):
			in.command = in.command || parsed.Name.Name == "main"
		default:
			for node := range ast.Preorder(parsed) {
				switch node := node.(type) {
				case *ast.FuncDecl:
					if node.Recv == nil && aTest.MatchString(node.Name.Name) {
						in.functions = append(in.functions, node.Name.Name)
					}
				case *ast.BasicLit:
					if text, err := strconv.Unquote(node.Value); err == nil && node.Kind == token.STRING {
						in.texts[text] = true
					}
				}
			}
		}
	}
	looked[folder] = in
	return in
}

// below returns a folder and those in it. Other modules are in it only for the workspace.
func below(folder string, modules bool) (folders []string) {
	_ = filepath.WalkDir(filepath.FromSlash(folder), func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		file = filepath.ToSlash(file)
		if _, err := os.Stat(path.Join(file, "go.mod")); err == nil && !modules && file != folder {
			return fs.SkipDir
		}
		folders = append(folders, file)
		return nil
	})
	return folders
}
