package interop_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/examples/interop"
	"github.com/meshpass/meshpass/token"
)

// joseRequest and joseReply are what testdata/jose/tokens.mjs reads and writes.
type (
	joseRequest struct {
		KeyID      string          `json:"kid"`
		PrivateKey string          `json:"privateKey"`
		PublicKey  string          `json:"publicKey"`
		KeySet     json.RawMessage `json:"keySet"`
		Sign       []joseToken     `json:"sign"`
		Verify     []string        `json:"verify"`
	}
	joseToken struct {
		Payload map[string]any `json:"payload"`
		Type    string         `json:"typ"`
	}
	joseReply struct {
		KeySet   json.RawMessage `json:"keySet"`
		Signed   []string        `json:"signed"`
		Verified []struct {
			Payload json.RawMessage   `json:"payload"`
			Header  map[string]string `json:"header"`
			Error   string            `json:"error"`
		} `json:"verified"`
	}
)

// runJose runs the script with Node, in a folder where the package is installed.
func runJose(t *testing.T, folder string, key interop.Key, sign []joseToken, verify []string) joseReply {
	t.Helper()
	pkcs8, err := key.PKCS8() // the only form of a private key that jose reads from PEM
	require.NoError(t, err)
	pkix, err := key.PKIX()
	require.NoError(t, err)
	keySet, err := key.JWKS()
	require.NoError(t, err)
	request, err := json.Marshal(joseRequest{key.ID, string(pkcs8), string(pkix), keySet, sign, verify})
	require.NoError(t, err)

	var output, problems bytes.Buffer
	command := exec.Command("node", "tokens.mjs")
	command.Dir, command.Stdin, command.Stdout, command.Stderr = folder, bytes.NewReader(request), &output, &problems
	require.NoError(t, command.Run(), problems.String())
	var reply joseReply
	require.NoError(t, json.Unmarshal(output.Bytes(), &reply))
	require.Len(t, reply.Signed, len(sign))
	require.Len(t, reply.Verified, len(verify))
	return reply
}

// joseFolder returns a folder with the script and the package jose, in the version
// that package-lock.json names. It is installed once, in the user's cache folder.
func joseFolder(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, program+" is not installed (Debian: apt-get install nodejs npm)")
		}
	}
	caches, err := os.UserCacheDir()
	if err != nil {
		missing(t, "there is no folder to install the npm package jose in: "+err.Error())
	}
	digest := sha256.New()
	files := map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json", "tokens.mjs"} {
		files[name], err = os.ReadFile(filepath.Join("testdata", "jose", name))
		require.NoError(t, err)
		digest.Write(files[name])
	}
	folder := filepath.Join(caches, "meshpass-interop", "jose-"+hex.EncodeToString(digest.Sum(nil))[:16])
	if _, err := os.Stat(folder); err == nil {
		return folder
	}
	// The folder gets its name when it is complete, so that a run that was cut short
	// leaves nothing that looks installed.
	require.NoError(t, os.MkdirAll(filepath.Dir(folder), 0o755))
	unfinished, err := os.MkdirTemp(filepath.Dir(folder), "unfinished-")
	require.NoError(t, err)
	defer os.RemoveAll(unfinished)
	for name, data := range files {
		require.NoError(t, os.WriteFile(filepath.Join(unfinished, name), data, 0o644))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // without a network it would try for long
	defer cancel()
	command := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	command.WaitDelay = time.Second // what it has started may live on
	command.Dir = unfinished
	if output, err := command.CombinedOutput(); err != nil {
		missing(t, "npm cannot install the package jose: "+string(output))
	}
	if err := os.Rename(unfinished, folder); err != nil {
		_, inTheMeantime := os.Stat(folder)
		require.NoError(t, inTheMeantime, err) // another process was faster
	}
	return folder
}

func TestJoseAndMeshpassUnderstandEachOther(t *testing.T) {
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	folder := joseFolder(t)
	for _, k := range kinds(t) {
		t.Run(k.name, func(t *testing.T) {
			other, err := interop.GolangJWT(interop.Key{ID: "1", RSA: stranger})
			require.NoError(t, err)
			strange, err := other.Sign(k.claims)
			require.NoError(t, err)
			ours := k.issue(t)
			verify := []string{ours}
			var names []string
			for name, forged := range forgeries(t, ours, strange) {
				names, verify = append(names, name), append(verify, forged)
			}
			expired := k.claims
			expired.ExpiresAt = time.Now().Add(-10 * time.Minute)
			reply := runJose(t, folder, k.key, []joseToken{{payloadOf(k.claims), "JWT"}, {payloadOf(expired), "JWT"}}, verify)

			require.Empty(t, reply.Verified[0].Error, "jose refuses our token")
			require.JSONEq(t, payloadText(t, ours), string(reply.Verified[0].Payload))
			require.Equal(t, map[string]string{"alg": "RS256", "kid": "1", "typ": "JWT"}, reply.Verified[0].Header)
			for i, name := range names {
				require.Equal(t, "ERR_JWS_SIGNATURE_VERIFICATION_FAILED", reply.Verified[1+i].Error, name)
			}

			claims, err := k.validate(reply.Signed[0])
			require.NoError(t, err, "we refuse jose's token")
			require.Equal(t, k.claims, claims)
			_, err = k.validate(reply.Signed[1])
			require.ErrorIs(t, err, token.ErrExpired)
			for name, forged := range forgeries(t, reply.Signed[0], strange) {
				_, err = k.validate(forged)
				require.ErrorIs(t, err, token.ErrSignature, name)
			}
		})
	}
}

// payloadOf returns the claims by the names under which they stand in a token.
func payloadOf(c token.Claims) map[string]any {
	payload := map[string]any{"jti": c.ID, "iat": c.IssuedAt.Unix(), "nbf": c.NotBefore.Unix(), "exp": c.ExpiresAt.Unix()}
	switch d := c.Dataplane; c.Kind() {
	case token.KindDataplane:
		payload["Mesh"], payload["Name"], payload["Tags"] = d.Mesh, d.Name, d.Tags
		payload["Type"], payload["Workload"] = d.Type, d.Workload
	case token.KindZone:
		payload["Zone"], payload["Scope"] = c.Zone.Zone, c.Zone.Scope
	}
	return payload
}

func payloadText(t *testing.T, raw string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	require.NoError(t, err)
	return string(text)
}
