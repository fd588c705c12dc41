package main

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/internal/test/engines"
)

// lifeOfAToken plays with the tool, on the store of the environment, what operators
// do.
func lifeOfAToken(t *testing.T, c *tool) {
	t.Helper()
	require.NotEqual(t, exitDone, c.run("keys", "add", "--mesh", "default").status, "the first key is made on request only")
	c.done("keys", "add", "--first", "--mesh", "default")
	c.done("keys", "add", "--first", "--zone-tokens")
	c.done("generate", "dataplane-token", "--name", "dp-1", "--output", "dp-1.token")
	c.done("generate", "zone-token", "--zone", "west", "--scope", "cp", "--output", "west.token")
	for _, file := range []string{"dp-1.token", "west.token"} {
		require.Contains(t, c.done("inspect", file), "verdict     accepted")
		c.done("revocations", "add", "--token-file", file)
		require.Contains(t, c.run("inspect", file).out, "refused: token revoked")
		c.done("revocations", "remove", "--token-file", file)
		require.Contains(t, c.done("inspect", file), "verdict     accepted")
	}
	c.done("keys", "add", "--mesh", "default")
	c.done("keys", "remove", "1", "--mesh", "default")
	require.Contains(t, c.run("inspect", "dp-1.token").out, "refused: unknown signing key")
	require.Contains(t, c.done("inspect", "west.token"), "verdict     accepted")
	require.Regexp(t, `(?m)^2 +20\S+Z +2048 +signs +SHA256:`, c.done("keys", "list", "--mesh", "default"))
	require.Contains(t, c.run("generate", "dataplane-token", "--mesh", "other").err, "make the first one")
	moveThereAndBack(t, c)
}

// moveThereAndBack exports the store of the environment, imports
// them into a folder, and from there into the store again.
func moveThereAndBack(t *testing.T, c *tool) {
	t.Helper()
	c.done("export", "--all", "--output", "there.yaml")
	require.Equal(t, 4, strings.Count(c.done("import", "there.yaml", "--store", "dir:./moved"), "took "))
	c.done("export", "--all", "--kubernetes", "--output", "back.yaml", "--store", "dir:./moved")
	require.Equal(t, 4, strings.Count(c.done("import", "back.yaml"), "same "))
	c.done("revocations", "add", "moved", "--mesh", "default", "--store", "dir:./moved")
	c.done("export", "--mesh", "default", "--revocations-only", "--output", "back.yaml", "--overwrite", "--store", "dir:./moved")
	require.Contains(t, c.done("import", "back.yaml"), "1 ids to the list of the store")
	require.Equal(t, "moved\n", c.done("revocations", "list", "--mesh", "default"))
}

func TestStoreOnPostgreSQLServesOperators(t *testing.T) {
	c := newTool(t)
	server := engines.SharedPostgres(t)
	c.env["MESHPASS_STORE"] = server.NewDatabase(t)
	require.Contains(t, c.fails(exitFailed, "keys", "list", "--mesh", "default"), `for a new one, "meshpass keys add --first" makes what is missing`)
	lifeOfAToken(t, c)

	u, err := url.Parse(c.env["MESHPASS_STORE"])
	require.NoError(t, err)
	c.env = nil
	require.Contains(t, c.done("keys", "list", "--mesh", "default", "--store", u.String()), "signs", "without a password it may be in a flag")
}

func TestStoreInKumasTableServesOperators(t *testing.T) {
	c := newTool(t)
	database := engines.SharedPostgres(t).NewDatabase(t)
	c.env["MESHPASS_STORE"] = database + "&table=kuma"
	require.Contains(t, c.fails(exitFailed, "keys", "add", "--first", "--mesh", "default"), "the table resources of Kuma")
	conn, err := pgx.Connect(t.Context(), database)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), `CREATE TABLE resources (name varchar(253), mesh varchar(100), type varchar(100), version integer NOT NULL,
		spec text, creation_time timestamp, modification_time timestamp, owner_name varchar(100), owner_mesh varchar(100), owner_type varchar(100),
		labels jsonb, status jsonb, PRIMARY KEY (name, mesh, type),
		FOREIGN KEY (owner_name, owner_mesh, owner_type) REFERENCES resources ON DELETE CASCADE);
		INSERT INTO resources (name, mesh, type, version, spec) VALUES ('default', '', 'Mesh', 0, '{}')`)
	require.NoError(t, err)
	require.Contains(t, c.fails(exitFailed, "keys", "add", "--first", "--mesh", "prod"), `Kuma has no mesh "prod"`)
	lifeOfAToken(t, c)
	var secrets int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM resources WHERE type LIKE '%Secret'").Scan(&secrets))
	require.NotZero(t, secrets)

	for _, table := range []string{"meshpass", ""} {
		require.Contains(t, c.fails(exitUsage, "keys", "list", "--mesh", "default", "--store", database+"&table="+table), "want table=kuma")
	}
}

func TestStoreOnEtcdServesOperators(t *testing.T) {
	c := newTool(t)
	c.env["MESHPASS_STORE"] = "etcd://" + engines.NewEtcd(t) + "/keys/?tls=off"
	lifeOfAToken(t, c)
	other := strings.Replace(c.env["MESHPASS_STORE"], "/keys/", "/others/", 1)
	require.Empty(t, c.done("keys", "list", "--mesh", "default", "--store", other), "a prefix is a store of its own")
}

// storeOnKubernetes starts a cluster, and returns the URL of a store in it.
func storeOnKubernetes(t *testing.T, c *tool) string {
	t.Helper()
	cluster := engines.NewKubernetes(t)
	encode := base64.StdEncoding.EncodeToString
	c.write("kubeconfig", fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "admin",
		"clusters": [{"name": "c", "cluster": {"server": %q, "certificate-authority-data": %q}}],
		"users": [{"name": "u", "user": {"client-certificate-data": %q, "client-key-data": %q}}],
		"contexts": [{"name": "admin", "context": {"cluster": "c", "user": "u"}}]}`,
		cluster.URL, encode(cluster.CA), encode(cluster.Cert), encode(cluster.Key)))
	client, err := rest.HTTPClientFor(&rest.Config{Host: cluster.URL,
		TLSClientConfig: rest.TLSClientConfig{CAData: cluster.CA, CertData: cluster.Cert, KeyData: cluster.Key}})
	require.NoError(t, err)
	made, err := client.Post(cluster.URL+"/api/v1/namespaces", "application/json",
		strings.NewReader(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mesh-system"}}`))
	require.NoError(t, err)
	require.NoError(t, made.Body.Close())

	path, err := filepath.Abs("kubeconfig")
	require.NoError(t, err)
	return "kubernetes://mesh-system?context=admin&kubeconfig=" + url.QueryEscape(path)
}

func TestStoreOnKubernetesServesOperators(t *testing.T) {
	c := newTool(t)
	c.env["MESHPASS_STORE"] = storeOnKubernetes(t, c)
	encode := base64.StdEncoding.EncodeToString
	lifeOfAToken(t, c)

	c.write("global.yaml", "type: GlobalSecret\nname: dataplane-token-revocations-default\ndata: "+encode([]byte("global"))+"\n"+
		"---\ntype: Secret\nmesh: other\nname: dataplane-token-revocations-other\ndata: "+encode([]byte("x"))+"\n")
	out := c.done("import", "global.yaml")
	require.Contains(t, out, `in the list of mesh "default", since this store has each name once: 1 ids`)
	require.Equal(t, "global\nmoved\n", c.done("revocations", "list", "--mesh", "default"))
	require.Contains(t, c.done("import", "global.yaml"), `same `)

	// A name exists once there, so the list that exists is used.
	require.Regexp(t, `revocation list "dataplane-token-revocations-default" in scope "default" stays in use.*docs/stores.md`,
		c.fails(exitFailed, "revocations", "make-global", "--mesh", "default"))
	require.Contains(t, c.run("revocations", "add", "an-id", "--mesh", "default").err, "in the scope of the mesh (3 ids), none in the global scope")
	c.done("revocations", "make-global", "--mesh", "third")
	require.Contains(t, c.run("revocations", "add", "an-id", "--mesh", "third").err, `lists of mesh "third": in the global scope (1 id)`+"\n")
	require.Equal(t, "an-id\n", c.done("revocations", "list", "--mesh", "third"))
}
