package zone_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// The keys of these tests are made when they run; nobody's key is kept here.
var testRSAKeys = [2]func() *rsa.PrivateKey{sync.OnceValue(newRSA), sync.OnceValue(newRSA)}

func newRSA() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func testRSA(n int) *rsa.PrivateKey { return testRSAKeys[n]() }

func testKey(n int) *signing.PrivateKey {
	key, err := signing.NewPrivateKey(testRSA(n))
	if err != nil {
		panic(err)
	}
	return key
}

func pemOf(t testing.TB, key *signing.PrivateKey) []byte {
	t.Helper()
	data, err := key.PEM()
	require.NoError(t, err)
	return data
}

func putRecord(t testing.TB, store keystore.KeyStore, scope keystore.Scope, name string, data []byte) {
	t.Helper()
	_, err := store.Create(t.Context(), keystore.Record{Scope: scope, Name: name, Data: data})
	require.NoError(t, err)
}

// putKey stores a private key under a serial of the test's choosing.
func putKey(t testing.TB, store keystore.KeyStore, serial signing.Serial, key *signing.PrivateKey) {
	t.Helper()
	putRecord(t, store, keystore.Global, signing.ZoneKeys().KeyName(serial), pemOf(t, key))
}

func listAll(t testing.TB, store keystore.KeyStore) []keystore.Record {
	t.Helper()
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	return records
}

func TestEnsureKeyMakesTheFirstKeyOnceAndInTheGlobalScope(t *testing.T) {
	store := keystore.NewMemory()
	_, err := dataplane.EnsureKey(t.Context(), store, "default") // is no zone key
	require.NoError(t, err)
	first, err := zone.EnsureKey(t.Context(), store)
	require.NoError(t, err)
	assert.EqualValues(t, 1, first.Serial)
	assert.True(t, first.Signs)
	assert.Equal(t, 2048, first.Public.Bits())

	record, err := store.Get(t.Context(), keystore.Global, "zone-token-signing-key-1")
	require.NoError(t, err)
	assert.Contains(t, string(record.Data), "-----BEGIN RSA PRIVATE KEY-----")

	second, err := zone.EnsureKey(t.Context(), store)
	require.NoError(t, err)
	assert.True(t, first.Public.Equal(second.Public))
	assert.Len(t, listAll(t, store), 2)
}

func TestEnsureKeyGivesConcurrentCallersTheSameKey(t *testing.T) {
	const n = 8
	store, err := dir.Open(t.TempDir())
	require.NoError(t, err)
	start := make(chan struct{})
	keys := make(chan signing.Key, n)
	for range n {
		go func() {
			<-start
			key, err := zone.EnsureKey(t.Context(), store)
			assert.NoError(t, err)
			keys <- key
		}()
	}
	close(start)
	first := <-keys
	for range n - 1 {
		assert.True(t, first.Public.Equal((<-keys).Public))
	}
	found, err := zone.Keys(t.Context(), store)
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.EqualValues(t, 1, found[0].Serial)
}

func TestKeysAreAddedListedAndRemovedByNumber(t *testing.T) {
	store := keystore.NewMemory()
	_, err := zone.AddKey(t.Context(), store, testKey(0))
	assert.ErrorIs(t, err, signing.ErrNoKey)
	assert.Empty(t, listAll(t, store))

	for _, serial := range []signing.Serial{2, 9, 10} {
		putKey(t, store, serial, testKey(0))
	}
	putRecord(t, store, keystore.Global, signing.ZoneKeys().KeyName(3), []byte("damaged"))
	putRecord(t, store, keystore.Global, "zone-token-signing-key-backup", pemOf(t, testKey(0)))
	added, err := zone.AddKey(t.Context(), store, testKey(1))
	require.NoError(t, err)
	assert.EqualValues(t, 11, added.Serial)

	keys, err := zone.Keys(t.Context(), store)
	require.NoError(t, err)
	var serials []signing.Serial
	for _, key := range keys {
		serials = append(serials, key.Serial)
		assert.Equal(t, key.Serial == 11, key.Signs)
		if key.Serial == 3 {
			assert.ErrorIs(t, key.Err, signing.ErrKey)
		} else {
			assert.NoError(t, key.Err)
		}
	}
	assert.Equal(t, []signing.Serial{2, 3, 9, 10, 11}, serials)

	assert.ErrorIs(t, zone.RemoveKey(t.Context(), store, 11, zone.Forced()), signing.ErrInUse, "its serial would be given again")
	require.NoError(t, zone.RemoveKey(t.Context(), store, 10))
	assert.ErrorIs(t, zone.RemoveKey(t.Context(), store, 10), signing.ErrNoKey)
	kid, _ := inside(t, issueCP(t, newIssuer(t, store)))
	assert.Equal(t, "11", kid)
}

func TestKeysNeedAStore(t *testing.T) {
	for name, f := range map[string]func() error{
		"EnsureKey": func() error { _, err := zone.EnsureKey(t.Context(), nil); return err },
		"AddKey":    func() error { _, err := zone.AddKey(t.Context(), nil, testKey(0)); return err },
		"RemoveKey": func() error { return zone.RemoveKey(t.Context(), nil, 1) },
		"Keys":      func() error { _, err := zone.Keys(t.Context(), nil); return err },
		"Revoke":    func() error { return zone.Revoke(t.Context(), nil, "id") },
		"Restore":   func() error { return zone.Restore(t.Context(), nil, "id") },
		"Revoked":   func() error { _, err := zone.Revoked(t.Context(), nil); return err },
	} {
		t.Run(name, func(t *testing.T) {
			assert.NotPanics(t, func() { assert.Error(t, f()) })
		})
	}
}

func TestKeysInEveryEncodingSignAndVerify(t *testing.T) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(testRSA(0))
	require.NoError(t, err)
	for name, data := range map[string][]byte{
		"PEM of PKCS#1":     pemOf(t, testKey(0)),
		"PEM of PKCS#8":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
		"raw DER of PKCS#1": x509.MarshalPKCS1PrivateKey(testRSA(0)),
	} {
		t.Run(name, func(t *testing.T) {
			store := keystore.NewMemory()
			putRecord(t, store, keystore.Global, "zone-token-signing-key", data) // unnumbered: serial 0
			verified, err := newValidator(t, store).Validate(t.Context(), "west", zone.ScopeCP, issueCP(t, newIssuer(t, store)))
			require.NoError(t, err)
			assert.Equal(t, "0", verified.KeyID())
		})
	}
}

func TestKeysWithoutAPrivateHalfVerifyAndDoNotSign(t *testing.T) {
	global, west := keystore.NewMemory(), keystore.NewMemory()
	putKey(t, global, 1, testKey(0))
	putRecord(t, west, keystore.Global, signing.ZoneKeys().PublicKeyName(1), testKey(0).Public().PEM())
	assert.NoError(t, check(t, newValidator(t, west), issueCP(t, newIssuer(t, global))))
	_, err := newIssuer(t, west).Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, day)
	assert.ErrorIs(t, err, signing.ErrNoKey)
}

func TestKeysOfDataplaneTokensMeanNothingToZoneTokens(t *testing.T) {
	store := keystore.NewMemory()
	putRecord(t, store, "default", signing.DataplaneKeys("default").KeyName(1), pemOf(t, testKey(0)))
	putRecord(t, store, "default", signing.ZoneKeys().KeyName(1), pemOf(t, testKey(0))) // in a mesh: nobody's
	putRecord(t, store, keystore.Global, signing.DataplaneKeys("default").KeyName(1), pemOf(t, testKey(0)))
	offline := newOfflineIssuer(t, testKey(0), "1")
	assert.ErrorIs(t, check(t, newValidator(t, store), issueCP(t, offline)), token.ErrUnknownKey)
	_, err := newIssuer(t, store).Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, day)
	assert.ErrorIs(t, err, signing.ErrNoKey)
}
