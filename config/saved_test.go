package config_test

import (
	"encoding/binary"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/token"
)

// wide returns a text in UTF-16, without a byte order mark unless the text begins with one.
func wide(order binary.AppendByteOrder, text string) string {
	var data []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		data = order.AppendUint16(data, unit)
	}
	return string(data)
}

func TestReadTakesWhatAnEditorSavedWithAByteOrderMarkAndNamesUTF16(t *testing.T) {
	keyed := set(dpKeys, list{object{"kid": "key-1", "keyFile": inFile(t, "\ufeff"+publicPEM())}})
	for _, document := range []string{keyed, "\ufeff" + keyed, "\ufeff\r\n" + keyed + "\r\n", "\ufeff", "\ufeff \n"} {
		_, err := config.Read([]byte(document), nil)
		require.NoError(t, err)
	}
	_, err := config.Read([]byte("\ufeff{\n}\n]"), nil)
	require.ErrorContains(t, err, "line 3")
	_, err = config.Read([]byte("\ufeff\ufeff{}"), nil)
	require.Error(t, err)

	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, mark := range []string{"", "\ufeff"} {
			_, err := config.Read([]byte(wide(order, mark+keyed)), nil)
			require.ErrorContains(t, err, "config: the document: the text is UTF-16 or UTF-32, want UTF-8: save it as UTF-8")
			_, err = config.Read([]byte(set(dpKeys, list{object{"kid": "key-1", "keyFile": inFile(t, wide(order, mark+publicPEM()))}})), nil)
			require.ErrorContains(t, err, "save it as UTF-8")
			require.ErrorContains(t, err, dpKeys+"[0]")
		}
	}
	// An inline token may come from a file, by a variable.
	lookup := func(value string) func(string) (string, bool) {
		return func(name string) (string, bool) {
			if name == "KUMA_DATAPLANE_RUNTIME_TOKEN" {
				return value, true
			}
			return "", false
		}
	}
	raw := offlineDataplaneToken(t, token.Dataplane{Mesh: "default"})
	_, err = config.Read(nil, lookup("\ufeff"+raw+"\r\n"))
	require.NoError(t, err)
	_, err = config.Read(nil, lookup(wide(binary.LittleEndian, raw)))
	require.ErrorContains(t, err, "dataplaneRuntime.dataplaneToken (from KUMA_DATAPLANE_RUNTIME_TOKEN): the text is UTF-16")
}
