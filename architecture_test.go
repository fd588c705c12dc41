package meshpass_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/meshpass/meshpass"

// mayImport lists the packages of the core and what each may import of the
// others. A package that is not listed is not of the core.
var mayImport = map[string][]string{
	"":                      {},
	"token":                 {},
	"keystore":              {"token"},
	"keystore/keystoretest": {"keystore"},
	"keystore/sealed":       {"keystore"},
	"signing":               {"keystore", "token"},
	"audit":                 {"token"},
	"revocation":            {"audit", "keystore", "token"},
	"internal/engines":      {},
	"internal/forge":        {},
	"internal/live":         {"audit", "signing", "revocation", "keystore", "token"},
	"dataplane/insecure":    {"dataplane"},
	"dataplane":             {"internal/live", "signing", "revocation", "keystore", "token"},
	"internal/storetest":    {"audit", "dataplane", "zone", "signing", "keystore/sealed", "keystore", "token"},
	"zone":                  {"internal/live", "signing", "revocation", "keystore", "token"},
	"httpapi":               {"audit", "dataplane", "zone", "signing", "revocation", "keystore", "token"},
	"config":                {"dataplane", "dataplane/insecure", "zone", "signing", "keystore", "token"},
}

// jwxImporter is the one file that knows which library makes and checks signatures.
const jwxImporter = "signing/jws.go"

func TestImportsRunOneWayAndTheCoreDependsOnJwxAlone(t *testing.T) {
	seen := map[string]bool{}
	for file, imports := range importsOfCore(t) {
		pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(file)), ".")
		allowed, known := mayImport[pkg]
		require.True(t, known, "%s is in no package of the core that mayImport lists", file)
		seen[pkg] = true
		for _, path := range imports {
			own, isOwn := strings.CutPrefix(path, module+"/")
			switch {
			case isOwn:
				require.Contains(t, allowed, own, "%s imports it", file)
			case !strings.Contains(strings.SplitN(path, "/", 2)[0], "."):
				// the standard library
			default:
				require.True(t, strings.HasPrefix(path, "github.com/lestrrat-go/jwx/v2/"), "%s imports %s", file, path)
				require.Equal(t, jwxImporter, file)
			}
		}
	}
	for pkg := range mayImport {
		require.True(t, seen[pkg], "package %q is listed and is not there", pkg)
	}
}

// importsOfCore maps each file of the core module, tests left out, to its imports.
func importsOfCore(t *testing.T) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	var nested []string // folders of other modules
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if strings.HasPrefix(entry.Name(), ".") && path != "." {
			return fs.SkipDir
		}
		if mods, _ := filepath.Glob(filepath.Join(path, "go.mod")); len(mods) > 0 && path != "." {
			nested = append(nested, path)
			return fs.SkipDir
		}
		files, err := filepath.Glob(filepath.Join(path, "*.go"))
		if err != nil {
			return err
		}
		for _, file := range slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") }) {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			list := []string{}
			for _, spec := range parsed.Imports {
				name, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				list = append(list, name)
			}
			imports[filepath.ToSlash(file)] = list
		}
		return nil
	})
	require.NoError(t, err)
	require.Contains(t, nested, "examples", "the examples are a module of their own")
	return imports
}
