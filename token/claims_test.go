package token_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

// members writes count members with names of their own, a comma before each.
func members(prefix string, count int) string {
	var s strings.Builder
	for i := range count {
		fmt.Fprintf(&s, `,"%s%d":1`, prefix, i)
	}
	return s.String()
}

func TestClaimsOfTheDocumentationsSampleAreThoseOfAZoneToken(t *testing.T) {
	u, err := token.ParseUnverified(sample)
	require.NoError(t, err)
	header, err := u.Header()
	require.NoError(t, err)
	assert.Equal(t, token.Header{KeyID: "1", Type: "JWT"}, header)
	claims, err := u.Claims()
	require.NoError(t, err)
	assert.Equal(t, token.KindZone, claims.Kind())
	assert.Equal(t, token.Claims{
		Registered: token.Registered{
			ID:        "6baf2c90-0e86-4c62-97a7-7835855834bc",
			IssuedAt:  time.Unix(1666954939, 0).UTC(),
			NotBefore: time.Unix(1666954639, 0).UTC(),
			ExpiresAt: time.Unix(1669546939, 0).UTC(),
		},
		Zone: token.Zone{Zone: "west", Scope: []string{"cp"}},
	}, claims)
}

func TestClaimsOfOtherIssuersAreRead(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
	mesh := func(more func(*token.Claims)) token.Claims {
		c := token.Claims{Dataplane: token.Dataplane{Mesh: "m"}}
		more(&c)
		return c
	}
	zone := func(more func(*token.Claims)) token.Claims {
		c := token.Claims{Zone: token.Zone{Zone: "z"}}
		more(&c)
		return c
	}
	for name, c := range map[string]struct {
		payload string
		want    token.Claims
	}{
		"a mesh alone": {`{"Mesh":"m"}`, mesh(func(*token.Claims) {})},
		"a zone alone": {`{"Zone":"z"}`, zone(func(*token.Claims) {})},
		"all of a dataplane token": {
			`{"Name":"n","Mesh":"m","Tags":{"a":["1","2"],"b":["3"]},"Type":"ingress","Workload":"w","exp":3,"nbf":1,"iat":2,"jti":"j"}`,
			token.Claims{
				Registered: token.Registered{ID: "j", ExpiresAt: at(3), NotBefore: at(1), IssuedAt: at(2)},
				Dataplane: token.Dataplane{Mesh: "m", Name: "n", Type: "ingress", Workload: "w",
					Tags: map[string][]string{"a": {"1", "2"}, "b": {"3"}}},
			}},
		"lower case": {`{"name":"n","mesh":"m","tags":{"a":["1"]},"type":"t","workload":"w"}`, mesh(func(c *token.Claims) {
			c.Dataplane = token.Dataplane{Mesh: "m", Name: "n", Type: "t", Workload: "w", Tags: map[string][]string{"a": {"1"}}}
		})},
		"a zone in lower case": {`{"zone":"z","scope":["cp","egress"]}`, zone(func(c *token.Claims) {
			c.Zone.Scope = []string{"cp", "egress"}
		})},
		"null everywhere": {`{"Mesh":"m","Name":null,"Tags":null,"Type":null,"Workload":null,"Zone":null,"Scope":null,"exp":null,"nbf":null,"iat":null,"jti":null}`,
			mesh(func(*token.Claims) {})},
		"empty strings":                {`{"Mesh":"m","Name":"","Type":"","Workload":"","Zone":"","jti":""}`, mesh(func(*token.Claims) {})},
		"a zone with an empty mesh":    {`{"Mesh":"","Name":"","Tags":null,"Type":null,"Workload":"","Zone":"z"}`, zone(func(*token.Claims) {})},
		"a zone with a null scope":     {`{"Zone":"z","Scope":null}`, zone(func(*token.Claims) {})},
		"a zone with an empty scope":   {`{"Zone":"z","Scope":[ ]}`, zone(func(*token.Claims) {})},
		"no tags":                      {`{"Mesh":"m","Tags":{ }}`, mesh(func(*token.Claims) {})},
		"a tag with an empty list":     {`{"Mesh":"m","Tags":{"a":[]}}`, mesh(func(c *token.Claims) { c.Dataplane.Tags = map[string][]string{"a": nil} })},
		"a tag with null":              {`{"Mesh":"m","Tags":{"a":null}}`, mesh(func(c *token.Claims) { c.Dataplane.Tags = map[string][]string{"a": nil} })},
		"a tag of ten values":          {`{"Mesh":"m","Tags":{"a":["0","1","2","3","4","5","6","7","8","9"]}}`, mesh(func(c *token.Claims) { c.Dataplane.Tags = map[string][]string{"a": strings.Split("0123456789", "")} })},
		"tags that differ in case":     {`{"Mesh":"m","Tags":{"a":["1"],"A":["2"]}}`, mesh(func(c *token.Claims) { c.Dataplane.Tags = map[string][]string{"a": {"1"}, "A": {"2"}} })},
		"a tag named as a claim":       {`{"Mesh":"m","Tags":{"MESH":["1"]}}`, mesh(func(c *token.Claims) { c.Dataplane.Tags = map[string][]string{"MESH": {"1"}} })},
		"white space":                  {"\n{ \"Mesh\" :\t\"m\" , \"Tags\" : { \"a\" : [ \"1\" , \"2\" ] } }\r\n ", mesh(func(c *token.Claims) { c.Dataplane.Tags = map[string][]string{"a": {"1", "2"}} })},
		"a name with an escape":        {`{"\u004desh":"m"}`, mesh(func(*token.Claims) {})},
		"a mesh with escapes":          {`{"Mesh":"\"\\\/\b\f\n\r\t\u0000\u00e9\u20AC\ud83d\ude00é"}`, mesh(func(c *token.Claims) { c.Dataplane.Mesh = "\"\\/\b\f\n\r\t\x00\u00e9\u20ac\U0001f600é" })},
		"U+FFFD, which repairs not":    {`{"Mesh":"\ufffd"}`, mesh(func(c *token.Claims) { c.Dataplane.Mesh = "\ufffd" })},
		"claims that nobody asks for":  {`{"iss":"i","sub":{"a":[1,true,null]},"aud":["x"],"Mesh":"m","Meshes":[],"ex":"p"}`, mesh(func(*token.Claims) {})},
		"known names further in":       {`{"Mesh":"m","ext":{"MESH":1,"exp":"never","Zone":"z"}}`, mesh(func(*token.Claims) {})},
		"eight levels":                 {`{"Mesh":"m","a":[[[[[[[]]]]]]]}`, mesh(func(*token.Claims) {})},
		"many lists beside each other": {`{"Mesh":"m","a":[[],[],[],[],[],[],[],[],{},{},{},{},{},{},{},{}]}`, mesh(func(*token.Claims) {})},
		"a fraction, cut off":          {`{"Mesh":"m","exp":1769546939.75}`, mesh(func(c *token.Claims) { c.ExpiresAt = at(1769546939) })},
		"a long fraction":              {`{"Mesh":"m","exp":1.99999999999999999999999999999999999999}`, mesh(func(c *token.Claims) { c.ExpiresAt = at(1) })},
		"the year 5138":                {`{"Mesh":"m","exp":100000000000}`, mesh(func(c *token.Claims) { c.ExpiresAt = at(100000000000) })},
		"the last second of 9999":      {`{"Mesh":"m","exp":253402300799.9}`, mesh(func(c *token.Claims) { c.ExpiresAt = at(253402300799) })},
		"nbf and iat in 1970":          {`{"Mesh":"m","nbf":0,"iat":0.5}`, mesh(func(c *token.Claims) { c.NotBefore, c.IssuedAt = at(0), at(0) })},
		"exp before nbf":               {`{"Mesh":"m","exp":1,"nbf":2}`, mesh(func(c *token.Claims) { c.ExpiresAt, c.NotBefore = at(1), at(2) })},
		"a jti of 256 characters":      {`{"Mesh":"m","jti":"` + strings.Repeat("j", 256) + `"}`, mesh(func(c *token.Claims) { c.ID = strings.Repeat("j", 256) })},
		"a jti of the edges":           {`{"Mesh":"m","jti":"!\"~"}`, mesh(func(c *token.Claims) { c.ID = `!"~` })},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(t, goodHeader, c.payload).Claims()
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestPackedClaimsLeaveTheTagsOutUntilTheyAreUnpacked(t *testing.T) {
	for tags, want := range map[string]map[string][]string{
		`{"a":["1","\u0032"],"\u0062":[],"c":null}`: {"a": {"1", "2"}, "b": nil, "c": nil},
		` { } `: nil,
		`null`:  nil,
	} {
		packed, err := parse(t, goodHeader, `{"Mesh":"m","Tags":`+tags+`,"Name":"n"}`).PackedClaims(token.Demands{})
		require.NoError(t, err)
		assert.Equal(t, token.Claims{Dataplane: token.Dataplane{Mesh: "m", Name: "n"}}, packed.Untagged)
		assert.False(t, packed.Others)
		for range 2 {
			claims := packed.Unpack()
			assert.Equal(t, want, claims.Dataplane.Tags)
			clear(claims.Dataplane.Tags) // which are this caller's own
		}
	}
}

func TestClaimsThatCouldBeReadInTwoWaysAreRefused(t *testing.T) {
	claims := func(more string) string { return `{"Mesh":"m"` + more + `}` }
	cases := map[string]struct{ payload, reason string }{
		"an empty object":               {`{}`, "claims Mesh and Zone are both missing"},
		"an empty mesh":                 {`{"Mesh":""}`, "claims Mesh and Zone are both missing"},
		"a null mesh":                   {`{"Mesh":null}`, "claims Mesh and Zone are both missing"},
		"a scope without a zone":        {`{"Scope":["cp"]}`, "claims Mesh and Zone are both missing"},
		"a name without a mesh":         {`{"Name":"n"}`, "claims Mesh and Zone are both missing"},
		"Mesh and Zone":                 {claims(`,"Zone":"z"`), "claims Mesh and Zone are both set"},
		"mesh and zone":                 {`{"zone":"z","mesh":"m"}`, "claims Mesh and Zone are both set"},
		"Scope in a dataplane token":    {claims(`,"Scope":["cp"]`), "claim Scope does not belong in a dataplane token"},
		"no scope in a dataplane token": {claims(`,"Scope":[]`), "claim Scope does not belong in a dataplane token"},
		"Name in a zone token":          {`{"Zone":"z","Name":"n"}`, "claim Name does not belong in a zone token"},
		"Tags in a zone token":          {`{"Zone":"z","Tags":{"a":["1"]}}`, "claim Tags does not belong in a zone token"},
		"no tags in a zone token":       {`{"Zone":"z","Tags":{}}`, "claim Tags does not belong in a zone token"},
		"Type in a zone token":          {`{"Zone":"z","Type":"t"}`, "claim Type does not belong in a zone token"},
		"Workload in a zone token":      {`{"Zone":"z","Workload":"w"}`, "claim Workload does not belong in a zone token"},

		"Mesh twice":                     {claims(`,"Mesh":"m"`), `name "Mesh" appears twice`},
		"Mesh and mesh":                  {claims(`,"mesh":"m"`), `claim Mesh appears twice, once as "mesh"`},
		"mesh and Mesh":                  {`{"mesh":"m","Mesh":"m"}`, `claim Mesh appears twice, once as "Mesh"`},
		"a null Mesh and mesh":           {`{"Mesh":null,"mesh":"m"}`, `claim Mesh appears twice`},
		"Tags and tags":                  {claims(`,"Tags":{"a":["1"]},"tags":{}`), `claim Tags appears twice`},
		"exp twice":                      {claims(`,"exp":1,"exp":2`), `name "exp" appears twice`},
		"jti twice":                      {claims(`,"jti":"a","jti":"b"`), `name "jti" appears twice`},
		"jti twice, once with an escape": {claims(`,"jti":"a","\u006ati":"b"`), `name "jti" appears twice`},
		"an unknown claim twice":         {claims(`,"iss":1,"iss":1`), `name "iss" appears twice`},
		"a tag twice":                    {claims(`,"Tags":{"a":["1"],"a":["2"]}`), `name "a" appears twice`},
		"a name twice further in":        {claims(`,"x":[{"y":{"z":1,"z":2}}]`), `name "z" appears twice`},
		"a name twice among fifty":       {claims(members("n", 50) + `,"n30":1`), `name "n30" appears twice`},

		"trailing bytes":               {claims("") + "x", "want nothing after the JSON object"},
		"a trailing NUL":               {claims("") + "\x00", "want nothing after the JSON object"},
		"two objects":                  {claims("") + claims(""), "want nothing after the JSON object"},
		"an array":                     {`[` + claims("") + `]`, "want a JSON object"},
		"a string":                     {`"m"`, "want a JSON object"},
		"nine levels":                  {claims(`,"a":[[[[[[[[]]]]]]]]`), "more than 8 levels deep"},
		"as deep as a token can be":    {claims(`,"a":` + strings.Repeat("[", 6000)), "more than 8 levels deep"},
		"invalid UTF-8 in a claim":     {claims(",\"Name\":\"\xff\""), "not valid UTF-8"},
		"invalid UTF-8 in an unknown":  {claims(",\"x\":\"\xc3\x28\""), "not valid UTF-8"},
		"invalid UTF-8 in a tag":       {claims(",\"Tags\":{\"\xff\":[]}"), "not valid UTF-8"},
		"a lone surrogate":             {claims(`,"Name":"\ud800"`), "half of a surrogate pair"},
		"a lone surrogate at the end":  {claims(`,"Name":"a\udbff\`), "half of a surrogate pair"},
		"a lone surrogate, ignored":    {claims(`,"x":"\udc00"`), "half of a surrogate pair"},
		"a byte order mark":            {"\ufeff" + claims(""), "byte order mark"},
		"a bare line end in a string":  {claims(",\"Name\":\"a\nb\""), "no bare control character"},
		"a bare NUL in a string":       {claims(",\"Name\":\"a\x00b\""), "no bare control character"},
		"an escape that JSON has not":  {claims(`,"Name":"\a"`), "want a JSON escape"},
		"a comma after the last claim": {claims(`,`), "want a string"},

		"Mesh is a number":            {`{"Mesh":1}`, "claim Mesh: '1' at byte 8, want a string"},
		"Mesh is a list":              {`{"Mesh":["m"]}`, "claim Mesh: '[' at byte 8, want a string"},
		"Name is true":                {claims(`,"Name":true`), "claim Name: 't'"},
		"Tags is a list":              {claims(`,"Tags":["a"]`), "claim Tags: '['"},
		"Tags is a string":            {claims(`,"Tags":""`), `claim Tags: '"'`},
		"a tag is a string":           {claims(`,"Tags":{"a":"1"}`), `claim Tags: tag "a": '"'`},
		"a tag is an object":          {claims(`,"Tags":{"a":{"1":true}}`), `claim Tags: tag "a": '{'`},
		"a tag holds a number":        {claims(`,"Tags":{"a":["1",2]}`), `claim Tags: tag "a": '2'`},
		"a tag holds null":            {claims(`,"Tags":{"a":[null]}`), `claim Tags: tag "a": 'n'`},
		"a tag list without an end":   {claims(`,"Tags":{"a":["1"`), `claim Tags: tag "a": '}'`},
		"a tag with half a pair":      {claims(`,"Tags":{"a":["\ud800]}`), `claim Tags: tag "a": half of a surrogate pair`},
		"Scope is a string":           {`{"Zone":"z","Scope":"cp"}`, `claim Scope: '"'`},
		"Scope holds null":            {`{"Zone":"z","Scope":[null]}`, `claim Scope: 'n'`},
		"Scope is an object":          {`{"Zone":"z","Scope":{}}`, `claim Scope: '{'`},
		"null with letters after it":  {claims(`,"Name":nullify`), "want ',' or '}'"},
		"nothing where a claim is":    {claims(`,"Name":`), "claim Name: '}'"},
		"the text ends inside a name": {`{"Me`, "the text ends"},

		"exp is 0":                   {claims(`,"exp":0`), "claim exp: 0"},
		"exp is 0 after truncation":  {claims(`,"exp":0.999`), "claim exp: 0"},
		"exp is negative":            {claims(`,"exp":-1`), `claim exp: "-1" is negative`},
		"exp is minus 0":             {claims(`,"exp":-0`), `claim exp: "-0" is negative`},
		"exp is a string":            {claims(`,"exp":"1769546939"`), `claim exp: '"'`},
		"exp is a date":              {claims(`,"exp":"2026-01-27T20:48:59Z"`), `claim exp: '"'`},
		"exp is 1e3":                 {claims(`,"exp":1e3`), `claim exp: "1e3" has an exponent`},
		"exp is 1E3":                 {claims(`,"exp":1E3`), `claim exp: "1E3" has an exponent`},
		"exp is 1.5e9":               {claims(`,"exp":1.5e9`), `claim exp: "1.5e9" has an exponent`},
		"exp is 1e400":               {claims(`,"exp":1e400`), `claim exp: "1e400" has an exponent`},
		"exp is NaN":                 {claims(`,"exp":NaN`), "claim exp: 'N'"},
		"exp is Infinity":            {claims(`,"exp":Infinity`), "claim exp: 'I'"},
		"exp is 2^63":                {claims(`,"exp":9223372036854775808`), "after the year 9999"},
		"exp is 2^64 plus a second":  {claims(`,"exp":18446744073709551617`), "after the year 9999"},
		"exp has a thousand digits":  {claims(`,"exp":1` + strings.Repeat("0", 1000)), "after the year 9999"},
		"exp is true":                {claims(`,"exp":true`), "claim exp: 't'"},
		"exp is []":                  {claims(`,"exp":[]`), "claim exp: '['"},
		"exp is {}":                  {claims(`,"exp":{}`), "claim exp: '{'"},
		"exp is in the year 10000":   {claims(`,"exp":253402300800`), `"253402300800" is after the year 9999`},
		"exp has a leading zero":     {claims(`,"exp":01769546939`), "claim exp: 0"},
		"exp has a plus":             {claims(`,"exp":+1`), "claim exp: '+'"},
		"exp is hexadecimal":         {claims(`,"exp":0x697`), "claim exp: 0"},
		"exp ends in a point":        {claims(`,"exp":1769546939.`), "claim exp: '}'"},
		"exp has an underscore":      {claims(`,"exp":1_000`), "want ',' or '}'"},
		"nbf has a leading zero":     {claims(`,"nbf":01`), "'1' at byte 19, want ',' or '}'"},
		"nbf is a string":            {claims(`,"nbf":"1"`), `claim nbf: '"'`},
		"nbf is negative":            {claims(`,"nbf":-1`), `claim nbf: "-1" is negative`},
		"nbf is 1e3":                 {claims(`,"nbf":1e3`), `claim nbf: "1e3" has an exponent`},
		"nbf is in the year 10000":   {claims(`,"nbf":253402300800`), "after the year 9999"},
		"iat is a string":            {claims(`,"iat":"1"`), `claim iat: '"'`},
		"iat is negative":            {claims(`,"iat":-0.5`), `claim iat: "-0.5" is negative`},
		"iat is in the year 10000":   {claims(`,"iat":253402300800`), "after the year 9999"},
		"jti is a number":            {claims(`,"jti":1`), "claim jti: '1'"},
		"jti is a list":              {claims(`,"jti":["a"]`), "claim jti: '['"},
		"jti has a comma":            {claims(`,"jti":"a,b"`), `claim jti: "a,b", want visible ASCII`},
		"jti has an escaped comma":   {claims(`,"jti":"a\u002cb"`), `claim jti: "a,b", want visible ASCII`},
		"jti has a space":            {claims(`,"jti":"a b"`), `claim jti: "a b"`},
		"jti has a space before":     {claims(`,"jti":" a"`), `claim jti: " a"`},
		"jti has a tab":              {claims(`,"jti":"a\t"`), `claim jti: "a\t"`},
		"jti has a line end":         {claims(`,"jti":"a\n"`), `claim jti: "a\n"`},
		"jti has a NUL":              {claims(`,"jti":"a\u0000"`), `claim jti: "a\x00"`},
		"jti has DEL":                {claims(`,"jti":"a\u007f"`), `claim jti: "a\x7f"`},
		"jti has a no-break space":   {claims(`,"jti":"a\u00a0"`), `claim jti: "a\u00a0"`},
		"jti has a letter with mark": {claims(`,"jti":"é"`), `claim jti: "é"`},
		"jti has 257 characters":     {claims(`,"jti":"` + strings.Repeat("j", 257) + `"`), "claim jti: 257 bytes"},
	}
	for name, known := range map[string]string{
		"MESH": "Mesh", "meSh": "Mesh", "me\u017fh": "Mesh", `me\u017fh`: "Mesh",
		"nAme": "Name", "NAME": "Name",
		"TAGS": "Tags", "tag\u017f": "Tags", "TaGs": "Tags",
		"TYPE": "Type", "tYPE": "Type",
		"WORKLOAD": "Workload", "WorkLoad": "Workload", "wor\u212aload": "Workload",
		"ZONE": "Zone", "zOne": "Zone",
		"SCOPE": "Scope", "\u017fcope": "Scope", "\u017fCOPE": "Scope",
		"EXP": "exp", "Exp": "exp", "NBF": "nbf", "Nbf": "nbf", "IAT": "iat", "iAt": "iat", "JTI": "jti", "Jti": "jti",
	} {
		cases["a claim spelled "+name] = struct{ payload, reason string }{claims(`,"` + name + `":null`), "is not a way to spell claim " + known}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parse(t, goodHeader, c.payload).Claims()
			require.ErrorIs(t, err, token.ErrClaims)
			assert.ErrorIs(t, err, token.ErrInvalid)
			assert.ErrorContains(t, err, c.reason)
			assert.Zero(t, got)
		})
	}
}

func TestClaimsOfTheReferenceTokenTakeFewAllocations(t *testing.T) {
	sign, _ := signer(t)
	raw, err := token.Encode("1", referenceClaims(), sign)
	require.NoError(t, err)
	u, err := token.ParseUnverified(raw)
	require.NoError(t, err)
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		if _, err := u.Header(); err != nil {
			t.Error(err)
		}
		if _, err := u.Claims(); err != nil {
			t.Error(err)
		}
	}), 10.0)
}

func TestClaimsOfNoKindHaveNoKind(t *testing.T) {
	assert.Equal(t, token.Kind(""), token.Claims{}.Kind())
	assert.Equal(t, token.KindDataplane, token.Claims{Dataplane: token.Dataplane{Mesh: "m"}}.Kind())
	assert.Equal(t, token.KindZone, token.Claims{Zone: token.Zone{Zone: "z"}}.Kind())
}

func TestClaimsCloneLeavesTheOriginalAloneWhenItIsChanged(t *testing.T) {
	dataplane := token.Dataplane{Mesh: "m", Tags: map[string][]string{"a": {"1"}, "b": nil}}
	clone := dataplane.Clone()
	assert.Equal(t, dataplane, clone)
	clone.Tags["a"][0] = "changed"
	clone.Tags["c"] = []string{"new"}
	assert.Equal(t, map[string][]string{"a": {"1"}, "b": nil}, dataplane.Tags)
	assert.Nil(t, token.Dataplane{}.Clone().Tags)

	zone := token.Zone{Zone: "z", Scope: []string{"cp"}}
	other := zone.Clone()
	assert.Equal(t, zone, other)
	other.Scope[0] = "changed"
	assert.Equal(t, []string{"cp"}, zone.Scope)
}
