package live

import (
	"reflect"

	"github.com/meshpass/meshpass/internal/keylife"
	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/keystore"
)

var _ keylife.Followed = (*Validator)(nil)

// Follows implements [keylife.Followed].
func (v *Validator) Follows(store keystore.KeyStore) bool {
	return v.storeKeys && reflect.ValueOf(store).Comparable() && v.store == store
}

// Issuing implements [keylife.Followed].
func (v *Validator) Issuing(scope keystore.Scope) (replica.Issuing, bool) {
	if v.closed.Load() {
		return replica.Issuing{}, false
	}
	return v.follower.Issuing(scope)
}
