package signing_test

import (
	"bytes"
	"runtime"
	"testing"
	"unsafe"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

func TestPublicSetLetsGoOfThePrivateKeysThatItWasMadeFrom(t *testing.T) {
	data := bytes.Clone(firstEncoded().private)
	record := weak.Make(unsafe.SliceData(data))
	set := defaultKeys.PublicSet([]keystore.Record{in(defaultKeys.KeyName(1), data)}, nil, nil)
	require.Len(t, set.Keys(), 1)
	require.NotNil(t, record.Value())
	runtime.KeepAlive(data)

	data = nil
	for range 3 {
		runtime.GC()
	}
	assert.Nil(t, record.Value(), "the set still holds the record of the private key")
	runtime.KeepAlive(set)
}
