package signing_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

var defaultKeys = signing.DataplaneKeys("default")

// in returns a record of mesh default.
func in(name string, data []byte) keystore.Record { return record("default", name, data) }

func find(t *testing.T, set *signing.PublicSet, kid string) *signing.PublicKey {
	t.Helper()
	key, err := set.Find(kid)
	require.NoError(t, err)
	require.NotNil(t, key)
	return key
}

func requireOneProblem(t *testing.T, set *signing.PublicSet, says ...string) {
	t.Helper()
	problems := set.Problems()
	require.Len(t, problems, 1)
	assert.ErrorIs(t, problems[0], signing.ErrKey)
	for _, text := range says {
		assert.ErrorContains(t, problems[0], text)
	}
}

func TestPublicSetFindsEachKeyByItsSerial(t *testing.T) {
	set := defaultKeys.PublicSet([]keystore.Record{
		in(defaultKeys.KeyName(10), firstEncoded().private),
		in(defaultKeys.PublicKeyName(9), secondEncoded().public),
		in(defaultKeys.KeyName(0), secondEncoded().private),
	}, nil, nil)
	assert.Empty(t, set.Problems())
	assert.True(t, find(t, set, "10").Equal(newPrivateKey(t, firstRSA()).Public()))
	assert.True(t, find(t, set, "9").Equal(newPrivateKey(t, secondRSA()).Public()))
	assert.True(t, find(t, set, "0").Equal(newPrivateKey(t, secondRSA()).Public()))
}

func TestPublicSetDoesNotFindAKidThatIsNoSerialOfIt(t *testing.T) {
	set := defaultKeys.PublicSet([]keystore.Record{in(defaultKeys.KeyName(1), firstEncoded().private)}, nil, nil)
	for _, kid := range []string{"", "0", "2", "01", "+1", " 1", "1 ", "-1", "key-1", "../../1", "\x00", "99999999999999999999"} {
		key, err := set.Find(kid)
		assert.ErrorIs(t, err, signing.ErrNoKey, kid)
		assert.NotErrorIs(t, err, signing.ErrKey, kid)
		assert.ErrorContains(t, err, `mesh "default"`)
		assert.Nil(t, key)
	}
	_, err := set.Find("2")
	assert.EqualError(t, err, `no such signing key: mesh "default" has no record named `+
		`"dataplane-token-signing-key-default-2", "dataplane-token-signing-external-key-default-2" or "dataplane-token-signing-public-key-default-2"`)
	_, err = set.Find("key-1\n" + string(make([]byte, 1<<20)))
	assert.Less(t, len(err.Error()), 500, "a kid is cut short")
	assert.NotContains(t, err.Error(), "\n")
}

func TestPublicSetIsSortedBySerialAndTheHighestPrivateKeySigns(t *testing.T) {
	created := time.Unix(1600000000, 0)
	older := in(defaultKeys.PublicKeyName(10), secondEncoded().public)
	older.Created = created
	set := defaultKeys.PublicSet([]keystore.Record{
		older,
		in(defaultKeys.KeyName(9), firstEncoded().private),
		in(defaultKeys.KeyName(2), []byte("corrupt")),
		in(defaultKeys.KeyName(0), firstEncoded().private),
	}, nil, nil)
	keys := set.Keys()
	require.Len(t, keys, 4)
	for i, want := range []struct {
		serial signing.Serial
		signs  bool
	}{{0, false}, {2, false}, {9, true}, {10, false}} {
		assert.Equal(t, want.serial, keys[i].Serial)
		assert.Equal(t, want.signs, keys[i].Signs, "serial %d", want.serial)
		assert.Equal(t, keys[i].Err == nil, keys[i].Public != nil)
	}
	assert.ErrorIs(t, keys[1].Err, signing.ErrKey)
	assert.Equal(t, created, keys[3].Created)

	keys[0].Public = nil
	assert.NotNil(t, set.Keys()[0].Public, "the slice is the caller's")
}

func TestPublicSetNamesAKeyThatCannotBeReadAsTheOneThatSigns(t *testing.T) {
	keys := defaultKeys.PublicSet([]keystore.Record{
		in(defaultKeys.KeyName(1), firstEncoded().private), in(defaultKeys.KeyName(2), nil),
	}, nil, nil).Keys()
	require.Len(t, keys, 2)
	assert.False(t, keys[0].Signs)
	assert.True(t, keys[1].Signs)
	assert.ErrorIs(t, keys[1].Err, signing.ErrKey)
}

func TestPublicSetOfPublicKeysSignsWithNone(t *testing.T) {
	keys := defaultKeys.PublicSet([]keystore.Record{in(defaultKeys.PublicKeyName(1), firstEncoded().public)}, nil, nil).Keys()
	require.Len(t, keys, 1)
	assert.False(t, keys[0].Signs)
}

func TestPublicSetVerifiesWithAKeyOutsideTheStoreAndSaysThatItSigns(t *testing.T) {
	set := defaultKeys.PublicSet([]keystore.Record{
		in(defaultKeys.KeyName(1), firstEncoded().private), in(defaultKeys.ExternalKeyName(2), secondEncoded().public),
	}, nil, nil)
	assert.Empty(t, set.Problems())
	keys := set.Keys()
	require.Len(t, keys, 2)
	assert.Equal(t, signing.Key{Serial: 2, Created: keys[1].Created, Public: find(t, set, "2"), External: true, Signs: true}, keys[1])
	assert.False(t, keys[0].External)
	assert.False(t, keys[0].Signs)
}

func TestPublicSetTakesThePrivateKeyOfASerialThatHasAlsoAnotherOutsideTheStore(t *testing.T) {
	set := defaultKeys.PublicSet([]keystore.Record{
		in(defaultKeys.ExternalKeyName(2), secondEncoded().public), in(defaultKeys.KeyName(2), firstEncoded().private),
	}, nil, nil)
	requireOneProblem(t, set, `record "dataplane-token-signing-external-key-default-2" in mesh "default"`, "which is used instead")
	assert.True(t, set.Keys()[0].Private)
	assert.False(t, set.Keys()[0].External)
	assert.Equal(t, firstEncoded().public, find(t, set, "2").PEM())
}

func TestPublicSetNamesAKeyOutsideTheStoreThatCannotBeReadAsTheOneThatSigns(t *testing.T) {
	for name, data := range map[string][]byte{"a private key": firstEncoded().private, "damaged": []byte("?")} {
		keys := defaultKeys.PublicSet([]keystore.Record{
			in(defaultKeys.KeyName(1), firstEncoded().private), in(defaultKeys.ExternalKeyName(2), data),
		}, nil, nil).Keys()
		require.Len(t, keys, 2, name)
		assert.True(t, keys[1].Signs, name)
		assert.True(t, keys[1].External, name)
		assert.ErrorIs(t, keys[1].Err, signing.ErrKey, name)
	}
}

func TestCheckedSetHoldsThePublicHalvesOfKeysThatCanSign(t *testing.T) {
	set := defaultKeys.CheckedSet([]keystore.Record{
		in(defaultKeys.KeyName(1), firstEncoded().private), in(defaultKeys.PublicKeyName(2), secondEncoded().public),
	}, nil)
	assert.Empty(t, set.Problems())
	assert.Equal(t, firstEncoded().public, find(t, set, "1").PEM())
	assert.Equal(t, secondEncoded().public, find(t, set, "2").PEM())
}

func TestPublicSetOfRecordsThatTheStoreCannotReadHasTheirReasons(t *testing.T) {
	unreadable := &keystore.Error{Scope: "default", Name: defaultKeys.KeyName(1), Err: errors.New("permission denied")}
	set := defaultKeys.PublicSet(nil, []*keystore.Error{unreadable}, nil)
	requireOneProblem(t, set, "permission denied")
	_, err := set.Find("1")
	assert.ErrorIs(t, err, unreadable)
}

func TestPublicSetOfNothingIsEmpty(t *testing.T) {
	set := defaultKeys.PublicSet(nil, nil, nil)
	assert.Empty(t, set.Keys())
	assert.Empty(t, set.Problems())
	_, err := set.Find("1")
	assert.ErrorIs(t, err, signing.ErrNoKey)
}

func TestPublicSetReportsACorruptKeyAndTheOthersServe(t *testing.T) {
	set := defaultKeys.PublicSet([]keystore.Record{
		in(defaultKeys.KeyName(1), firstEncoded().private),
		in(defaultKeys.KeyName(2), firstEncoded().private[:100]),
		in(defaultKeys.KeyName(3), secondEncoded().private),
	}, nil, nil)
	find(t, set, "1")
	find(t, set, "3")
	key, err := set.Find("2")
	assert.ErrorIs(t, err, signing.ErrKey)
	assert.NotErrorIs(t, err, signing.ErrNoKey)
	assert.Nil(t, key)
	requireOneProblem(t, set, `record "dataplane-token-signing-key-default-2" in mesh "default"`, "damaged PEM block")
	assert.Equal(t, err, set.Problems()[0])
}

func TestPublicSetReportsAKeyOfTheWrongHalf(t *testing.T) {
	set := defaultKeys.PublicSet([]keystore.Record{in(defaultKeys.PublicKeyName(1), firstEncoded().private)}, nil, nil)
	requireOneProblem(t, set, "where a public key belongs")
	set = defaultKeys.PublicSet([]keystore.Record{in(defaultKeys.KeyName(1), firstEncoded().public)}, nil, nil)
	requireOneProblem(t, set, "where a private key belongs")
}

func TestPublicSetReportsMisnamedRecordsAndNeverReadsThemAsSerialZero(t *testing.T) {
	for _, suffix := range []string{"-0", "-0002", "-+3", "--1", "-2-1", "-backup", "-99999999999999999999"} {
		name := defaultKeys.KeyName(0) + suffix
		set := defaultKeys.PublicSet([]keystore.Record{in(name, firstEncoded().private)}, nil, nil)
		assert.Empty(t, set.Keys(), name)
		_, err := set.Find("0")
		assert.ErrorIs(t, err, signing.ErrNoKey, name)
		requireOneProblem(t, set, fmt.Sprintf("%q", name), `mesh "default"`)
	}
}

func TestPublicSetOfMeshDefaultNeverHasKeysOfDefault2(t *testing.T) {
	other := signing.DataplaneKeys("default-2")
	set := defaultKeys.PublicSet([]keystore.Record{
		in(defaultKeys.KeyName(1), firstEncoded().private), in(other.KeyName(7), secondEncoded().private),
	}, nil, nil)
	require.Len(t, set.Keys(), 1)
	_, err := set.Find("7")
	assert.ErrorIs(t, err, signing.ErrNoKey)
	requireOneProblem(t, set, `"dataplane-token-signing-key-default-2-7"`)

	set = other.PublicSet([]keystore.Record{record("default-2", other.KeyName(7), secondEncoded().private)}, nil, nil)
	assert.Empty(t, set.Problems())
	find(t, set, "7")
}

func TestPublicSetReportsAndIgnoresARecordOfAnotherScope(t *testing.T) {
	for scope, says := range map[keystore.Scope]string{"other": `mesh "other"`, keystore.Global: "the global scope"} {
		set := defaultKeys.PublicSet([]keystore.Record{record(scope, defaultKeys.KeyName(1), firstEncoded().private)}, nil, nil)
		assert.Empty(t, set.Keys())
		requireOneProblem(t, set, `"dataplane-token-signing-key-default-1"`, says, `mesh "default"`)
	}
}

func TestPublicSetIgnoresRecordsThatAreNoKeys(t *testing.T) {
	set := defaultKeys.PublicSet([]keystore.Record{
		in("dataplane-token-revocations-default", []byte("a,b")), in("somebody-elses-secret", []byte("s")),
		record(keystore.Global, "zone-token-signing-key-1", firstEncoded().private),
	}, nil, nil)
	assert.Empty(t, set.Keys())
	assert.Empty(t, set.Problems())
}

func TestPublicSetTakesBothHalvesOfOneKeyAsOneKey(t *testing.T) {
	private := in(defaultKeys.KeyName(1), firstEncoded().private)
	public := in(defaultKeys.PublicKeyName(1), firstEncoded().public)
	public.Created = private.Created.Add(time.Hour)
	set := defaultKeys.PublicSet([]keystore.Record{private, public}, nil, nil)
	assert.Empty(t, set.Problems())
	require.Len(t, set.Keys(), 1)
	assert.Equal(t, private.Created, set.Keys()[0].Created)
	assert.True(t, set.Keys()[0].Signs)
}

func TestPublicSetUsesThePrivateHalfWhereThePublicOneDisagrees(t *testing.T) {
	records := []keystore.Record{
		in(defaultKeys.PublicKeyName(1), secondEncoded().public), in(defaultKeys.KeyName(1), firstEncoded().private),
	}
	set := defaultKeys.PublicSet(records, nil, nil)
	want := newPrivateKey(t, firstRSA()).Public()
	assert.True(t, find(t, set, "1").Equal(want))
	requireOneProblem(t, set, `"dataplane-token-signing-key-default-1"`, `"dataplane-token-signing-public-key-default-1"`, want.Fingerprint())
	again := defaultKeys.PublicSet(records, nil, set)
	assert.Equal(t, set.Problems()[0].Error(), again.Problems()[0].Error())
	assert.Len(t, again.Problems(), 1)
}

func TestPublicSetUsesThePublicHalfWhileThePrivateOneIsCorrupt(t *testing.T) {
	private, public := in(defaultKeys.KeyName(1), []byte("corrupt")), in(defaultKeys.PublicKeyName(1), firstEncoded().public)
	public.Created = private.Created.Add(time.Hour)
	for _, records := range [][]keystore.Record{{private, public}, {public, private}} {
		set := defaultKeys.PublicSet(records, nil, nil)
		assert.True(t, find(t, set, "1").Equal(newPrivateKey(t, firstRSA()).Public()))
		requireOneProblem(t, set, `"dataplane-token-signing-key-default-1"`)
		assert.NoError(t, set.Keys()[0].Err)
		assert.True(t, set.Keys()[0].Signs)
		assert.Equal(t, private.Created, set.Keys()[0].Created)
	}
}

func TestPublicSetReportsACorruptPublicHalfWhileThePrivateOneServes(t *testing.T) {
	set := defaultKeys.PublicSet([]keystore.Record{
		in(defaultKeys.KeyName(1), firstEncoded().private), in(defaultKeys.PublicKeyName(1), []byte("corrupt")),
	}, nil, nil)
	find(t, set, "1")
	requireOneProblem(t, set, `"dataplane-token-signing-public-key-default-1"`)
}

func TestPublicSetDoesNotParseUnchangedRecordsAgain(t *testing.T) {
	good, corrupt := in(defaultKeys.KeyName(1), firstEncoded().private), in(defaultKeys.KeyName(2), []byte("corrupt"))
	before := defaultKeys.PublicSet([]keystore.Record{good, corrupt}, nil, nil)
	// With data that would be read otherwise, only what was read before can explain the answer.
	good.Data, corrupt.Data = []byte("unread"), secondEncoded().private
	after := defaultKeys.PublicSet([]keystore.Record{good, corrupt}, nil, before)

	assert.Same(t, find(t, before, "1"), find(t, after, "1"))
	_, err := after.Find("2")
	assert.ErrorIs(t, err, signing.ErrKey)
	requireOneProblem(t, after, before.Problems()[0].Error())
}

func TestPublicSetParsesARecordAgainIfItMayHaveChanged(t *testing.T) {
	for name, change := range map[string]func(*keystore.Record){
		"by its version":           func(r *keystore.Record) { r.Version = "2" },
		"by its time of creation":  func(r *keystore.Record) { r.Created = r.Created.Add(time.Second) },
		"as it tells no version":   func(r *keystore.Record) { r.Version = "" },
		"as it is another's name":  func(r *keystore.Record) { r.Name = defaultKeys.KeyName(2) },
		"as it is the public half": func(r *keystore.Record) { r.Name = defaultKeys.PublicKeyName(1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := in(defaultKeys.KeyName(1), firstEncoded().private)
			before := defaultKeys.PublicSet([]keystore.Record{r}, nil, nil)
			change(&r)
			r.Data = []byte("corrupt")
			after := defaultKeys.PublicSet([]keystore.Record{r}, nil, before)
			requireOneProblem(t, after, fmt.Sprintf("%q", r.Name))
		})
	}
}

func TestPublicSetParsesRecordsWithoutVersionsAnew(t *testing.T) {
	r := in(defaultKeys.KeyName(1), firstEncoded().private)
	r.Version = ""
	before := defaultKeys.PublicSet([]keystore.Record{r}, nil, nil)
	r.Data = secondEncoded().private
	after := defaultKeys.PublicSet([]keystore.Record{r}, nil, before)
	assert.True(t, find(t, after, "1").Equal(newPrivateKey(t, secondRSA()).Public()))
}

func TestPublicSetKeepsThePointerOfAKeyAsLongAsItIsTheSameKey(t *testing.T) {
	private, public := in(defaultKeys.KeyName(1), firstEncoded().private), in(defaultKeys.PublicKeyName(1), firstEncoded().public)
	first := defaultKeys.PublicSet([]keystore.Record{public}, nil, nil)
	want := find(t, first, "1")

	written := private
	written.Version, written.Data = "2", append([]byte("\n"), private.Data...)
	set := first
	for _, records := range [][]keystore.Record{
		{public, private}, {private}, {written}, {written, public}, {public}, {public},
		{in(defaultKeys.KeyName(1), []byte("corrupt")), public},
	} {
		set = defaultKeys.PublicSet(records, nil, set)
		assert.Same(t, want, find(t, set, "1"))
	}

	set = defaultKeys.PublicSet(nil, nil, set)
	set = defaultKeys.PublicSet([]keystore.Record{public}, nil, set)
	assert.NotSame(t, want, find(t, set, "1"), "a key that was gone has come anew")
}

func TestPublicSetReportsKeyBytesChangedUnderANameOnceAndTheNewOnesServe(t *testing.T) {
	for name, c := range map[string]struct {
		record string
		bytes  func(encoded) []byte
	}{
		"a private key": {defaultKeys.KeyName(1), func(e encoded) []byte { return e.private }},
		"a public key":  {defaultKeys.PublicKeyName(1), func(e encoded) []byte { return e.public }},
	} {
		t.Run(name, func(t *testing.T) {
			r := in(c.record, c.bytes(firstEncoded()))
			before := defaultKeys.PublicSet([]keystore.Record{r}, nil, nil)
			old := find(t, before, "1")
			r.Version, r.Data = "2", c.bytes(secondEncoded())
			after := defaultKeys.PublicSet([]keystore.Record{r}, nil, before)

			now := find(t, after, "1")
			assert.False(t, now.Equal(old))
			assert.True(t, now.Equal(newPrivateKey(t, secondRSA()).Public()))
			requireOneProblem(t, after, fmt.Sprintf("%q", c.record), old.Fingerprint(), now.Fingerprint())
			assert.Empty(t, defaultKeys.PublicSet([]keystore.Record{r}, nil, after).Problems())
		})
	}
}

func TestPublicSetOfAnotherSeriesIsNoPrevious(t *testing.T) {
	a, b := signing.DataplaneKeys("a"), signing.DataplaneKeys("a-1")
	const name = "dataplane-token-signing-key-a-1" // serial 1 of mesh a, and the unnumbered key of mesh a-1
	before := a.PublicSet([]keystore.Record{record("a", name, firstEncoded().private)}, nil, nil)
	after := b.PublicSet([]keystore.Record{record("a-1", name, secondEncoded().private)}, nil, before)
	assert.Empty(t, after.Problems())
	assert.True(t, find(t, after, "0").Equal(newPrivateKey(t, secondRSA()).Public()))
}

func TestPublicSetKeepsNothingOfTheRecordsItWasMadeFrom(t *testing.T) {
	data := append([]byte(nil), firstEncoded().private...)
	records := []keystore.Record{in(defaultKeys.KeyName(1), data)}
	set := defaultKeys.PublicSet(records, nil, nil)
	clear(data)
	records[0] = keystore.Record{}
	assert.True(t, find(t, set, "1").Equal(newPrivateKey(t, firstRSA()).Public()))
	assert.NotContains(t, fmt.Sprintf("%+v", *set), "PRIVATE")
}

func TestPublicSetProblemsTellNoPartOfAKey(t *testing.T) {
	damaged := append([]byte(nil), firstEncoded().private...)
	damaged[900] = '!'
	set := defaultKeys.PublicSet([]keystore.Record{
		in(defaultKeys.KeyName(1), damaged), in(defaultKeys.PublicKeyName(2), firstEncoded().private),
		in(defaultKeys.KeyName(3)+"-copy", firstEncoded().private), record("other", defaultKeys.KeyName(4), firstEncoded().private),
	}, nil, nil)
	require.Len(t, set.Problems(), 4)
	for _, problem := range set.Problems() {
		assertNoPartOf(t, firstEncoded().private, problem)
	}
}
