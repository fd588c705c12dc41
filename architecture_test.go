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

// mayImport lists all packages, from the ground up, and what each may import of the
// others. Examples and commands are not in it: they may import everything that a
// user can.
var mayImport = map[string][]string{
	"":         {},
	"token":    {"internal/strictjson"},
	"keystore": {"internal/jitter", "token"},
	"audit":    {"token"},
	"observe":  {"token"},

	"keystore/dir":          {"internal/rights", "keystore"},
	"keystore/sealed":       {"keystore"},
	"keystore/keystoretest": {"keystore"},

	"signing":    {"internal/keyfile", "keystore", "token"},
	"revocation": {"internal/jitter", "audit", "keystore", "token"},
	"jwks":       {"internal/keyfile", "internal/strictjson", "signing", "token"},

	"internal/jitter":     {},
	"internal/limit":      {},
	"internal/expiry":     {},
	"internal/offer":      {},
	"internal/rights":     {},
	"internal/setting":    {"observe"},
	"internal/keyfile":    {},
	"internal/strictjson": {},
	"internal/replica":    {"internal/jitter", "internal/limit", "observe", "signing", "revocation", "keystore", "token"},
	"internal/sources":    {"internal/limit", "observe", "signing", "keystore", "token"},
	"internal/keylife":    {"internal/jitter", "internal/replica", "internal/setting", "audit", "observe", "signing", "revocation", "keystore", "token"},
	"internal/live": {"audit", "internal/expiry", "internal/jitter", "internal/keylife", "internal/limit", "internal/offer", "internal/replica", "internal/setting", "internal/sources",
		"observe", "signing", "revocation", "keystore", "token"},

	"dataplane": {"internal/keylife", "internal/live", "internal/replica", "internal/setting",
		"observe", "signing", "revocation", "keystore", "token"},
	"zone": {"internal/keylife", "internal/live", "internal/replica", "internal/setting",
		"observe", "signing", "revocation", "keystore", "token"},
	"dataplane/insecure": {"dataplane"},

	"internal/caller": {"internal/limit", "dataplane", "zone", "token"},

	"config":  {"internal/keyfile", "jwks", "dataplane", "dataplane/insecure", "zone", "observe", "signing", "keystore", "token"},
	"metrics": {"observe", "token"},
	"httpapi": {"audit", "internal/caller", "dataplane", "zone", "jwks", "signing", "revocation", "keystore", "token"},

	"httpauth": {"audit", "internal/caller", "dataplane", "zone", "token"},
	"renewal":  {"internal/rights", "token"},

	// What only tests and benchmarks import.
	"internal/test/engines":     {},
	"internal/test/forge":       {},
	"internal/test/cutoffmodel": {"internal/test/forge", "revocation", "signing", "keystore", "token"},
	"internal/test/kumacases":   {},
	"internal/test/logtest":     {},
	"internal/test/kumareader":  {"internal/test/forge", "audit", "dataplane", "zone", "revocation", "signing", "keystore", "token"},
	"internal/test/verdicts":    {"dataplane", "keystore/dir", "token"},
	"internal/test/filesystems": {},
	"internal/test/plot":        {},
	"internal/test/simulation":  {"internal/jitter", "audit", "dataplane", "revocation", "signing", "keystore", "token"},
	"internal/test/scene":       {"internal/test/forge", "dataplane", "zone", "observe", "signing", "keystore", "token"},
	"internal/test/storetest":   {"internal/test/forge", "audit", "dataplane", "zone", "revocation", "signing", "keystore/sealed", "keystore", "token"},

	// In modules of their own.
	"keystore/postgres":          {"keystore"},
	"keystore/etcd":              {"keystore"},
	"keystore/etcd/etcdtest":     {},
	"keystore/kubernetes":        {"keystore"},
	"dataplane/serviceaccount":   {"dataplane", "internal/expiry", "internal/limit", "token"},
	"grpcauth":                   {"audit", "internal/caller", "internal/keyfile", "internal/offer", "dataplane", "zone", "token"},
	"grpcauth/xdsauth":           {"grpcauth", "internal/offer", "dataplane", "zone", "token"},
	"grpcauth/internal/loopback": {},
	"metrics/prommetrics":        {"metrics", "observe"},
	"metrics/otelmetrics":        {"metrics", "observe"},
	"internal/ci/release":        {},
	"internal/ci/testreport":     {},
	"internal/ci/mutate":         {},
	"internal/ci/corpus":         {},

	"histories":       {"histories/check", "audit", "dataplane", "revocation", "signing", "keystore", "token"},
	"histories/check": {}, // it judges the others by what the documents say

	"benchmarks": {"internal/test/engines", "internal/test/forge", "internal/test/plot",
		"grpcauth", "grpcauth/xdsauth", "dataplane", "keystore/dir", "keystore/etcd", "keystore/postgres", "signing", "revocation", "keystore", "token"},

	// Of what no user can import, the tool needs what makes it write files as the
	// directory store does.
	"cmd/meshpass": {"internal/rights"},
}

// jwxImporter is the one file that knows which library makes and checks signatures.
const jwxImporter = "signing/jws.go"

// forTests is the wing of what only tests import, and benchmarks, which start engines too.
const forTests = "internal/test/"

func TestImportsRunOneWayAndTheCoreDependsOnJwxAlone(t *testing.T) {
	seen := map[string]bool{}
	imports, nested := importsOfFiles(t)
	for file, imports := range imports {
		pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(file)), ".")
		allowed, known := mayImport[pkg]
		program := strings.HasPrefix(pkg, "examples/") || strings.HasPrefix(pkg, "cmd/")
		require.True(t, known || program, "%s is in no package that mayImport lists", file)
		ofCore := !slices.ContainsFunc(nested, func(folder string) bool { return strings.HasPrefix(file, folder+"/") })
		seen[pkg] = true
		for _, path := range imports {
			own, isOwn := strings.CutPrefix(path, module+"/")
			switch {
			case isOwn && program:
				require.True(t, !strings.Contains(own, "internal/") || slices.Contains(mayImport[pkg], own), "%s imports what no user can", file)
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

func TestImportsOfProductionHaveNoTestsInThemAndTheKindsOfTokenStayApart(t *testing.T) {
	for pkg, allowed := range mayImport {
		for _, own := range allowed {
			require.True(t, !strings.HasPrefix(own, forTests) || strings.HasPrefix(pkg, forTests) || pkg == "benchmarks", "%q may import %q", pkg, own)
			require.NotEqual(t, "benchmarks", own, "%q may import them", pkg)
		}
	}
	require.NotContains(t, mayImport["dataplane"], "zone")
	require.NotContains(t, mayImport["zone"], "dataplane")
}

// importsOfFiles maps each file to its imports, tests left out. It also returns the
// folders of modules other than the core.
func importsOfFiles(t *testing.T) (imports map[string][]string, nested []string) {
	t.Helper()
	imports = map[string][]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		path = filepath.ToSlash(path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if strings.HasPrefix(entry.Name(), ".") && path != "." || entry.Name() == "testdata" {
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
