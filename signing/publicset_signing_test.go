package signing_test

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

func TestPublicSetTellsWhichRecordSignsAsTheRecordsDo(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	began := time.Unix(1_700_000_000, 0)
	for range 2_000 {
		var records []keystore.Record
		for serial := range signing.Serial(4) {
			for _, name := range []string{defaultKeys.KeyName(serial), defaultKeys.ExternalKeyName(serial), defaultKeys.PublicKeyName(serial)} {
				if random.IntN(3) == 0 {
					r := in(name, []byte("unreadable, which Signing does not look at"))
					r.Version, r.Created = strconv.Itoa(random.Int()), began.Add(time.Duration(random.IntN(10))*time.Second)
					records = append(records, r)
				}
			}
		}
		createdBy := time.Time{}
		if random.IntN(2) == 0 {
			createdBy = began.Add(time.Duration(random.IntN(10)) * time.Second)
		}
		want, wantSerial, wantErr := defaultKeys.Signing(records, nil, createdBy)
		got, serial, err := defaultKeys.PublicSet(records, nil, nil).Signing(createdBy)
		require.Equal(t, wantErr == nil, err == nil)
		require.Equal(t, wantSerial, serial)
		require.Equal(t, want.WithoutData(), got)
		if err != nil {
			require.ErrorIs(t, err, signing.ErrNoKey)
		}
	}
}

func TestPublicSetTellsThatAKeyThatTheStoreCannotReadSigns(t *testing.T) {
	set := defaultKeys.PublicSet([]keystore.Record{in(defaultKeys.KeyName(1), nil)},
		[]*keystore.Error{{Scope: "default", Name: defaultKeys.KeyName(2), Err: keystore.ErrUnreadable}}, nil)
	r, serial, err := set.Signing(time.Time{})
	require.NoError(t, err)
	require.Equal(t, signing.Serial(2), serial)
	require.Equal(t, keystore.Record{Scope: "default", Name: defaultKeys.KeyName(2)}, r)
}
