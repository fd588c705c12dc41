package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// decodeValue takes the settings of a document that a JSON or YAML library has read into
// maps, lists and simple values. It takes nothing if there is a problem.
func (c *Config) decodeValue(document any) error {
	var d decoder
	d.section(document, "")
	if len(d.problems) > 0 {
		return errors.Join(d.problems...)
	}
	c.take(d.readings)
	return nil
}

type decoder struct {
	readings []reading
	problems problems
}

func (d *decoder) wrongType(path string, found any, want string) {
	if path == "" {
		path = "the document"
	}
	d.problems.addf(path, "found %s, want %s", describe(found), want)
}

// section reads the settings below a path.
func (d *decoder) section(value any, path string) {
	if value == nil {
		return
	}
	object, ok := asObject(value)
	if !ok {
		d.wrongType(path, value, "an object")
		return
	}
	known := members(path)
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if at := join(path, name); isPassedOver(path, name) {
			continue
		} else if slices.Contains(known, name) {
			if s, old := settingAt(at); s != nil {
				d.setting(object[name], at, s, old)
			} else {
				d.section(object[name], at)
			}
		} else {
			d.unknown(path, name, known, len(passedOver[path]) > 0)
		}
	}
}

func (d *decoder) unknown(path, name string, known []string, others bool) {
	if path == "" {
		path = "the document"
	}
	or := ""
	if others {
		or = ", or one of Kuma's that is not about authentication"
	}
	d.problems.addf(path, "there is no setting %.64q, want one of %s%s", name, strings.Join(known, ", "), or)
}

func (d *decoder) setting(value any, path string, s *setting, old bool) {
	if value == nil {
		return
	}
	r := reading{setting: s, old: old}
	switch s.field(new(Config)).(type) {
	case *string:
		text, ok := value.(string)
		if !ok {
			d.wrongType(path, value, "a string")
			return
		}
		if text == "" && s.notEmpty {
			d.problems.addf(path, "it is empty, want a value, or no such setting")
		}
		r.value = text
	case *Secret:
		text, ok := value.(string)
		if !ok {
			d.wrongType(path, value, "a string")
			return
		}
		r.value = NewSecret(text)
	case *bool:
		on, ok := value.(bool)
		if !ok {
			d.wrongType(path, value, "a boolean")
			return
		}
		r.value = on
	case *[]PublicKey:
		keys := ofNoMesh(nil)
		if !d.keys(value, path, []string{"key", "keyFile", "kid"}, &keys) {
			return
		}
		list := make([]PublicKey, 0, len(keys))
		for _, k := range keys {
			list = append(list, PublicKey{k.KID, k.Key, k.KeyFile})
		}
		r.value = &list
	case *[]MeshPublicKey:
		keys := []MeshPublicKey{}
		if !d.keys(value, path, []string{"key", "keyFile", "kid", "mesh"}, &keys) {
			return
		}
		r.value = &keys
	case *[]KeySource:
		sources := []KeySource{}
		if !d.list(value, path, func(at string, object map[string]any) {
			var source KeySource
			d.members(object, at, source.fields())
			sources = append(sources, source)
		}) {
			return
		}
		r.value = &sources
	}
	if isEmpty(r.value) {
		return // as in Kuma, an empty text sets nothing
	}
	d.readings = append(d.readings, r)
}

func isEmpty(value any) bool {
	secret, ok := value.(Secret)
	return value == "" || ok && secret.IsZero()
}

// keys reads a list of public keys.
func (d *decoder) keys(value any, path string, known []string, to *[]MeshPublicKey) bool {
	return d.list(value, path, func(at string, object map[string]any) {
		var key MeshPublicKey
		fields := map[string]any{"kid": &key.KID, "key": &key.Key, "keyFile": &key.KeyFile, "mesh": &key.Mesh}
		maps.DeleteFunc(fields, func(name string, _ any) bool { return !slices.Contains(known, name) })
		d.members(object, at, fields)
		*to = append(*to, key)
	})
}

// list reads a list of objects.
func (d *decoder) list(value any, path string, element func(at string, object map[string]any)) bool {
	list, ok := value.([]any)
	if !ok {
		d.wrongType(path, value, "a list")
		return false
	}
	for i, value := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if object, ok := asObject(value); ok {
			element(at, object)
		} else {
			d.wrongType(at, value, "an object")
		}
	}
	return true
}

// members reads the members of an object into fields: *string or *bool. A kid may be a
// whole number.
func (d *decoder) members(object map[string]any, at string, fields map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value := object[name]
		field, known := fields[name]
		if !known {
			d.unknown(at, name, slices.Sorted(maps.Keys(fields)), false)
			continue
		}
		if value == nil {
			continue
		}
		switch field := field.(type) {
		case *bool:
			if on, ok := value.(bool); ok {
				*field = on
			} else {
				d.wrongType(join(at, name), value, "a boolean")
			}
		case *string:
			if text, ok := value.(string); ok {
				*field = text
			} else if kid, ok := wholeNumber(value); ok && name == "kid" {
				*field = kid
			} else if name == "kid" {
				d.wrongType(join(at, name), value, "a string or a whole number")
			} else {
				d.wrongType(join(at, name), value, "a string")
			}
		}
	}
}

// asObject returns the members of an object. Some YAML libraries have keys of any type;
// then keys that are no strings have their printed form, which is no known name.
func asObject(value any) (map[string]any, bool) {
	switch object := value.(type) {
	case map[string]any:
		return object, true
	case map[any]any:
		members := make(map[string]any, len(object))
		for key, value := range object {
			members[fmt.Sprint(key)] = value
		}
		return members, true
	}
	return nil, false
}

var decimal = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

// wholeNumber returns the decimal form of a number that is not negative and was written
// without a fraction and an exponent, as far as that can be told.
func wholeNumber(value any) (string, bool) {
	switch value.(type) {
	case json.Number, int, int64, uint64:
		text := fmt.Sprint(value)
		return text, decimal.MatchString(text)
	}
	return "", false
}

func describe(value any) string {
	switch value.(type) {
	case nil:
		return "nothing"
	case map[string]any, map[any]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case json.Number, int, int64, uint64, float64:
		return "a number"
	}
	return fmt.Sprintf("a value of type %T", value)
}

// zoneTokenWord returns the word for TypeZoneToken under the old or the new name.
func zoneTokenWord(old bool) string {
	if old {
		return oldZoneToken
	}
	return TypeZoneToken
}
