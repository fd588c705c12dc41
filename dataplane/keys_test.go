package dataplane_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// The keys of these tests are made when they run; nobody's key is kept here.
var testRSAKeys = [3]func() *rsa.PrivateKey{sync.OnceValue(newRSA), sync.OnceValue(newRSA), sync.OnceValue(newRSA)}

func newRSA() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

var testPrivateKeys = [3]func() *signing.PrivateKey{
	sync.OnceValue(func() *signing.PrivateKey { return newPrivateKey(testRSA(0)) }),
	sync.OnceValue(func() *signing.PrivateKey { return newPrivateKey(testRSA(1)) }),
	sync.OnceValue(func() *signing.PrivateKey { return newPrivateKey(testRSA(2)) }),
}

func newPrivateKey(key *rsa.PrivateKey) *signing.PrivateKey {
	private, err := signing.NewPrivateKey(key)
	if err != nil {
		panic(err)
	}
	return private
}

func testRSA(n int) *rsa.PrivateKey     { return testRSAKeys[n]() }
func testKey(n int) *signing.PrivateKey { return testPrivateKeys[n]() }

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
func putKey(t testing.TB, store keystore.KeyStore, mesh string, serial signing.Serial, key *signing.PrivateKey) {
	t.Helper()
	putRecord(t, store, keystore.Scope(mesh), signing.DataplaneKeys(mesh).KeyName(serial), pemOf(t, key))
}

func replaceRecord(t testing.TB, store keystore.KeyStore, scope keystore.Scope, name string, data []byte) {
	t.Helper()
	record, err := store.Get(t.Context(), scope, name)
	require.NoError(t, err)
	record.Data = data
	_, err = store.Update(t.Context(), record)
	require.NoError(t, err)
}

func replaceKey(t testing.TB, store keystore.KeyStore, mesh string, serial signing.Serial, key *signing.PrivateKey) {
	t.Helper()
	replaceRecord(t, store, keystore.Scope(mesh), signing.DataplaneKeys(mesh).KeyName(serial), pemOf(t, key))
}

func listAll(t testing.TB, store keystore.KeyStore) []keystore.Record {
	t.Helper()
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	return records
}

// serialsOf lists the serials of a mesh's keys.
func serialsOf(t testing.TB, store keystore.KeyStore, mesh string) []signing.Serial {
	t.Helper()
	keys, err := dataplane.Keys(t.Context(), store, mesh)
	require.NoError(t, err)
	var serials []signing.Serial
	for _, key := range keys {
		serials = append(serials, key.Serial)
	}
	return serials
}

func TestEnsureKeyMakesTheFirstKeyOnce(t *testing.T) {
	store := keystore.NewMemory()
	first, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	assert.EqualValues(t, 1, first.Serial)
	assert.True(t, first.Signs)
	assert.Equal(t, 2048, first.Public.Bits())
	assert.False(t, first.Created.IsZero())
	records := listAll(t, store)
	require.Len(t, records, 1)
	assert.Equal(t, "dataplane-token-signing-key-default-1", records[0].Name)
	assert.Equal(t, keystore.Scope("default"), records[0].Scope)
	assert.Contains(t, string(records[0].Data), "-----BEGIN RSA PRIVATE KEY-----")

	second, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	assert.Equal(t, first.Serial, second.Serial)
	assert.True(t, first.Public.Equal(second.Public))
	assert.True(t, first.Created.Equal(second.Created))
	assert.Equal(t, records, listAll(t, store))
}

func TestEnsureKeyReturnsTheKeyThatSigns(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 3, testKey(0))
	putKey(t, store, "default", 11, testKey(1))
	key, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	assert.EqualValues(t, 11, key.Serial)
	assert.True(t, key.Public.Equal(testKey(1).Public()))
	assert.Len(t, listAll(t, store), 2)
}

func TestEnsureKeyDoesNotReplaceAnUnreadableKey(t *testing.T) {
	store := keystore.NewMemory()
	putRecord(t, store, "default", signing.DataplaneKeys("default").KeyName(1), []byte("damaged"))
	before := listAll(t, store)
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	assert.ErrorIs(t, err, signing.ErrKey)
	assert.Equal(t, before, listAll(t, store))
}

func TestEnsureKeyReportsAKeyOfWhichOnlyThePublicHalfCanBeRead(t *testing.T) {
	store, keys := keystore.NewMemory(), signing.DataplaneKeys("default")
	putKey(t, store, "default", 1, testKey(0))
	putRecord(t, store, "default", keys.KeyName(2), []byte("damaged"))
	putRecord(t, store, "default", keys.PublicKeyName(2), testKey(1).Public().PEM())
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	assert.ErrorIs(t, err, signing.ErrKey)
	assert.ErrorContains(t, err, keys.KeyName(2))
}

// On a zone there are the public keys of the global control plane. A private key
// of the same serial would hide one of them, and refuse every token that it signed.
func TestEnsureKeyHidesNoPublicKeyThatIsThereAlready(t *testing.T) {
	global, zone := keystore.NewMemory(), keystore.NewMemory()
	putKey(t, global, "default", 1, testKey(0))
	putRecord(t, zone, "default", signing.DataplaneKeys("default").PublicKeyName(1), testKey(0).Public().PEM())
	raw := issue(t, newIssuer(t, global), "default", day)
	require.NoError(t, check(t, newValidator(t, zone), "default", raw))

	_, err := dataplane.EnsureKey(t.Context(), zone, "default")
	assert.NoError(t, check(t, newValidator(t, zone), "default", raw), "after EnsureKey, which said %v", err)
}

func TestEnsureKeyMakesNoKeyInAStoreThatFails(t *testing.T) {
	store := newFaultStore()
	store.setList(failing)
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	assert.ErrorIs(t, err, errStoreDown)
	_, err = dataplane.AddKey(t.Context(), store, "default", testKey(0))
	assert.ErrorIs(t, err, errStoreDown)
	assert.ErrorIs(t, dataplane.RemoveKey(t.Context(), store, "default", 1), errStoreDown)
	_, err = dataplane.Keys(t.Context(), store, "default")
	assert.ErrorIs(t, err, errStoreDown)
	assert.Empty(t, listAll(t, store.Memory))
}

func TestKeysNeedAMesh(t *testing.T) {
	store := newFaultStore()
	for _, mesh := range []string{"", "*", "a/b", "..", strings.Repeat("m", 129), "größe", "default\n"} {
		_, err := dataplane.EnsureKey(t.Context(), store, mesh)
		assert.ErrorIs(t, err, keystore.ErrName, "EnsureKey %q", mesh)
		_, err = dataplane.AddKey(t.Context(), store, mesh, testKey(0))
		assert.ErrorIs(t, err, keystore.ErrName, "AddKey %q", mesh)
		assert.ErrorIs(t, dataplane.RemoveKey(t.Context(), store, mesh, 1), keystore.ErrName, "RemoveKey %q", mesh)
		_, err = dataplane.Keys(t.Context(), store, mesh)
		assert.ErrorIs(t, err, keystore.ErrName, "Keys %q", mesh)
	}
	assert.Zero(t, len(store.readsSoFar()))
	assert.Empty(t, listAll(t, store.Memory))
}

func TestKeysNeedAStore(t *testing.T) {
	for name, f := range map[string]func() error{
		"EnsureKey": func() error { _, err := dataplane.EnsureKey(t.Context(), nil, "default"); return err },
		"AddKey":    func() error { _, err := dataplane.AddKey(t.Context(), nil, "default", testKey(0)); return err },
		"RemoveKey": func() error { return dataplane.RemoveKey(t.Context(), nil, "default", 1) },
		"Keys":      func() error { _, err := dataplane.Keys(t.Context(), nil, "default"); return err },
		"Revoke":    func() error { return dataplane.Revoke(t.Context(), nil, "default", "id") },
		"Restore":   func() error { return dataplane.Restore(t.Context(), nil, "default", "id") },
		"Revoked":   func() error { _, err := dataplane.Revoked(t.Context(), nil, "default"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			assert.NotPanics(t, func() { assert.Error(t, f()) })
		})
	}
}

// everyoneReads holds each read back until n have been made, so that all who
// read decide on the same state.
func everyoneReads(store *faultStore, n int) listFunc {
	var all sync.WaitGroup
	all.Add(n)
	return func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
		records, err := store.Memory.List(ctx, scope, prefix)
		all.Done()
		all.Wait()
		store.setList(nil)
		return records, err
	}
}

func TestEnsureKeyGivesConcurrentCallersTheSameKey(t *testing.T) {
	const n = 8
	store := newFaultStore()
	store.setList(everyoneReads(store, n))
	keys := make(chan signing.Key, n)
	for range n {
		go func() {
			key, err := dataplane.EnsureKey(t.Context(), store, "default")
			assert.NoError(t, err)
			keys <- key
		}()
	}
	first := <-keys
	for range n - 1 {
		key := <-keys
		assert.Equal(t, first.Serial, key.Serial)
		assert.True(t, first.Public.Equal(key.Public))
	}
	assert.Equal(t, []signing.Serial{1}, serialsOf(t, store, "default"))
}

// ensureKeyIn is set for the processes of the next test: the directory of the store.
const ensureKeyIn = "MESHPASS_TEST_ENSURE_KEY_IN"

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // a test that looks at a log has one of its own
	if folder := os.Getenv(ensureKeyIn); folder != "" {
		if err := ensureKeyAndIssue(folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if folder := os.Getenv(keepChangingKeysIn); folder != "" {
		fmt.Fprintln(os.Stderr, keepChangingKeys(folder)) // until it is killed
		os.Exit(1)
	}
	m.Run()
}

// ensureKeyAndIssue prints the serial of the key that it was given, and a token.
func ensureKeyAndIssue(folder string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	store, err := dir.Open(folder)
	if err != nil {
		return err
	}
	issuer, err := dataplane.NewIssuer(store)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // until everybody is
		return err
	}
	key, err := dataplane.EnsureKey(ctx, store, "default")
	if err != nil {
		return err
	}
	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default"}, day)
	if err != nil {
		return err
	}
	fmt.Println(key.Serial.KeyID(), key.Public.Fingerprint(), issued.Token)
	return nil
}

func TestEnsureKeyInManyProcessesAtOnceGivesOneKeyWithWhichAllSign(t *testing.T) {
	processes := storetest.Repeat(16, 64)
	folder := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	starting, start, err := os.Pipe()
	require.NoError(t, err)
	defer starting.Close()
	defer start.Close()

	commands := make([]*exec.Cmd, processes)
	outputs := make([]*bufio.Reader, processes)
	for i := range commands {
		command := exec.CommandContext(t.Context(), self)
		command.Env = append(os.Environ(), ensureKeyIn+"="+folder)
		command.Stdin = starting
		command.Stderr = os.Stderr
		output, err := command.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, command.Start())
		commands[i], outputs[i] = command, bufio.NewReader(output)
	}
	for _, output := range outputs {
		line, err := output.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "ready\n", line)
	}
	require.NoError(t, start.Close())

	fingerprints := map[string]bool{}
	var raws []string
	for i, output := range outputs {
		line, err := output.ReadString('\n')
		require.NoError(t, err)
		fields := strings.Fields(line)
		require.Len(t, fields, 3)
		assert.Equal(t, "1", fields[0])
		fingerprints[fields[1]] = true
		raws = append(raws, fields[2])
		require.NoError(t, commands[i].Wait())
	}
	assert.Len(t, fingerprints, 1, "not everybody was given the same key")

	store, err := dir.Open(folder)
	require.NoError(t, err)
	assert.Equal(t, []signing.Serial{1}, serialsOf(t, store, "default"))
	validator := newValidator(t, store)
	for _, raw := range raws {
		assert.NoError(t, check(t, validator, "default", raw))
	}
}

func TestAddKeyTakesTheSerialAfterTheHighestNumber(t *testing.T) {
	store := keystore.NewMemory()
	for _, serial := range []signing.Serial{2, 9, 10} {
		putKey(t, store, "default", serial, testKey(0))
	}
	key, err := dataplane.AddKey(t.Context(), store, "default", testKey(1))
	require.NoError(t, err)
	assert.EqualValues(t, 11, key.Serial)
	assert.True(t, key.Signs)
	assert.True(t, key.Public.Equal(testKey(1).Public()))
	assert.False(t, key.Created.IsZero())
	assert.Equal(t, []signing.Serial{2, 9, 10, 11}, serialsOf(t, store, "default"))
	kid, _ := inside(t, issue(t, newIssuer(t, store), "default", day))
	assert.Equal(t, "11", kid)
}

func TestAddKeyTakesTheSerialAfterAKeyThatCannotBeRead(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	putRecord(t, store, "default", signing.DataplaneKeys("default").KeyName(2), nil)
	key, err := dataplane.AddKey(t.Context(), store, "default", testKey(1))
	require.NoError(t, err)
	assert.EqualValues(t, 3, key.Serial)
}

func TestAddKeyFailsAfterTheHighestPossibleSerial(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 9223372036854775807, testKey(0))
	_, err := dataplane.AddKey(t.Context(), store, "default", testKey(1))
	assert.ErrorContains(t, err, "9223372036854775807")
	assert.Len(t, listAll(t, store), 1)
}

func TestAddKeyDoesNotMakeTheFirstKey(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default-2", 1, testKey(0))
	_, err := dataplane.AddKey(t.Context(), store, "default", testKey(1))
	assert.ErrorIs(t, err, signing.ErrNoKey)
	assert.ErrorContains(t, err, "EnsureKey")
	assert.Empty(t, serialsOf(t, store, "default"))
}

func TestAddKeyNeedsAKeyThatCanBeStored(t *testing.T) {
	elsewhere, err := signing.NewPrivateKey(&countingSigner{key: testRSA(1)})
	require.NoError(t, err)
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	for name, key := range map[string]*signing.PrivateKey{"nil": nil, "the zero value": {}, "a key kept elsewhere": elsewhere} {
		_, err := dataplane.AddKey(t.Context(), store, "default", key)
		assert.Error(t, err, name)
	}
	assert.Equal(t, []signing.Serial{1}, serialsOf(t, store, "default"))
}

func TestAddKeyTellsOneOfTwoConcurrentCallers(t *testing.T) {
	store := newFaultStore()
	putKey(t, store, "default", 1, testKey(0))
	store.setList(everyoneReads(store, 2))
	errs := make(chan error, 2)
	for n := range 2 {
		go func() {
			_, err := dataplane.AddKey(t.Context(), store, "default", testKey(n+1))
			errs <- err
		}()
	}
	failed := errors.Join(<-errs, <-errs)
	assert.ErrorIs(t, failed, keystore.ErrExists)
	assert.ErrorContains(t, failed, "key 2")
	assert.Equal(t, 1, strings.Count(failed.Error(), "adding key"), "both failed: %v", failed)
	assert.Equal(t, []signing.Serial{1, 2}, serialsOf(t, store, "default"))
}

// As where a store has each name only once, and mesh default-2 a key without a serial.
func TestAddKeySaysWhichScopeHasTheNameAlready(t *testing.T) {
	store := &refusingStore{faultStore: newFaultStore()}
	putKey(t, store, "default", 1, testKey(0))
	taken := fmt.Errorf("%w: scope %q has it", keystore.ErrNameTaken, "default-2")
	store.err.Store(&taken)
	_, err := dataplane.AddKey(t.Context(), store, "default", testKey(1))
	require.ErrorIs(t, err, keystore.ErrNameTaken)
	require.ErrorContains(t, err, `scope "default-2" has it`)
	require.NotContains(t, err.Error(), "at the same time", "another try would not help")
}

func TestRemoveKeyTakesAwayBothHalves(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	putKey(t, store, "default", 2, testKey(1))
	putRecord(t, store, "default", signing.DataplaneKeys("default").PublicKeyName(1), testKey(0).Public().PEM())
	require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 1))
	assert.Equal(t, []signing.Serial{2}, serialsOf(t, store, "default"))
	assert.Len(t, listAll(t, store), 1)

	for _, serial := range []signing.Serial{1, 0, -1, 12} {
		assert.ErrorIs(t, dataplane.RemoveKey(t.Context(), store, "default", serial), signing.ErrNoKey)
	}
	assert.Len(t, listAll(t, store), 1)
}

func TestRemoveKeyRemovesAKeyThatCannotBeRead(t *testing.T) {
	store := keystore.NewMemory()
	putRecord(t, store, "default", signing.DataplaneKeys("default").KeyName(4), []byte("damaged"))
	_, err := dataplane.AddKey(t.Context(), store, "default", testKey(0))
	require.NoError(t, err)
	require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 4))
	assert.Equal(t, []signing.Serial{5}, serialsOf(t, store, "default"))
}

func TestRemoveKeyNeverRemovesTheNewestSoThatNoSerialIsGivenTwice(t *testing.T) {
	store := keystore.NewMemory()
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	for _, serial := range []signing.Serial{2, 3, 4} {
		before := listAll(t, store)
		for _, options := range [][]dataplane.RemoveOption{nil, {dataplane.Forced()}, {dataplane.WithPublishDelay(day)}} {
			err := dataplane.RemoveKey(t.Context(), store, "default", serial-1, options...)
			assertInUse(t, err)
			assert.ErrorContains(t, err, "add the next key first")
		}
		assert.Equal(t, before, listAll(t, store))
		added, err := dataplane.AddKey(t.Context(), store, "default", testKey(int(serial)%3))
		require.NoError(t, err)
		assert.Equal(t, serial, added.Serial)
		require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", serial-1))
	}
}

func TestRemoveAllKeysTakesEveryKeyOfTheMeshAndNothingElse(t *testing.T) {
	store := keystore.NewMemory()
	series := signing.DataplaneKeys("default")
	putKey(t, store, "default", 1, testKey(0))
	putRecord(t, store, "default", series.KeyName(2), []byte("damaged"))
	putRecord(t, store, "default", series.PublicKeyName(2), testKey(1).Public().PEM())
	putRecord(t, store, "default", series.PublicKeyName(3), testKey(1).Public().PEM())
	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", "an-id"))
	putKey(t, store, "default-2", 1, testKey(0))
	require.NoError(t, dataplane.RemoveAllKeys(t.Context(), store, "default"))
	require.NoError(t, dataplane.RemoveAllKeys(t.Context(), store, "default"), "there is nothing left to remove")
	var left []string
	for _, r := range listAll(t, store) {
		left = append(left, r.Name)
	}
	assert.ElementsMatch(t, []string{"dataplane-token-revocations-default", "dataplane-token-signing-key-default-2-1"}, left)
	assert.ErrorIs(t, dataplane.RemoveAllKeys(t.Context(), store, ""), keystore.ErrName)
}

func TestKeysListsAllBySerialAndSaysWhyOneCannotBeRead(t *testing.T) {
	store := keystore.NewMemory()
	series := signing.DataplaneKeys("default")
	putKey(t, store, "default", 10, testKey(0))
	putRecord(t, store, "default", series.KeyName(11), []byte("damaged"))
	putKey(t, store, "default", 9, testKey(1))
	putRecord(t, store, "default", series.PublicKeyName(2), testKey(2).Public().PEM())
	putRecord(t, store, "default", "dataplane-token-signing-key-default-backup", pemOf(t, testKey(2)))
	putRecord(t, store, "default", "dataplane-token-revocations-default", []byte("a"))
	putKey(t, store, "default-2", 12, testKey(0))

	keys, err := dataplane.Keys(t.Context(), store, "default")
	require.NoError(t, err)
	require.Len(t, keys, 4)
	for i, want := range []struct {
		serial signing.Serial
		public *signing.PublicKey
		signs  bool
	}{
		{2, testKey(2).Public(), false},
		{9, testKey(1).Public(), false},
		{10, testKey(0).Public(), false},
		{11, nil, true},
	} {
		assert.Equal(t, want.serial, keys[i].Serial)
		assert.Equal(t, want.signs, keys[i].Signs, "serial %d", want.serial)
		assert.False(t, keys[i].Created.IsZero(), "serial %d", want.serial)
		if want.public == nil {
			assert.ErrorIs(t, keys[i].Err, signing.ErrKey)
			assert.Nil(t, keys[i].Public)
		} else {
			assert.NoError(t, keys[i].Err)
			assert.True(t, want.public.Equal(keys[i].Public), "serial %d", want.serial)
		}
	}
}

func TestKeysOfMeshDefaultAreApartFromThoseOfDefault2(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 2, testKey(0))   // dataplane-token-signing-key-default-2
	putKey(t, store, "default-2", 0, testKey(1)) // the same name, in another scope
	putKey(t, store, "default-2", 1, testKey(2))
	issuer, validator := newIssuer(t, store), newValidator(t, store)

	ofDefault, ofDefault2 := issue(t, issuer, "default", day), issue(t, issuer, "default-2", day)
	kid, _ := inside(t, ofDefault)
	assert.Equal(t, "2", kid)
	kid, _ = inside(t, ofDefault2)
	assert.Equal(t, "1", kid)
	assert.NoError(t, check(t, validator, "default", ofDefault))
	assert.NoError(t, check(t, validator, "default-2", ofDefault2))
	assert.ErrorIs(t, check(t, validator, "default", ofDefault2), token.ErrUnknownKey)
	assert.ErrorIs(t, check(t, validator, "default-2", ofDefault), token.ErrUnknownKey)

	// The unnumbered key of default-2 does not verify what default-2 did not sign.
	posing := signPayload(t, testKey(1), "2", `{"Mesh":"default","exp":4000000000,"jti":"a"}`)
	assert.ErrorIs(t, check(t, validator, "default", posing), token.ErrSignature)

	assert.Equal(t, []signing.Serial{2}, serialsOf(t, store, "default"))
	assert.Equal(t, []signing.Serial{0, 1}, serialsOf(t, store, "default-2"))
}

func TestKeysTakeAnUnnumberedKeyAsSerialZero(t *testing.T) {
	store := keystore.NewMemory()
	putRecord(t, store, "default", "dataplane-token-signing-key-default", pemOf(t, testKey(0)))
	issuer, validator := newIssuer(t, store), newValidator(t, store)
	verified, err := validator.Validate(t.Context(), "default", issue(t, issuer, "default", day))
	require.NoError(t, err)
	assert.Equal(t, "0", verified.KeyID())

	key, err := dataplane.AddKey(t.Context(), store, "default", testKey(1))
	require.NoError(t, err)
	assert.EqualValues(t, 1, key.Serial)
	require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 0))
	assert.Equal(t, []signing.Serial{1}, serialsOf(t, store, "default"))
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
			putRecord(t, store, "default", signing.DataplaneKeys("default").KeyName(1), data)
			raw := issue(t, newIssuer(t, store), "default", day)
			assert.NoError(t, check(t, newValidator(t, store), "default", raw))
		})
	}
}

func TestKeysWithoutAPrivateHalfValidateAndCannotIssue(t *testing.T) {
	global := keystore.NewMemory()
	putKey(t, global, "default", 1, testKey(0))
	raw := issue(t, newIssuer(t, global), "default", day)

	pkix, pkcs1 := testKey(0).Public().PKIX(), testKey(0).Public().PEM()
	block, _ := pem.Decode(pkix)
	for name, data := range map[string][]byte{"PEM of PKCS#1": pkcs1, "PEM of PKIX": pkix, "raw DER of PKIX": block.Bytes} {
		t.Run(name, func(t *testing.T) {
			zone := keystore.NewMemory()
			putRecord(t, zone, "default", signing.DataplaneKeys("default").PublicKeyName(1), data)
			assert.NoError(t, check(t, newValidator(t, zone), "default", raw))
			_, err := newIssuer(t, zone).Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
			assert.ErrorIs(t, err, signing.ErrNoKey)
		})
	}
}
