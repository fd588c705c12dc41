package xdsauth

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The oracle is the decoder of encoding/json, token by token.
func FuzzJSONIsReadAsEncodingJSONReadsIt(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { "a" : [ ] } `, `{"a":{"b":"c"},"d":[1,-2.5e+3,true,false,null,"x"],"e":""}`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"<<":{}}`, `{"a":"\\\"","b":"\u00e9\ud83d\ude00\ud800"}`,
		"{\"a\":\"\u00e9\xff\"}", `"x"`, `12`, `null`, ` true `, `[[],[[]],{}]`,
		strings.Repeat(`[`, maxDepth) + strings.Repeat(`]`, maxDepth), strings.Repeat(`[`, maxDepth-1) + `1` + strings.Repeat(`]`, maxDepth-1),
		`{"a":1`, `{"a":1}}`, ``, `{"a":01}`, `[1e999,{"a":-1e999}]`, `{,}`, `{"a":1,}`, `[,]`, `[1,]`, `[1 2]`, `[`, `{`, `{"a"`, `{"a":`, `{"a" 1}`, `{1:1}`,
		`"a`, `"\`, `"\x"`, "\"\t\"", `tru`, `-`, `1"a"`, `nulll`, `{"a":1,"a":2`, `{"a":"\u12"}`, "{\"a\":1}\x00", "\x00",
		manyFields(few), manyFields(few + 1), manyFields(few + 2), manyFields(2 * few), manyFields(few + 1)[:20*few],
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readJSON(text)
		if !json.Valid([]byte(text)) {
			require.ErrorContains(t, err, "not valid JSON")
			return
		}
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber() // there are numbers that no float64 holds
		want, wantErr := byTokens(decoder, maxDepth)
		require.Equal(t, wantErr, err)
		require.Equal(t, want, got)
	})
}

// manyFields is an object with so many fields and one more that is the last of them again.
func manyFields(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `"field-%d":"","x%d":1,`, i, i)
	}
	return "{" + text.String() + fmt.Sprintf(`"x%d":2}`, n-1)
}

func byTokens(from *json.Decoder, depth int) (any, error) {
	if depth == 0 {
		return nil, errTooDeep
	}
	next, err := from.Token()
	if err != nil {
		return nil, err
	}
	switch next {
	case json.Delim('{'):
		read := objectReader{fields: object{}}
		for from.More() {
			key, err := from.Token()
			if err != nil {
				return nil, err
			}
			value, err := byTokens(from, depth-1)
			if err != nil {
				return nil, err
			}
			if err := read.add(key.(string), value); err != nil { // a key is a string
				return nil, err
			}
		}
		_, err := from.Token() // }
		return read.fields, err
	case json.Delim('['):
		list := []any{}
		for from.More() {
			value, err := byTokens(from, depth-1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := from.Token() // ]
		return list, err
	}
	switch next.(type) {
	case string, nil:
		return next, nil
	}
	return other{}, nil
}

func TestReadingAResourceTakesLimitedMemoryWhateverItHolds(t *testing.T) {
	for _, element := range []string{`{}`, `{"":0}`, `[]`, `""`, `0`, `null`} {
		text := strings.Repeat(element+",", maxResource/(len(element)+1)-1)
		text = "[" + text + element + "]"
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readJSON(text)
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64*len(text)), element)
	}
}

// BenchmarkResource reads a resource with one inbound, beside the check of encoding/json that
// it is JSON.
func BenchmarkResource(b *testing.B) {
	const text = `{"creationTime":"0001-01-01T00:00:00Z","mesh":"default","modificationTime":"0001-01-01T00:00:00Z","name":"dp-1","networking":` +
		`{"address":"127.0.0.1","inbound":[{"port":8080,"tags":{"kuma.io/protocol":"http","kuma.io/service":"backend"}}]},"type":"Dataplane"}`
	b.Run("Valid", func(b *testing.B) {
		for b.Loop() {
			if !json.Valid([]byte(text)) {
				b.Fatal("not JSON")
			}
		}
	})
	b.Run("Read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parseResource(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}
