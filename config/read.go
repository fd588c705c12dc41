package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/meshpass/meshpass/token"
)

// Read reads a configuration from a JSON document and from variables, which override
// the document, and checks it. Settings that are missing have the values of [Default].
// The document may be empty, and may begin with a byte order mark of UTF-8. lookup
// looks up variables: pass os.LookupEnv, or nil for no variables; see
// [Config.ApplyEnvironment].
//
// The document may contain the settings of [Config] under the names of every version,
// and what Kuma has beside them, which is passed over. Read refuses other names, names
// in another case or duplicate, values of another type, and text after the document.
// Null means that a setting is not set. Read blocks while it reads the files that the
// configuration names.
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
		if err := c.decode(bytes.TrimPrefix(document, []byte("\ufeff"))); err != nil {
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

// UnmarshalJSON reads the settings of a JSON document into c, as [Read] does, and leaves
// those that are missing. It implements json.Unmarshaler. It does not check them.
func (c *Config) UnmarshalJSON(document []byte) error { return c.decode(document) }

// UnmarshalYAML reads the settings of a YAML document into c, as [Config.UnmarshalJSON]
// does for JSON. It is the method that gopkg.in/yaml.v2, gopkg.in/yaml.v3 and others
// look for. sigs.k8s.io/yaml uses UnmarshalJSON.
func (c *Config) UnmarshalYAML(unmarshal func(any) error) error {
	var document any
	if err := unmarshal(&document); err != nil {
		return err
	}
	return c.decodeValue(document)
}

func (c *Config) decode(document []byte) error {
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
	var p problems
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	value := parse(d, "", &p)
	return errors.Join(errors.Join(p...), c.decodeValue(value))
}

// parse reads the next value of a well-formed document, and finds names that are set
// twice, which encoding/json ignores.
func parse(d *json.Decoder, path string, p *problems) any {
	next, _ := d.Token()
	switch next {
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			key, _ := d.Token()
			name, _ := key.(string)
			at := join(path, name)
			if !plainName.MatchString(name) { // errors print it
				at = join(path, fmt.Sprintf("%.64q", name))
			}
			if _, twice := object[name]; twice {
				p.addf(at, "set twice")
			}
			object[name] = parse(d, at, p)
		}
		_, _ = d.Token()
		return object
	case json.Delim('['):
		list := []any{}
		for i := 0; d.More(); i++ {
			list = append(list, parse(d, fmt.Sprintf("%s[%d]", path, i), p))
		}
		_, _ = d.Token()
		return list
	}
	return next
}

var plainName = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
