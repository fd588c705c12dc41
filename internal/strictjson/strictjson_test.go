package strictjson_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

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

// isStrict reads a value, and returns false if it is too deep, has a name twice or half of a
// surrogate pair, for which encoding/json puts U+FFFD. The text may have others.
func isStrict(from *json.Decoder, depth int, others bool) bool {
	next, _ := from.Token()
	if text, isText := next.(string); isText {
		return others || !strings.ContainsRune(text, utf8.RuneError)
	}
	if next != json.Delim('{') && next != json.Delim('[') {
		return true
	}
	strict := depth < strictjson.MaxDepth
	seen := map[json.Token]bool{}
	for strict && from.More() {
		if next == json.Delim('{') {
			name, _ := from.Token()
			strict = !seen[name] && (others || !strings.ContainsRune(name.(string), utf8.RuneError))
			seen[name] = true
		}
		strict = isStrict(from, depth+1, others) && strict
	}
	_, _ = from.Token()
	return strict
}

// FuzzDocument holds what is read against encoding/json, which accepts more: what that reads
// is refused for the reasons in the documentation of Reader alone.
func FuzzDocument(f *testing.F) {
	for _, text := range []string{`{}`, `{"a":[1,-0.5e+3,"\ud83d\ude00\"\\\/",null,true,false,{"b":[]}]}`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{"a":"b","c":-1e999}`,
		`{"a":"\ud83d"}`, `{"a":[[[[[[[]]]]]]],"b":{"\u00E9":"\b\f\n\r\t"}}`, `{"a":[[[[[[[[]]]]]]]]}`, `{"a":{"b":[{"c":1,"\u0063":2}]}}`, `[]`, "\ufeff{}", "\t{}\r\n"} {
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
		numbers := func() *json.Decoder {
			decoder := json.NewDecoder(strings.NewReader(text))
			decoder.UseNumber() // there are numbers that no float64 holds
			return decoder
		}
		unclear := strings.ContainsRune(text, utf8.RuneError) || strings.Contains(strings.ToLower(text), `\ufffd`)
		good := utf8.ValidString(text) && json.Valid([]byte(text)) && strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") &&
			isStrict(numbers(), 0, unclear)
		if err != nil {
			require.False(t, good && !unclear, "%v", err)
			return
		}
		require.True(t, good)
		var want map[string]any
		require.NoError(t, numbers().Decode(&want))
		for name, value := range texts {
			require.Equal(t, want[name], value)
		}
	})
}
