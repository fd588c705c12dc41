package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxDepth  = 8  // of nested objects and lists; a request has three levels
	maxFaults = 10 // in one answer
)

// field is a field of a request. Its target is a *string, a *[]string or a
// *map[string][]string.
type field struct {
	name   string
	target any
}

// readBody reads a body of at most limit bytes into fields. It is stricter than
// encoding/json, which ignores case in names and takes the last of two equal names:
// two readers could see two different requests.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, fields []field) error {
	if err := checkMediaType(r.Header); err != nil {
		return err
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return tooLarge(limit)
	}
	if err != nil {
		return unreadable(errors.New("it ends early"))
	}
	object, err := parseObject(data)
	if err != nil {
		return unreadable(err)
	}
	var bad faults
	for _, f := range fields {
		bad.assign(f.name, object[f.name], f.target)
		delete(object, f.name)
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		bad.add(fmt.Sprintf("%.64s", name), "is unknown, want %s", names(fields))
	}
	return bad.err()
}

func names(fields []field) string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.name
	}
	return strings.Join(list, ", ")
}

func checkMediaType(header http.Header) error {
	types := header.Values("Content-Type")
	if len(types) != 1 {
		return unsupported("want one Content-Type, application/json")
	}
	media, params, err := mime.ParseMediaType(types[0])
	if err != nil || media != "application/json" {
		return unsupported("want Content-Type application/json")
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return unsupported("want Content-Type application/json, in UTF-8")
		}
	}
	if len(header.Values("Content-Encoding")) > 0 {
		return unsupported("want no Content-Encoding")
	}
	return nil
}

// parseObject parses a text that is one JSON object and nothing else, into
// map[string]any, []any, string, json.Number, bool and nil.
func parseObject(data []byte) (map[string]any, error) {
	var whole json.RawMessage
	var syntax *json.SyntaxError
	if err := json.Unmarshal(data, &whole); errors.As(err, &syntax) {
		return nil, fmt.Errorf("it is not exactly one JSON value: see byte %d", syntax.Offset)
	} else if err != nil {
		return nil, errors.New("it is not exactly one JSON value")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	value, err := parseValue(decoder, 0)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("it is %s, want an object", typeOf(value))
	}
	return object, nil
}

func parseValue(decoder *json.Decoder, depth int) (any, error) {
	next, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch next := next.(type) {
	case json.Delim:
		if depth == maxDepth {
			return nil, fmt.Errorf("more than %d levels deep", maxDepth)
		}
		if next == '{' {
			return parseMembers(decoder, depth+1)
		}
		list := []any{}
		for decoder.More() {
			value, err := parseValue(decoder, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := decoder.Token()
		return list, err
	case string:
		return next, checkText(next)
	}
	return next, nil
}

func parseMembers(decoder *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for decoder.More() {
		next, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		name, ok := next.(string)
		if !ok {
			return nil, errors.New("a name is not a string")
		}
		if err := checkText(name); err != nil {
			return nil, err
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("name %.64q appears twice in one object", name)
		}
		if object[name], err = parseValue(decoder, depth); err != nil {
			return nil, err
		}
	}
	_, err := decoder.Token()
	return object, err
}

// checkText refuses U+FFFD, with which the decoder replaces invalid UTF-8 and halves
// of surrogate pairs.
func checkText(text string) error {
	if strings.ContainsRune(text, utf8.RuneError) {
		return errors.New("a string is not valid UTF-8, or has U+FFFD")
	}
	return nil
}

// faults collects what is wrong with a request.
type faults []InvalidParameter

// add adds a fault. Its reason has the form of fmt.Errorf.
func (f *faults) add(field, reason string, args ...any) {
	if len(*f) < maxFaults {
		*f = append(*f, InvalidParameter{field, fmt.Errorf(reason, args...).Error()})
	}
}

func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return invalid(f...)
}

// assign stores a parsed value, unless it is null. Empty lists and objects are
// stored as nil.
func (f *faults) assign(name string, value, target any) {
	if value == nil {
		return
	}
	switch target := target.(type) {
	case *string:
		text, ok := value.(string)
		if !ok {
			f.add(name, "is %s, want a string", typeOf(value))
		}
		*target = text
	case *[]string:
		list, ok := value.([]any)
		if !ok {
			f.add(name, "is %s, want a list of strings", typeOf(value))
		}
		for i, value := range list {
			text, ok := value.(string)
			if !ok { // null too, which other readers take for an empty string
				f.add(fmt.Sprintf("%s[%d]", name, i), "is %s, want a string", typeOf(value))
			}
			if len(*f) >= maxFaults {
				break // the answer lists no more
			}
			*target = append(*target, text)
		}
	case *map[string][]string:
		object, ok := value.(map[string]any)
		if !ok {
			f.add(name, "is %s, want an object of lists of strings", typeOf(value))
		}
		for _, key := range slices.Sorted(maps.Keys(object)) {
			var list []string
			f.assign(fmt.Sprintf("%s[%.64q]", name, key), object[key], &list)
			if *target == nil {
				*target = map[string][]string{}
			}
			(*target)[key] = list
		}
	}
}

func typeOf(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "null"
}
