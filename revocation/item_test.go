package revocation_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/revocation"
)

func TestCheckIDSaysWhatIsWrongWithAnID(t *testing.T) {
	const visible = ", want visible ASCII without a comma"
	long := strings.Repeat("0123456789abcdef", 16)
	for id, want := range map[string]string{
		"":                "it is empty",
		"a,b":             `"a,b" holds U+002C` + visible,
		"a b":             `"a b" holds U+0020` + visible,
		"é":               `"é" holds U+00E9` + visible,
		"a\U0001f600":     `"a` + "\U0001f600" + `" holds U+1F600` + visible,
		"a\U0001f600b":    `"a` + "\U0001f600" + `b" holds U+1F600` + visible,
		"\ufffd":          `"` + "\ufffd" + `" holds U+FFFD` + visible,
		"a\xff":           `"a\xff" holds byte 0xff` + visible,
		"a\xf0\x9f\x98":   `"a\xf0\x9f\x98" holds byte 0xf0` + visible,
		"\x7f":            `"\x7f" holds U+007F` + visible,
		long[:31] + "\t":  `"` + long[:31] + `\t" holds U+0009` + visible,
		long[:32] + "\t":  `"` + long[:32] + `"... holds U+0009` + visible,
		long[:255] + ",":  `"` + long[:32] + `"... holds U+002C` + visible,
		long + "x":        `"` + long[:32] + `"... is 257 bytes long, want at most 256`,
		long + long + ",": `"` + long[:32] + `"... is 513 bytes long, want at most 256`,
	} {
		err := revocation.CheckID(id)
		require.ErrorIs(t, err, revocation.ErrID, "%q", id)
		assert.EqualError(t, err, revocation.ErrID.Error()+": "+want)
	}
	for _, id := range []string{long, "!", "~", "+", "-", long[:255]} {
		assert.NoError(t, revocation.CheckID(id), "%q", id)
	}
}
