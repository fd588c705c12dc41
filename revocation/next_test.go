package revocation_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/revocation"
)

// requireSame demands that a list which ParseNext made is the one that Parse makes.
func requireSame(t *testing.T, data []byte, got *revocation.List, err error) {
	t.Helper()
	want, wantErr := revocation.Parse(data)
	if wantErr != nil {
		require.EqualError(t, err, wantErr.Error())
		require.Nil(t, got)
		return
	}
	require.NoError(t, err)
	require.Equal(t, want.IDs(), got.IDs())
	require.Equal(t, want.Len(), got.Len())
	require.Equal(t, fmt.Sprint(want.Problems()), fmt.Sprint(got.Problems()))
	require.Zero(t, want.MissingFrom(got))
	require.Zero(t, got.MissingFrom(want))
	for _, id := range want.IDs() {
		require.True(t, got.Contains(id), "%q", id)
	}
}

func FuzzParseNext(f *testing.F) {
	for _, data := range []string{
		"a,b,c", "a,bc", "a,\nb", "é,\xe2\x80\xa8,c", "a\u2028b\u00a0c", someUUID + "," + otherUUID + "," + nilUUID + "," + someUUID,
		"meshpass-sealed-,a", ",meshpass-sealed-1,b", `x,["a","b"],é,` + maxUUID, strings.Repeat("é,", 12) + "a,b",
	} {
		for at := range len(data) + 1 {
			f.Add([]byte(data), uint(at), uint(at/2))
		}
	}
	many := strings.Repeat("x", 40) // ids, of which no two are equal, so that what is appended is kept beside them
	for i := range 40 {
		many += fmt.Sprintf(",%d,%s%012d", i, someUUID[:24], i)
	}
	for _, more := range []string{",a", "," + nilUUID, "," + someUUID + ",é", "," + someUUID[:24] + "000000000001", "\u2028" + otherUUID + "\n1"} {
		f.Add([]byte(many+more+",b,"+maxUUID), uint(len(many)+len(more)), uint(len(many)))
	}
	f.Fuzz(func(t *testing.T, data []byte, second, first uint) {
		to := int(min(second, uint(len(data))))
		from := int(min(first, uint(to)))
		list, _ := revocation.Parse(data[:from])
		for _, part := range [][]byte{data[:to], data, data} {
			next, err := list.ParseNext(part)
			requireSame(t, part, next, err)
			if next != nil {
				assertSince(t, list, next)
			}
			list = next
		}
	})
}

// assertSince asserts that Since returns at least the ids that a list lacked before, and
// that no id is missing that a later list has.
func assertSince(t *testing.T, before, next *revocation.List) {
	t.Helper()
	since := next.Since(before)
	missing := 0
	for _, id := range next.IDs() {
		if !before.Contains(id) {
			require.True(t, since.Contains(id), "%q", id)
		}
	}
	for _, id := range before.IDs() {
		if !next.Contains(id) {
			missing++
		}
	}
	require.Equal(t, missing, before.MissingFrom(next))
}

func TestListGrowsByWhatIsAppended(t *testing.T) {
	source := rand.New(rand.NewPCG(7, 8))
	data := []byte(someUUID)
	list, err := revocation.Parse(data)
	require.NoError(t, err)
	for i := range 600 {
		id := randomUUID(source)
		switch i % 10 {
		case 3:
			id = fmt.Sprintf("id-%d", i)
		case 5:
			id = string(data[len(data)-36:]) // a repeated one, or a part of two
		case 6:
			id = "id-3" // a repeated one
		case 7:
			id = "é"
		}
		data = append(data, "\n,"[i%2])
		data = append(data, id...)
		next, err := list.ParseNext(data)
		require.NoError(t, err)
		if added := next.Since(list); added.Len() > 1 {
			t.Fatalf("step %d: %d ids were added", i, added.Len())
		} else {
			require.Empty(t, added.Problems(), "those are of the whole list")
		}
		assertSince(t, list, next)
		if id == "id-3" {
			require.Len(t, slices.Compact(next.IDs()), next.Len(), "each id counts once")
		}
		assert.Zero(t, list.MissingBefore(time.Now().AddDate(5000, 0, 0), next))
		list = next
	}
	requireSame(t, data, list, nil)
}

func TestListIsParsedAnewIfItsBeginningHasChanged(t *testing.T) {
	list := parse(t, "a,b,"+someUUID)
	for _, data := range []string{"a,c," + someUUID + ",d", "a,b", "", "b," + someUUID, "x,a,b," + someUUID, "a,b," + someUUID + "0"} {
		next, err := list.ParseNext([]byte(data))
		requireSame(t, []byte(data), next, err)
		assert.Same(t, next, next.Since(list), "it was compared with nothing")
	}
}

func TestListsThatGrewFromOneLackTheIDsOfEachOther(t *testing.T) {
	list := parse(t, "a,b")
	first, err := list.ParseNext([]byte("a,b,c"))
	require.NoError(t, err)
	second, err := list.ParseNext([]byte("a,b,d"))
	require.NoError(t, err)
	assert.Equal(t, 1, first.MissingFrom(second))
	assert.Equal(t, []string{"c"}, first.Since(list).IDs())
	assert.Same(t, first, first.Since(second))
	assert.Equal(t, []string{"a", "b"}, list.IDs(), "the earlier list stays as it was")
}

func TestListThatGrewTakesAtMost24BytesForAUUID(t *testing.T) {
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	source := rand.New(rand.NewPCG(9, 10))
	var text strings.Builder
	for range 20_000 {
		text.WriteString(randomUUID(source) + ",")
	}
	data := []byte(text.String())
	before := heap()
	list, err := revocation.Parse(data[:37*10_000-1])
	require.NoError(t, err)
	for at := 10_000; at <= 20_000; at += 100 {
		list, err = list.ParseNext(data[:37*at-1])
		require.NoError(t, err)
	}
	took := heap() - before
	require.Equal(t, 20_000, list.Len())
	assert.LessOrEqual(t, took, uint64(24*list.Len()+4096))
	runtime.KeepAlive(data)
}
