package observe

import (
	"time"

	"github.com/meshpass/meshpass/token"
)

// Report is the state of a validator. Later versions may add fields.
type Report struct {
	Kind token.Kind

	// Loaded is true once a complete read of the store has succeeded, and without a
	// store. Staleness is the time since that read began.
	Loaded    bool
	Staleness time.Duration

	// Complete counts the reads of the whole store, Single those of one mesh.
	Complete, Single Reads

	Meshes  []Mesh   // by name; the lists for zone tokens have an empty one
	Keys    []Key    // by mesh and kid
	Sources []Source // by mesh and name
}

// Source is a source of public keys that is read again, such as a file or a JWKS.
type Source struct {
	Mesh  string // whose tokens its keys verify, or empty for all meshes or for zone tokens
	Name  string // such as its path or URL, without a password
	Reads Reads

	// Loaded is true once a read has succeeded. Staleness is the time since the last one
	// that did, and includes the age of an answer that a cache gave.
	Loaded    bool
	Staleness time.Duration
}

// Reads counts the reads of a store or a source since the validator was made.
type Reads struct {
	Total  uint64 // those that have ended, failed ones included
	Failed uint64
}

// Mesh is what the store has for the tokens of a mesh, apart from keys.
type Mesh struct {
	Name string

	// Revoked and Cutoffs count the ids and the cutoffs in force. A mesh may have two lists
	// that overlap, its own and one in the global scope: the longer one counts.
	Revoked int
	Cutoffs int

	// Problems counts the records of the mesh that cannot be read, are misnamed or
	// contradict each other.
	Problems int
}

// KeyState says what a key is good for.
type KeyState int

const (
	Verifies   KeyState = iota // its tokens are good; no token is signed with it any more
	Signs                      // also, it is the newest: see signing.Key
	Unreadable                 // its record is there but cannot be read
	OfSource                   // it verifies too, and is not of the store: a source or the configuration has it
)

// String returns "verifies", "signs", "unreadable" or "source".
func (s KeyState) String() string {
	switch s {
	case Signs:
		return "signs"
	case Unreadable:
		return "unreadable"
	case OfSource:
		return "source"
	}
	return "verifies"
}

// Key is a key of the store or a source.
type Key struct {
	Mesh  string // empty for zone tokens, and for a mesh that only the token names
	KeyID string
	State KeyState

	// Created is when the store created the record, or zero if that is unknown.
	Created time.Time

	// Accepted and Refused count the tokens with a good signature of the key, since the
	// validator was made. Tokens that could not be checked are in neither.
	Accepted, Refused uint64

	// UnusedSince is when the validator last accepted a token of the key. If it has
	// accepted none, it is when the validator or the key was made, whichever is later.
	UnusedSince time.Time

	// Sessions counts the open bound contexts.
	Sessions int
}
