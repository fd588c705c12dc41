package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/meshpass/meshpass/token"
)

// Read reads a configuration from a JSON document and from variables, which override
// the document, and checks it. Settings that are missing have the values of [Default].
// The document may be empty, and may begin with a byte order mark of UTF-8. lookup looks up variables: pass os.LookupEnv, or nil for
// no variables; see [Config.ApplyEnvironment].
//
// The document must contain only the settings of [Config]. Read refuses names that are
// unknown, in another case or duplicate, values of another type, and text after the
// document. Null means that a setting is not set. Read blocks while it reads the files
// that the configuration names.
//
// The error lists all problems of the document. If the document is good, it lists all
// problems of the variables and the settings, each with the path of its entry.
func Read(document []byte, lookup func(name string) (string, bool)) (Config, error) {
	c := Default()
	text, err := token.PlainText(document)
	if err != nil {
		return Config{}, fmt.Errorf("config: the document: %w", err)
	}
	if len(text) > 0 {
		if err := decode(bytes.TrimPrefix(document, []byte("\ufeff")), &c); err != nil {
			return Config{}, err
		}
	}
	var variables error
	if lookup != nil {
		variables = c.ApplyEnvironment(lookup)
	}
	if err := errors.Join(variables, c.Check()); err != nil {
		return Config{}, err
	}
	return c, nil
}

func decode(document []byte, c *Config) error {
	if !utf8.Valid(document) {
		return errors.New("config: the document is not UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(document, &whole); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line := 1 + bytes.Count(document[:min(syntax.Offset, int64(len(document)))], []byte("\n"))
			return fmt.Errorf("config: the document is not JSON: line %d: %w", line, err)
		}
		return fmt.Errorf("config: the document is not JSON: %w", err)
	}
	var s strictness
	s.value(json.NewDecoder(bytes.NewReader(document)), reflect.TypeFor[Config](), "")
	if len(s.problems) > 0 {
		return errors.Join(s.problems...)
	}
	if err := json.Unmarshal(document, c); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

// strictness finds faults that encoding/json ignores, and names the entry of each
// fault.
type strictness struct{ problems []error }

func (s *strictness) add(path, format string, args ...any) {
	if path == "" {
		path = "the document"
	}
	s.problems = append(s.problems, fmt.Errorf("config: %s: %s", path, fmt.Sprintf(format, args...)))
}

// value reads the next value, which must be of type t, or of any type if t is nil.
// The document is well-formed, so the decoder does not fail.
func (s *strictness) value(d *json.Decoder, t reflect.Type, path string) {
	next, _ := d.Token()
	found, wanted := describe(next), describeType(t)
	if t != nil && next != nil && found != wanted {
		s.add(path, "found %s, want %s", found, wanted)
		t = nil
	}
	switch next {
	case json.Delim('{'):
		s.object(d, t, path)
	case json.Delim('['):
		for i := 0; d.More(); i++ {
			var element reflect.Type
			if t != nil {
				element = t.Elem()
			}
			s.value(d, element, fmt.Sprintf("%s[%d]", path, i))
		}
		_, _ = d.Token()
	}
}

// object reads the rest of an object.
func (s *strictness) object(d *json.Decoder, t reflect.Type, path string) {
	settings := map[string]reflect.Type{}
	if t != nil {
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			settings[name] = t.Field(i).Type
		}
	}
	seen := map[string]bool{}
	for d.More() {
		next, _ := d.Token()
		name, _ := next.(string)
		at := strings.TrimPrefix(path+"."+name, ".")
		setting, known := settings[name]
		switch {
		case t == nil:
		case !known:
			s.add(path, "there is no setting %.64q, want one of %s", name, strings.Join(slices.Sorted(maps.Keys(settings)), ", "))
		case seen[name]:
			s.add(at, "set twice")
		}
		seen[name] = true
		s.value(d, setting, at)
	}
	_, _ = d.Token()
}

func describe(t json.Token) string {
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return "an object"
		}
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	}
	return "a number"
}

func describeType(t reflect.Type) string {
	switch {
	case t == nil:
		return ""
	case t == reflect.TypeFor[Secret]() || t.Kind() == reflect.String:
		return "a string"
	case t.Kind() == reflect.Bool:
		return "a boolean"
	case t.Kind() == reflect.Slice:
		return "a list"
	}
	return "an object"
}
