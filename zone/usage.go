package zone

import (
	"time"

	"github.com/meshpass/meshpass/internal/live"
)

// KeyUse describes how one process has used one key since its validator was made.
// It has JSON tags, so that an operator can combine the reports of processes.
type KeyUse struct {
	// KeyID is the kid of the key.
	KeyID string `json:"kid"`

	// Validations counts how often the validator accepted a token of the key.
	Validations uint64 `json:"validations"`

	// LastUsed is the wall clock time at which it last accepted one.
	LastUsed time.Time `json:"last_used"`

	// Sessions counts the open bound contexts.
	Sessions int `json:"sessions"`
}

func keyUses(uses []live.KeyUse) []KeyUse {
	all := make([]KeyUse, len(uses))
	for i, use := range uses {
		all[i] = KeyUse{
			KeyID:       use.KeyID,
			Validations: use.Validations,
			LastUsed:    use.LastUsed,
			Sessions:    use.Sessions,
		}
	}
	return all
}
