package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// maxKeyFile is the maximum size of a key file, in bytes. The largest key has a few
// thousand.
const maxKeyFile = 64 << 10

// loadedKey is a public key that was read.
type loadedKey struct {
	mesh, kid string
	public    *signing.PublicKey
}

// keys reads the public keys of the validator in the section at entry. If used is
// true, the section must have a source of keys.
func (p *problems) keys(c Config, entry string, used, useSecrets bool, list []MeshPublicKey) []loadedKey {
	listEntry := c.entry(entry + ".publicKeys")
	if used && !useSecrets && len(list) == 0 {
		p.addf(strings.TrimSuffix(listEntry, ".publicKeys"), "useSecrets is false and publicKeys is empty, so no token could be valid")
	}
	var keys []loadedKey
	first := map[[2]string]int{}
	for i, k := range list {
		at := fmt.Sprintf("%s[%d] (kid %.64q)", listEntry, i, k.KID)
		if err := token.CheckKeyID(k.KID); err != nil {
			p.add(at, err)
		} else if before, twice := first[[2]string{k.Mesh, k.KID}]; twice {
			p.addf(at, "publicKeys[%d] has the same kid%s", before, ofMesh(k.Mesh))
		} else {
			first[[2]string{k.Mesh, k.KID}] = i
		}
		if err := keystore.CheckScope(keystore.Scope(k.Mesh)); err != nil {
			p.add(at+": mesh", err)
		}
		key, err := k.load()
		if err != nil {
			p.add(at, err)
			continue
		}
		keys = append(keys, loadedKey{k.Mesh, k.KID, key})
	}
	return keys
}

func ofMesh(mesh string) string {
	if mesh == "" {
		return ""
	}
	return fmt.Sprintf(" and mesh %q", mesh)
}

func dataplaneOptions(useSecrets bool, keys []loadedKey) []dataplane.ValidatorOption {
	var options []dataplane.ValidatorOption
	if !useSecrets {
		options = append(options, dataplane.WithoutStoreKeys())
	}
	for _, k := range keys {
		if k.mesh == "" {
			options = append(options, dataplane.WithPublicKeyForEveryMesh(k.kid, k.public))
		} else {
			options = append(options, dataplane.WithPublicKey(k.mesh, k.kid, k.public))
		}
	}
	return options
}

func zoneOptions(useSecrets bool, keys []loadedKey) []zone.ValidatorOption {
	var options []zone.ValidatorOption
	if !useSecrets {
		options = append(options, zone.WithoutStoreKeys())
	}
	for _, k := range keys {
		options = append(options, zone.WithPublicKey(k.kid, k.public))
	}
	return options
}

// ofNoMesh converts zone keys to keys without a mesh.
func ofNoMesh(keys []PublicKey) []MeshPublicKey {
	list := make([]MeshPublicKey, 0, len(keys))
	for _, k := range keys {
		list = append(list, MeshPublicKey{KID: k.KID, Key: k.Key, KeyFile: k.KeyFile})
	}
	return list
}

func (k MeshPublicKey) load() (*signing.PublicKey, error) {
	switch {
	case k.Key != "" && k.KeyFile != "":
		return nil, errors.New("both key and keyFile are set, want one of them")
	case k.Key != "":
		key, err := signing.ParsePublicKey([]byte(k.Key))
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		return key, nil
	case k.KeyFile != "":
		key, err := readKey(k.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("keyFile: %w", err)
		}
		return key, nil
	}
	return nil, errors.New("neither key nor keyFile is set, want one of them")
}

// isKey reports whether a path is in fact a key: PEM, the base64 of PEM, or a text as
// long as DER in base64, which has no other mark. The shortest private key has 1,500
// bytes.
func isKey(path string) bool {
	return strings.ContainsAny(path, "\n\r") || strings.Contains(path, "-----") || strings.HasPrefix(path, "LS0tLS1C") || len(path) > 1024
}

// readKey reads a public key from a file. The errors name the file and contain none
// of its content.
func readKey(path string) (*signing.PublicKey, error) {
	if isKey(path) { // errors print paths
		return nil, errors.New("it holds a key, want the path of a file; put a key into key")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a named pipe would block
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("%s has more than %d bytes, more than any key", path, maxKeyFile)
	}
	key, err := signing.ParsePublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}
