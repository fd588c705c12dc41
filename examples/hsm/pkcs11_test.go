//go:build cgo

package hsm_test

import (
	"sync"
	"testing"
	"time"

	"github.com/ThalesGroup/crypto11"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/examples/hsm"
	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// newSoftHSM returns a token, and what closes it: the end of the test, unless that is
// called before.
func newSoftHSM(t *testing.T) (d device, closeToken func() error) {
	of := engines.NewSoftHSM(t)
	open, err := crypto11.Configure(&crypto11.Config{Path: of.Module, TokenLabel: of.Label, Pin: of.PIN})
	require.NoError(t, err)
	closeToken = sync.OnceValue(open.Close) // crypto11 panics the second time
	t.Cleanup(func() { _ = closeToken() })
	return device{
		newKey: func() *signing.PublicKey {
			key, err := hsm.NewKey(open, "default")
			require.NoError(t, err)
			requireKeyStays(t, open, key)
			return key
		},
		remove: func(public *signing.PublicKey) {
			key, err := hsm.Find(open, public)
			require.NoError(t, err)
			require.NoError(t, key.Delete())
		},
		signers: hsm.Signers(open),
	}, closeToken
}

// requireKeyStays holds the HSM to it that the private key never leaves.
func requireKeyStays(t *testing.T, open *crypto11.Context, public *signing.PublicKey) {
	t.Helper()
	key, err := hsm.Find(open, public)
	require.NoError(t, err)
	for attribute, want := range map[crypto11.AttributeType]bool{
		crypto11.CkaSensitive: true, crypto11.CkaAlwaysSensitive: true,
		crypto11.CkaExtractable: false, crypto11.CkaNeverExtractable: true,
		crypto11.CkaLocal: true, // made inside
		crypto11.CkaSign:  true, crypto11.CkaDecrypt: false,
	} {
		is, err := open.GetAttribute(key, attribute)
		require.NoError(t, err)
		require.Equal(t, []byte{map[bool]byte{true: 1}[want]}, is.Value, "attribute %#x", attribute)
	}
	for _, secret := range []crypto11.AttributeType{crypto11.CkaPrivateExponent, crypto11.CkaPrime1, crypto11.CkaPrime2} {
		_, err := open.GetAttribute(key, secret)
		require.ErrorContains(t, err, "CKR_ATTRIBUTE_SENSITIVE")
	}
}

func TestKeysOfAnHSMSignAreRotatedAndNeverLeaveIt(t *testing.T) {
	d, _ := newSoftHSM(t)
	d.rotate(t)
}

func TestKeyOfAnHSMSignsForManyGoroutines(t *testing.T) {
	d, _ := newSoftHSM(t)
	d.issueAtOnce(t)
}

func TestHSMThatIsGoneIsUnavailable(t *testing.T) {
	d, closeToken := newSoftHSM(t)
	store := keystore.NewMemory()
	_, err := dataplane.AddExternalKey(t.Context(), store, "default", d.newKey())
	require.NoError(t, err)
	issuer, err := dataplane.NewIssuer(store, dataplane.WithSigners(d.signers))
	require.NoError(t, err)
	_, err = issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.NoError(t, err)
	require.NoError(t, closeToken())
	for range 2 { // with the signer that is remembered, and when it is looked up again
		_, err = issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.NotErrorIs(t, err, signing.ErrNoSigner)
	}
}
