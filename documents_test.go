package meshpass_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// given lists what snippets use without declaring it: in every document or, with the
// document before the name, in one. A snippet may also use what an earlier one of its
// document declares.
var given = map[string]string{
	"access":        "*rest.Config",
	"authenticated": "func(*http.Request) (user struct{ Name, Mesh string }, ok bool)",
	"authorize":     "httpapi.Authorizer",
	"certificate":   "tls.Certificate",
	"client":        "typedcorev1.SecretsGetter",
	"creds":         "credentials.PerRPCCredentials",
	"ctx":           "context.Context",
	"dataplanes":    "dataplane.Issuer",
	"day":           "time.Duration",
	"document":      "[]byte",
	"hosts":         "[]string",
	"httpClient":    "*http.Client",
	"inbounds":      "[]map[string]string",
	"inner":         "keystore.KeyStore",
	"issuer":        "dataplane.Issuer",
	"key":           "*signing.PrivateKey",
	"kmsClient":     "crypto.Signer",
	"mystore":       "struct{ Open func(path string) (keystore.KeyStore, error) }",
	"pem":           "[]byte",
	"pod":           "struct{ Namespace, Name, UID string; Spec struct{ ServiceAccountName, NodeName string } }",
	"podOfPeer":     "func(context.Context) (serviceaccount.Pod, error)",
	"pool":          "*pgxpool.Pool",
	"raw":           "string",
	"renew":         "renewal.Renew",
	"roots":         "*x509.CertPool",
	"sealer":        "sealed.Sealer",
	"signingInput":  "[]byte",
	"store":         "keystore.KeyStore",
	"tlsConfig":     "*tls.Config",
	"tpm":           "*hsm.TPM",
	"validator":     "dataplane.Validator",
	"yaml":          "interface{ Unmarshal(data []byte, into any) error }",
	"zones":         "zone.Issuer",

	"audit/audit.go claims":          "token.Dataplane",
	"examples/interop/doc.go claims": "token.Claims",
	"examples/interop/doc.go key":    "interop.Key",
	"docs/operating.md events":       "http.Handler",
	"httpauth/doc.go events":         "http.Handler",
	"httpauth/doc.go validator":      "zone.Validator",
	"grpcauth/doc.go tls":            "credentials.TransportCredentials",
	"grpcauth/doc.go validator":      "zone.Validator",
	"grpcauth/xdsauth/doc.go cache":  "xdscache.SnapshotCache",
	"grpcauth/xdsauth/doc.go tls":    "credentials.TransportCredentials",
	"keystore/sealed/doc.go key":     "[]byte",
}

// foreign lists the packages of others that snippets use, by the names that snippets
// have for them.
var foreign = map[string]string{
	"authenticationv1": "k8s.io/client-go/kubernetes/typed/authentication/v1",
	"clientv3":         "go.etcd.io/etcd/client/v3",
	"context":          "context",
	"credentials":      "google.golang.org/grpc/credentials",
	"crypto":           "crypto",
	"discovery":        "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3",
	"fmt":              "fmt",
	"grpc":             "google.golang.org/grpc",
	"http":             "net/http",
	"os":               "os",
	"otel":             "go.opentelemetry.io/otel",
	"pgxpool":          "github.com/jackc/pgx/v5/pgxpool",
	"prometheus":       "github.com/prometheus/client_golang/prometheus",
	"promhttp":         "github.com/prometheus/client_golang/prometheus/promhttp",
	"rest":             "k8s.io/client-go/rest",
	"slog":             "log/slog",
	"strings":          "strings",
	"testing":          "testing",
	"time":             "time",
	"tls":              "crypto/tls",
	"typedcorev1":      "k8s.io/client-go/kubernetes/typed/core/v1",
	"x509":             "crypto/x509",
	"xds":              "github.com/envoyproxy/go-control-plane/pkg/server/v3",
	"xdscache":         "github.com/envoyproxy/go-control-plane/pkg/cache/v3",
}

func TestTheGoSnippetsOfDocumentsAndPackageCommentsCompile(t *testing.T) {
	if _, err := os.Stat("go.work"); err != nil {
		t.Skip("snippets use packages of other modules, which only a clone has")
	}
	packages := maps.Clone(foreign)
	documents := map[string][]snippet{}
	walk(t, func(file string) {
		switch {
		case strings.HasSuffix(file, ".md"):
			documents[file] = ofMarkdown(t, file)
		case strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go"):
			name, snippets := ofPackageComment(t, file)
			documents[file] = snippets
			if name != "main" {
				packages[name] = path.Join(module, path.Dir(file))
			}
		}
	})
	load := importer.ForCompiler(token.NewFileSet(), "gc", exportsOf(t, packages))
	for _, file := range slices.Sorted(maps.Keys(documents)) {
		if len(documents[file]) == 0 {
			continue
		}
		t.Run(file, func(t *testing.T) {
			for _, problem := range check(documents[file], packages, load) {
				t.Error(problem)
			}
		})
	}
	require.NotEmpty(t, documents["README.md"], "snippets are found in Markdown")
	require.NotEmpty(t, documents["doc.go"], "snippets are found in package comments")
}

// link matches the target of a link in Markdown that leads into the repository: a
// path, a heading, or both.
var link = regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)\s]+))?\)`)

func TestTheLinksOfDocumentsLeadSomewhere(t *testing.T) {
	walk(t, func(file string) {
		if !strings.HasSuffix(file, ".md") {
			return
		}
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(content), -1) {
			target, heading := file, match[2]
			if match[1] != "" {
				target = path.Join(path.Dir(file), match[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s has a link: %v", file, err)
			} else if heading != "" {
				linked, err := os.ReadFile(target)
				require.NoError(t, err)
				assert.Contains(t, headings(string(linked)), heading, "%s links to this heading of %s", file, target)
			}
		}
	})
}

// headings returns the anchors of a document's headings, as GitHub makes them.
func headings(markdown string) (anchors []string) {
	for line := range strings.Lines(markdown) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			title = regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			anchors = append(anchors, strings.ReplaceAll(title, " ", "-"))
		}
	}
	return anchors
}

func TestASnippetThatDoesNotCompileIsReportedWithItsLine(t *testing.T) {
	packages := map[string]string{"errors": "errors", "fmt": "fmt"}
	for code, want := range map[string]string{
		"err := errors.New(1)":       "README.md:7: cannot use 1",
		"err := errors.News()":       "README.md:7: undefined: errors.News",
		"\nerr = nil":                "README.md:8: undefined: err",
		"a, b := 1, 2\na, b := 3, 4": "README.md:8: no new variables",
		"errors.New(":                "README.md:8: expected operand",
		"func half() {":              "README.md:7: expected '('",
	} {
		problems := check([]snippet{{"README.md", 7, code}}, packages, importer.Default())
		require.NotEmpty(t, problems, code)
		assert.ErrorContains(t, problems[0], want)
	}
	problems := check([]snippet{
		{"README.md", 7, "err := errors.New(\"an unused variable is no fault\")"},
		{"README.md", 9, "err := fmt.Errorf(\"again: %w\", err)"},
		{"README.md", 11, "func whole() error { return nil }"},
	}, packages, importer.Default())
	assert.Empty(t, problems)
}

// snippet is a piece of Go in a document: statements or declarations.
type snippet struct {
	file string
	line int
	code string
}

// walk calls visit with each file of the repository, outside of hidden folders and of
// test data.
func walk(t *testing.T, visit func(file string)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") && file != "."):
			return fs.SkipDir
		case !entry.IsDir():
			visit(filepath.ToSlash(file))
		}
		return nil
	}))
}

func ofMarkdown(t *testing.T, file string) (snippets []snippet) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	inside := false
	for i, line := range strings.Split(string(content), "\n") {
		switch {
		case !inside && strings.TrimSpace(line) == "```go":
			inside = true
			snippets = append(snippets, snippet{file: file, line: i + 2})
		case inside && strings.TrimSpace(line) == "```":
			inside = false
		case inside:
			snippets[len(snippets)-1].code += line + "\n"
		}
	}
	return snippets
}

// looksLikeGo tells Go from the other code blocks of package comments.
var looksLikeGo = regexp.MustCompile(`(?m):=|\berr = |^(func|import|type|var) `)

func ofPackageComment(t *testing.T, file string) (name string, snippets []snippet) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	parsed, err := parser.ParseFile(token.NewFileSet(), file, content, parser.PackageClauseOnly|parser.ParseComments)
	require.NoError(t, err)
	if parsed.Doc == nil {
		return parsed.Name.Name, nil
	}
	lines := strings.Split(string(content), "\n")
	for _, block := range new(comment.Parser).Parse(parsed.Doc.Text()).Content {
		code, ok := block.(*comment.Code)
		if !ok || !looksLikeGo.MatchString(code.Text) {
			continue
		}
		first, _, _ := strings.Cut(code.Text, "\n")
		at := slices.Index(lines, "//\t"+first)
		snippets = append(snippets, snippet{file, at + 1, code.Text})
	}
	return parsed.Name.Name, snippets
}

// check returns what is wrong with the snippets of one document.
func check(snippets []snippet, packages map[string]string, load types.Importer) (problems []error) {
	fset := token.NewFileSet()
	var declarations, statements, ends strings.Builder
	for _, s := range snippets {
		code := fmt.Sprintf("//line %s:%d\n%s\n", s.file, s.line, s.code)
		if _, err := parser.ParseFile(fset, "", "package p\n"+code, 0); err == nil {
			declarations.WriteString(code)
			continue
		}
		if _, err := parser.ParseFile(fset, "", "package p\nfunc _() {\n"+code+"}", 0); err != nil {
			problems = append(problems, fmt.Errorf("neither statements nor declarations: %w", err))
			continue
		}
		// Each is in a block inside of the one before, whose names it can use or declare anew.
		statements.WriteString("{\n" + code)
		ends.WriteString("}\n")
	}
	code := declarations.String() + "func _() {\n" + statements.String() + ends.String() + "}\n"

	names, variables := identifiers(code), map[string]string{}
	for name := range maps.Clone(names) {
		if typ := cmp.Or(given[snippets[0].file+" "+name], given[name]); typ != "" {
			variables[name] = typ
			maps.Copy(names, identifiers("var _ "+typ))
		}
	}
	var head strings.Builder
	head.WriteString("package p\n")
	for name, path := range packages {
		if names[name] && variables[name] == "" {
			fmt.Fprintf(&head, "import %s %q\n", name, path)
		}
	}
	for name, typ := range variables {
		fmt.Fprintf(&head, "var %s %s\n", name, typ)
	}
	parsed, err := parser.ParseFile(fset, "", head.String()+code, parser.SkipObjectResolution)
	if err != nil {
		return append(problems, err)
	}
	config := types.Config{Importer: load, Error: func(err error) {
		var found types.Error
		if errors.As(err, &found) && found.Soft && strings.Contains(found.Msg, "and not used") {
			return // a snippet need not use all that it declares
		}
		problems = append(problems, err)
	}}
	_, _ = config.Check("p", fset, []*ast.File{parsed}, nil)
	return problems
}

func identifiers(declarations string) map[string]bool {
	names := map[string]bool{}
	parsed, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+declarations, 0)
	if err != nil {
		return names // it is parsed again, with its head
	}
	for node := range ast.Preorder(parsed) {
		if name, ok := node.(*ast.Ident); ok {
			names[name.Name] = true
		}
	}
	return names
}

// exportsOf compiles packages and returns a function that opens what the compiler
// has written about one.
func exportsOf(t *testing.T, packages map[string]string) importer.Lookup {
	t.Helper()
	work, err := filepath.Abs("go.work")
	require.NoError(t, err)
	list := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-f", "{{.ImportPath}} {{.Export}}"},
		slices.Sorted(maps.Values(packages))...)...)
	list.Env = append(os.Environ(), "GOWORK="+work, "GOFLAGS=")
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("the packages that snippets use cannot be loaded: %v: %s", err, &stderr)
	}
	require.NoError(t, err, stderr.String())
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) {
		if files[path] == "" {
			return nil, errors.New("there is no package " + strconv.Quote(path))
		}
		return os.Open(files[path])
	}
}
