package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/signing"
)

// recordsOf returns the records of a store in a folder, without what the store sets
// itself.
func recordsOf(t *testing.T, folder string) []keystore.Record {
	t.Helper()
	store, err := dir.Open(folder)
	require.NoError(t, err)
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	for i, r := range records {
		records[i] = keystore.Record{Scope: r.Scope, Name: r.Name, Data: r.Data}
	}
	return records
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func newKey(t *testing.T) string {
	t.Helper()
	key, err := signing.Generate(2048)
	require.NoError(t, err)
	text, err := key.PEM()
	require.NoError(t, err)
	return string(text)
}

func TestWhatIsExportedIsImportedByteForByteInBothForms(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("keys", "add", "--mesh", "default")
	c.done("keys", "add", "--first", "--mesh", "on") // a boolean in YAML, without quotes
	c.done("revocations", "add", "b-id", "a-id", "--mesh", "default")
	c.done("revocations", "add", "zone-id", "--zone-tokens")
	c.done("revocations", "add", "x", "--mesh", "on")
	c.done("revocations", "remove", "x", "--mesh", "on") // an empty list
	store, err := dir.Open("keys")
	require.NoError(t, err)
	for _, r := range []keystore.Record{
		{Name: "dataplane-token-revocations-other", Data: []byte("one,,two\n")}, // global, and not as we write it
		{Scope: "other", Name: "dataplane-token-signing-public-key-other-7", Data: publicPEM(t, newKey(t))},
	} {
		_, err := store.Create(t.Context(), r)
		require.NoError(t, err)
	}
	before := recordsOf(t, "keys")
	require.Len(t, before, 9)

	for form, flags := range map[string][]string{"kumactl": nil, "kubectl": {"--kubernetes"}} {
		c.done(append([]string{"export", "--all", "--output", form + ".yaml"}, flags...)...)
		require.Contains(t, c.read(form+".yaml"), form)
		for _, document := range strings.Split(c.read(form+".yaml"), "\n---\n") {
			require.Contains(t, document, "type: ", "kumactl takes a document of comments for a resource that it cannot read")
		}
		out := c.done("import", form+".yaml", "--store", "dir:./"+form)
		require.Equal(t, 9, strings.Count(out, "took "), out)
		require.Equal(t, before, recordsOf(t, form))

		again := c.done("import", form+".yaml", "--store", "dir:./"+form)
		require.Equal(t, 9, strings.Count(again, "same "), again)
		require.Equal(t, before, recordsOf(t, form), "twice is once")
	}
	require.Contains(t, c.read("kubectl.yaml"), "kubectl apply --server-side")
}

func publicPEM(t *testing.T, private string) []byte {
	t.Helper()
	key, err := signing.ParsePrivateKey([]byte(private))
	require.NoError(t, err)
	return key.Public().PEM()
}

// kumactlList is what "kumactl get secrets -o json" prints for one secret.
const kumactlList = `{
  "total": 1,
  "items": [
    {
      "type": "Secret",
      "mesh": "default",
      "name": %q,
      "creationTime": "2026-01-02T03:04:05Z",
      "modificationTime": "2026-01-02T03:04:05Z",
      "labels": {"kuma.io/mesh": "default", "kuma.io/origin": "zone"},
      "data": %q
    }
  ],
  "next": null
}`

func TestImportReadsEveryFormThatKumactlAndKubectlPrint(t *testing.T) {
	key := newKey(t)
	name := "dataplane-token-signing-key-default-1"
	kubernetes := "apiVersion: v1\nkind: Secret\nmetadata:\n  creationTimestamp: \"2026-01-02T03:04:05Z\"\n  name: " + name +
		"\n  namespace: kuma-system\n  uid: x\n%stype: system.kuma.io/secret\ndata:\n  value: " + encoded(key) + "\n"
	one := map[string]any{"apiVersion": "v1", "kind": "Secret", "type": "system.kuma.io/secret",
		"metadata": map[string]any{"name": name, "labels": map[string]string{"kuma.io/mesh": "default"}}, "data": map[string]string{"value": encoded(key)}}
	kubernetesList, err := json.MarshalIndent(map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""}, "items": []any{one}}, "", "    ")
	require.NoError(t, err)
	for form, text := range map[string]string{
		"one, YAML": "creationTime: \"2026-01-02T03:04:05Z\"\nlabels:\n  kuma.io/mesh: default\nmesh: default\nmodificationTime: \"2026-01-02T03:04:05Z\"\nname: " +
			name + "\ntype: Secret\ndata: " + encoded(key) + "\n",
		"one, JSON": fmt.Sprintf(`{"type": "Secret", "mesh": "default", "name": %q, "data": %q}`, name, encoded(key)),
		"two in JSON, of jq": fmt.Sprintf("{\n\t\"type\": \"Secret\",\n\t\"mesh\": \"default\",\n\t\"name\": %q,\n\t\"data\": %q,\n\t\"labels\": {\"x\": \"\\ud83d\\ude00\"}\n}\n", name, encoded(key)) +
			"{\"items\": [], \"next\": null, \"total\": 0}\n",
		"list, JSON":                   fmt.Sprintf(kumactlList, name, encoded(key)),
		"list, YAML":                   "items:\n- data: " + encoded(key) + "\n  mesh: default\n  name: " + name + "\n  type: Secret\nnext: null\ntotal: 1\n",
		"documents, two of them empty": "---\n# nothing\n---\ntype: Secret\nmesh: default\nname: " + name + "\ndata: " + encoded(key) + "\n---\n",
		"lines of Windows":             "\ufefftype: Secret\r\nmesh: default\r\nname: " + name + "\r\ndata: |\r\n  " + encoded(key)[:64] + "\r\n  " + encoded(key)[64:] + "\r\n",
		"Kubernetes":                   fmt.Sprintf(kubernetes, "  labels:\n    kuma.io/mesh: default\n"),
		"Kubernetes, without a label":  fmt.Sprintf(kubernetes, ""),
		"Kubernetes, an empty label":   fmt.Sprintf(kubernetes, "  labels: {kuma.io/mesh: \"\"}\n"),
		"Kubernetes, a list in JSON":   string(kubernetesList),
	} {
		t.Run(form, func(t *testing.T) {
			c := newTool(t)
			r := c.runWith(text, "import", "-")
			require.Equal(t, exitDone, r.status, r.err)
			require.Equal(t, "took      \""+name+"\" of mesh \"default\"\n", r.out)
			require.Equal(t, []keystore.Record{{Scope: "default", Name: name, Data: []byte(key)}}, recordsOf(t, "keys"))
			c.done("generate", "dataplane-token", "--output", "dp.token")
		})
	}
}

func TestImportLeavesWhatItCannotUseAndSaysWhy(t *testing.T) {
	key := newKey(t)
	secret := func(kind, mesh, name, data string) string {
		if mesh != "" {
			mesh = "mesh: " + mesh + "\n"
		}
		return "type: " + kind + "\n" + mesh + "name: " + name + "\ndata: \"" + data + "\"\n"
	}
	const fine, fails = exitDone, exitFailed
	for name, x := range map[string]struct {
		status int
		text   string
		says   string
	}{
		"another secret":             {fine, secret("Secret", "default", "default.ca-builtin-key-ca-1", encoded("x")), "neither a signing key nor a revocation list"},
		"a user token's key":         {fine, secret("GlobalSecret", "", "user-token-signing-key-1", encoded(key)), "neither a signing key nor a revocation list"},
		"another resource":           {fine, "type: Mesh\nname: default\n", "it is a Mesh, not a secret of Kuma"},
		"another Secret":             {fine, "apiVersion: v1\nkind: Secret\nmetadata: {name: zone-token-signing-key-1}\ntype: Opaque\ndata: {value: eA==}\n", `it is a "Secret Opaque"`},
		"a key that is none":         {fails, secret("Secret", "default", "dataplane-token-signing-key-default-1", encoded("secret bytes of HS256")), "unusable key"},
		"a public key for a private": {fails, secret("GlobalSecret", "", "zone-token-signing-key-1", encoded(string(publicPEM(t, key)))), "unusable key"},
		"a private key for a public": {fails, secret("GlobalSecret", "", "zone-token-signing-public-key-1", encoded(key)), "private key"},
		"a list that is none":        {fails, secret("GlobalSecret", "", "zone-token-revocations", encoded("\x01\x02")), "unreadable list"},
		"a key of another mesh":      {fails, secret("Secret", "default", "dataplane-token-signing-key-other-1", encoded(key)), `"dataplane-token-signing-key-default", `},
		"a name that Kuma reads":     {fails, secret("Secret", "default", "dataplane-token-signing-key-default-0011", encoded(key)), "a serial of at least 1"},
		"a key of a mesh, global":    {fails, secret("GlobalSecret", "", "dataplane-token-signing-key-default-1", encoded(key)), "belongs into its mesh"},
		"a key of the zones, mesh":   {fails, secret("Secret", "default", "zone-token-signing-key-1", encoded(key)), "belongs into the global scope"},
		"a list of another mesh":     {fails, secret("Secret", "default", "dataplane-token-revocations-other", encoded("id")), `the list of mesh "other"`},
		"cutoffs":                    {fails, secret("Secret", "default", "dataplane-token-cutoffs-default", encoded(`{"before":"2026-11-29T10:00:00Z"}`)), "meshpass cutoffs add"},
		"a list of zones in a mesh":  {fails, secret("Secret", "default", "zone-token-revocations", encoded("id")), "belongs into the global scope"},
		"data that is no base64":     {fails, secret("GlobalSecret", "", "zone-token-revocations", "id,id"), "not base64"},
		"no data":                    {fails, "type: GlobalSecret\nname: zone-token-revocations\n", `it has no "data"`},
		"no value":                   {fails, "apiVersion: v1\nkind: Secret\nmetadata: {name: zone-token-revocations}\ntype: system.kuma.io/global-secret\ndata: {}\n", `it has no "data.value"`},
		"a zones' key, empty label":  {fails, "apiVersion: v1\nkind: Secret\nmetadata: {name: zone-token-signing-key-1, labels: {kuma.io/mesh: ''}}\ntype: system.kuma.io/secret\ndata: {value: " + encoded(key) + "}\n", "belongs into the global scope"},
		"a mesh that is missing":     {fails, "type: Secret\nname: dataplane-token-signing-key-default-1\ndata: eA==\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTool(t)
			c.write("in.yaml", x.text)
			r := c.run("import", "in.yaml")
			require.Equal(t, x.status, r.status, r.out+r.err)
			require.True(t, strings.HasPrefix(r.out, "left      "), r.out)
			require.Equal(t, 1, strings.Count(r.out, "\n"))
			require.Contains(t, r.out, x.says)
			require.Empty(t, recordsOf(t, "keys"))
			require.NotContains(t, r.out+r.err, encoded(key)[:40])
		})
	}
}

func TestImportOfSomethingElseFailsBeforeItChangesAnything(t *testing.T) {
	c := newTool(t)
	c.write("good.yaml", "type: GlobalSecret\nname: zone-token-revocations\ndata: "+encoded("id")+"\n")
	c.write("token", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln")
	c.write("broken.yaml", "type: Secret\n\tmesh: default")
	c.write("broken.json", `{"type": "Secret"`)
	c.write("nested.yaml", "items:\n- items: []\n")
	c.write("tagged.yaml", "type: Secret\nname: [a]\n")
	c.write("alias.yaml", "items:\n- &x {type: GlobalSecret, name: zone-token-revocations, data: aWQ=}\n- *x\n")
	c.write("large.yaml", strings.Repeat("#", maxManifest+1))
	for file, says := range map[string]string{
		"token": "no resource", "broken.yaml": "neither YAML nor JSON", "nested.yaml": "no resource", "alias.yaml": "alias of YAML",
		"tagged.yaml": "another form", "broken.json": "neither YAML nor JSON", "large.yaml": "more than 16777216 bytes", "missing.yaml": "there is no file",
	} {
		require.Contains(t, c.fails(exitFailed, "import", "good.yaml", file), says)
	}
	require.Contains(t, c.fails(exitUsage, "import", "-", "-"), "read only once")
	require.Contains(t, c.fails(exitUsage, "import"), "which secrets?")
	require.Contains(t, c.fails(exitUsage, "import", "good.yaml", "--store", "", "--control-plane", "https://localhost:1"), "cannot import")
	require.NoDirExists(t, "keys")
}

func TestImportOverwritesNoKeyUnasked(t *testing.T) {
	c := newToolWithKeys(t)
	before := recordsOf(t, "keys")
	key := newKey(t)
	c.write("in.json", fmt.Sprintf(kumactlList, "dataplane-token-signing-key-default-1", encoded(key)))
	r := c.run("import", "in.json")
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.out, "the store has another key of this name; --overwrite replaces it")
	require.Equal(t, before, recordsOf(t, "keys"))

	require.Contains(t, c.done("import", "in.json", "--overwrite", "--dry-run"), "replaced ")
	require.Equal(t, before, recordsOf(t, "keys"))
	require.Contains(t, c.done("import", "in.json", "--overwrite"), "replaced ")
	require.Equal(t, key, string(recordsOf(t, "keys")[1].Data))

	c.write("other.json", fmt.Sprintf(kumactlList, "dataplane-token-signing-key-default-1", encoded(newKey(t))))
	r = c.run("import", "in.json", "other.json", "--overwrite")
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.out, "two different keys of this name, and the first counts")
	require.Equal(t, key, string(recordsOf(t, "keys")[1].Data))
}

func TestImportTakesNoHalfOfAnotherKeyThanTheStoreHasTheOtherHalfOf(t *testing.T) {
	for name, private := range map[string]bool{"a private key beside a public one": true, "a public key beside a private one": false} {
		t.Run(name, func(t *testing.T) {
			c := newTool(t)
			c.write("in.json", fmt.Sprintf(kumactlList, "dataplane-token-signing-key-default-1", encoded(newKey(t))))
			c.write("other.json", fmt.Sprintf(kumactlList, "dataplane-token-signing-key-default-1", encoded(newKey(t))))
			first, second := []string{"import", "in.json"}, []string{"import", "other.json", "--overwrite"}
			if private {
				first = append(first, "--public-only")
			} else {
				second = append(second, "--public-only")
			}
			c.done(first...)
			before := recordsOf(t, "keys")
			r := c.run(second...)
			require.Equal(t, exitFailed, r.status)
			require.Contains(t, r.out, "another key with this number")
			require.Equal(t, before, recordsOf(t, "keys"))
			second[1] = "in.json"
			c.done(second...)
		})
	}
}

func TestImportAddsTheIdsOfAListAndTakesNoneAway(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("revocations", "add", "here", "both", "--mesh", "default")
	c.write("in.json", fmt.Sprintf(kumactlList, "dataplane-token-revocations-default", encoded("both,there\n")))
	require.Contains(t, c.done("import", "in.json", "--dry-run"), "1 ids to the list")
	require.Equal(t, "both\nhere\n", c.done("revocations", "list", "--mesh", "default"))
	for range 2 {
		c.done("import", "in.json", "--overwrite")
		require.Equal(t, "both\nhere\nthere\n", c.done("revocations", "list", "--mesh", "default"))
	}
	require.Contains(t, c.done("import", "in.json"), "same ")
}

func TestImportAndExportForAZoneHoldOnlyPublicHalves(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("revocations", "add", "id", "--zone-tokens")
	c.write("dp.token", c.done("generate", "dataplane-token"))
	c.done("export", "--all", "--output", "all.yaml")
	c.done("import", "all.yaml", "--public-only", "--store", "dir:./a")
	c.done("export", "--all", "--public-only", "--output", "public.yaml")
	c.done("import", "public.yaml", "--store", "dir:./b")
	require.Equal(t, recordsOf(t, "a"), recordsOf(t, "b"))
	for _, r := range recordsOf(t, "b") {
		require.NotContains(t, string(r.Data), "PRIVATE")
	}
	c.done("inspect", "dp.token", "--store", "dir:./b")
	require.Contains(t, c.done("keys", "list", "--zone-tokens", "--store", "dir:./b"), "verifies, public key only")
}

func TestDryRunMakesNoStore(t *testing.T) {
	c := newTool(t)
	c.write("in.json", fmt.Sprintf(kumactlList, "dataplane-token-signing-key-default-1", encoded(newKey(t))))
	r := c.run("import", "in.json", "--dry-run")
	require.Equal(t, exitDone, r.status, r.err)
	require.Contains(t, r.out, "took ")
	require.Contains(t, r.err, "nothing was changed")
	require.NoDirExists(t, "keys")
}

func TestExportNamesAndLeavesWhatCannotBeRead(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("keys", "add", "--mesh", "default")
	c.write(filepath.Join("keys", "meshes", "default", "dataplane-token-signing-key-default-2"), "no key")
	c.write(filepath.Join("keys", "meshes", "default", "dataplane-token-revocations-default"), "\x01\x02")
	folder := filepath.Join("keys", "meshes", "default", "dataplane-token-signing-key-default-3")
	require.NoError(t, os.Mkdir(folder, 0o700))
	r := c.run("export", "--all")
	require.Equal(t, exitFailed, r.status)
	for _, name := range []string{"signing-key-default-2", "revocations-default", "signing-key-default-3"} {
		require.Contains(t, r.err, "left \"dataplane-token-"+name+`" of mesh "default": `)
	}
	require.Contains(t, r.err, "3 keys or lists were left")
	r = c.runWith(r.out, "import", "-", "--store", "dir:./other")
	require.Equal(t, exitDone, r.status, r.err)
	require.Len(t, recordsOf(t, "other"), 2, "the rest is there")
}

func TestExportTakesAMeshTheZonesOrAll(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("keys", "add", "--first", "--mesh", "other")
	c.done("revocations", "add", "id", "--mesh", "default")
	store, err := dir.Open("keys")
	require.NoError(t, err)
	_, err = store.Create(t.Context(), keystore.Record{Name: "dataplane-token-revocations-default", Data: []byte("id,global")})
	require.NoError(t, err)
	names := func(args ...string) (found []string) {
		c.write("out.yaml", c.done(append([]string{"export"}, args...)...))
		manifests, err := (&app{}).readManifests("out.yaml")
		require.NoError(t, err)
		for _, m := range manifests {
			found = append(found, m.name)
		}
		return found
	}
	const ofMesh, ofZones = `"dataplane-token-signing-key-default-1" of mesh "default"`, `"zone-token-signing-key-1"`
	const list, globalList = `"dataplane-token-revocations-default" of mesh "default"`, `"dataplane-token-revocations-default"`
	require.ElementsMatch(t, []string{globalList, list, ofMesh}, names("--mesh", "default"))
	require.ElementsMatch(t, []string{globalList, list}, names("--mesh", "default", "--revocations-only"))
	require.ElementsMatch(t, []string{ofZones}, names("--zone-tokens"))
	require.Len(t, names("--all"), 5)
	require.ElementsMatch(t, []string{globalList, ofMesh}, names("--mesh", "default", "--kubernetes"), "Kubernetes has each name once")
	require.Contains(t, c.fails(exitUsage, "export"), "which kind of token?")
	require.Contains(t, c.fails(exitUsage, "export", "--all", "--mesh", "default"), "leave out --mesh")
	require.Contains(t, c.fails(exitUsage, "export", "--all", "--namespace", "x"), "needs --kubernetes")
	require.Contains(t, c.fails(exitFailed, "export", "--mesh", "defualt"), "nothing to export")
}

func TestExportForKubernetesLosesNoRevocation(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("revocations", "add", "of-mesh", "--mesh", "default")
	require.Contains(t, c.run("export", "--mesh", "default").err, "Kuma reads only the global list of mesh \"default\", which lacks 1 of")
	store, err := dir.Open("keys")
	require.NoError(t, err)
	_, err = store.Create(t.Context(), keystore.Record{Name: "dataplane-token-revocations-default", Data: []byte("global")})
	require.NoError(t, err)
	c.write("out.yaml", c.done("export", "--all", "--kubernetes"))
	c.done("import", "out.yaml", "--store", "dir:./other")
	require.Equal(t, "global\nof-mesh\n", c.done("revocations", "list", "--mesh", "default", "--store", "dir:./other"))
}

func TestExportWarnsOfWhatKumaReadsOtherwise(t *testing.T) {
	c := newTool(t)
	c.done("keys", "add", "--first", "--zone-tokens")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	file := filepath.Join("keys", "global", "zone-token-signing-key-1")
	c.write(file, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	require.Contains(t, c.run("export", "--zone-tokens").err, "only in PKCS#1")
	c.write(file, string(x509.MarshalPKCS1PrivateKey(key)))
	require.Contains(t, c.run("export", "--zone-tokens").err, "only keys in PEM to its zones")
	c.write(file, newKey(t))
	require.NotContains(t, c.run("export", "--zone-tokens").err, "warning")

	c.write(filepath.Join("keys", "global", "zone-token-revocations"), "one two")
	require.Contains(t, c.run("export", "--zone-tokens").err, "Kuma reads that otherwise")
	c.write(filepath.Join("keys", "global", "zone-token-revocations"), "one,two\n")
	require.NotContains(t, c.run("export", "--zone-tokens").err, "warning")

	c.write(filepath.Join("keys", "global", "zone-token-cutoffs"), `{"idsBefore":"2026-11-29T10:00:00Z"}`)
	floor := c.run("export", "--zone-tokens").err
	require.Contains(t, floor, `"zone-token-cutoffs" has the floor of a pruned list, 2026-11-29T10:00:00Z, which stays here`)
	require.NotContains(t, floor, "are cutoffs")
	c.write(filepath.Join("keys", "global", "zone-token-cutoffs"), `{"before":"2026-11-29T10:00:00Z"}`)
	cutoffs := c.run("export", "--zone-tokens").err
	require.Contains(t, cutoffs, `"zone-token-cutoffs" are cutoffs, which stay here`)
	require.NotContains(t, cutoffs, "floor")
	c.write(filepath.Join("keys", "global", "zone-token-cutoffs"), "\n")
	require.NotContains(t, c.run("export", "--zone-tokens").err, "warning")
	c.write(filepath.Join("keys", "global", "zone-token-cutoffs"), "?")
	require.Contains(t, c.run("export", "--all", "--revocations-only").err, "accepts the tokens that they revoke")
}

func TestImportIntoAnEncryptedStoreSealsAndExportOpens(t *testing.T) {
	c := newTool(t)
	c.write("key", strings.Repeat("k", 32))
	key := newKey(t)
	c.write("in.json", fmt.Sprintf(kumactlList, "dataplane-token-signing-key-default-1", encoded(key)))
	for range 2 {
		c.done("import", "in.json", "--encryption-key-file", "key")
	}
	require.NotContains(t, string(recordsOf(t, "keys")[0].Data), "PRIVATE KEY")
	require.Contains(t, c.done("export", "--all", "--encryption-key-file", "key"), encoded(key))
	r := c.run("export", "--all")
	require.Equal(t, exitFailed, r.status, r.out)
	require.Contains(t, r.err, "left \"dataplane-token-signing-key-default-1\"")
}

func TestImportWarnsOfAListThatGoesOn(t *testing.T) {
	c := newTool(t)
	list := fmt.Sprintf(kumactlList, "dataplane-token-signing-key-default-1", encoded(newKey(t)))
	r := c.runWith(strings.Replace(list, `"next": null`, `"next": "http://localhost/meshes/default/secrets?offset=1"`, 1), "import", "-")
	require.Equal(t, exitDone, r.status)
	require.Contains(t, r.err, "warning: standard input holds one page of a list")
	require.Len(t, recordsOf(t, "keys"), 1)
}
