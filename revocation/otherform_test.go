package revocation_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

const thirdUUID = "3f0c1a52-7b1e-4c55-9a57-0d8f6f1a2b3c"

func TestListInAnotherFormRevokesWhatLooksLikeItsIDsAndIsReported(t *testing.T) {
	two := []string{someUUID, thirdUUID}
	eight := make([]string, 8)
	for i := range eight {
		eight[i] = strings.Replace(someUUID, "6baf2c9", "6baf2c"+string(rune('0'+i)), 1)
	}
	encode := func(e *base64.Encoding, ids []string) string { return e.EncodeToString([]byte(strings.Join(ids, ","))) }
	for name, c := range map[string]struct {
		data string
		ids  []string
		says string
	}{
		"semicolons":                      {strings.Join(two, ";"), two, "a semicolon or a bar"},
		"semicolons and short ids":        {"id1;id2", []string{"id1", "id2"}, "a semicolon or a bar"},
		"eight ids between semicolons":    {strings.Join(eight, ";"), eight, "a semicolon or a bar"},
		"bars":                            {strings.Join(two, "|"), two, "a semicolon or a bar"},
		"quotes":                          {`"` + strings.Join(two, `","`) + `"`, two, "ids in quotes"},
		"single quotes":                   {`'id1','id2'`, []string{"id1", "id2"}, "ids in quotes"},
		"JSON":                            {`["` + strings.Join(two, `", "`) + `"]`, two, "ids in quotes"},
		"JSON with a name":                {`{"ids":["` + strings.Join(two, `","`) + `"]}`, two, "ids in quotes"},
		"brackets":                        {"[id1,id2]", []string{"id1", "id2"}, "ids in brackets"},
		"a key and a value":               {"ids=id1", []string{"id1"}, "an equals sign"},
		"an escaped line end":             {someUUID + `\n` + thirdUUID, two, `a \n`},
		"an escaped line end at the end":  {"id1,id2\\n", []string{"id1", "id2"}, `a \n`},
		"base64":                          {encode(base64.StdEncoding, two), two, "ids in base64"},
		"base64 of one":                   {encode(base64.StdEncoding, two[:1]), two[:1], "ids in base64"},
		"base64 for URLs, without an end": {encode(base64.RawURLEncoding, eight), eight, "ids in base64"},
	} {
		t.Run(name, func(t *testing.T) {
			list := parse(t, c.data)
			for _, id := range c.ids {
				assert.True(t, list.Contains(id), id)
			}
			require.NotEmpty(t, list.Problems())
			assert.ErrorContains(t, list.Problems()[0], c.says)
			assert.ErrorContains(t, list.Problems()[0], "item at offset ")
		})
	}
}

func TestListWithUnusualIDsIsNotTakenForOneInAnotherForm(t *testing.T) {
	for _, id := range []string{
		"AT.0mP-JKIZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE", "urn:uuid:" + someUUID, "{" + someUUID + "}", "a:b", "a/b+c==",
		"c2Vzc2lvbi0xMjM0NTY3ODkwLWFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6MDEyMw==", "tenant@example.com", "x.y.z", "a%3Db", `a\b`,
	} {
		list := parse(t, id)
		assert.Empty(t, list.Problems(), id)
		assert.Equal(t, []string{id}, list.IDs())
	}
}

func TestListInAnotherFormIsMendedByAddingItsIDsAndStillNamesTheItem(t *testing.T) {
	store := keystore.NewMemory()
	ref := revocation.Dataplane("default")
	_, err := store.Create(t.Context(), keystore.Record{Scope: ref.Scope, Name: ref.Name, Data: []byte(someUUID + ";" + thirdUUID)})
	require.NoError(t, err)

	require.NoError(t, ref.Add(t.Context(), store, someUUID), "an implementation that splits at commas does not see it yet")
	record, err := store.Get(t.Context(), ref.Scope, ref.Name)
	require.NoError(t, err)
	assert.Equal(t, someUUID+";"+thirdUUID+","+someUUID, string(record.Data))

	err = ref.Remove(t.Context(), store, someUUID)
	assert.ErrorIs(t, err, revocation.ErrUnreadable, "the id would stay revoked")
	assert.ErrorContains(t, err, "a semicolon or a bar")
	after, err := store.Get(t.Context(), ref.Scope, ref.Name)
	require.NoError(t, err)
	assert.Equal(t, record, after)

	require.NoError(t, ref.Remove(t.Context(), store, someUUID+";"+thirdUUID, someUUID))
	list, err := ref.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Zero(t, list.Len())
}
