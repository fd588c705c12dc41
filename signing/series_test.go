package signing_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

func TestSeriesNamesItsRecordsByTheMesh(t *testing.T) {
	dataplane, zone := signing.DataplaneKeys("default"), signing.ZoneKeys()
	assert.Equal(t, keystore.Scope("default"), dataplane.Scope())
	assert.Equal(t, "dataplane-token-signing-key-default-1", dataplane.KeyName(1))
	assert.Equal(t, "dataplane-token-signing-key-default", dataplane.KeyName(0))
	assert.Equal(t, "dataplane-token-signing-public-key-default-10", dataplane.PublicKeyName(10))
	assert.Equal(t, "dataplane-token-signing-public-key-default", dataplane.PublicKeyName(0))

	assert.Equal(t, keystore.Global, zone.Scope())
	assert.Equal(t, "zone-token-signing-key-1", zone.KeyName(1))
	assert.Equal(t, "zone-token-signing-key", zone.KeyName(0))
	assert.Equal(t, "zone-token-signing-public-key-2", zone.PublicKeyName(2))
	assert.Equal(t, "zone-token-signing-public-key", zone.PublicKeyName(0))
}

func TestSeriesAreEqualIfTheyAreTheSameKeys(t *testing.T) {
	assert.Equal(t, signing.DataplaneKeys("a"), signing.DataplaneKeys("a"))
	assert.Equal(t, signing.ZoneKeys(), signing.ZoneKeys())
	assert.NotEqual(t, signing.DataplaneKeys("a"), signing.DataplaneKeys("A"))
	assert.NotEqual(t, signing.DataplaneKeys("a"), signing.ZoneKeys())
}

func TestSeriesReadsBackEveryNameThatItGives(t *testing.T) {
	for _, series := range []signing.Series{signing.ZoneKeys(), signing.DataplaneKeys("default"), signing.DataplaneKeys("a-1"),
		signing.DataplaneKeys("public-key"), signing.DataplaneKeys("public-key-a"), signing.DataplaneKeys("external-key"), signing.DataplaneKeys("key"), signing.DataplaneKeys("1"), signing.DataplaneKeys("0")} {
		for _, want := range []signing.Serial{0, 1, 9, 10, math.MaxInt64} {
			for kind, nameOf := range map[signing.RecordKind]func(signing.Serial) string{
				signing.PrivateRecord: series.KeyName, signing.ExternalRecord: series.ExternalKeyName, signing.PublicRecord: series.PublicKeyName,
			} {
				name := nameOf(want)
				assert.Contains(t, name, series.Prefix())
				assert.Contains(t, name, nameOf(0))
				serial, isKind, err := series.ParseName(name)
				require.NoError(t, err, name)
				assert.Equal(t, want, serial, name)
				assert.Equal(t, kind, isKind, name)
			}
		}
	}
}

func TestSeriesSaysThatANameOnlyLooksLikeAKey(t *testing.T) {
	suffixes := []string{"-0", "-00", "-01", "-0002", "-+3", "--1", "-2-1", "-backup", "-default-backup", "-", "--", "-1-", "-1 ", "- 1", "-1.0",
		"-1\n", "-0x1", "-1e1", "-1_0", "-١", "2-1", "2", "x", " ", "\x00", ".pem", "/1", "/../x",
		"-9223372036854775808", "-18446744073709551617", "-99999999999999999999", "-00000000000000000001"}
	for _, series := range []signing.Series{signing.DataplaneKeys("default"), signing.ZoneKeys()} {
		for _, base := range []string{series.KeyName(0), series.ExternalKeyName(0), series.PublicKeyName(0)} {
			for _, suffix := range suffixes {
				t.Run(fmt.Sprintf("%q", base+suffix), func(t *testing.T) {
					serial, kind, err := series.ParseName(base + suffix)
					assert.ErrorIs(t, err, signing.ErrKey)
					assert.NotErrorIs(t, err, signing.ErrNotKey)
					assert.ErrorContains(t, err, fmt.Sprintf("%q", base+suffix))
					assert.Zero(t, serial)
					assert.Zero(t, kind)
				})
			}
		}
	}
}

func TestSeriesHasNoKeysWithNamesOfOtherMeshes(t *testing.T) {
	for _, name := range []string{
		"dataplane-token-signing-key-other-1", "dataplane-token-signing-key-other", "dataplane-token-signing-public-key-other-1", "dataplane-token-signing-external-key-other-1",
		"dataplane-token-signing-key-default-2-1", "dataplane-token-signing-public-key-default-2-1",
		"dataplane-token-signing-key-default2-1", "dataplane-token-signing-key-defaul-1", "dataplane-token-signing-key-Default-1",
		"dataplane-token-signing-key-1", "dataplane-token-signing-key--1", "dataplane-token-signing-key-", "dataplane-token-signing-key",
		"dataplane-token-signing-kye-default-1", "dataplane-token-signing-", "dataplane-token-signing--default-1", "dataplane-token-signing--1",
	} {
		_, _, err := signing.DataplaneKeys("default").ParseName(name)
		assert.ErrorIs(t, err, signing.ErrKey, name)
		assert.ErrorContains(t, err, `mesh "default"`, name)
	}
	for _, name := range []string{"zone-token-signing-", "zone-token-signing--1", "zone-token-signing-1"} {
		_, _, err := signing.ZoneKeys().ParseName(name)
		assert.ErrorIs(t, err, signing.ErrKey, name)
	}
}

func TestSeriesDoesNotTakeNamesOfOtherThingsForMisnamedKeys(t *testing.T) {
	for _, name := range []string{"", "x", "dataplane-token-revocations-default", "zone-token-revocations", "dataplane-token-signing",
		"Dataplane-token-signing-key-default-1", " dataplane-token-signing-key-default-1", "my-dataplane-token-signing-key-default-1"} {
		for _, series := range []signing.Series{signing.DataplaneKeys("default"), signing.ZoneKeys()} {
			_, _, err := series.ParseName(name)
			assert.ErrorIs(t, err, signing.ErrNotKey, name)
			assert.NotErrorIs(t, err, signing.ErrKey, name)
		}
	}
	_, _, err := signing.ZoneKeys().ParseName("dataplane-token-signing-key-default-1")
	assert.ErrorIs(t, err, signing.ErrNotKey)
	_, _, err = signing.DataplaneKeys("default").ParseName("zone-token-signing-key-1")
	assert.ErrorIs(t, err, signing.ErrNotKey)
}

func TestSeriesOfMeshADashOneStaysApartFromSerialOneOfMeshA(t *testing.T) {
	const name = "dataplane-token-signing-key-a-1"
	serial, kind, err := signing.DataplaneKeys("a").ParseName(name)
	require.NoError(t, err)
	assert.Equal(t, signing.Serial(1), serial)
	assert.Equal(t, signing.PrivateRecord, kind)

	serial, kind, err = signing.DataplaneKeys("a-1").ParseName(name)
	require.NoError(t, err)
	assert.Equal(t, signing.Serial(0), serial)
	assert.Equal(t, signing.PrivateRecord, kind)
}

func record(scope keystore.Scope, name string, data []byte) keystore.Record {
	return keystore.Record{Scope: scope, Name: name, Data: data, Version: "1", Created: time.Unix(1700000000, 0)}
}

func TestSeriesLetsTheHighestSerialSignByNumberAndNotByText(t *testing.T) {
	series := signing.DataplaneKeys("default")
	records := []keystore.Record{
		record("default", series.KeyName(0), nil), record("default", series.KeyName(10), []byte("ten")),
		record("default", series.KeyName(2), nil), record("default", series.KeyName(9), nil),
	}
	latest, serial, err := series.Signing(records, nil, time.Time{})
	require.NoError(t, err)
	assert.Equal(t, signing.Serial(10), serial)
	assert.Equal(t, records[1], latest)
}

func TestSeriesLetsAnUnnumberedKeySignWhereItIsTheOnlyOne(t *testing.T) {
	latest, serial, err := signing.ZoneKeys().Signing([]keystore.Record{record(keystore.Global, "zone-token-signing-key", nil)}, nil, time.Time{})
	require.NoError(t, err)
	assert.Equal(t, signing.Serial(0), serial)
	assert.Equal(t, "zone-token-signing-key", latest.Name)
}

func TestSeriesLetsAKeyOutsideTheStoreSignByItsNumber(t *testing.T) {
	series := signing.DataplaneKeys("default")
	records := []keystore.Record{
		record("default", series.ExternalKeyName(9), nil), record("default", series.KeyName(2), nil), record("default", series.PublicKeyName(10), nil),
	}
	latest, serial, err := series.Signing(records, nil, time.Time{})
	require.NoError(t, err)
	assert.Equal(t, signing.Serial(9), serial)
	assert.Equal(t, records[0], latest)

	latest, serial, err = series.Signing(append(records, record("default", series.KeyName(10), nil)), nil, time.Time{})
	require.NoError(t, err)
	assert.Equal(t, signing.Serial(10), serial)
	assert.Equal(t, series.KeyName(10), latest.Name)
}

func TestSeriesLetsThePrivateKeySignWhereASerialHasBoth(t *testing.T) {
	series := signing.DataplaneKeys("default")
	old, young := record("default", series.ExternalKeyName(9), nil), record("default", series.KeyName(9), nil)
	young.Created = old.Created.Add(time.Hour)
	for _, records := range [][]keystore.Record{{old, young}, {young, old}} {
		latest, _, err := series.Signing(records, nil, old.Created)
		require.NoError(t, err)
		assert.Equal(t, series.KeyName(9), latest.Name, "validators use it too")
	}
}

func TestSeriesLetsOnlyWellNamedKeysOfTheScopeSign(t *testing.T) {
	series := signing.DataplaneKeys("default")
	passedOver := []keystore.Record{
		record("default", series.PublicKeyName(20), nil),
		record("default", series.KeyName(0)+"-0021", nil),
		record("default", series.ExternalKeyName(0)+"-0021", nil),
		record("other", series.ExternalKeyName(25), nil),
		record("default", series.KeyName(0)+"-22-backup", nil),
		record("default", "dataplane-token-signing-key-default-2-23", nil),
		record("default", "dataplane-token-signing-key-other-24", nil),
		record("default", "dataplane-token-revocations-default", nil),
		record("other", series.KeyName(25), nil),
		record(keystore.Global, series.KeyName(26), nil),
	}
	_, _, err := series.Signing(passedOver, nil, time.Time{})
	require.ErrorIs(t, err, signing.ErrNoKey)

	latest, serial, err := series.Signing(append(passedOver, record("default", series.KeyName(3), nil)), nil, time.Time{})
	require.NoError(t, err)
	assert.Equal(t, signing.Serial(3), serial)
	assert.Equal(t, series.KeyName(3), latest.Name)
}

func TestSeriesWithoutAKeySaysWhatItLookedFor(t *testing.T) {
	_, _, err := signing.DataplaneKeys("default").Signing(nil, nil, time.Time{})
	assert.ErrorIs(t, err, signing.ErrNoKey)
	assert.EqualError(t, err, `no such signing key: mesh "default" has no record named "dataplane-token-signing-key-default-{serial}" (EnsureKey creates the first one)`)
	_, _, err = signing.ZoneKeys().Signing(nil, nil, time.Time{})
	assert.EqualError(t, err, `no such signing key: the global scope has no record named "zone-token-signing-key-{serial}" (EnsureKey creates the first one)`)
}

func TestSeriesNamesACorruptHighestKeyAsTheOneThatSigns(t *testing.T) {
	series := signing.ZoneKeys()
	latest, serial, err := series.Signing([]keystore.Record{
		record(keystore.Global, series.KeyName(1), firstEncoded().private), record(keystore.Global, series.KeyName(2), []byte("corrupt")),
	}, nil, time.Time{})
	require.NoError(t, err)
	assert.Equal(t, signing.Serial(2), serial)
	_, err = signing.ParsePrivateKey(latest.Data)
	assert.ErrorIs(t, err, signing.ErrKey)
}

func TestSeriesLetsNoKeySignThatIsNotKnownEverywhereUnlessItIsTheOnlyOne(t *testing.T) {
	series := signing.ZoneKeys()
	monday := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	key := func(serial signing.Serial, created time.Time) keystore.Record {
		return keystore.Record{Scope: keystore.Global, Name: series.KeyName(serial), Created: created}
	}
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		records []keystore.Record
		want    signing.Serial
	}{
		"all are old":                      {[]keystore.Record{key(1, monday.Add(-day)), key(3, monday), key(2, monday.Add(-day))}, 3},
		"the newest is too new":            {[]keystore.Record{key(3, monday.Add(1)), key(2, monday), key(1, monday)}, 2},
		"only the oldest is old enough":    {[]keystore.Record{key(2, monday.Add(day)), key(3, monday.Add(day)), key(1, monday)}, 1},
		"none is old enough":               {[]keystore.Record{key(4, monday.Add(day)), key(2, monday.Add(day)), key(3, monday.Add(day))}, 2},
		"a lower serial was made later":    {[]keystore.Record{key(1, monday.Add(day)), key(2, monday)}, 2},
		"a public key counts for nothing":  {[]keystore.Record{key(1, monday), {Scope: keystore.Global, Name: series.PublicKeyName(2), Created: monday}}, 1},
		"there is one, and it is too new":  {[]keystore.Record{key(7, monday.Add(day))}, 7},
		"a key in a KMS is too new":        {[]keystore.Record{key(1, monday), {Scope: keystore.Global, Name: series.ExternalKeyName(2), Created: monday.Add(1)}}, 1},
		"the old one has no number":        {[]keystore.Record{key(1, monday.Add(day)), key(0, monday), key(2, monday.Add(day)), key(3, monday.Add(day))}, 0},
		"the too new ones come in between": {[]keystore.Record{key(1, monday), key(2, monday.Add(day)), key(3, monday)}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // in any order
				record, serial, err := series.Signing(c.records, nil, monday)
				require.NoError(t, err)
				assert.Equal(t, c.want, serial)
				assert.Equal(t, series.KeyName(c.want), record.Name)
				slices.Reverse(c.records)
			}
		})
	}
}
