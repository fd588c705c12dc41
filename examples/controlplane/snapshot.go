package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// A snapshot is the part of the global control plane's store that zones get: the public halves
// of all signing keys, the revocation lists, and the cutoffs. A zone keeps it in its own store,
// and removes public keys, lists and cutoffs that are not in the snapshot.
type snapshot struct {
	Records []publicRecord `json:"records"`
}

// publicRecord is a record that holds no secret.
type publicRecord struct {
	Mesh keystore.Scope `json:"mesh,omitempty"`
	Name string         `json:"name"`
	Data []byte         `json:"data"`
}

// The name prefixes of all records that a snapshot can hold.
const (
	dataplaneKeys        = "dataplane-token-signing-public-key-"
	dataplaneRevocations = "dataplane-token-revocations-"
	zoneKeys             = "zone-token-signing-public-key-"
	zoneRevocations      = "zone-token-revocations"
	dataplaneCutoffs     = "dataplane-token-cutoffs-"
	zoneCutoffs          = "zone-token-cutoffs"
)

// governed is in the order in which records are written. The floor among the cutoffs comes
// before the list that was pruned below it, and revocations come before the keys that signed
// the revoked tokens.
var governed = []string{dataplaneCutoffs, zoneCutoffs, dataplaneRevocations, zoneRevocations, dataplaneKeys, zoneKeys}

// unusable is the content of a record that the global control plane has and cannot use. No
// zone can read it as a key, a list or cutoffs either, and so a zone could not know what
// depends on it, as the global control plane could not. Everything else is sent as it is.
var unusable = []byte{0}

// readSnapshot reads a snapshot from a store. It reads private keys, but keeps only their
// public halves. problems describes the records that are sent as unusable.
func readSnapshot(ctx context.Context, store keystore.KeyStore) (s snapshot, problems []error, err error) {
	list := func(scope keystore.Scope, prefix string) ([]keystore.Record, []*keystore.Error, error) {
		records, err := store.List(ctx, scope, prefix)
		unreadable, err := keystore.SplitUnreadable(err)
		return records, unreadable, err
	}
	// Cutoffs are read after the lists: pruning writes the floor and then drops ids, so a list
	// without them comes with the floor.
	for _, prefix := range []string{dataplaneRevocations, zoneRevocations, dataplaneCutoffs, zoneCutoffs} {
		lists, unreadable, err := list(keystore.AllScopes, prefix)
		if err != nil {
			return snapshot{}, nil, err
		}
		for _, list := range lists {
			s.Records = append(s.Records, publicRecord{list.Scope, list.Name, list.Data})
		}
		for _, err := range unreadable {
			mesh := err.Scope
			if errors.Is(err, keystore.ErrScopeUnknown) { // it concerns the mesh in its name
				mesh = keystore.Scope(strings.TrimPrefix(err.Name, prefix))
			}
			s.Records = append(s.Records, publicRecord{mesh, err.Name, unusable})
			problems = append(problems, err)
		}
	}
	add := func(series signing.Series, records []keystore.Record, unreadable []*keystore.Error) {
		set := series.PublicSet(records, unreadable, nil)
		problems = append(problems, set.Problems()...)
		for _, key := range set.Keys() {
			data := unusable
			if key.Err == nil {
				data = key.Public.PEM()
			}
			s.Records = append(s.Records, publicRecord{series.Scope(), series.PublicKeyName(key.Serial), data})
		}
	}
	ofZones, unreadable, err := list(keystore.Global, signing.ZoneKeys().Prefix())
	if err != nil {
		return snapshot{}, nil, err
	}
	add(signing.ZoneKeys(), ofZones, unreadable)
	// The prefix is the same for every mesh.
	ofMeshes, unreadable, err := list(keystore.AllScopes, signing.DataplaneKeys("default").Prefix())
	if err != nil {
		return snapshot{}, nil, err
	}
	records, faults := map[keystore.Scope][]keystore.Record{}, map[keystore.Scope][]*keystore.Error{}
	meshes := map[keystore.Scope]bool{}
	for _, r := range ofMeshes {
		records[r.Scope], meshes[r.Scope] = append(records[r.Scope], r), true
	}
	for _, err := range unreadable {
		faults[err.Scope], meshes[err.Scope] = append(faults[err.Scope], err), true
	}
	delete(meshes, keystore.Global) // which has no keys of meshes
	for _, mesh := range slices.Sorted(maps.Keys(meshes)) {
		add(signing.DataplaneKeys(string(mesh)), records[mesh], faults[mesh])
	}
	return s, problems, nil
}

// applyTo makes the governed records of a store equal to the snapshot, and returns how many
// records it wrote or deleted. A record that is there and cannot be read stays as it is: the
// zone's validators report it, and could not know what depends on it. No other process may
// write governed records at the same time. If applyTo fails, part of it may be done; the caller
// can repeat it.
func (s snapshot) applyTo(ctx context.Context, store keystore.KeyStore) (changes int, err error) {
	type id struct {
		scope keystore.Scope
		name  string
	}
	wanted := map[id]publicRecord{}
	for _, r := range s.Records {
		if !isGoverned(r.Name) {
			return 0, fmt.Errorf("the snapshot has a record %.128q, which is neither a public key nor a revocation list nor cutoffs", r.Name)
		}
		wanted[id{r.Mesh, r.Name}] = r
	}
	var existing []keystore.Record
	for _, prefix := range governed {
		records, err := store.List(ctx, keystore.AllScopes, prefix)
		unreadable, err := keystore.SplitUnreadable(err)
		if err != nil {
			return 0, err
		}
		existing = append(existing, records...)
		for _, err := range unreadable {
			delete(wanted, id{err.Scope, err.Name})
		}
	}
	there := map[id]keystore.Record{}
	for _, r := range existing {
		there[id{r.Scope, r.Name}] = r
	}
	for _, prefix := range governed {
		for id, r := range wanted {
			if !strings.HasPrefix(id.name, prefix) {
				continue
			}
			record, known := there[id]
			switch {
			case !known:
				_, err = store.Create(ctx, keystore.Record{Scope: r.Mesh, Name: r.Name, Data: r.Data})
			case !bytes.Equal(record.Data, r.Data):
				record.Data = r.Data
				_, err = store.Update(ctx, record)
			default:
				continue
			}
			if err != nil {
				return changes, err
			}
			changes++
		}
	}
	for id := range there {
		if _, ok := wanted[id]; !ok {
			if err := store.Delete(ctx, id.scope, id.name); err != nil {
				return changes, err
			}
			changes++
		}
	}
	return changes, nil
}

func isGoverned(name string) bool {
	return slices.ContainsFunc(governed, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// encode and decodeSnapshot define the wire format of a snapshot.
func (s snapshot) encode() ([]byte, error) { return json.Marshal(s) }

func decodeSnapshot(data []byte) (s snapshot, err error) {
	if err := json.Unmarshal(data, &s); err != nil {
		return snapshot{}, errors.New("the snapshot is not JSON with a list of records")
	}
	return s, nil
}
