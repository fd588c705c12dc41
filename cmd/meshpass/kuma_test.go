package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/revocation"
)

// forged returns a token that no key has signed: without keys the tool says all the
// same what versions would make of it.
func forged(header, claims string) string {
	return forge.Token(header, claims, forge.Signature([]byte("signature")))
}

const rs256 = `{"alg":"RS256","kid":"1","typ":"JWT"}`

// The ends of the claims of a token that is good for long, and of one that is not.
var (
	good    = `"exp":4102444800,"jti":"1"}`
	expired = `"exp":1600000000,"jti":"1"}`
)

// The two forms of a Dataplane: that of 2.x describes itself by inbounds, that of 3.0
// by labels.
const (
	bare       = "type: Dataplane\nmesh: default\nname: dp-1\n"
	byInbounds = "type: Dataplane\nmesh: default\nname: dp-1\nnetworking:\n  address: 127.0.0.1\n  inbound:\n" +
		"  - port: 8080\n    tags:\n      kuma.io/service: backend\n      version: v1\n"
	byLabels   = "type: Dataplane\nmesh: default\nname: dp-1\nlabels:\n  version: v1\n  kuma.io/workload: web\nnetworking:\n  address: 127.0.0.1\n  inbound:\n  - port: 8080\n"
	byLabels2x = byLabels + "    tags:\n      kuma.io/service: backend\n"
)

func TestWhatEachVersionOfKumaMakesOfATokenAndAProxy(t *testing.T) {
	for name, x := range map[string]struct {
		header, claims string // RS256 if the header is empty
		dataplane      string // none if empty
		want           map[string]string
	}{
		"a token of a mesh and a name": {claims: `{"Mesh":"default","Name":"dp-1",` + good, dataplane: byInbounds, want: map[string]string{
			"kuma-2.10": "accepted", "kuma-2.14": "accepted", "kuma-3.0": "accepted"}},
		"another name": {claims: `{"Mesh":"default","Name":"dp-2",` + good, dataplane: byInbounds, want: map[string]string{
			"kuma-2.10": `refused: the token's name is "dp-2", the proxy's is "dp-1"`, "kuma-3.0": `refused: the token's name is "dp-2"`}},
		"another mesh": {claims: `{"Mesh":"other",` + good, dataplane: byLabels, want: map[string]string{
			"kuma-2.10": `refused: the token's mesh is "other"`, "kuma-3.0": `refused: the token's mesh is "other"`}},
		"tags, by inbounds": {claims: `{"Mesh":"default","Tags":{"version":["v1"]},` + good, dataplane: byInbounds, want: map[string]string{
			"kuma-2.10": "accepted", "kuma-2.14": "accepted", "kuma-3.0": `refused: the proxy lacks the label "version"`}},
		"tags, by labels": {claims: `{"Mesh":"default","Workload":"web","Tags":{"version":["v1","v2"]},` + good, dataplane: byLabels, want: map[string]string{
			"kuma-2.10": `refused: the proxy lacks the tag "version" on its inbounds`, "kuma-2.14": `refused: the proxy lacks the tag`, "kuma-3.0": "accepted"}},
		"tags with another value": {claims: `{"Mesh":"default","Workload":"web","Tags":{"version":["v2"]},` + good, dataplane: byLabels, want: map[string]string{
			"kuma-3.0": `refused: label "version" has the value "v1", the token allows ["v2"]`}},
		"the tag kuma.io/service": {claims: `{"Mesh":"default","Workload":"web","Tags":{"kuma.io/service":["backend"]},` + good, dataplane: byLabels2x, want: map[string]string{
			"kuma-2.14": "accepted", "kuma-3.0": `refused: the proxy lacks the label "kuma.io/service"`}},
		"the tag kuma.io/service, and no proxy": {claims: `{"Mesh":"default","Workload":"web","Tags":{"kuma.io/service":["backend"]},` + good, want: map[string]string{
			"kuma-2.14": "accepted", "kuma-3.0": "refused: the proxy must have the label kuma.io/service, and there is no such label"}},
		"another tag, and no proxy": {claims: `{"Mesh":"default","Workload":"web","Tags":{"version":["v1","v2"]},` + good, want: map[string]string{
			"kuma-2.14": "accepted", "kuma-3.0": "depends: the proxy must have the label version=v1|v2"}},
		"another workload": {claims: `{"Mesh":"default","Workload":"api",` + good, dataplane: byLabels, want: map[string]string{
			"kuma-2.10": "accepted\n            change: this version drops the workload", "kuma-2.12": "accepted",
			"kuma-2.13.0": `refused: the token's workload is "api", the proxy's is "web"`, "kuma-3.0": `refused: the token's workload is "api"`}},
		"a workload that the proxy has not": {claims: `{"Mesh":"default","Workload":"web",` + good, dataplane: byInbounds, want: map[string]string{
			"kuma-2.12": "accepted", "kuma-2.13": `refused: the token's workload is "web", the proxy's is ""`}},
		"no workload where the proxy has one": {claims: `{"Mesh":"default",` + good, dataplane: byLabels, want: map[string]string{
			"kuma-2.12": "accepted", "kuma-2.13.9": "accepted", "kuma-2.13.10": `refused: the proxy's workload is "web"`, "kuma-2.13": "refused",
			"kuma-2.14.0": "accepted", "kuma-2.14.1": "accepted", "kuma-2.14.2": "refused", "kuma-2.14": "refused", "kuma-3.0": "refused", "3.0.1": "refused"}},
		"no workload, and no proxy": {claims: `{"Mesh":"default",` + good, want: map[string]string{
			"kuma-2.14.1": "accepted", "kuma-3.0": "depends: a proxy with the label kuma.io/workload needs a token that names it"}},
		"no workload where the proxy has none": {claims: `{"Mesh":"default",` + good, dataplane: bare, want: map[string]string{
			"kuma-2.12": "accepted\n", "kuma-3.0": "accepted\n            change: a proxy without the label kuma.io/workload is refused with any token"}},
		"a Dataplane of 2.x": {claims: `{"Mesh":"default","Workload":"web",` + good, dataplane: byLabels2x, want: map[string]string{
			"kuma-2.14": "accepted\n", "kuma-3.0": "accepted\n            change: make the tags of the proxy's inbounds labels of the proxy"}},
		"the label kuma.io/service": {claims: `{"Mesh":"default","Tags":{"kuma.io/service":["backend"]},` + good,
			dataplane: "type: Dataplane\nmesh: default\nname: dp-1\nlabels:\n  kuma.io/service: backend\n", want: map[string]string{
				"kuma-3.0": "accepted\n            change: make a token without tags"}},
		"type dataplane": {claims: `{"Mesh":"default","Workload":"web","Type":"dataplane",` + good, want: map[string]string{
			"kuma-2.10": "accepted", "kuma-3.0": "accepted"}},
		"type ingress": {claims: `{"Mesh":"default","Workload":"web","Type":"ingress",` + good, want: map[string]string{
			"kuma-2.14": "accepted\n            change: this version does not compare the type ingress", "kuma-3.0": "refused: a proxy of type ingress may not connect"}},
		"type egress, for an ordinary proxy": {claims: `{"Mesh":"default","Workload":"web","Type":"egress",` + good, dataplane: byLabels, want: map[string]string{
			"kuma-2.14": "accepted", "kuma-3.0": "accepted\n            change: make the ingress or egress a Dataplane"}},
		"issued in the future": {claims: `{"Mesh":"default","Workload":"web","iat":4102440000,` + good, want: map[string]string{
			"kuma-2.10": "refused: its time of issue (iat) is in the future", "kuma-2.11": "accepted", "kuma-3.0": "accepted"}},
		"not valid yet": {claims: `{"Mesh":"default","Workload":"web","nbf":4102440000,` + good, want: map[string]string{
			"kuma-2.10": "refused: it is not valid yet", "kuma-3.0": "refused: it is not valid yet"}},
		"expired": {claims: `{"Mesh":"default","Workload":"web",` + expired, want: map[string]string{
			"kuma-2.10": "refused: it has expired", "kuma-3.0": "refused: it has expired"}},
		"never expires": {claims: `{"Mesh":"default","Workload":"web","jti":"1"}`, want: map[string]string{
			"kuma-3.0": "accepted\n            change: it never expires"}},
		"no id": {claims: `{"Mesh":"default","Workload":"web","exp":4102444800}`, want: map[string]string{
			"kuma-3.0": "accepted\n            change: it cannot be revoked"}},
		"HS256": {header: `{"alg":"HS256","kid":"0"}`, claims: `{"Mesh":"default","Workload":"web",` + good, want: map[string]string{
			"kuma-2.14": "depends: its algorithm is HS256", "kuma-3.0": `refused: its algorithm is "HS256", want RS256`}},
		"no algorithm": {header: `{"alg":"none","kid":"1"}`, claims: `{"Mesh":"default","Workload":"web",` + good, want: map[string]string{
			"kuma-2.10": `refused: its algorithm is "none"`, "kuma-3.0": `refused: its algorithm is "none"`}},
		"a kid that is a number": {header: `{"alg":"RS256","kid":1}`, claims: `{"Mesh":"default","Workload":"web",` + good, want: map[string]string{
			"kuma-2.10": "refused: unacceptable token header", "kuma-3.0": "refused: unacceptable token header"}},
		"a zone control plane": {claims: `{"Zone":"west","Scope":["cp"],` + good, want: map[string]string{
			"kuma-2.10": "accepted", "kuma-3.0": "accepted"}},
		"zone proxies": {claims: `{"Zone":"west","Scope":["ingress","egress"],` + good, want: map[string]string{
			"kuma-2.14": "accepted", "kuma-3.0": "refused: it has not the scope cp"}},
		"all scopes": {claims: `{"Zone":"west","Scope":["ingress","egress","cp"],` + good, want: map[string]string{
			"kuma-2.14": "accepted\n", "kuma-3.0": "accepted\n            change: give the ingress and the egress of the zone dataplane tokens"}},
		"no scope": {claims: `{"Zone":"west","Scope":[],` + good, want: map[string]string{
			"kuma-2.10": "refused: it has none of the scopes", "kuma-3.0": "refused: it has none of the scopes"}},
		"a zone token for a Dataplane": {claims: `{"Zone":"west","Scope":["cp"],` + good, dataplane: byLabels, want: map[string]string{
			"kuma-2.14": "refused: it is a zone token"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTool(t)
			c.env = nil
			header := x.header
			if header == "" {
				header = rs256
			}
			raw := forged(header, x.claims)
			for version, want := range x.want {
				args := []string{"inspect", "--for", version}
				if x.dataplane != "" {
					c.write("dp.yaml", x.dataplane)
					args = append(args, "--dataplane", "dp.yaml")
				}
				r := c.runWith(raw, args...)
				require.Empty(t, r.err)
				line := fmt.Sprintf("\n%-11s %s", "kuma-"+strings.TrimPrefix(version, "kuma-"), want)
				require.Contains(t, r.out, line, version)
				if strings.HasPrefix(want, "refused") {
					require.Equal(t, exitRefused, r.status, version)
				} else if strings.Contains(r.out, "verdict     not checked") {
					require.Equal(t, exitDone, r.status, version)
				}
			}
		})
	}
}

func TestTheTableOfVersionsInTheDocumentIsThatOfTheTool(t *testing.T) {
	text, err := os.ReadFile("../../docs/kuma.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(text), "## Versions\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var documented, coded [][2]string
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, " | "); len(cells) > 2 && strings.HasPrefix(cells[1], "`As") {
			documented = append(documented, [2]string{strings.TrimPrefix(cells[0], "| "), cells[1]})
		}
	}
	for _, rules := range kumaTable {
		v := rules.from
		version := fmt.Sprintf("%d.%d", v.major, v.minor)
		if v.patch > 0 {
			version += fmt.Sprintf(".%d", v.patch)
		}
		for name, boundary := range map[string]dataplane.Boundary{
			"`AsKuma210()`": dataplane.AsKuma210(), "`AsKuma214()`": dataplane.AsKuma214(), "`AsKuma30()`": dataplane.AsKuma30(),
		} {
			if reflect.DeepEqual(boundary, rules.boundary) {
				coded = append(coded, [2]string{version, name})
			}
		}
	}
	require.Equal(t, coded, documented)
}

func TestInspectForAVersionCountsTheKeysAndRevocationsToo(t *testing.T) {
	c := newToolWithKeys(t)
	c.write("dp.token", c.done("generate", "dataplane-token", "--workload", "web"))
	require.Contains(t, c.done("inspect", "dp.token", "--for", "kuma-2.14,kuma-3.0"), "\nkuma-2.14   accepted\nkuma-3.0    accepted\n")
	c.done("revocations", "add", "--token-file", "dp.token")
	r := c.run("inspect", "dp.token", "--for", "kuma-3.0")
	require.Equal(t, exitRefused, r.status, "here it is refused")
	require.Contains(t, r.out, "\nkuma-3.0    accepted\n            change: it is revoked only in the list of the mesh, which Kuma does not read")

	store, err := dir.Open("keys")
	require.NoError(t, err)
	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "default"))
	require.Contains(t, c.run("inspect", "dp.token", "--for", "kuma-3.0").out, "\nkuma-3.0    refused: token revoked")

	c.write("west.token", c.done("generate", "zone-token", "--zone", "west", "--scope", "cp"))
	c.done("revocations", "add", "--token-file", "west.token")
	require.Contains(t, c.run("inspect", "west.token", "--for", "kuma-3.0").out, "\nkuma-3.0    refused: token revoked")
}

func TestInspectReadsADataplaneInJSONAndRefusesWhatIsNone(t *testing.T) {
	c := newToolWithKeys(t)
	c.write("dp.token", c.done("generate", "dataplane-token", "--name", "dp-1", "--workload", "web"))
	inspect := func(text string) []string {
		c.write("dp", text)
		return []string{"inspect", "dp.token", "--for", "kuma-3.0", "--dataplane", "dp"}
	}
	json := `{"type": "Dataplane", "mesh": "default", "name": "dp-1", "creationTime": "2026-01-02T03:04:05Z", "labels": {"kuma.io/workload": "web"}, "networking": {"inbound": [{"port": 1}]}}`
	require.Contains(t, c.done(inspect(json)...), "\nkuma-3.0    accepted\n")
	for text, says := range map[string]string{
		"type: ZoneIngress\nname: x\n":           "has a zone token in 2.x",
		"kind: Dataplane\nmesh: default\n":       "of Kubernetes",
		"type: Mesh\nmesh: default\nname: dp-1":  `its type is "Mesh", want "Dataplane"`,
		"type: Dataplane\nname: dp-1":            "is not a mesh, a dot and a name",
		"no resource":                            "neither YAML nor JSON of a Dataplane",
		byInbounds + "labels: {a: 1}\n":          "not a string",
		byInbounds + "Labels: {a: b}\n":          `which is spelled "labels"`,
		"type: Dataplane\ntype: Dataplane\n":     "neither YAML nor JSON",
		strings.Repeat("#", maxFile) + byLabels:  "more than 1048576 bytes",
		byInbounds + "spec: {networking: {}}\n":  `the field "spec"`,
		byInbounds + "---\n" + byInbounds + "\n": "more than one YAML document",
	} {
		require.Contains(t, c.fails(exitFailed, inspect(text)...), says)
	}
	require.Contains(t, c.fails(exitUsage, "inspect", "dp.token", "--dataplane", "dp"), "needs --for")
	for _, version := range []string{"kuma-2.9", "kuma-3.1", "kuma-2", "kuma-2.14.x", "kuma-2.14.1.1", "kuma-02.14"} {
		require.Contains(t, c.fails(exitUsage, "inspect", "dp.token", "--for", version), "is none of kuma-2.10, kuma-2.11")
	}
}

func TestCheckSaysOfAllTokensInAFolderWhetherTheyWouldBeRefused(t *testing.T) {
	c := newToolWithKeys(t)
	require.NoError(t, os.MkdirAll(filepath.Join("tokens", "folder"), 0o700))
	c.write("tokens/fine", c.done("generate", "dataplane-token", "--workload", "web")+"\n")
	c.write("tokens/tagged", c.done("generate", "dataplane-token", "--workload", "web", "--tag", "version=v1"))
	c.write("tokens/.hidden", "hidden")
	require.Equal(t, "tokens/fine  meshpass  accepted\ntokens/tagged  meshpass  accepted\n", c.done("check", "tokens"))
	r := c.run("check", "tokens", "--for", "kuma-2.14,kuma-3.0")
	require.Equal(t, exitDone, r.status, "what depends on the proxy is not refused")
	require.Equal(t, "tokens/fine  kuma-2.14  accepted\ntokens/fine  kuma-3.0  accepted\n"+
		"tokens/tagged  kuma-2.14  accepted\ntokens/tagged  kuma-3.0  depends: the proxy must have the label version=v1\n", r.out)
	require.Contains(t, r.err, "kuma-3.0: of 2 files 1 accepted, 0 refused, 1 depend on the proxy or the control plane, 0 not checked\n")

	c.write("tokens/zone", c.done("generate", "zone-token", "--zone", "west", "--scope", "ingress"))
	r = c.run("check", "tokens", "--for", "kuma-3.0")
	require.Equal(t, exitRefused, r.status)
	require.Contains(t, r.out, "tokens/zone  kuma-3.0  refused: it has not the scope cp")
	require.Equal(t, exitDone, c.run("check", "tokens", "--for", "kuma-2.14").status)

	c.done("revocations", "add", "--token-file", "tokens/fine")
	c.write("tokens/none", "no token")
	r = c.run("check", "tokens")
	require.Equal(t, exitRefused, r.status)
	require.Contains(t, r.out, "tokens/fine  meshpass  refused: token revoked")
	require.Contains(t, r.out, "tokens/none  meshpass  refused: malformed token")
	require.Contains(t, r.err, "meshpass: of 4 files 2 accepted, 2 refused")
}

func TestCheckPrintsNoToken(t *testing.T) {
	c := newToolWithKeys(t)
	require.NoError(t, os.Mkdir("tokens", 0o700))
	raw := c.done("generate", "dataplane-token")
	c.write("tokens/dp", raw)
	c.write("tokens/two", raw+"\n"+raw)
	c.write("tokens/cut", raw[:len(raw)-20])
	for _, args := range [][]string{nil, {"--for", "kuma-3.0"}} {
		r := c.run(append([]string{"check", "tokens"}, args...)...)
		for _, part := range strings.Split(raw, ".") {
			require.NotContains(t, r.out+r.err, part[:min(len(part), 60)])
		}
	}
}

func TestCheckDoesNotCallRefusedWhatItCannotCheck(t *testing.T) {
	c := newToolWithKeys(t)
	require.NoError(t, os.Mkdir("tokens", 0o700))
	require.Contains(t, c.fails(exitFailed, "check", "missing"), "no such file")
	require.Contains(t, c.fails(exitUsage, "check"), "which tokens?")
	require.Contains(t, c.run("check", "tokens").err, "there are no files")
	c.write("tokens/dp", c.done("generate", "dataplane-token"))
	c.write("tokens/large", strings.Repeat("x", maxFile+1))
	c.write(filepath.Join("keys", "meshes", "default", "dataplane-token-revocations-default"), "\x01\x02\x03")
	r := c.run("check", "tokens")
	require.Equal(t, exitFailed, r.status)
	require.Empty(t, r.out)
	require.Contains(t, r.err, "tokens/dp could not be checked")
	require.Contains(t, r.err, "tokens/large could not be checked")
	require.Contains(t, r.err, "2 files could not be checked")
}
