package revocation_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/revocation"
)

const (
	someUUID  = "6baf2c90-0e86-4c62-97a7-7835855834bc"
	otherUUID = "0b4a1f3e-5d0c-4a4b-8f6e-2f1d3c5b7a99"
	nilUUID   = "00000000-0000-0000-0000-000000000000"
	maxUUID   = "ffffffff-ffff-ffff-ffff-ffffffffffff"
)

func parse(t testing.TB, data string) *revocation.List {
	t.Helper()
	list, err := revocation.Parse([]byte(data))
	require.NoError(t, err)
	return list
}

// randomUUID returns a UUID text that is the same in each run for the same source.
func randomUUID(source *rand.Rand) string {
	var value [16]byte
	binary.BigEndian.PutUint64(value[:8], source.Uint64())
	binary.BigEndian.PutUint64(value[8:], source.Uint64())
	digits := hex.EncodeToString(value[:])
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}

const million = 1_000_000

// millionUUIDs returns a list of a million UUIDs, all different, with commas.
var millionUUIDs = sync.OnceValue(func() []byte {
	source := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 0, million*37)
	for range million {
		data = append(data, randomUUID(source)...)
		data = append(data, ',')
	}
	return data[:len(data)-1]
})

// firstUUIDs returns the first n of millionUUIDs.
func firstUUIDs(n int) []byte { return millionUUIDs()[:n*37-1] }

func TestParseTakesWhateverSeparatesTwoIDs(t *testing.T) {
	layouts := map[string]string{
		"a comma":                                "a,b",
		"a comma and a space":                    "a, b",
		"a space before the comma":               "a ,b",
		"a comma, and a line end after the last": "a,b\r\n",
		"a line feed":                            "a\nb",
		"a carriage return":                      "a\rb",
		"a carriage return and a line feed":      "a\r\nb\r\n",
		"a comma, and empty lines at the end":    "a,b\n\n",
		"a comma at the end of a line":           "a,\nb,\n",
		"a byte order mark first":                "\uFEFFa,b",
		"byte order marks anywhere":              "\uFEFFa,\uFEFFb\uFEFF",
		"empty items":                            ",,a,,b,",
		"tabs":                                   "\ta\tb\t",
		"a vertical tab and a form feed":         "a\v\fb",
		"a no-break space":                       "a\u00A0b",
		"a next line":                            "a\u0085b",
		"a line separator":                       "a\u2028b",
		"a paragraph separator":                  "a\u2029b",
		"an ideographic space":                   "a\u3000b",
		"a repeated id":                          "a,b,a",
	}
	for name, data := range layouts {
		t.Run(name, func(t *testing.T) {
			list := parse(t, data)
			assert.True(t, list.Contains("a"))
			assert.True(t, list.Contains("b"))
			assert.Equal(t, []string{"a", "b"}, list.IDs())
			assert.Equal(t, 2, list.Len())
			assert.Empty(t, list.Problems())
			for _, id := range []string{"", " ", ",", "a,b", "a b", "a\n", "\uFEFFa", data} {
				assert.False(t, list.Contains(id), "%q", id)
			}
		})
	}
}

func TestParseTakesEveryUnicodeWhiteSpaceAsASeparator(t *testing.T) {
	for r := range rune(unicode.MaxRune + 1) {
		if !unicode.Is(unicode.White_Space, r) {
			continue
		}
		list := parse(t, someUUID+string(r)+"b")
		assert.Equal(t, []string{someUUID, "b"}, list.IDs(), "%U", r)
	}
}

func TestListWithNothingButSeparatorsIsEmpty(t *testing.T) {
	for _, data := range []string{"", " ", ",", ",,\r\n", "\uFEFF", "\uFEFF\r\n", "\u00A0"} {
		list := parse(t, data)
		assert.Zero(t, list.Len(), "%q", data)
		assert.Empty(t, list.IDs(), "%q", data)
		assert.Empty(t, list.Problems(), "%q", data)
		for _, id := range []string{"", ",", " ", data, nilUUID} {
			assert.False(t, list.Contains(id), "%q in %q", id, data)
		}
	}
}

func TestListWithATrailingCommaDoesNotRevokeTheEmptyID(t *testing.T) {
	list := parse(t, "a,")
	assert.False(t, list.Contains(""))
	assert.Equal(t, 1, list.Len())
}

func TestListOfZeroValueIsEmpty(t *testing.T) {
	for name, list := range map[string]*revocation.List{"nil": nil, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			assert.False(t, list.Contains("a"))
			assert.False(t, list.Contains(someUUID))
			assert.False(t, list.Contains(nilUUID))
			assert.Zero(t, list.Len())
			assert.Empty(t, list.IDs())
			assert.Empty(t, list.Problems())
		})
	}
}

func TestListTellsHowManyOfItsIDsAnotherLacks(t *testing.T) {
	const nilUUID = "00000000-0000-0000-0000-000000000000"
	parse := func(text string) *revocation.List {
		list, err := revocation.Parse([]byte(text))
		require.NoError(t, err)
		return list
	}
	all := parse("a,b," + someUUID + "," + nilUUID)
	for other, want := range map[string]int{
		"": 4, "c": 4, "a": 3, "a,b": 2, someUUID: 3, nilUUID: 3, "a," + someUUID: 2,
		"c,a,b," + someUUID + "," + nilUUID: 0,
	} {
		assert.Equal(t, want, all.MissingFrom(parse(other)), "%q", other)
	}
	assert.Equal(t, 4, all.MissingFrom(nil))
	assert.Zero(t, parse("").MissingFrom(all))
	assert.Zero(t, (*revocation.List)(nil).MissingFrom(all))
}

func TestListTellsHowManyOfTheIDsThatAnotherLacksAreFromBeforeAMoment(t *testing.T) {
	const ( // the first three of version 7
		old, older, young = "018f0000-0000-7000-8000-000000000001", "018e0000-0000-7000-8000-000000000002", "01900000-0000-7000-8000-000000000003"
		ofVersion4        = "018e0000-0000-4000-8000-000000000002"
	)
	list, err := revocation.Parse([]byte(strings.Join([]string{old, older, young, ofVersion4, "a"}, ",")))
	require.NoError(t, err)
	moment, _ := revocation.IDTime(young)
	other, err := revocation.Parse([]byte(old))
	require.NoError(t, err)
	assert.Equal(t, 2, list.MissingBefore(moment, nil))
	assert.Equal(t, 1, list.MissingBefore(moment, other))
	assert.Equal(t, 3, list.MissingBefore(moment.Add(time.Millisecond), nil))
	assert.Zero(t, list.MissingBefore(moment, list))
	assert.Zero(t, list.MissingBefore(time.Time{}, nil))
	assert.Zero(t, (*revocation.List)(nil).MissingBefore(moment, nil))
}

func TestListComparesIDsAsTheyAreWritten(t *testing.T) {
	spellings := []string{
		someUUID,
		strings.ToUpper(someUUID),
		"6baf2c90-0e86-4c62-97a7-7835855834bC",
		"{" + someUUID + "}",
		"urn:uuid:" + someUUID,
		strings.ReplaceAll(someUUID, "-", ""),
		"6baf2c90-0e86-4c62-97a77-835855834bc", // a hyphen elsewhere
		someUUID + "0",
		someUUID[:35],
		someUUID[:35] + "g",
	}
	for _, written := range spellings {
		list := parse(t, written)
		for _, asked := range spellings {
			assert.Equal(t, asked == written, list.Contains(asked), "%s on a list of %s", asked, written)
		}
		assert.Equal(t, []string{written}, list.IDs())
	}
	list := parse(t, strings.Join(spellings, ","))
	assert.Equal(t, len(spellings), list.Len())
	for _, id := range spellings {
		assert.True(t, list.Contains(id), id)
	}
}

func TestListTellsAnIDFromEachOtherThatDiffersInOneCharacter(t *testing.T) {
	for _, id := range []string{someUUID, nilUUID, maxUUID} {
		revoked := parse(t, id)
		for at := range len(id) {
			for _, c := range "-0aFg_" {
				other := id[:at] + string(c) + id[at+1:]
				if other == id {
					continue
				}
				require.False(t, revoked.Contains(other), "%s revokes %s", id, other)
				list := parse(t, other)
				require.False(t, list.Contains(id), "%s revokes %s", other, id)
				require.True(t, list.Contains(other))
				require.Equal(t, []string{other}, list.IDs())
			}
		}
	}
}

func TestListTakesTheNilUUIDAsAnIDLikeAnyOther(t *testing.T) {
	list := parse(t, nilUUID+","+maxUUID+","+nilUUID)
	assert.True(t, list.Contains(nilUUID))
	assert.True(t, list.Contains(maxUUID))
	assert.Equal(t, []string{nilUUID, maxUUID}, list.IDs())
	assert.Equal(t, 2, list.Len())
	assert.False(t, parse(t, maxUUID).Contains(nilUUID))
	assert.True(t, parse(t, nilUUID).Contains(nilUUID))
	assert.False(t, parse(t, nilUUID).Contains(maxUUID))
}

func TestParseReadsIDsFrom1To256Characters(t *testing.T) {
	for _, length := range []int{1, 35, 36, 37, 255, 256} {
		id := strings.Repeat("~", length)
		assert.True(t, parse(t, "a,"+id+"\n").Contains(id), "%d", length)
	}
	list := parse(t, "a,"+strings.Repeat("~", 257))
	assert.Equal(t, []string{"a"}, list.IDs())
	assert.Len(t, list.Problems(), 1)
}

func TestParseTakesEveryVisibleASCIICharacterButTheCommaInAnID(t *testing.T) {
	for c := range 256 {
		id := "x" + string([]byte{byte(c)}) + "y"
		list := parse(t, "a,"+id)
		assert.Equal(t, c >= '!' && c <= '~' && c != ',', list.Contains(id), "byte 0x%02x", c)
		assert.True(t, list.Contains("a"))
	}
}

func TestParseReportsMalformedItemsAndTheOthersRevoke(t *testing.T) {
	tests := map[string]struct{ item, problem string }{
		"an id of 257 characters": {
			strings.Repeat("a", 257),
			`item at offset 37: "` + strings.Repeat("a", 32) + `"... is 257 bytes long, want at most 256`,
		},
		"invalid UTF-8": {
			"id\xff\xfe",
			`item at offset 37: "id\xff\xfe" holds byte 0xff, want visible ASCII without a comma`,
		},
		"half of a character": {
			"id\xe2\x80",
			`item at offset 37: "id\xe2\x80" holds byte 0xe2, want visible ASCII without a comma`,
		},
		"a letter beyond ASCII": {
			"idé",
			`item at offset 37: "idé" holds U+00E9, want visible ASCII without a comma`,
		},
		"a zero-width space, which is not white space": {
			someUUID + "\u200b",
			`item at offset 37: "6baf2c90-0e86-4c62-97a7-78358558"... holds U+200B, want visible ASCII without a comma`,
		},
		"a replacement character": {
			"\uFFFD",
			`item at offset 37: "�" holds U+FFFD, want visible ASCII without a comma`,
		},
		"a NUL": {
			"a\x00",
			`item at offset 37: "a\x00" holds U+0000, want visible ASCII without a comma`,
		},
		"a terminal escape": {
			"\x1b[31m",
			`item at offset 37: "\x1b[31m" holds U+001B, want visible ASCII without a comma`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			list := parse(t, someUUID+","+test.item+","+otherUUID)
			assert.Equal(t, []string{otherUUID, someUUID}, list.IDs())
			assert.False(t, list.Contains(test.item))
			require.Len(t, list.Problems(), 1)
			assert.EqualError(t, list.Problems()[0], test.problem)
		})
	}
}

func TestParseDescribesTenProblemsAndCountsTheRest(t *testing.T) {
	list := parse(t, "a"+strings.Repeat(",é", 10))
	assert.Len(t, list.Problems(), 10)

	list = parse(t, "a"+strings.Repeat(",é", 1010))
	problems := list.Problems()
	require.Len(t, problems, 11)
	assert.ErrorContains(t, problems[9], "offset 29")
	assert.EqualError(t, problems[10], "and 1000 more malformed items")

	problems[0] = nil
	assert.NotNil(t, list.Problems()[0], "the caller's slice is his own")
}

func TestParseLetsAnItemOfOneMegabyteAmongAMillionIDsHideNone(t *testing.T) {
	ids := millionUUIDs()
	data := slices.Concat(ids[:million/2*37], bytes.Repeat([]byte("x"), 1<<20), []byte(","), ids[million/2*37:])
	list, err := revocation.Parse(data)
	require.NoError(t, err)
	assert.Equal(t, million, list.Len())
	for at := 0; at < len(ids); at += 37 {
		if id := string(ids[at : at+36]); !list.Contains(id) {
			t.Fatalf("%s is not on the list", id)
		}
	}
	require.Len(t, list.Problems(), 1)
	assert.Less(t, len(list.Problems()[0].Error()), 200)
}

func TestListWithoutOneReadableIDIsUnreadable(t *testing.T) {
	encode := func(order func(uint16) [2]byte, text string) string {
		var data []byte
		for _, unit := range utf16.Encode([]rune(text)) {
			b := order(unit)
			data = append(data, b[:]...)
		}
		return string(data)
	}
	little := func(u uint16) [2]byte { return [2]byte{byte(u), byte(u >> 8)} }
	big := func(u uint16) [2]byte { return [2]byte{byte(u >> 8), byte(u)} }
	text := someUUID + ", b\r\n" + otherUUID + "\r\n"

	for name, data := range map[string]string{
		"little endian with a byte order mark":    encode(little, "\uFEFF"+text),
		"little endian without a byte order mark": encode(little, text),
		"big endian with a byte order mark":       encode(big, "\uFEFF"+text),
		"big endian without a byte order mark":    encode(big, text),
	} {
		t.Run("UTF-16 "+name, func(t *testing.T) {
			list, err := revocation.Parse([]byte(data))
			require.ErrorIs(t, err, revocation.ErrUnreadable)
			assert.ErrorContains(t, err, "the text is UTF-16 or UTF-32, want UTF-8: save it as UTF-8")
			assert.Nil(t, list)
		})
	}
	for name, test := range map[string]struct{ data, problem string }{
		"binary":                    {"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "U+001F"},
		"one NUL":                   {"\x00", "U+0000"},
		"one item that is too long": {strings.Repeat("x", 1<<20), "1048576 bytes long"},
		"three malformed items":     {"é, é, é", "none of its 3 items"},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := revocation.Parse([]byte(test.data))
			require.ErrorIs(t, err, revocation.ErrUnreadable)
			assert.ErrorContains(t, err, test.problem)
			assert.Less(t, len(err.Error()), 250)
			assert.Nil(t, list)
		})
	}
}

func TestListKeepsNothingOfTheDataItWasParsedFrom(t *testing.T) {
	data := []byte(someUUID + ",other-id,é")
	list, err := revocation.Parse(data)
	require.NoError(t, err)
	clear(data)
	assert.Equal(t, []string{someUUID, "other-id"}, list.IDs())
	assert.ErrorContains(t, list.Problems()[0], `"é"`)
}

func TestListOfAnySizeContainsItsIDsAndNoOthers(t *testing.T) {
	source := rand.New(rand.NewPCG(3, 4))
	for size := range 300 {
		var ids []string
		for range size {
			ids = append(ids, randomUUID(source))
		}
		list := parse(t, strings.Join(ids, ","))
		require.Equal(t, size, list.Len())
		for _, id := range ids {
			require.True(t, list.Contains(id))
			require.False(t, list.Contains(randomUUID(source)))
		}
		slices.Sort(ids)
		require.Equal(t, append([]string{}, ids...), list.IDs())
	}
}

func TestListLookupAllocatesNothing(t *testing.T) {
	list := parse(t, someUUID+",other-id,"+nilUUID)
	for _, id := range []string{someUUID, otherUUID, nilUUID, "other-id", "no-id", strings.Repeat("x", 1000)} {
		assert.Zero(t, testing.AllocsPerRun(100, func() { list.Contains(id) }), id)
	}
}

// heapOf returns what parsing data leaves on the heap, in bytes.
func heapOf(t *testing.T, data []byte) (*revocation.List, uint64) {
	t.Helper()
	live := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.GC() // the second ends the sweep of the first
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := live()
	list, err := revocation.Parse(data)
	require.NoError(t, err)
	after := live()
	runtime.KeepAlive(data)
	require.Greater(t, after, before)
	return list, after - before
}

func TestListTakesAtMost24BytesForAUUID(t *testing.T) {
	const n = million / 10
	ids := firstUUIDs(n)
	for name, data := range map[string][]byte{
		"a million":                          millionUUIDs(),
		"each three times":                   bytes.Join([][]byte{ids, ids, ids}, []byte("\n")),
		"one of ten twice":                   slices.Concat(ids, []byte(","), firstUUIDs(n/10)),
		"one of six twice":                   slices.Concat(ids, []byte(","), firstUUIDs(n/6)),
		"one of them as often as all others": slices.Concat(ids, bytes.Repeat([]byte(","+someUUID), n)),
	} {
		t.Run(name, func(t *testing.T) {
			list, size := heapOf(t, data)
			t.Logf("%.2f bytes an id", float64(size)/float64(list.Len()))
			assert.LessOrEqual(t, size, uint64(24*list.Len()))
			assert.GreaterOrEqual(t, list.Len(), n)
			runtime.KeepAlive(list)
		})
	}
}

func TestFormatSeparatesByOneCommaAndNothingElse(t *testing.T) {
	data, err := revocation.Format([]string{"b", someUUID, "a"})
	require.NoError(t, err)
	assert.Equal(t, "b,"+someUUID+",a", string(data))
}

func TestFormatWritesARepeatedIDOnceWhereItWasFirst(t *testing.T) {
	data, err := revocation.Format([]string{"b", "a", "b", nilUUID, "c", "a", nilUUID})
	require.NoError(t, err)
	assert.Equal(t, "b,a,"+nilUUID+",c", string(data))
}

func TestFormatOfNoIDsIsEmpty(t *testing.T) {
	data, err := revocation.Format(nil)
	require.NoError(t, err)
	assert.Empty(t, data)
}

func TestFormatRefusesWhatParseWouldNotReadBack(t *testing.T) {
	for id, reason := range map[string]string{
		"":                       "it is empty",
		"a,b":                    `"a,b" holds U+002C`,
		" a":                     `" a" holds U+0020`,
		"a\n":                    `"a\n" holds U+000A`,
		"\uFEFFa":                `holds U+FEFF`,
		"é":                      `"é" holds U+00E9`,
		"\xff":                   `"\xff" holds byte 0xff`,
		strings.Repeat("x", 257): "257 bytes long",
		strings.Repeat("é", 1e6): "2000000 bytes long",
	} {
		data, err := revocation.Format([]string{"good", id})
		require.ErrorIs(t, err, revocation.ErrID)
		assert.ErrorContains(t, err, reason)
		assert.Less(t, len(err.Error()), 250)
		assert.Nil(t, data)
	}
}
