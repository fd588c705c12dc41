package token_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

// unusableNames maps names that no token is issued with to what the error says.
var unusableNames = map[string]string{
	"dp-1\x00":      "U+0000 at byte 4",
	"dp\n1":         "U+000A at byte 2",
	"dp-1\r\n":      "U+000D at byte 4",
	"\tdp":          "U+0009 at byte 0",
	"dp\x7f":        "U+007F",
	"dp\u0085":      "U+0085", // next line
	"\x1b[31mdp":    "U+001B",
	"dp-1 ":         "starts or ends with a space",
	" dp-1":         "starts or ends with a space",
	" ":             "starts or ends with a space",
	"dp\u00a0":      "U+00A0", // no-break space
	"d\u00a0p":      "U+00A0",
	"dp\u2003":      "U+2003", // em space
	"\u3000dp":      "U+3000", // ideographic space
	"dp\u2028":      "U+2028", // line separator
	"dp\u2029":      "U+2029",
	"d\u200bp":      "U+200B", // zero width space
	"d\u200dp":      "U+200D", // zero width joiner
	"\u202egnp.1pd": "U+202E", // right-to-left override
	"dp\u2066":      "U+2066",
	"\ufeffdp":      "U+FEFF at byte 0",
	"d\u00adp":      "U+00AD",  // soft hyphen
	"d\u034fp":      "U+034F",  // combining grapheme joiner
	"dp\ufe0f":      "U+FE0F",  // variation selector
	"dp\U000e0041":  "U+E0041", // tag
	"\u3164":        "U+3164",  // Hangul filler, a letter
	"d\u2800p":      "U+2800",  // braille without a dot
	"dp\ue000":      "U+E000",  // private use
	"dp\ufffe":      "U+FFFE",  // no character
	"dp\ufffd":      "U+FFFD",
	"dp\xff":        "not valid UTF-8",
}

func TestCheckNameRefusesWhatAPersonCannotTypeOrSee(t *testing.T) {
	for name, says := range unusableNames {
		err := token.CheckName(name)
		require.ErrorContains(t, err, says, "%q", name)
		for _, r := range err.Error() {
			require.True(t, r >= ' ' && r <= '~', "the error %q has the character itself", err)
		}
	}
	for _, name := range []string{"", "dp-1", "a b", "größe", "e\u0301", "тег", "後端", "kuma.io/service", `"<&>'`, "🙂", "نام", strings.Repeat("n", 9000)} {
		require.NoError(t, token.CheckName(name), name)
	}
	for r := rune(0); r <= 0x1ffff; r++ { // beyond are ideographs and private use
		if utf8.ValidRune(r) && (unicode.In(r, unicode.C, unicode.Z) || unicode.IsSpace(r)) && r != ' ' {
			require.Error(t, token.CheckName("a"+string(r)+"b"), "%U", r)
		}
	}
	long := token.CheckName(strings.Repeat("\u202e", 100_000))
	require.Error(t, long)
	require.Less(t, len(long.Error()), 400)
}

func TestEncodeIssuesNoNameThatAPersonCannotTypeInNoClaim(t *testing.T) {
	for claim, set := range map[string]func(c *token.Claims, name string){
		"mesh":                      func(c *token.Claims, name string) { c.Dataplane.Mesh = name },
		"name":                      func(c *token.Claims, name string) { c.Dataplane.Name = name },
		"type":                      func(c *token.Claims, name string) { c.Dataplane.Type = name },
		"workload":                  func(c *token.Claims, name string) { c.Dataplane.Workload = name },
		"tag":                       func(c *token.Claims, name string) { c.Dataplane.Tags = map[string][]string{"a": {"1"}, name: {"2"}} },
		`value of tag "kuma.io/x":`: func(c *token.Claims, name string) { c.Dataplane.Tags = map[string][]string{"kuma.io/x": {"1", name}} },
		"zone": func(c *token.Claims, name string) {
			c.Dataplane, c.Zone = token.Dataplane{}, token.Zone{Zone: name, Scope: []string{"cp"}}
		},
		"scope": func(c *token.Claims, name string) {
			c.Dataplane, c.Zone = token.Dataplane{}, token.Zone{Zone: "west", Scope: []string{"cp", name}}
		},
	} {
		for name, says := range unusableNames {
			claims := referenceClaims()
			set(&claims, name)
			_, err := token.Encode("1", claims, func([]byte) ([]byte, error) {
				t.Error("something was signed")
				return nil, nil
			})
			require.ErrorIs(t, err, token.ErrNotIssuable)
			require.ErrorContains(t, err, "token cannot be issued: "+claim+" ")
			require.ErrorContains(t, err, says)
		}
	}
}

func TestClaimsReadsNamesThatAreNotIssued(t *testing.T) {
	for name := range unusableNames {
		if strings.HasSuffix(name, "\xff") {
			continue // no JSON
		}
		escaped := ""
		for _, r := range name {
			if r > 0xffff {
				escaped += string(r)
			} else {
				escaped += fmt.Sprintf(`\u%04x`, r)
			}
		}
		u, err := token.ParseUnverified(compact(goodHeader, `{"Mesh":"default","Name":"`+escaped+`","exp":`+fmt.Sprint(time.Now().Unix())+`,"jti":"j"}`))
		require.NoError(t, err)
		claims, err := u.Claims()
		require.NoError(t, err, "%q", name)
		assert.Equal(t, name, claims.Dataplane.Name)
	}
}
