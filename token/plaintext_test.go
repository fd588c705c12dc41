package token_test

import (
	"encoding/binary"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

// utf16Of encodes a text, as editors and shells on Windows do.
func utf16Of(order binary.AppendByteOrder, text string) (data []byte) {
	for _, unit := range utf16.Encode([]rune(text)) {
		data = order.AppendUint16(data, unit)
	}
	return data
}

func utf32Of(order binary.AppendByteOrder, text string) (data []byte) {
	for _, r := range text {
		data = order.AppendUint32(data, uint32(r))
	}
	return data
}

func TestPlainTextTakesAwayAByteOrderMarkAndWhiteSpace(t *testing.T) {
	for saved, want := range map[string]string{
		"":                         "",
		"\ufeff":                   "",
		"a":                        "a",
		"\ufeffa b\r\n":            "a b",
		"\ufeff \n a\u00a0\u2003":  "a",
		"a\ufeff":                  "a\ufeff",                  // not at the start
		"\ufeff\ufeffa":            "\ufeffa",                  // the second is a character
		"\x30\x82\x01\x22\x00\xff": "\x30\x82\x01\x22\x00\xff", // DER
		"größe":                    "größe",
	} {
		text, err := token.PlainText([]byte(saved))
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
}

func TestPlainTextRefusesUTF16AndUTF32AndSaysWhatToDo(t *testing.T) {
	for _, text := range []string{"eyJ.x.y", "-----BEGIN", "{}", "\n{}", "geheim"} {
		for _, mark := range []string{"", "\ufeff"} {
			for _, data := range [][]byte{
				utf16Of(binary.LittleEndian, mark+text), utf16Of(binary.BigEndian, mark+text),
				utf32Of(binary.LittleEndian, mark+text), utf32Of(binary.BigEndian, mark+text),
			} {
				_, err := token.PlainText(data)
				require.ErrorIs(t, err, token.ErrEncoding, "%q", data)
				require.ErrorContains(t, err, "save it as UTF-8")
				require.NotContains(t, err.Error(), "geheim")
			}
		}
	}
	_, err := token.PlainText(utf16Of(binary.LittleEndian, "\ufeffgröße"))
	require.ErrorIs(t, err, token.ErrEncoding)
}
