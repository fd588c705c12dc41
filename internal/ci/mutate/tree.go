package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

//go:embed hook.go.txt
var hook string

// hookImports are the packages that hook imports.
var hookImports = []string{"os", "strconv", "syscall", "time"}

// source is a file that has mutants.
type source struct {
	path  string // absolute
	name  string // relative to the module
	src   []byte
	edits []edit
}

// folder is a package that has mutants.
type folder struct {
	path, name, dir string // import path, package name, absolute folder
	sources         []*source
}

// tree is everything that has mutants.
type tree struct {
	folders []*folder
	mutants []*mutant
	exports map[string]string // import path to the file with what the compiler tells of it
}

// load finds the mutants of packages, which are given as folders below the working
// directory.
func load(packages []string) (*tree, error) {
	t := &tree{exports: map[string]string{}}
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Name,Dir,GoFiles,Export,DepOnly,Standard"}
	args = append(args, hookImports...)
	for _, pkg := range packages {
		args = append(args, "./"+strings.TrimPrefix(pkg, "./"))
	}
	output, err := command("go", args...)
	if err != nil {
		return nil, err
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	next, seen := 1, map[string]int{}
	type listed struct {
		ImportPath, Name, Dir, Export string
		GoFiles                       []string
		DepOnly, Standard             bool
	}
	var own []listed
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var pkg listed
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		t.exports[pkg.ImportPath] = pkg.Export
		if !pkg.DepOnly && !pkg.Standard {
			own = append(own, pkg)
		}
	}
	slices.SortFunc(own, func(a, b listed) int { return cmp.Compare(a.ImportPath, b.ImportPath) })
	for _, pkg := range own {
		f := &folder{path: pkg.ImportPath, name: pkg.Name, dir: pkg.Dir}
		var files []*ast.File
		fset := token.NewFileSet()
		for _, name := range pkg.GoFiles {
			s := &source{path: filepath.Join(pkg.Dir, name)}
			relative, err := filepath.Rel(here, s.path)
			if err != nil {
				return nil, err
			}
			s.name = filepath.ToSlash(relative)
			if s.src, err = os.ReadFile(s.path); err != nil {
				return nil, err
			}
			parsed, err := parser.ParseFile(fset, s.path, s.src, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			files = append(files, parsed)
			f.sources = append(f.sources, s)
		}
		info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
		config := types.Config{Importer: t.importer(fset)}
		checked, err := config.Check(pkg.ImportPath, fset, files, info)
		if err != nil {
			return nil, err
		}
		for i, s := range f.sources {
			find := &finder{fset: fset, info: info, pkg: checked, file: files[i], name: s.name, folder: filepath.ToSlash(filepath.Dir(s.name)),
				src: s.src, next: next, seen: seen}
			find.find()
			next = find.next
			s.edits = find.edits
			t.mutants = append(t.mutants, find.mutants...)
		}
		t.folders = append(t.folders, f)
		t.mutants = slices.DeleteFunc(t.mutants, func(m *mutant) bool { return m.moot })
		if err := t.leaveOutWhatDoesNotCompile(f); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *tree) importer(fset *token.FileSet) types.Importer {
	return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		name, ok := t.exports[path]
		if !ok {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(name)
	})
}

// leaveOutWhatDoesNotCompile drops the mutants that break the rules of the language.
func (t *tree) leaveOutWhatDoesNotCompile(f *folder) error {
	for range 50 {
		bad := map[int]bool{}
		var first error
		fset := token.NewFileSet()
		var files []*ast.File
		byName := map[string]*ast.File{}
		for _, s := range f.sources {
			parsed, err := parser.ParseFile(fset, s.path, s.instrumented(), parser.SkipObjectResolution)
			if err != nil {
				return fmt.Errorf("the rewritten file: %w", err)
			}
			files = append(files, parsed)
			byName[s.path] = parsed
		}
		own, err := parser.ParseFile(fset, "hook.go", f.hook(1), parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		config := types.Config{Importer: t.importer(fset), Error: func(err error) {
			first = cmp.Or(first, err)
			var at types.Error
			if errors.As(err, &at) {
				if id := mutantAt(byName[fset.Position(at.Pos).Filename], at.Pos); id > 0 {
					bad[id] = true
				}
			}
		}}
		config.Check(f.path, fset, append(files, own), nil) // Error has the errors
		if first == nil {
			return nil
		}
		if len(bad) == 0 {
			return fmt.Errorf("the rewritten package does not compile: %w", first)
		}
		for _, s := range f.sources {
			s.edits = slices.DeleteFunc(s.edits, func(e edit) bool { return bad[e.mutant] })
		}
		t.mutants = slices.DeleteFunc(t.mutants, func(m *mutant) bool { return bad[m.id] })
	}
	return errors.New("the rewritten package still does not compile")
}

// mutantAt returns the mutant of the innermost hook around a place, or 0.
func mutantAt(file *ast.File, pos token.Pos) int {
	id := 0
	if file == nil {
		return id
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil || pos < n.Pos() || pos > n.End() {
			return false
		}
		var call *ast.CallExpr
		switch n := n.(type) {
		case *ast.CallExpr:
			call = n
		case *ast.IfStmt:
			cond := n.Cond
			if not, ok := cond.(*ast.UnaryExpr); ok {
				cond = not.X
			}
			call, _ = cond.(*ast.CallExpr)
		}
		if call == nil || len(call.Args) == 0 {
			return true
		}
		fun := call.Fun
		switch generic := fun.(type) {
		case *ast.IndexExpr:
			fun = generic.X
		case *ast.IndexListExpr:
			fun = generic.X
		}
		if name, ok := fun.(*ast.Ident); ok && strings.HasPrefix(name.Name, "mutate") {
			if literal, ok := call.Args[0].(*ast.BasicLit); ok {
				if number, err := strconv.Atoi(literal.Value); err == nil {
					id = number
				}
			}
		}
		return true
	})
	return id
}

// instrumented returns the source in which each mutant can be switched on.
func (s *source) instrumented() []byte {
	edits := slices.Clone(s.edits)
	rank := func(e edit) int { // at one offset: nodes end, nodes begin, what they begin with goes
		switch {
		case e.closes:
			return 0
		case e.drop > 0:
			return 2
		}
		return 1
	}
	slices.SortStableFunc(edits, func(a, b edit) int {
		if c := cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(rank(a), rank(b))); c != 0 {
			return c
		}
		if a.closes { // the innermost first
			return cmp.Or(cmp.Compare(a.extent, b.extent), cmp.Compare(b.mutant, a.mutant))
		}
		return cmp.Or(cmp.Compare(b.extent, a.extent), cmp.Compare(a.mutant, b.mutant))
	})
	var out []byte
	at := 0
	for _, e := range edits {
		out = append(out, s.src[at:e.at]...)
		out = append(out, e.text...)
		at = e.at + e.drop
	}
	return append(out, s.src[at:]...)
}

// hook returns the file that the hooks of a package stand in. There are mutants below size.
func (f *folder) hook(size int) string {
	return strings.NewReplacer("package PACKAGE", "package "+f.name, "SIZE", strconv.Itoa(size)).Replace(hook)
}

// overlay writes the rewritten files to a folder, and the file for -overlay.
func (t *tree) overlay(to string) (string, error) {
	replace := map[string]string{}
	number := 0
	write := func(path string, content []byte) error {
		number++
		name := filepath.Join(to, fmt.Sprintf("%d-%s", number, filepath.Base(path)))
		replace[path] = name
		return os.WriteFile(name, content, 0o666)
	}
	for _, f := range t.folders {
		for _, s := range f.sources {
			if err := write(s.path, s.instrumented()); err != nil {
				return "", err
			}
		}
		if err := write(filepath.Join(f.dir, "mutate_hook.go"), []byte(f.hook(t.size()))); err != nil {
			return "", err
		}
	}
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(to, "overlay.json")
	return name, os.WriteFile(name, content, 0o666)
}

// size is more than the id of every mutant.
func (t *tree) size() int {
	size := 1
	for _, f := range t.folders {
		for _, s := range f.sources {
			for _, e := range s.edits {
				size = max(size, e.mutant+1)
			}
		}
	}
	return size
}

func command(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return output, nil
}
