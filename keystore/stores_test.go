package keystore_test

import (
	"testing"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
)

func TestMemoryServesTokensThroughTheirLife(t *testing.T) {
	store := keystore.NewMemory()
	storetest.LifeOfAToken(t, func(testing.TB) keystore.KeyStore { return store })
}

func TestMemoryLetsARevocationEndASession(t *testing.T) {
	store := keystore.NewMemory()
	storetest.ARevocationEndsASessionOfAnotherReplica(t, func(testing.TB) keystore.KeyStore { return store })
}
