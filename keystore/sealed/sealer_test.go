package sealed_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/sealed"
)

// wipingSealer overwrites the data key that it was given, as one may that keeps keys out
// of memory.
type wipingSealer struct{ sealed.Sealer }

func (s wipingSealer) Seal(ctx context.Context, dataKey []byte, scope keystore.Scope, name string) ([]byte, error) {
	defer clear(dataKey)
	return s.Sealer.Seal(ctx, dataKey, scope, name)
}

func TestSealerMayWipeTheDataKeyThatItWasGiven(t *testing.T) {
	sealer, err := sealed.NewAESGCM(make([]byte, 32))
	require.NoError(t, err)
	inner := keystore.NewMemory()
	store, err := sealed.New(inner, wipingSealer{sealer})
	require.NoError(t, err)
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "a", Data: []byte("secret")})
	require.NoError(t, err)

	for name, store := range map[string]func() (keystore.KeyStore, error){
		"the store that wrote": func() (keystore.KeyStore, error) { return store, nil },
		"another one":          func() (keystore.KeyStore, error) { return sealed.New(inner, sealer) },
	} {
		reader, err := store()
		require.NoError(t, err)
		record, err := reader.Get(t.Context(), "default", "a")
		require.NoError(t, err, name)
		assert.Equal(t, "secret", string(record.Data), name)
	}
}
