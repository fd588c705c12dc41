package strictjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/strictjson"
)

// read reads a document and skips its members.
func read(text string) error {
	r := strictjson.NewReader(text)
	return r.Document(func(string) error { return r.Skip() })
}

func TestADocumentIsOneObjectInUTF8WithoutDuplicates(t *testing.T) {
	deepest := strings.Repeat(`{"a":`, strictjson.MaxDepth) + "1" + strings.Repeat("}", strictjson.MaxDepth)
	for _, good := range []string{`{}`, ` {"a":[1,-0.5e+3,"\ud83d\ude00",null,true,{}],"b":{"a":1}}` + "\r\n\t", deepest} {
		require.NoError(t, read(good), good)
	}
	for text, want := range map[string]string{
		"":                       "the text ends at byte 0, want a JSON object",
		"<html>":                 `'<' at byte 0, want a JSON object`,
		"[]":                     `'[' at byte 0, want a JSON object`,
		"\ufeff{}":               "byte order mark",
		`{"a":"` + "\xff" + `"}`: "not valid UTF-8",
		`{"a":1,"\u0061":2}`:     `name "a" appears twice`,
		`{} {}`:                  "nothing after the JSON object",
		`{"a":1,}`:               "want a string",
		`{"a":01}`:               "want ',' or '}'",
		`{"a":"\ud83d"}`:         "half of a surrogate pair",
		`{"a":nil}`:              "want a JSON value",
		`{"a":"b`:                "want the end of a string",
		`{"a":` + deepest + `}`:  "more than 8 levels deep",
		`{"` + strings.Repeat("\u202e", 100) + `":1,"` + strings.Repeat("\u202e", 100) + `":2}`: `name "` + strings.Repeat(`\u202e`, 64) + `" appears twice`,
	} {
		require.ErrorContains(t, read(text), want, text)
	}
}

// FuzzDocument holds what is accepted against encoding/json, which accepts more.
func FuzzDocument(f *testing.F) {
	for _, text := range []string{`{}`, `{"a":[1,-0.5e+3,"\ud83d\ude00\"\\\/",null,true,false,{"b":[]}]}`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{"a":"b","c":-1e999}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		texts := map[string]string{}
		r := strictjson.NewReader(text)
		err := r.Document(func(name string) error {
			if r.Peek() != '"' {
				return r.Skip()
			}
			value, err := r.Text()
			texts[name] = value
			return err
		})
		if err != nil {
			return
		}
		var want map[string]any
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber() // there are numbers that no float64 holds
		require.NoError(t, decoder.Decode(&want))
		require.True(t, json.Valid([]byte(text)))
		for name, value := range texts {
			require.Equal(t, want[name], value)
		}
	})
}
