package xdsauth

import (
	"encoding/json"
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
		`{"a":1`, `{"a":1}}`, ``, `{"a":01}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readJSON(text)
		if !json.Valid([]byte(text)) {
			require.ErrorContains(t, err, "not valid JSON")
			return
		}
		want, wantErr := byTokens(json.NewDecoder(strings.NewReader(text)), maxDepth)
		require.Equal(t, wantErr, err)
		require.Equal(t, want, got)
	})
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
		fields := object{}
		for from.More() {
			key, err := from.Token()
			if err != nil {
				return nil, err
			}
			value, err := byTokens(from, depth-1)
			if err != nil {
				return nil, err
			}
			if err := fields.add(key.(string), value); err != nil { // a key is a string
				return nil, err
			}
		}
		_, err := from.Token() // }
		return fields, err
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
