package token_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

func TestHeaderThatOtherIssuersWriteIsAccepted(t *testing.T) {
	for name, c := range map[string]struct{ header, keyID string }{
		"as we write it":                  {goodHeader, "1"},
		"typ is absent":                   {`{"alg":"RS256","kid":"1"}`, "1"},
		"typ in lower case":               {`{"alg":"RS256","kid":"1","typ":"jwt"}`, "1"},
		"typ in mixed case":               {`{"alg":"RS256","kid":"1","typ":"jWt"}`, "1"},
		"names in another order":          {`{"typ":"JWT","kid":"1","alg":"RS256"}`, "1"},
		"white space":                     {" {\r\n\t\"alg\" : \"RS256\" , \"kid\" : \"1\" } \n", "1"},
		"names and values with escapes":   {`{"\u0061lg":"RS\u003256","k\u0069d":"\u0031"}`, "1"},
		"x5t":                             {`{"alg":"RS256","kid":"1","x5t":"abc"}`, "1"},
		"x5t#S256":                        {`{"alg":"RS256","kid":"1","x5t#S256":"abc"}`, "1"},
		"a name that nobody knows":        {`{"alg":"RS256","kid":"1","nobody":{"alg":["none",{"b64":false}]}}`, "1"},
		"an empty name":                   {`{"alg":"RS256","kid":"1","":null}`, "1"},
		"values of every kind":            {`{"alg":"RS256","kid":"1","a":[null,true,false,-0,1.5e+7,1E-2,"\ud83d\ude00\/",{}]}`, "1"},
		"objects and arrays eight deep":   {`{"alg":"RS256","kid":"1","a":[[[[[[[]]]]]]]}`, "1"},
		"kid of an operator's choosing":   {`{"alg":"RS256","kid":"key-1"}`, "key-1"},
		"kid that looks like a path":      {`{"alg":"RS256","kid":"../../1"}`, "../../1"},
		"kid with a space before it":      {`{"alg":"RS256","kid":" 1"}`, " 1"},
		"kid with a leading zero":         {`{"alg":"RS256","kid":"01"}`, "01"},
		"kid with a sign":                 {`{"alg":"RS256","kid":"+1"}`, "+1"},
		"kid of 256 characters":           {`{"alg":"RS256","kid":"` + strings.Repeat("k", 256) + `"}`, strings.Repeat("k", 256)},
		"kid of the edges of ASCII":       {`{"alg":"RS256","kid":" \"\\~"}`, ` "\~`},
		"fifty names that nobody knows":   {`{"alg":"RS256","kid":"1"` + members("n", 50) + `}`, "1"},
		"a name longer than a known name": {`{"alg":"RS256","kid":"1","algo":"none"}`, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			header, err := parse(t, c.header, goodPayload).Header()
			require.NoError(t, err)
			assert.Equal(t, c.keyID, header.KeyID)
		})
	}
}

func TestHeaderThatSaysAnythingElseIsRefused(t *testing.T) {
	header := func(more string) string { return `{"alg":"RS256","kid":"1"` + more + `}` }
	cases := map[string]struct{ header, reason string }{
		"alg is missing":                     {`{"kid":"1"}`, "alg is missing"},
		"alg is spelled ALG":                 {`{"ALG":"RS256","kid":"1"}`, `"ALG" is not a way to spell alg`},
		"alg and ALG":                        {header(`,"ALG":"none"`), `"ALG" is not a way to spell alg`},
		"Kid":                                {`{"alg":"RS256","Kid":"1"}`, `"Kid" is not a way to spell kid`},
		"kid with the Kelvin sign":           {header(`,"` + "\u212a" + `id":"2"`), "is not a way to spell kid"},
		"kid with an escaped Kelvin sign":    {header(`,"\u212aid":"2"`), "is not a way to spell kid"},
		"jwk with the Kelvin sign":           {header(`,"jw` + "\u212a" + `":{}`), "is not a way to spell jwk"},
		"TYP":                                {header(`,"TYP":"JWT"`), `"TYP" is not a way to spell typ`},
		"CRIT":                               {header(`,"CRIT":[]`), `"CRIT" is not a way to spell crit`},
		"B64":                                {header(`,"B64":false`), `"B64" is not a way to spell b64`},
		"alg is null":                        {`{"alg":null,"kid":"1"}`, "alg: 'n'"},
		"alg is a list":                      {`{"alg":["RS256"],"kid":"1"}`, "alg: '['"},
		"kid is missing":                     {`{"alg":"RS256"}`, "kid is missing"},
		"kid is null":                        {`{"alg":"RS256","kid":null}`, "kid: 'n'"},
		"kid is empty":                       {`{"alg":"RS256","kid":""}`, "kid is empty"},
		"kid is a number":                    {`{"alg":"RS256","kid":1}`, "kid: '1'"},
		"kid is an array":                    {`{"alg":"RS256","kid":["1"]}`, "kid: '['"},
		"kid is an object":                   {`{"alg":"RS256","kid":{"a":"1"}}`, "kid: '{'"},
		"kid is NUL":                         {`{"alg":"RS256","kid":"\u0000"}`, `kid is "\x00"`},
		"kid with a raw NUL":                 {"{\"alg\":\"RS256\",\"kid\":\"\x00\"}", `'\x00' at byte 22`},
		"kid with a line end":                {`{"alg":"RS256","kid":"1\n"}`, `kid is "1\n"`},
		"kid with DEL":                       {"{\"alg\":\"RS256\",\"kid\":\"\x7f\"}", `kid is "\x7f"`},
		"kid beyond ASCII":                   {`{"alg":"RS256","kid":"é"}`, `kid is "é"`},
		"kid of 257 characters":              {`{"alg":"RS256","kid":"` + strings.Repeat("k", 257) + `"}`, "kid has 257 bytes"},
		"typ is at+jwt":                      {header(`,"typ":"at+jwt"`), `typ is "at+jwt"`},
		"typ is empty":                       {header(`,"typ":""`), `typ is ""`},
		"typ is a number":                    {header(`,"typ":1`), "typ: '1'"},
		"typ is null":                        {header(`,"typ":null`), "typ: 'n'"},
		"alg twice":                          {`{"alg":"none","alg":"RS256","kid":"1"}`, `alg is "none"`},
		"alg twice the same":                 {header(`,"alg":"RS256"`), `name "alg" appears twice`},
		"kid twice":                          {header(`,"kid":"1"`), `name "kid" appears twice`},
		"kid twice, once with an escape":     {header(`,"k\u0069d":"1"`), `name "kid" appears twice`},
		"an unknown name twice":              {header(`,"a":1,"a":1`), `name "a" appears twice`},
		"a name twice further in":            {header(`,"a":[{"b":{"c":1,"c":1}}]`), `name "c" appears twice`},
		"a name twice among fifty":           {header(members("n", 50) + `,"n49":1`), `name "n49" appears twice`},
		"an early name twice among fifty":    {header(members("n", 50) + `,"n0":1`), `name "n0" appears twice`},
		"JSON nine deep":                     {header(`,"a":[[[[[[[[]]]]]]]]`), "more than 8 levels deep"},
		"objects nine deep":                  {header(`,"a":` + strings.Repeat(`{"a":`, 8) + `1` + strings.Repeat(`}`, 8)), "more than 8 levels deep"},
		"thousands of brackets":              {header(`,"a":` + strings.Repeat("[", 5000)), "more than 8 levels deep"},
		"a header that brings no JSON":       {`RS256`, "want a JSON object"},
		"an array":                           {`[{"alg":"RS256","kid":"1"}]`, "want a JSON object"},
		"a string":                           {`"RS256"`, "want a JSON object"},
		"null":                               {`null`, "want a JSON object"},
		"only white space":                   {`  `, "the text ends at byte 2"},
		"two objects":                        {goodHeader + goodHeader, "want nothing after the JSON object"},
		"a byte order mark":                  {"\ufeff" + goodHeader, "byte order mark"},
		"invalid UTF-8 in an ignored value":  {header(",\"a\":\"\xff\""), "not valid UTF-8"},
		"invalid UTF-8 after the object":     {goodHeader + "\xc0\x80", "not valid UTF-8"},
		"a surrogate as UTF-8":               {header(",\"a\":\"\xed\xa0\x80\""), "not valid UTF-8"},
		"half of a surrogate pair":           {header(`,"a":"\ud800"`), "half of a surrogate pair"},
		"a surrogate pair the wrong way":     {header(`,"a":"\udc00\ud800"`), "half of a surrogate pair"},
		"a surrogate and a letter":           {header(`,"a":"\ud800\u0041"`), "half of a surrogate pair"},
		"a surrogate and a broken escape":    {header(`,"a":"\ud800\u12"`), `four hexadecimal digits after \u`},
		"half of a surrogate pair as a name": {header(`,"\udfff":1`), "half of a surrogate pair"},
		"a comma after the last":             {header(`,`), "want a string"},
		"a comma in an empty object":         {`{,}`, "want a string"},
		"no comma":                           {`{"alg":"RS256" "kid":"1"}`, "want ',' or '}'"},
		"no colon":                           {`{"alg" "RS256","kid":"1"}`, "want ':'"},
		"a name without quotes":              {`{alg:"RS256","kid":"1"}`, "want a string"},
		"single quotes":                      {`{'alg':'RS256','kid':'1'}`, "want a string"},
		"a comment":                          {`{"alg":"RS256",/**/"kid":"1"}`, "want a string"},
		"a vertical tab for white space":     {"{\v\"alg\":\"RS256\",\"kid\":\"1\"}", "want a string"},
		"a no-break space for white space":   {"{\u00a0\"alg\":\"RS256\",\"kid\":\"1\"}", "want a string"},
		"an end inside a string":             {`{"alg":"RS25`, "the text ends at byte 12"},
		"an end inside an escape":            {`{"alg":"RS25\`, "the text ends at byte 13"},
		"an end inside an escaped string":    {`{"alg":"RS25\n`, "the text ends at byte 14"},
		"an end after a value":               {`{"alg":"RS256"`, "the text ends at byte 14"},
		"an escape that JSON has not":        {header(`,"a":"\x41"`), "want a JSON escape"},
		"too few digits after an escape":     {header(`,"a":"\u12"`), `four hexadecimal digits after \u`},
		"a letter among the digits":          {header(`,"a":"\u12g4"`), `four hexadecimal digits after \u`},
		"a bare tab in a string":             {header(",\"a\":\"\t\""), "no bare control character"},
		"a bare tab after an escape":         {header(",\"a\":\"\\n\t\""), "no bare control character"},
		"a number with a leading zero":       {header(`,"a":01`), "want ',' or '}'"},
		"a number with a plus":               {header(`,"a":+1`), "want a JSON value"},
		"a number without digits":            {header(`,"a":-`), "want a number"},
		"a number that ends in a point":      {header(`,"a":1.`), "a digit after the decimal point"},
		"a number that begins with a point":  {header(`,"a":.5`), "want a JSON value"},
		"an exponent without digits":         {header(`,"a":1e+`), "a digit in the exponent"},
		"a hexadecimal number":               {header(`,"a":0x10`), "want ',' or '}'"},
		"NaN":                                {header(`,"a":NaN`), "want a JSON value"},
		"Infinity":                           {header(`,"a":-Infinity`), "want a number"},
		"True":                               {header(`,"a":True`), "want a JSON value"},
		"nul":                                {header(`,"a":nul`), "want a JSON value"},
		"nulll":                              {header(`,"a":nulll`), "want ',' or '}'"},
		"a missing value":                    {header(`,"a":`), "want a JSON value"},
		"an unclosed array":                  {header(`,"a":[1`), "want ',' or ']'"},
		"a comma at an array's end":          {header(`,"a":[1,]`), "want a JSON value"},
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "rs256", "Rs256", "RS256 ", "RS384", "RS512", "PS256", "HS256", "ES256", "EdDSA", "RSA-OAEP", "dir"} {
		cases["alg is "+alg] = struct{ header, reason string }{`{"alg":"` + alg + `","kid":"1"}`, `alg is "` + alg + `", want "RS256"`}
	}
	for _, name := range []string{"crit", "b64", "zip", "enc", "cty", "jku", "jwk", "x5u", "x5c"} {
		for _, value := range []string{`["foo"]`, `[]`, `null`, `false`, `true`, `""`, `"JWT"`, `{}`, `0`} {
			cases[name+" is "+value] = struct{ header, reason string }{header(`,"` + name + `":` + value), name + " is not accepted in a header"}
		}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parse(t, c.header, goodPayload).Header()
			require.ErrorIs(t, err, token.ErrHeader)
			assert.ErrorIs(t, err, token.ErrInvalid)
			assert.ErrorContains(t, err, c.reason)
			assert.Zero(t, got)
		})
	}
}

func TestHeaderErrorQuotesOnlyTheStartOfALongValue(t *testing.T) {
	long := strings.Repeat("x", 2500)
	for name, header := range map[string]string{
		"alg":         `{"alg":"` + long + `","kid":"1"}`,
		"kid":         `{"alg":"RS256","kid":"` + long + `"}`,
		"kid, quoted": `{"alg":"RS256","kid":"` + strings.Repeat("é", 128) + `"}`,
		"typ":         `{"alg":"RS256","kid":"1","typ":"` + long + `"}`,
		"name":        `{"` + long + `":1,"` + long + `":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, header, goodPayload).Header()
			require.ErrorIs(t, err, token.ErrHeader)
			assert.Less(t, len(err.Error()), 400)
		})
	}
}

func TestKeyIDIsPrintableASCIIOfAtMost256Characters(t *testing.T) {
	for _, kid := range []string{"0", "1", "key-1", "west-1", " 1", strings.Repeat("k", token.MaxKeyIDLength)} {
		require.NoError(t, token.CheckKeyID(kid), "%q", kid)
	}
	for _, kid := range []string{"", "a\x00", "a\nb", "ключ", strings.Repeat("k", token.MaxKeyIDLength+1)} {
		require.Error(t, token.CheckKeyID(kid), "%q", kid)
	}
}
