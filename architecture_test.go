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

// mayImport lists all packages but the examples and the commands, which may import
// everything, and what each may import of the others.
var mayImport = map[string][]string{
	"":                        {},
	"token":                   {},
	"keystore":                {"token"},
	"keystore/keystoretest":   {"keystore"},
	"keystore/sealed":         {"keystore"},
	"signing":                 {"keystore", "token"},
	"audit":                   {"token"},
	"revocation":              {"audit", "keystore", "token"},
	"internal/test/engines":   {},
	"internal/test/forge":     {},
	"internal/test/logtest":   {},
	"internal/live":           {"audit", "signing", "revocation", "keystore", "token"},
	"dataplane/insecure":      {"dataplane"},
	"dataplane":               {"internal/live", "signing", "revocation", "keystore", "token"},
	"internal/test/storetest": {"audit", "dataplane", "zone", "signing", "keystore/sealed", "keystore", "token"},
	"zone":                    {"internal/live", "signing", "revocation", "keystore", "token"},
	"httpapi":                 {"audit", "dataplane", "zone", "signing", "revocation", "keystore", "token"},
	"config":                  {"dataplane", "dataplane/insecure", "zone", "signing", "keystore", "token"},

	// In modules of their own.
	"keystore/postgres":          {"keystore"},
	"keystore/etcd":              {"keystore"},
	"keystore/etcd/etcdtest":     {},
	"keystore/kubernetes":        {"keystore"},
	"dataplane/serviceaccount":   {"dataplane", "token"},
	"grpcauth":                   {"dataplane", "zone", "token"},
	"grpcauth/xdsauth":           {"grpcauth", "dataplane", "token"},
	"grpcauth/internal/loopback": {},
	"internal/ci/release":        {},
	"internal/ci/testreport":     {},
}

// jwxImporter is the one file that knows which library makes and checks signatures.
const jwxImporter = "signing/jws.go"

func TestImportsRunOneWayAndTheCoreDependsOnJwxAlone(t *testing.T) {
	seen := map[string]bool{}
	imports, nested := importsOfFiles(t)
	for file, imports := range imports {
		pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(file)), ".")
		allowed, known := mayImport[pkg]
		require.True(t, known, "%s is in no package that mayImport lists", file)
		ofCore := !slices.ContainsFunc(nested, func(folder string) bool { return strings.HasPrefix(file, folder+"/") })
		seen[pkg] = true
		for _, path := range imports {
			own, isOwn := strings.CutPrefix(path, module+"/")
			switch {
			case isOwn:
				require.Contains(t, allowed, own, "%s imports it", file)
			case !strings.Contains(strings.SplitN(path, "/", 2)[0], "."):
				// the standard library
			case !ofCore && !strings.HasPrefix(path, "github.com/lestrrat-go/jwx"):
				// the business of another module
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

// importsOfFiles maps each file to its imports, tests, examples and commands left out. It also
// returns the folders of modules other than the core.
func importsOfFiles(t *testing.T) (imports map[string][]string, nested []string) {
	t.Helper()
	imports = map[string][]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		path = filepath.ToSlash(path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path == "examples" || path == "cmd" || strings.HasPrefix(entry.Name(), ".") && path != "." {
				return fs.SkipDir
			}
			return nil
		}
		if entry.Name() == "go.mod" && path != "go.mod" {
			nested = append(nested, strings.TrimSuffix(path, "/go.mod"))
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		imports[path] = []string{}
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports[path] = append(imports[path], name)
		}
		return nil
	})
	require.NoError(t, err)
	require.Contains(t, nested, "grpcauth", "it is a module of its own")
	return imports, nested
}
