package config

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/keyfile"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// loadedKeys is a source of public keys for a mesh, or for every mesh or the zones.
type loadedKeys struct {
	entry     string
	mesh, kid string // kid is empty for a key set
	set       string // where the key set is, or empty
	source    signing.Source
}

// asKuma is what tokens of the keys that Kuma configures must say.
var asKuma = token.Demands{LowerCase: true}

// keys reads the public keys of the validator in the section at entry. If used is true,
// the section must have a source of keys. others are further sources of the validator.
func (p *problems) keys(c Config, entry string, used, useSecrets bool, list []MeshPublicKey, others []loadedKeys) []loadedKeys {
	listEntry := c.entry(entry + ".publicKeys")
	if used && !useSecrets && len(list)+len(others) == 0 {
		p.addf(strings.TrimSuffix(listEntry, ".publicKeys"), "useSecrets is false and publicKeys is empty, so no token could be valid")
	}
	var keys []loadedKeys
	first := map[[2]string]int{}
	for i, k := range list {
		at := fmt.Sprintf("%s[%d] (kid %.64q)", listEntry, i, k.KID)
		if err := token.CheckKeyID(k.KID); err != nil {
			p.add(at, err)
		}
		before, twice := first[[2]string{k.Mesh, k.KID}]
		if twice {
			p.addf(at, "publicKeys[%d] has the same kid%s", before, ofMesh(k.Mesh))
		} else if k.KID != "" {
			first[[2]string{k.Mesh, k.KID}] = i
		}
		if err := keystore.CheckScope(keystore.Scope(k.Mesh)); err != nil {
			p.add(at+": mesh", err)
		}
		source, err := loadKey(k.KID, k.Key, k.KeyFile, asKuma)
		if errors.Is(err, errKID) {
			continue // was reported
		}
		if err != nil {
			p.add(at, err)
		} else if !twice {
			keys = append(keys, loadedKeys{entry: at, mesh: k.Mesh, kid: k.KID, source: source})
		}
	}
	return append(keys, others...)
}

// kidTwice reports kids and key sets that two sources of a validator have.
func (p *problems) kidTwice(keys []loadedKeys) {
	for i, k := range keys {
		for _, before := range keys[:i] {
			if k.set != "" && k.set == before.set && (k.mesh == before.mesh || k.mesh == "" || before.mesh == "") {
				p.addf(k.entry, "%s has the same key set for the same tokens, so that none of its keys could be used", before.entry)
			}
		}
	}
	first := map[[2]string]string{}
	for _, k := range keys {
		if k.kid == "" {
			continue
		}
		at := [2]string{k.mesh, k.kid}
		if before, twice := first[at]; twice {
			p.addf(k.entry, "%s has the same kid%s", before, ofMesh(k.mesh))
		}
		first[at] = k.entry
	}
}

func ofMesh(mesh string) string {
	if mesh == "" {
		return ""
	}
	return fmt.Sprintf(" and mesh %q", mesh)
}

func dataplaneOptions(useSecrets bool, keys []loadedKeys) []dataplane.ValidatorOption {
	var options []dataplane.ValidatorOption
	if !useSecrets {
		options = append(options, dataplane.WithoutStoreKeys())
	}
	for _, k := range keys {
		if k.mesh == "" {
			options = append(options, dataplane.WithSourceForEveryMesh(k.source))
		} else {
			options = append(options, dataplane.WithSource(k.mesh, k.source))
		}
	}
	return options
}

func zoneOptions(useSecrets bool, keys []loadedKeys) []zone.ValidatorOption {
	var options []zone.ValidatorOption
	if !useSecrets {
		options = append(options, zone.WithoutStoreKeys())
	}
	for _, k := range keys {
		options = append(options, zone.WithSource(k.source))
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

var errKID = errors.New("unusable kid")

// loadKey makes the source of one key, and reads its file if it has one.
func loadKey(kid, key, file string, demands token.Demands) (signing.Source, error) {
	switch {
	case key != "" && file != "":
		return nil, errors.New("both key and keyFile are set, want one of them")
	case key == "" && file == "":
		return nil, errors.New("neither key nor keyFile is set, want one of them")
	case file != "":
		if err := keyfile.CheckPath(file); err != nil {
			return nil, fmt.Errorf("keyFile: %w; put a key into key", err)
		}
		source, err := signing.PEMFile(kid, file, demands)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errKID, err)
		}
		if _, err := source.Read(context.Background()); err != nil {
			return nil, fmt.Errorf("keyFile: %w", err)
		}
		return source, nil
	}
	public, err := signing.ParsePublicKey([]byte(key))
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	source, err := signing.FixedSource(map[string]*signing.PublicKey{kid: public}, demands)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKID, err)
	}
	return source, nil
}
