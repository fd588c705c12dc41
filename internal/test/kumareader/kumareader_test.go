package kumareader_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/internal/test/kumareader"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
)

// writer writes records as they are.
func writer(store keystore.KeyStore) func(context.Context, kumareader.Secret) error {
	return func(ctx context.Context, s kumareader.Secret) error {
		record := keystore.Record{Scope: keystore.Scope(s.Mesh), Name: s.Name, Data: s.Data}
		old, err := store.Get(ctx, record.Scope, record.Name)
		if errors.Is(err, keystore.ErrNotFound) {
			_, err = store.Create(ctx, record)
			return err
		}
		if err == nil {
			record.Version = old.Version
			_, err = store.Update(ctx, record)
		}
		return err
	}
}

func TestRecordsInMemoryAreThoseThatKumaReads(t *testing.T) {
	store := keystore.NewMemory()
	kumareader.Beside(t, kumareader.Shared{Store: store, Write: writer(store), Read: func(ctx context.Context) (kumareader.Secrets, error) {
		records, err := store.List(ctx, keystore.AllScopes, "")
		var secrets kumareader.Secrets
		for _, r := range records {
			secrets = append(secrets, kumareader.Secret{Mesh: string(r.Scope), Name: r.Name, Data: r.Data})
		}
		return secrets, err
	}})
}

func TestFilesOfADirectoryAreThoseThatKumaReads(t *testing.T) {
	folder := t.TempDir()
	store, err := dir.Open(folder)
	require.NoError(t, err)
	kumareader.Beside(t, kumareader.Shared{Store: store, Write: writer(store), Read: func(context.Context) (kumareader.Secrets, error) {
		var secrets kumareader.Secrets
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || entry.Name()[0] == '.' {
				return err
			}
			mesh := filepath.Base(filepath.Dir(path))
			if mesh == "global" {
				mesh = ""
			}
			data, err := os.ReadFile(path)
			secrets = append(secrets, kumareader.Secret{Mesh: mesh, Name: entry.Name(), Data: data})
			return err
		})
		return secrets, err
	}})
}

func TestKumaReadsAListAsItIsWritten(t *testing.T) {
	const name = "dataplane-token-revocations-default"
	for _, c := range []struct {
		list          string
		revoked, good []string
	}{
		{"a,b", []string{"a", "b"}, []string{"", "c", "a,b"}},
		{"a,b\n", []string{"a", "b"}, []string{"b\n"}},
		{"a, b", []string{"a", " b"}, []string{"b"}},
		{"a\nb", []string{"a\nb"}, []string{"a", "b"}},
		{"a,b\n\n", []string{"a", "b\n"}, []string{"b"}},
		{"", nil, []string{"", "a"}},
		{",", []string{""}, []string{"a", ","}},
	} {
		list := kumareader.Secrets{{Mesh: "", Name: name, Data: []byte(c.list)}}
		for _, id := range c.revoked {
			assert.True(t, list.Revoked(kumareader.Dataplane("default"), id), "%q in %q", id, c.list)
		}
		for _, id := range c.good {
			assert.False(t, list.Revoked(kumareader.Dataplane("default"), id), "%q in %q", id, c.list)
		}
		ofMesh := kumareader.Secrets{{Mesh: "default", Name: name, Data: []byte(c.list)}}
		for _, id := range c.revoked {
			assert.False(t, ofMesh.Revoked(kumareader.Dataplane("default"), id), "Kuma does not read the list of the mesh")
		}
	}
}

func TestKumaSignsWithTheHighestSerialWhateverFollowsThePrefix(t *testing.T) {
	key := x509.MarshalPKCS1PrivateKey(forge.Key())
	secret := func(mesh, name string) kumareader.Secret {
		return kumareader.Secret{Mesh: mesh, Name: "dataplane-token-signing-key-" + name, Data: key}
	}
	for kid, secrets := range map[string]kumareader.Secrets{
		"10": {secret("default", "default-9"), secret("default", "default-10"), secret("default", "default-2")},
		"11": {secret("default", "default-0011"), secret("default", "default-10")},
		"0":  {secret("default", "default-backup")},
		"1":  {secret("default", "default-backup"), secret("default", "default-1"), secret("other", "default-2"), secret("", "default-3")},
	} {
		raw, err := secrets.Sign(kumareader.Dataplane("default"), `{"jti":"an-id"}`)
		require.NoError(t, err)
		header, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[0])
		require.NoError(t, err)
		assert.Contains(t, string(header), `"kid":"`+kid+`"`)
		// Kuma looks a key up by its exact name.
		err = secrets.Validate(kumareader.Dataplane("default"), raw)
		assert.Equal(t, kid == "10" || kid == "1", err == nil, "kid %s: %v", kid, err)
	}
	_, err := kumareader.Secrets{}.Sign(kumareader.Dataplane("default"), `{}`)
	assert.ErrorContains(t, err, "no signing key")
}
