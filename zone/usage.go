package zone

import (
	"time"

	"github.com/meshpass/meshpass/internal/live"
)

// KeyUse describes how one process has used one key since its validator was made.
// It is plain data with JSON tags, so that reports of several processes can be
// combined.
type KeyUse struct {
	// KeyID is the kid of the key.
	KeyID string `json:"kid"`

	// Validations counts the accepted tokens, each time one was accepted.
	Validations uint64 `json:"validations"`

	// LastUsed is the wall clock time at which the latest was accepted.
	LastUsed time.Time `json:"last_used"`

	// Sessions counts the bound contexts that are open.
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
