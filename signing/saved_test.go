package signing_test

import (
	"encoding/binary"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/signing"
)

func TestKeyThatAnEditorSavedWithAByteOrderMarkIsReadAndOneInUTF16IsNamed(t *testing.T) {
	private, err := signing.Generate(2048)
	require.NoError(t, err)
	privatePEM, err := private.PEM()
	require.NoError(t, err)
	publicPEM := private.Public().PEM()

	read, err := signing.ParsePrivateKey(append([]byte("\ufeff"), privatePEM...))
	require.NoError(t, err)
	require.Equal(t, private.Public().Fingerprint(), read.Public().Fingerprint())
	public, err := signing.ParsePublicKey(append([]byte("\ufeff\r\n"), publicPEM...))
	require.NoError(t, err)
	require.Equal(t, private.Public().Fingerprint(), public.Fingerprint())

	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, mark := range []string{"", "\ufeff"} {
			wide := func(text []byte) (data []byte) {
				for _, unit := range utf16.Encode([]rune(mark + string(text))) {
					data = order.AppendUint16(data, unit)
				}
				return data
			}
			_, err = signing.ParsePrivateKey(wide(privatePEM))
			require.ErrorIs(t, err, signing.ErrKey)
			require.ErrorContains(t, err, "UTF-16 or UTF-32 (save it as UTF-8)")
			_, err = signing.ParsePublicKey(wide(publicPEM))
			require.ErrorIs(t, err, signing.ErrKey)
			require.ErrorContains(t, err, "UTF-16 or UTF-32 (save it as UTF-8)")
		}
	}
}
