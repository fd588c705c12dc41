package zone_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestARecordThatCannotBeReadConcernsItsTokensAlone(t *testing.T) {
	denied := errors.New("permission denied")
	synctest.Test(t, func(t *testing.T) {
		memory := keystore.NewMemory()
		store := storetest.NewSpoilt(memory)
		issuer := newIssuer(t, store)
		putKey(t, memory, 1, testKey(0))
		signedBy1 := issueCP(t, issuer)
		putKey(t, memory, 2, testKey(1))
		store.Spoil(keystore.Global, signing.ZoneKeys().KeyName(1), denied)
		signedBy2 := issueCP(t, issuer)

		validator := newValidator(t, store)
		err := check(t, validator, signedBy1)
		require.ErrorIs(t, err, token.ErrUnavailable)
		require.ErrorIs(t, err, denied)
		assert.NoError(t, check(t, validator, signedBy2))

		keys, err := zone.Keys(t.Context(), store)
		require.NoError(t, err)
		require.Len(t, keys, 2)
		assert.ErrorIs(t, keys[0].Err, denied)
		require.NoError(t, zone.RemoveKey(t.Context(), store, 1))

		list := revocation.Zone()
		putRecord(t, memory, list.Scope, list.Name, []byte("some-id"))
		store.Spoil(list.Scope, list.Name, denied)
		time.Sleep(31 * time.Second)
		assert.ErrorIs(t, check(t, validator, signedBy2), token.ErrUnavailable, "the list concerns all zones")
		require.ErrorIs(t, zone.Revoke(t.Context(), store, "an-id"), denied)
		store.Spoil(list.Scope, list.Name, nil)
		time.Sleep(31 * time.Second)
		assert.NoError(t, check(t, validator, signedBy2))
	})
}
