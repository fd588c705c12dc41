package meshpass_test

import (
	"go/importer"
	"go/token"
	"go/types"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kinds are the packages for the two kinds of token, which mirror each other.
var kinds = [2]string{"dataplane", "zone"}

// loadKinds type-checks against what the compiler has made of the two packages.
func loadKinds(t *testing.T) (packages [2]*types.Package) {
	t.Helper()
	paths := map[string]string{}
	for _, kind := range kinds {
		paths[kind] = module + "/" + kind
	}
	load := importer.ForCompiler(token.NewFileSet(), "gc", exportsOf(t, paths))
	for i, kind := range kinds {
		pkg, err := load.Import(paths[kind])
		require.NoError(t, err)
		packages[i] = pkg
	}
	return packages
}

// options returns what makes an option in a package, and what takes options there.
func options(pkg *types.Package) (makers, takers map[string]types.Type) {
	makers, takers = map[string]types.Type{}, map[string]types.Type{}
	isOption := func(typ types.Type) bool {
		named, ok := typ.(*types.Named)
		return ok && named.Obj().Pkg() == pkg && strings.HasSuffix(named.Obj().Name(), "Option")
	}
	for _, name := range pkg.Scope().Names() {
		function, ok := pkg.Scope().Lookup(name).(*types.Func)
		if !ok || !function.Exported() {
			continue
		}
		signature := function.Signature()
		if r := signature.Results(); r.Len() == 1 && isOption(r.At(0).Type()) {
			makers[name] = r.At(0).Type()
		}
		if signature.Variadic() {
			last := signature.Params().At(signature.Params().Len() - 1).Type().(*types.Slice).Elem()
			if isOption(last) {
				takers[name] = last
			}
		}
	}
	return makers, takers
}

func TestAnOptionOfOneKindOfTokenDoesNotCompileWithTheOther(t *testing.T) {
	packages := loadKinds(t)
	for i, pkg := range packages {
		other := packages[1-i]
		makers, _ := options(other)
		_, takers := options(pkg)
		require.Greater(t, len(makers), 10, "options are found in %s", other.Name())
		require.Greater(t, len(takers), 4, "functions with options are found in %s", pkg.Name())
		for taker, wants := range takers {
			for maker, gives := range makers {
				assert.False(t, types.AssignableTo(gives, wants), "%s.%s(…, %s.%s(…)) compiles", pkg.Name(), taker, other.Name(), maker)
			}
		}
	}
}

func TestAnOptionCompilesWhereItBelongs(t *testing.T) {
	for _, pkg := range loadKinds(t) {
		makers, takers := options(pkg)
		for taker, makerNames := range map[string][]string{
			"NewIssuer":           {"WithLogger", "WithObserver", "WithClock", "WithMaxLifetime", "WithPublishDelay", "WithPolicy", "WithSigners", "WithValidator", "WithMaxLineage", "WithLongTokensRenewed", "WithRenewalPolicy"},
			"NewOfflineIssuer":    {"WithLogger", "WithObserver", "WithClock", "WithMaxLifetime", "WithPublishDelay", "WithPolicy", "WithSigners", "WithValidator", "WithMaxLineage", "WithLongTokensRenewed", "WithRenewalPolicy"},
			"NewDisabledIssuer":   {"WithLogger", "WithObserver", "WithClock", "WithMaxLifetime", "WithPublishDelay", "WithPolicy", "WithSigners", "WithValidator", "WithMaxLineage", "WithLongTokensRenewed", "WithRenewalPolicy"},
			"NewValidator":        {"WithLogger", "WithObserver", "WithClock", "WithMaxLifetime", "WithLeeway", "WithMaxStale", "WithSessionMaxStale", "WithSessionJitter", "WithCache", "WithPublicKey", "WithSource", "WithoutStoreKeys", "WithUnrevocableTokens", "WithForkHandler"},
			"NewOfflineValidator": {"WithLogger", "WithObserver", "WithClock", "WithMaxLifetime", "WithLeeway", "WithMaxStale", "WithSessionMaxStale", "WithSessionJitter", "WithCache", "WithPublicKey", "WithSource", "WithoutStoreKeys", "WithUnrevocableTokens", "WithForkHandler"},
			"RemoveKey":           {"WithPublishDelay", "UnlessUsed", "Forced"},
		} {
			require.Contains(t, takers, taker)
			for maker, gives := range makers {
				if maker == "WithPublicKeyForEveryMesh" || maker == "WithSourceForEveryMesh" || maker == "WithBoundary" {
					continue // zones have none of them
				}
				assert.Equal(t, slices.Contains(makerNames, maker), types.AssignableTo(gives, takers[taker]), "%s.%s(…, %s(…))", pkg.Name(), taker, maker)
			}
		}
	}
}

func TestNoTypeOfOneKindOfTokenIsTakenForTheOther(t *testing.T) {
	packages := loadKinds(t)
	for _, name := range packages[0].Scope().Names() {
		one, isType := packages[0].Scope().Lookup(name).(*types.TypeName)
		two, alsoType := packages[1].Scope().Lookup(name).(*types.TypeName)
		if isType && alsoType && one.Exported() {
			assert.False(t, types.AssignableTo(one.Type(), two.Type()), "%s", name)
			assert.False(t, types.AssignableTo(two.Type(), one.Type()), "%s", name)
		}
	}
}

// mirrored lists what only one of the two packages has, and why it is right.
var mirrored = map[string]string{
	"Proxy": "a proxy is more than a name", "Peer": "a component of a zone has a scope",
	"ScopeCP": "", "ScopeIngress": "", "ScopeEgress": "",
	"WithPublicKeyForEveryMesh": "zone tokens belong to no mesh", "WithSourceForEveryMesh": "",

	// Zone tokens have no tags, workload or type.
	"Boundary": "", "WithBoundary": "", "AsKuma210": "", "AsKuma214": "", "AsKuma30": "", "LabelWorkload": "",
	"TagRule": "", "TagsUndecided": "", "TagsOnInbounds": "", "TagsOnEachInbound": "", "TagsOnLabels": "",
}

func TestThePackagesOfTheTwoKindsMirrorEachOther(t *testing.T) {
	exported := func(pkg *types.Package) (names []string) {
		for _, name := range pkg.Scope().Names() {
			if _, alone := mirrored[name]; token.IsExported(name) && !alone {
				names = append(names, name)
			}
		}
		return names
	}
	packages := loadKinds(t)
	assert.Equal(t, exported(packages[0]), exported(packages[1]))
}

func TestGoDocShowsTheFieldsAndMethodsOfWhatTheTwoKindsExport(t *testing.T) {
	for _, pkg := range loadKinds(t) {
		for _, name := range pkg.Scope().Names() {
			declared, ok := pkg.Scope().Lookup(name).(*types.TypeName)
			if !ok || !declared.Exported() {
				continue
			}
			assert.False(t, declared.IsAlias(), "%s.%s is an alias, whose fields go doc does not show", pkg.Name(), name)
			for _, member := range members(declared.Type()) {
				out, err := exec.CommandContext(t.Context(), "go", "doc", "./"+pkg.Name(), name+"."+member).CombinedOutput()
				require.NoError(t, err, "go doc ./%s %s.%s: %s", pkg.Name(), name, member, out)
				assert.Contains(t, string(out), member)
			}
		}
	}
}

// members returns the exported fields and methods that a type declares.
func members(typ types.Type) (names []string) {
	named, ok := typ.(*types.Named)
	if !ok {
		return nil
	}
	for i := range named.NumMethods() {
		names = append(names, named.Method(i).Name())
	}
	switch under := named.Underlying().(type) {
	case *types.Struct:
		for i := range under.NumFields() {
			names = append(names, under.Field(i).Name())
		}
	case *types.Interface:
		for i := range under.NumExplicitMethods() {
			names = append(names, under.ExplicitMethod(i).Name())
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return !token.IsExported(name) })
}

func TestAMistakeThatWouldProtectNothingDoesNotCompile(t *testing.T) {
	packages := map[string]string{"context": "context"}
	for _, name := range []string{"dataplane", "zone", "keystore"} {
		packages[name] = module + "/" + name
	}
	load := importer.ForCompiler(token.NewFileSet(), "gc", exportsOf(t, packages))
	for code, want := range map[string]string{
		`dataplane.Revoke(ctx, store, "the mesh is forgotten")`:        "not enough arguments",
		`dataplane.Restore(ctx, store, "the mesh is forgotten")`:       "not enough arguments",
		`zone.Revoke(ctx, store)`:                                      "not enough arguments",
		`zone.Restore(ctx, store)`:                                     "not enough arguments",
		`dataplane.NewIssuer(store, zone.WithPolicy(nil))`:             "missing method applyIssuer",
		`zone.NewIssuer(store, dataplane.WithPolicy(nil))`:             "missing method applyIssuer",
		`dataplane.NewValidator(store, zone.WithCache(0))`:             "missing method applyValidator",
		`zone.UnlessUsed(zone.KeyUse{}.LastUsed, dataplane.KeyUse{})`:  "cannot use dataplane.KeyUse",
		`dataplane.Rotate(ctx, store, "default", zone.Rotation{})`:     "cannot use zone.Rotation",
		`dataplane.Verified{}.Permits(zone.Peer{})`:                    "cannot use zone.Peer",
		`var _ dataplane.Authenticator = zone.NewAuthenticator(nil)`:   "wrong type for method Authenticate",
		`dataplane.RemoveKey(ctx, store, "default", 1, zone.Forced())`: "missing method applyRemoval",
	} {
		problems := check([]snippet{{"README.md", 1, code}}, packages, load)
		require.NotEmpty(t, problems, "%s compiles", code)
		assert.ErrorContains(t, problems[0], want, code)
	}
}
