package keystore

// Scope says whose a record is: a mesh's, by the mesh's name, or everybody's.
type Scope string

const (
	// Global is the scope of records that belong to no mesh.
	Global Scope = ""

	// AllScopes stands for every scope, in List and in notifications. No record
	// is in it.
	AllScopes Scope = "*"
)
