package etcd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/meshpass/meshpass/keystore"
)

// Below the prefix a record has the key global/NAME or meshes/MESH/NAME. Neither MESH
// nor NAME has a slash, so each key stands for one record.
const (
	globalFolder = "global/"
	meshesFolder = "meshes/"
)

// keyPrefix is the beginning of all keys of a store. It ends in a slash.
type keyPrefix string

// newKeyPrefix adds the slash at the end if there is none.
func newKeyPrefix(prefix string) (keyPrefix, error) {
	if prefix == "" {
		return "", errors.New("the prefix is empty, want one such as " + DefaultPrefix)
	}
	if !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	// A store at P/meshes/ would put its global records where a store at P/ has
	// those of a mesh named global.
	for _, folder := range []string{globalFolder, meshesFolder} {
		if strings.HasSuffix("/"+prefix, "/"+folder) {
			return "", fmt.Errorf("the prefix %q ends in %s, where another store keeps its records", prefix, folder)
		}
	}
	return keyPrefix(prefix), nil
}

// folder returns the beginning of the keys of the scope's records.
func (p keyPrefix) folder(scope keystore.Scope) string {
	switch scope {
	case keystore.AllScopes:
		return string(p)
	case keystore.Global:
		return string(p) + globalFolder
	}
	return string(p) + meshesFolder + string(scope) + "/"
}

func (p keyPrefix) key(scope keystore.Scope, name string) string {
	return p.folder(scope) + name
}

// parse returns the scope in whose folder the key is, and its name there, which may be one
// that no record can have. It returns false for all other keys, also in folders below.
func (p keyPrefix) parse(key []byte) (scope keystore.Scope, name string, ok bool) {
	rest, ok := strings.CutPrefix(string(key), string(p))
	if !ok {
		return "", "", false
	}
	if name, ok = strings.CutPrefix(rest, globalFolder); !ok {
		var mesh string
		if rest, ok = strings.CutPrefix(rest, meshesFolder); !ok {
			return "", "", false
		}
		if mesh, name, ok = strings.Cut(rest, "/"); !ok || mesh == "" {
			return "", "", false
		}
		scope = keystore.Scope(mesh)
	}
	return scope, name, name != "" && !strings.Contains(name, "/") && keystore.CheckScope(scope) == nil
}
