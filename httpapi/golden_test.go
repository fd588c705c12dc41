package httpapi_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	asAlice = "As: alice\n"
	ofJSON  = asAlice + "Content-Type: application/json\n"
	someID  = "6baf2c90-0e86-4c62-97a7-7835855834bc"
)

// exchange is a request, with its headers and body as they are sent, and the
// state in which it is made.
type exchange struct {
	name    string
	request string
	setup   func(*testing.T, *world)
}

var exchanges = []exchange{
	{name: "token-dataplane", request: "POST /tokens/dataplane\n" + ofJSON + "\n" +
		`{"name":"dp-1","mesh":"default","tags":{"kuma.io/service":["backend","backend-admin"]},"type":"dataplane","workload":"shop","validFor":"24h"}`},
	{name: "token-dataplane-least", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default"}`},
	{name: "token-dataplane-nulls", request: "POST /tokens/dataplane\n" + ofJSON + "\n" +
		`{"name":null,"mesh":"default","tags":null,"type":null,"workload":null,"validFor":null}`},
	{name: "token-zone", request: "POST /tokens/zone\n" + ofJSON + "\n" + `{"zone":"west","scope":["cp","egress"],"validFor":"720h"}`},

	{name: "token-zone-without-scope", request: "POST /tokens/zone\n" + ofJSON + "\n" + `{"zone":"west"}`},

	{name: "index", request: "GET /\n\n", setup: withIndex},
	{name: "index-head", request: "HEAD /\n\n", setup: withIndex},
	{name: "index-post", request: "POST /\n" + ofJSON + "\n{}", setup: withIndex},
	{name: "index-none", request: "GET /\n" + asAlice + "\n"},

	{name: "bad-mesh-missing", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"name":"dp-1"}`},
	{name: "bad-dataplane-fields", request: "POST /tokens/dataplane\n" + ofJSON + "\n" +
		`{"name":7,"mesh":"a/b","tags":{"kuma.io/service":[],"region":["eu",null]},"type":{},"Workload":"shop","validFor":"10 years"}`},
	{name: "bad-dataplane-values", request: "POST /tokens/dataplane\n" + ofJSON + "\n" +
		`{"mesh":"a/b","tags":{"kuma.io/service":[],"region":null},"validFor":"10 years"}`},
	{name: "bad-zone-fields", request: "POST /tokens/zone\n" + ofJSON + "\n" + `{"zone":"","scope":["cp",""],"validFor":"-1h"}`},
	{name: "bad-zone-scope-empty", request: "POST /tokens/zone\n" + ofJSON + "\n" + `{"zone":"west","scope":[]}`},
	{name: "bad-type", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default","type":"gateway"}`},
	{name: "bad-valid-for-zero", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default","validFor":"0s"}`},
	{name: "bad-valid-for", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default","validFor":"<forever & \"ever\">"}`},
	{name: "bad-unknown-field", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default","tag":{"kuma.io/service":["backend"]}}`},
	{name: "bad-duplicate", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default","mesh":"prod"}`},
	{name: "bad-two-values", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default"}{"mesh":"prod"}`},
	{name: "bad-not-an-object", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `["default"]`},
	{name: "bad-not-json", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `mesh=default`},
	{name: "bad-media-type", request: "POST /tokens/dataplane\n" + asAlice + "Content-Type: application/x-www-form-urlencoded\n\n" + `mesh=default`},
	{name: "bad-media-type-missing", request: "POST /tokens/dataplane\n" + asAlice + "\n" + `{"mesh":"default"}`},
	{name: "bad-too-large", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + strings.Repeat(" ", 64<<10+1)},

	{name: "refused-unauthenticated", request: "POST /tokens/dataplane\nContent-Type: application/json\n\n" + `{"mesh":"default"}`},
	{name: "refused", request: "POST /tokens/dataplane\nAs: mallory\nContent-Type: application/json\n\n" + `{"mesh":"default"}`},
	{name: "refused-with-detail", request: "POST /tokens/dataplane\nAs: bob\nContent-Type: application/json\n\n" + `{"mesh":"default"}`},
	{name: "refused-without-actor", request: "POST /tokens/dataplane\nAs: nobody\nContent-Type: application/json\n\n" + `{"mesh":"default"}`},
	{name: "refused-by-policy", request: "POST /tokens/zone\n" + ofJSON + "\n" + `{"zone":"west","scope":["cp"]}`, setup: policies(errors.New("the secret list names west"))},
	{name: "refused-by-policy-with-detail", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default"}`, setup: policies(httpapi.Denied("no tokens on Fridays"))},
	{name: "authoriser-unavailable", request: "POST /tokens/dataplane\nAs: slow\nContent-Type: application/json\n\n" + `{"mesh":"default"}`},

	{name: "no-key-dataplane", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"prod"}`},
	{name: "no-key-zone", request: "POST /tokens/zone\n" + ofJSON + "\n" + `{"zone":"west","scope":["cp"]}`, setup: func(t *testing.T, w *world) {
		require.NoError(t, w.store.Delete(t.Context(), keystore.Global, signing.ZoneKeys().KeyName(1)))
	}},
	{name: "issuing-disabled", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default"}`, setup: func(t *testing.T, w *world) {
		dataplanes, err := dataplane.NewDisabledIssuer()
		require.NoError(t, err)
		w.serve(t, dataplanes, w.zones)
	}},
	{name: "over-max-lifetime", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default","validFor":"48h"}`, setup: func(t *testing.T, w *world) {
		dataplanes, err := dataplane.NewIssuer(w.store, dataplane.WithMaxLifetime(24*time.Hour))
		require.NoError(t, err)
		w.serve(t, dataplanes, w.zones)
	}},
	{name: "token-too-large", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default","name":"` + strings.Repeat("n", 8000) + `"}`},
	{name: "key-unreadable", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default"}`, setup: func(t *testing.T, w *world) {
		replace(t, w.store, "default", signing.DataplaneKeys("default").KeyName(1), []byte("spoilt"))
	}},
	{name: "store-down", request: "POST /tokens/dataplane\n" + ofJSON + "\n" + `{"mesh":"default"}`, setup: down},

	{name: "revoke", request: "POST /revocations/dataplane/default\n" + ofJSON + "\n" + `{"ids":["` + someID + `","another-id"]}`},
	{name: "restore", request: "DELETE /revocations/dataplane/default\n" + ofJSON + "\n" + `{"ids":["` + someID + `"]}`, setup: revoked},
	{name: "revoked", request: "GET /revocations/dataplane/default\n" + asAlice + "\n", setup: revoked},
	{name: "revoked-none", request: "GET /revocations/dataplane/default\n" + asAlice + "\n"},
	{name: "revoked-head", request: "HEAD /revocations/dataplane/default\n" + asAlice + "\n", setup: revoked},
	{name: "revoked-store-down", request: "GET /revocations/dataplane/default\n" + asAlice + "\n", setup: down},
	{name: "revoked-refused", request: "GET /revocations/dataplane/default\nAs: mallory\n\n"},
	{name: "revoked-unreadable", request: "GET /revocations/dataplane/default\n" + asAlice + "\n", setup: func(t *testing.T, w *world) {
		list := revocation.Dataplane("default")
		put(t, w.store, list.Scope, list.Name, []byte("\x00\x01"))
	}},
	{name: "revoked-two-lists", request: "GET /revocations/dataplane/default\n" + asAlice + "\n", setup: func(t *testing.T, w *world) {
		revoked(t, w)
		require.NoError(t, revocation.DataplaneGlobal("default").Add(quiet(t), w.store, someID, "of-kuma"))
	}},
	{name: "make-global-list", request: "POST /revocations/dataplane/default/lists\n" + ofJSON + "\n" + `{"scope":"global"}`, setup: revoked},
	{name: "make-global-list-first", request: "POST /revocations/dataplane/default/lists\n" + ofJSON + "\n" + `{"scope":"global"}`},
	{name: "make-global-list-taken", request: "POST /revocations/dataplane/default/lists\n" + ofJSON + "\n" + `{"scope":"global"}`, setup: failing(keystore.ErrNameTaken)},
	{name: "make-mesh-list", request: "POST /revocations/dataplane/default/lists\n" + ofJSON + "\n" + `{"scope":"mesh"}`},
	{name: "make-global-list-refused", request: "POST /revocations/dataplane/default/lists\nAs: bob\nContent-Type: application/json\n\n" + `{"scope":"global"}`},
	{name: "revoke-zone", request: "POST /revocations/zone\n" + ofJSON + "\n" + `{"ids":["another-id"]}`},
	{name: "revoked-zone", request: "GET /revocations/zone\n" + asAlice + "\n", setup: revoked},
	{name: "revoke-bad-id", request: "POST /revocations/zone\n" + ofJSON + "\n" + `{"ids":["not, an id"]}`},
	{name: "revoke-nothing", request: "POST /revocations/zone\n" + ofJSON + "\n" + `{}`},
	{name: "revoke-read-only", request: "POST /revocations/zone\n" + ofJSON + "\n" + `{"ids":["another-id"]}`, setup: failing(keystore.ErrReadOnly)},
	{name: "revoke-list-full", request: "POST /revocations/zone\n" + ofJSON + "\n" + `{"ids":["another-id"]}`, setup: failing(keystore.ErrTooLarge)},

	{name: "cutoffs", request: "GET /cutoffs/dataplane/default\n" + asAlice + "\n", setup: cutOff},
	{name: "cutoffs-none", request: "GET /cutoffs/zone\n" + asAlice + "\n"},
	{name: "cutoffs-unreadable", request: "GET /cutoffs/zone\n" + asAlice + "\n", setup: unreadableCutoffs},
	{name: "cut-off", request: "POST /cutoffs/dataplane/default\n" + ofJSON + "\n" + `{"before":"2026-11-29T11:00:00.5+01:00","workload":"backend"}`},
	{name: "cut-off-later-there", request: "POST /cutoffs/dataplane/default\n" + ofJSON + "\n" + `{"before":"2020-01-01T00:00:00Z","name":"dp-1"}`, setup: cutOff},
	{name: "cut-off-two-subjects", request: "POST /cutoffs/dataplane/default\n" + ofJSON + "\n" + `{"before":"2026-11-29T10:00:00Z","name":"dp-1","kid":"1"}`},
	{name: "cut-off-no-time", request: "POST /cutoffs/zone\n" + ofJSON + "\n" + `{"before":"yesterday"}`},
	{name: "cut-off-dry-run", request: "POST /cutoffs/zone\n" + ofJSON + "\n" + `{"before":"2026-11-29T10:00:00Z","zone":"west","dryRun":true}`},
	{name: "prune-no-lifetime", request: "POST /revocations/dataplane/default/prune\n" + ofJSON + "\n" + `{"lifetime":"90d"}`},
	{name: "cut-off-too-far", request: "POST /cutoffs/zone\n" + ofJSON + "\n" + `{"before":"2999-01-01T00:00:00Z"}`},
	{name: "cut-off-full", request: "POST /cutoffs/zone\n" + ofJSON + "\n" + `{"before":"2026-11-29T10:00:00Z"}`, setup: failing(keystore.ErrTooLarge)},
	{name: "cut-off-refused", request: "POST /cutoffs/zone\nAs: bob\nContent-Type: application/json\n\n" + `{"before":"2026-11-29T10:00:00Z"}`},
	{name: "remove-cutoff", request: "POST /cutoffs/dataplane/default/remove\n" + ofJSON + "\n" + `{"before":"2026-11-29T10:00:00Z","name":"dp-1"}`, setup: cutOff},

	{name: "key-states", request: "GET /keys/dataplane/listed\n" + asAlice + "\n", setup: listedKeys},
	{name: "key-states-none", request: "GET /keys/dataplane/prod\n" + asAlice + "\n"},
	{name: "key-states-store-down", request: "GET /keys/zone\n" + asAlice + "\n", setup: down},
	{name: "key-states-refused", request: "GET /keys/zone\nAs: bob\n\n"},
	{name: "key-first-there", request: "POST /keys/dataplane/listed/first\n" + ofJSON + "\n{}", setup: listedKeys},
	{name: "key-first-public-only", request: "POST /keys/zone/first\n" + ofJSON + "\n{}", setup: published()},
	{name: "key-add-there", request: "POST /keys/dataplane/listed\n" + ofJSON + "\n" + `{"public":` + publicOne + `}`, setup: listedKeys},
	{name: "key-add-none", request: "POST /keys/dataplane/prod\n" + ofJSON + "\n{}"},
	{name: "key-add-public-only", request: "POST /keys/zone\n" + ofJSON + "\n{}", setup: published()},
	{name: "key-add-read-only", request: "POST /keys/zone\n" + ofJSON + "\n{}", setup: refusing(keystore.ErrReadOnly)},
	{name: "key-add-raced", request: "POST /keys/zone\n" + ofJSON + "\n{}", setup: refusing(keystore.ErrExists)},
	{name: "key-add-name-taken", request: "POST /keys/zone\n" + ofJSON + "\n{}", setup: refusing(keystore.ErrNameTaken)},
	{name: "key-add-private", request: "POST /keys/zone\n" + ofJSON + "\n" + `{"jwk":{"kty":"RSA","d":"AQAB"}}`},
	{name: "key-add-bits", request: "POST /keys/zone\n" + ofJSON + "\n" + `{"bits":1024}`},
	{name: "key-remove", request: "POST /keys/dataplane/listed/remove\n" + ofJSON + "\n" + `{"kid":"1"}`, setup: listedKeys},
	{name: "key-remove-newest", request: "POST /keys/dataplane/default/remove\n" + ofJSON + "\n" + `{"kid":"1","force":true}`},
	{name: "key-remove-signs", request: "POST /keys/dataplane/default/remove\n" + ofJSON + "\n" + `{"kid":"1"}`, setup: delayed},
	{name: "key-remove-none", request: "POST /keys/zone/remove\n" + ofJSON + "\n" + `{"kid":"7"}`},
	{name: "key-remove-use-unknown", request: "POST /keys/zone/remove\n" + ofJSON + "\n" + `{"kid":"1","unlessUsedSince":"2026-11-29T10:00:00Z"}`},
	{name: "key-no-such-method", request: "DELETE /keys/zone\n" + ofJSON + "\n" + `{"kid":"1"}`},

	{name: "keys-dataplane", request: "GET /jwks/dataplane/published\n" + asAlice + "\n", setup: published()},
	{name: "keys-zone", request: "GET /jwks/zone\n" + asAlice + "\n", setup: published()},
	{name: "keys-zone-public", request: "GET /jwks/zone\n\n", setup: published(httpapi.WithPublicKeySets())},
	{name: "keys-not-modified", request: "GET /jwks/zone\n" + asAlice + "If-None-Match: \"other\", W/\"" + zoneETag + "\"\n\n", setup: published()},
	{name: "keys-modified", request: "GET /jwks/zone\n" + asAlice + "If-None-Match: \"other\"\n\n", setup: published()},
	{name: "keys-head", request: "HEAD /jwks/zone\n" + asAlice + "\n", setup: published()},
	{name: "keys-unauthenticated", request: "GET /jwks/zone\n\n", setup: published()},
	{name: "keys-none", request: "GET /jwks/dataplane/prod\n" + asAlice + "\n"},
	{name: "keys-store-down", request: "GET /jwks/zone\n" + asAlice + "\n", setup: down},

	{name: "no-such-path", request: "GET /tokens/user\n" + asAlice + "\n"},
	{name: "no-such-method", request: "GET /tokens/dataplane\n" + asAlice + "\n"},
	{name: "no-such-method-revocations", request: "PUT /revocations/zone\n" + ofJSON + "\n" + `{"ids":[]}`},
	{name: "bad-mesh-in-path", request: "GET /revocations/dataplane/..%2fdefault\n" + asAlice + "\n"},
}

var created = regexp.MustCompile(`"created":"[^"]+"`)

// publicOne is the key in public-1.pem, as JSON.
const publicOne = `"-----BEGIN RSA PUBLIC KEY-----\nMIIBCgKCAQEA3zxROPKK8Fy4AmN2IB8ciun5D9M53jP5/5kCqt+csNASHCaeSIwf\ndHqWDDYL9lWu9PrUXAy9r3eYJQlnYj5cc4To8ZyH17iAOpQyrSzXJ0uHk1RrPDbc\neUCTVXL/1iiS6q7TGrfvNnQwiNY7GDJ5YGyTkBluCbF8VZVXv04UdnyBDmSOW6Bk\nROL5+2Fr6aZXQ72lOatnWMPXMHnb7ToYWDaw1sdQ6EiQPd/EqGkYxOAUk3+69+IP\ntQEVaf8VjQuI5XPQpBe5K8YyOqD5cf30OcJi7926hlPXPh2ZbfDffsdcrNtMqAo9\nFmMtshRjRPCEgNOYfUaTfApuSz6afRz58wIDAQAB\n-----END RSA PUBLIC KEY-----\n"`

// listedKeys has an external key, a copy of a public key, and a record that the store cannot
// read, for mesh listed.
func listedKeys(t *testing.T, w *world) {
	keys := signing.DataplaneKeys("listed")
	put(t, w.store, "listed", keys.PublicKeyName(1), publicPEM(t, "public-2.pem"))
	put(t, w.store, "listed", keys.KeyName(2), []byte("spoilt"))
	put(t, w.store, "listed", keys.ExternalKeyName(4), publicPEM(t, "public-1.pem"))
	w.store.unreadable = []*keystore.Error{{Op: "read", Scope: "listed", Name: keys.KeyName(3), Err: errors.New("/var/lib/secret: permission denied")}}
}

// delayed has a second key of mesh default that is too young to sign.
func delayed(t *testing.T, w *world) {
	put(t, w.store, "default", signing.DataplaneKeys("default").KeyName(2), pemOf(t, testKey(2)))
	w.serve(t, w.dataplanes, w.zones, httpapi.WithPublishDelay(time.Hour))
}

func refusing(err error) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) { w.store.refuse = err }
}

// zoneETag is the ETag of the zones' key set in the golden files.
const zoneETag = "e7f1c7e37778027868b247da6526abdd"

func policies(err error) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		dataplanes, err1 := dataplane.NewIssuer(w.store, dataplane.WithPolicy(func(context.Context, token.Dataplane, time.Duration) error { return err }))
		zones, err2 := zone.NewIssuer(w.store, zone.WithPolicy(func(context.Context, token.Zone, time.Duration) error { return err }))
		require.NoError(t, errors.Join(err1, err2))
		w.serve(t, dataplanes, zones)
	}
}

func withIndex(t *testing.T, w *world) {
	w.serve(t, w.dataplanes, w.zones, httpapi.WithIndex(httpapi.Index{
		BasedOnKuma: "2.10.11", ClusterID: "cluster-1", GUI: "/gui", Hostname: "cp-1.example", InstanceID: "cp-1-1a2b", Product: "Kuma", Version: "2.10.11",
	}))
}

func down(_ *testing.T, w *world) { w.store.set(errors.New("10.1.2.3: connection refused"), false) }

func failing(err error) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) { w.store.set(err, false) }
}

func revoked(t *testing.T, w *world) {
	require.NoError(t, dataplane.Revoke(quiet(t), w.store, "default", someID, "another-id"))
	require.NoError(t, zone.Revoke(quiet(t), w.store, "of-a-zone"))
}

// cutOff has a cutoff, and a floor that pruning has left.
func cutOff(t *testing.T, w *world) {
	put(t, w.store, "default", "dataplane-token-cutoffs-default", []byte(`{"before":"2026-11-29T10:00:00Z","name":"dp-1"}`+"\n"+`{"idsBefore":"2026-08-31T10:00:00Z"}`+"\n"))
}

func unreadableCutoffs(t *testing.T, w *world) {
	put(t, w.store, keystore.Global, "zone-token-cutoffs", []byte("{}"))
}

// published has public keys that are the same in each run, for mesh published and
// for the zones, both with serial 1.
func published(options ...httpapi.Option) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		require.NoError(t, w.store.Delete(t.Context(), keystore.Global, signing.ZoneKeys().KeyName(1)))
		put(t, w.store, keystore.Global, signing.ZoneKeys().PublicKeyName(1), publicPEM(t, "public-1.pem"))
		put(t, w.store, "published", signing.DataplaneKeys("published").PublicKeyName(1), publicPEM(t, "public-2.pem"))
		put(t, w.store, "published", signing.DataplaneKeys("published").PublicKeyName(2), publicPEM(t, "public-1.pem"))
		w.serve(t, w.dataplanes, w.zones, options...)
	}
}

func TestHandlerAnswersAsTheGoldenFilesSay(t *testing.T) {
	files := map[string]bool{}
	for _, e := range exchanges {
		file := filepath.Join("testdata", e.name+".golden")
		require.False(t, files[file], "two exchanges are named %s", e.name)
		files[file] = true
		t.Run(e.name, func(t *testing.T) {
			w := newWorld(t)
			if e.setup != nil {
				e.setup(t, w)
			}
			server := httptest.NewServer(w.handler)
			defer server.Close()
			answer := exchangeOverHTTP(t, server.URL, e.request)
			shown, body, _ := strings.Cut(e.request, "\n\n")
			if len(body) > 1000 {
				body = fmt.Sprintf("<%d bytes>", len(body))
			}
			got := shown + "\n\n" + body + "\n----\n" + answer
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
	found, err := filepath.Glob("testdata/*.golden")
	require.NoError(t, err)
	for _, file := range found {
		assert.True(t, files[file], "%s is the answer to nothing", file)
	}
}

// exchangeOverHTTP sends a request and returns the answer: its status, its
// headers, and the body byte for byte. In the place of a token stands <token>, and in that
// of the time at which a key was created, <time>.
func exchangeOverHTTP(t *testing.T, url, request string) string {
	t.Helper()
	head, body, _ := strings.Cut(request, "\n\n")
	lines := strings.Split(head, "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	r, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
	require.NoError(t, err)
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	response, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(r)
	require.NoError(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	require.NoError(t, err)

	var b strings.Builder
	fmt.Fprintln(&b, response.Status)
	for _, name := range slices.Sorted(maps.Keys(response.Header)) {
		if name == "Date" || name == "Content-Length" || name == "Connection" {
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(response.Header[name], ", "))
	}
	if _, err := token.ParseUnverified(string(data)); err == nil {
		data = []byte("<token>")
	}
	return b.String() + "\n" + string(created.ReplaceAll(data, []byte(`"created":"<time>"`)))
}
