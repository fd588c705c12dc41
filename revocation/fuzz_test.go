package revocation_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

// slowItems and slowIsID read a list in the plainest way, to compare with.
func slowItems(data string) []string {
	return strings.FieldsFunc(data, func(r rune) bool {
		return r == ',' || r == '\uFEFF' || unicode.Is(unicode.White_Space, r)
	})
}

var slowIsID = regexp.MustCompile(`\A[\x21-\x2b\x2d-\x7e]{1,256}\z`).MatchString

// slowIDs returns the ids among items, sorted, each once, and the number of other items.
func slowIDs(items []string) (ids []string, malformed int) {
	ids = []string{}
	for _, item := range items {
		if slowIsID(item) {
			ids = append(ids, item)
		} else {
			malformed++
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), malformed
}

// slowSealed begins a record that package sealed has encrypted. No such record is a list, and
// no list is written so that it begins like one.
const slowSealed = "meshpass-sealed-"

// slowWritten is the list of some items as it is written.
func slowWritten(items []string) string {
	list := strings.Join(items, ",")
	if strings.HasPrefix(list, slowSealed) {
		list = "," + list
	}
	return list
}

// slowIsForeign matches an item that looks like a list in another form.
var slowIsForeign = regexp.MustCompile(`\A[\x21-\x7e]*(["';|\[\]]|\\[nrt]|\A[^=]+=+[^=])[\x21-\x7e]*\z`).MatchString

// slowMayBeBase64 matches an item that may be a list in base64.
var slowMayBeBase64 = regexp.MustCompile(`\A[A-Za-z0-9+/_-]{48,}=*\z`).MatchString

func addSeeds(f *testing.F) {
	for _, data := range []string{
		"", ",", "a,b", "a, b\r\n", ",,a,", "\uFEFFa\u00A0b\u2028c\u0085d\u3000", "a\u200bb,c", "\xff\xfea\x00,\x00b\x00", "\x00a\x00,",
		someUUID, someUUID + "," + strings.ToUpper(someUUID) + ",{" + otherUUID + "}\nurn:uuid:" + otherUUID,
		nilUUID + " " + maxUUID + " " + nilUUID, someUUID[:35] + "\n" + someUUID + "0", "é,\xe2\x80,\xe2\x80\xa8,\x80,\xc2",
		strings.Repeat("x", 256) + "," + strings.Repeat("y", 257), strings.Repeat("é,", 12) + "a",
		slowSealed + "v1", "," + slowSealed + "v1", slowSealed + "v1,a", slowSealed + ",a", "a," + slowSealed + "v1", " " + slowSealed + ",b,c",
		`["a","b"]`, someUUID + ";" + otherUUID + ",c", "ids=a|b", `a\nb`, "YSxi==", "=a=b", "a==", strings.Repeat("'", 300),
	} {
		f.Add([]byte(data))
	}
}

func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		items := slowItems(string(data))
		ids, malformed := slowIDs(items)

		list, err := revocation.Parse(data)
		if strings.HasPrefix(string(data), slowSealed) {
			require.ErrorIs(t, err, revocation.ErrUnreadable)
			require.Nil(t, list)
			return
		}
		if slices.ContainsFunc(items, slowMayBeBase64) {
			return
		}
		if slices.ContainsFunc(items, slowIsForeign) {
			if err != nil { // there is nothing like an id
				require.ErrorIs(t, err, revocation.ErrUnreadable)
				require.Empty(t, ids)
				return
			}
			require.NotEmpty(t, list.Problems())
			for _, id := range ids {
				require.True(t, list.Contains(id), "%q", id)
			}
			for _, id := range list.IDs() {
				require.True(t, slices.ContainsFunc(items, func(item string) bool { return strings.Contains(item, id) }), "%q", id)
			}
			return
		}
		if len(ids) == 0 && malformed > 0 {
			require.ErrorIs(t, err, revocation.ErrUnreadable)
			require.Nil(t, list)
			return
		}
		require.NoError(t, err)
		require.Equal(t, ids, list.IDs())
		require.Equal(t, len(ids), list.Len())
		require.Len(t, list.Problems(), min(malformed, 11))
		for _, item := range items {
			require.Equal(t, slowIsID(item), list.Contains(item), "%q", item)
			for _, changed := range []string{strings.ToUpper(item), strings.ToLower(item), item + "0", item[1:], "," + item} {
				require.Equal(t, slices.Contains(ids, changed), list.Contains(changed), "%q", changed)
			}
		}

		written, err := revocation.Format(list.IDs())
		require.NoError(t, err)
		require.Equal(t, slowWritten(ids), string(written))
		again, err := revocation.Parse(written)
		require.NoError(t, err)
		require.Equal(t, ids, again.IDs())
		require.Empty(t, again.Problems())
	})
}

func FuzzEdit(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		store, ref := keystore.NewMemory(), revocation.Zone()
		put(t, store, ref, string(data))
		items := slowItems(string(data))
		ids, malformed := slowIDs(items)
		if slices.Contains(ids, "new") {
			t.Skip("the id to add is there already")
		}
		gone := "none"
		if len(ids) > 0 {
			gone = ids[len(ids)/2]
		}

		err := ref.Add(t.Context(), store, "new", gone)
		if slices.ContainsFunc(items, func(item string) bool { return slowIsForeign(item) || slowMayBeBase64(item) }) {
			if err == nil {
				require.Subset(t, slowItems(string(get(t, store, ref).Data)), append(ids, "new"), "nothing is lost")
			}
			return
		}
		if len(ids) == 0 && malformed > 0 || strings.HasPrefix(string(data), slowSealed) {
			require.ErrorIs(t, err, revocation.ErrUnreadable)
			require.Equal(t, string(data), string(get(t, store, ref).Data))
			return
		}
		require.NoError(t, err)
		require.NoError(t, ref.Remove(t.Context(), store, gone))

		// What a plain model does with the items, in the same order.
		var want []string
		for _, item := range append(items, "new") {
			if item != gone && !(slowIsID(item) && slices.Contains(want, item)) {
				want = append(want, item)
			}
		}
		assert.Equal(t, slowWritten(want), string(get(t, store, ref).Data))
	})
}
