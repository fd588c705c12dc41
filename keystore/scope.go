package keystore

// Scope is the name of the mesh to which a record belongs, or [Global].
type Scope string

const (
	// Global is the scope of records that belong to no mesh.
	Global Scope = ""

	// AllScopes stands for every scope, in List and in notifications. No record
	// is in it.
	AllScopes Scope = "*"
)
