package xdsauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits on the resource in a node's metadata. Resources of kuma-dp have some
// kilobytes, most of them about outbounds.
const (
	maxResource = 256 << 10 // bytes
	maxDepth    = 32
	maxTags     = 128 // and labels
	maxInbounds = 128
)

// resource is what a node's resource says about the proxy: a Dataplane, or a ZoneIngress
// or ZoneEgress of Kuma 2.
type resource struct {
	kind     string
	mesh     string
	name     string
	zone     string // of a ZoneIngress or ZoneEgress, optional
	labels   map[string]string
	inbounds []map[string]string // tags of inbounds, and of a gateway
}

// parseResource reads a resource in the form that kuma-dp sends: the fields of the
// metadata beside those of the specification. It refuses what two readers could
// understand in different ways.
func parseResource(text string) (resource, error) {
	if len(text) > maxResource {
		return resource{}, fmt.Errorf("%d bytes long, the maximum is %d", len(text), maxResource)
	}
	read := readYAML
	if strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") {
		read = readJSON
	}
	tree, err := read(text)
	if err != nil {
		return resource{}, err
	}
	root, ok := tree.(object)
	if !ok {
		return resource{}, errors.New("not an object")
	}
	return resourceIn(root)
}

func resourceIn(root object) (r resource, err error) {
	if spec, err := root.get("spec"); err != nil || spec != nil {
		return r, errors.New(`it has the field "spec"; the fields of the specification belong beside "name"`)
	}
	for name, to := range map[string]*string{"type": &r.kind, "mesh": &r.mesh, "name": &r.name, "zone": &r.zone} {
		if *to, err = root.text(name); err != nil {
			return r, err
		}
	}
	if r.labels, err = root.texts("labels"); err != nil {
		return r, err
	}
	networking, err := root.object("networking")
	if err != nil {
		return r, err
	}
	inbounds, err := networking.get("inbound")
	if err != nil {
		return r, err
	}
	list, ok := inbounds.([]any)
	if !ok && inbounds != nil {
		return r, errors.New(`"inbound" is not a list`)
	}
	if len(list) > maxInbounds {
		return r, fmt.Errorf("it has %d inbounds, the maximum is %d", len(list), maxInbounds)
	}
	for _, element := range list {
		inbound, ok := element.(object)
		if !ok {
			return r, errors.New("an inbound is not an object")
		}
		tags, err := inbound.texts("tags")
		if err != nil {
			return r, err
		}
		r.inbounds = append(r.inbounds, tags)
	}
	gateway, err := networking.object("gateway")
	if err != nil || gateway == nil {
		return r, err
	}
	tags, err := gateway.texts("tags")
	r.inbounds = append(r.inbounds, tags)
	return r, err
}

// object is an object of JSON or YAML. Its values are objects, []any, strings, nil, and
// other for what no field that is read may be.
type object map[string]any

type other struct{}

// get returns a field, or nil if it is absent or null. A field that is spelled in
// another case is refused, since some readers take it for this one.
func (o object) get(name string) (any, error) {
	for key := range o {
		if key != name && strings.EqualFold(key, name) {
			return nil, fmt.Errorf("it has the field %s, which is spelled %q", quote(key), name)
		}
	}
	return o[name], nil
}

func (o object) text(name string) (string, error) {
	value, err := o.get(name)
	if err != nil || value == nil {
		return "", err
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("%q is not a string", name)
	}
	return strings.Clone(text), nil
}

func (o object) object(name string) (object, error) {
	value, err := o.get(name)
	if err != nil || value == nil {
		return nil, err
	}
	field, ok := value.(object)
	if !ok {
		return nil, fmt.Errorf("%q is not an object", name)
	}
	return field, nil
}

// texts returns a field that is an object of strings.
func (o object) texts(name string) (map[string]string, error) {
	field, err := o.object(name)
	if err != nil || field == nil {
		return nil, err
	}
	if len(field) > maxTags {
		return nil, fmt.Errorf("%q has %d names, the maximum is %d", name, len(field), maxTags)
	}
	texts := make(map[string]string, len(field))
	for key, value := range field {
		text, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("%q has a value that is not a string, for %s", name, quote(key))
		}
		texts[strings.Clone(key)] = strings.Clone(text) // not to keep all of the resource
	}
	return texts, nil
}

func (o object) add(key string, value any) error {
	if key == mergeKey {
		return fmt.Errorf("it has the field %q, which some readers of YAML replace by the fields of its value", mergeKey)
	}
	if _, twice := o[key]; twice {
		return fmt.Errorf("it has the field %s twice", quote(key))
	}
	o[key] = value
	return nil
}

// mergeKey means in YAML 1.1 that the fields of the value belong to the object around it.
// In quotes it does not, unless some readers meet "!" before the quotes.
const mergeKey = "<<"

var errTooDeep = fmt.Errorf("nested more than %d levels deep", maxDepth)

func readJSON(text string) (any, error) {
	if !json.Valid([]byte(text)) {
		return nil, errors.New("not valid JSON")
	}
	return (&jsonReader{text}).value(maxDepth)
}

// jsonReader reads valid JSON, as encoding/json does, but several times faster. Strings are
// slices of the text where they can be.
type jsonReader struct{ rest string }

func (r *jsonReader) value(depth int) (any, error) {
	if depth == 0 {
		return nil, errTooDeep
	}
	switch r.next() {
	case '{':
		fields := object{}
		for r.more('}') {
			r.next()
			key := r.text()
			r.next()
			r.skip(1) // :
			value, err := r.value(depth - 1)
			if err != nil {
				return nil, err
			}
			if err := fields.add(key, value); err != nil {
				return nil, err
			}
		}
		return fields, nil
	case '[':
		list := []any{}
		for r.more(']') {
			value, err := r.value(depth - 1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case '"':
		return r.text(), nil
	case 'n':
		r.skip(len("null"))
		return nil, nil
	}
	if end := strings.IndexAny(r.rest, ",]} \t\r\n"); end >= 0 {
		r.skip(end)
	} else {
		r.skip(len(r.rest))
	}
	return other{}, nil
}

func (r *jsonReader) skip(bytes int) { r.rest = r.rest[bytes:] }

// next skips white space and returns the byte after it.
func (r *jsonReader) next() byte {
	r.rest = strings.TrimLeft(r.rest, " \t\r\n")
	return r.rest[0]
}

// more skips the bracket or the comma before an element, and reports whether there is one.
func (r *jsonReader) more(end byte) bool {
	if r.next() != end {
		r.skip(1)
	}
	if r.next() != end {
		return true
	}
	r.skip(1)
	return false
}

// text reads a string.
func (r *jsonReader) text() string {
	end, plain := 1, true
	for ; r.rest[end] != '"'; end++ {
		if r.rest[end] == '\\' {
			end++
			plain = false
		} else if r.rest[end] >= utf8.RuneSelf {
			plain = false
		}
	}
	quoted := r.rest[:end+1]
	r.skip(len(quoted))
	if plain {
		return quoted[1:end]
	}
	var text string
	_ = json.Unmarshal([]byte(quoted), &text) // it is valid
	return text
}

func readYAML(text string) (any, error) {
	from := yaml.NewDecoder(strings.NewReader(text))
	var document yaml.Node
	if err := from.Decode(&document); err != nil || len(document.Content) != 1 {
		return nil, errors.New("not valid YAML")
	}
	if err := from.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document")
	}
	return yamlValue(document.Content[0], maxDepth)
}

// yamlValue reads a node. It refuses what makes a document other than it looks: anchors,
// aliases, merged objects and tags.
func yamlValue(node *yaml.Node, depth int) (any, error) {
	switch {
	case depth == 0:
		return nil, errTooDeep
	case node.Anchor != "" || node.Kind == yaml.AliasNode || node.Style&yaml.TaggedStyle != 0:
		return nil, errors.New("anchors, aliases and tags of YAML are not read")
	}
	switch node.Kind {
	case yaml.MappingNode:
		fields := object{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, err := yamlValue(node.Content[i], depth-1)
			if err != nil {
				return nil, err
			}
			name, ok := key.(string)
			if !ok {
				return nil, errors.New("it has a field whose name is not a string")
			}
			value, err := yamlValue(node.Content[i+1], depth-1)
			if err != nil {
				return nil, err
			}
			if err := fields.add(name, value); err != nil {
				return nil, err
			}
		}
		return fields, nil
	case yaml.SequenceNode:
		list := []any{}
		for _, element := range node.Content {
			value, err := yamlValue(element, depth-1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	}
	plain := node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch tag := node.ShortTag(); {
	case tag == "!!null":
		return nil, nil
	case tag != "!!str", plain && slices.Contains(booleans, strings.ToLower(node.Value)):
		return other{}, nil
	}
	return node.Value, nil
}

// booleans are what YAML 1.1, which Kuma reads, takes for a boolean and YAML 1.2 for a
// string, unless it is quoted.
var booleans = []string{"y", "n", "yes", "no", "on", "off"}
