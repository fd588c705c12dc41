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
	kind     string // these share the memory of all of the resource
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
	for _, end := range lineEnds {
		if strings.ContainsRune(text, end) {
			return resource{}, fmt.Errorf("it has %U, which YAML 1.1 takes for the end of a line; write it as an escape", end)
		}
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

// lineEnds are characters like any other in JSON and YAML 1.2. YAML 1.1, which reads JSON
// too, ends a comment at them and makes a space of them in a string.
var lineEnds = [...]rune{'\u0085', '\u2028', '\u2029'}

func resourceIn(root object) (r resource, err error) {
	if spec, err := root.get("spec"); err != nil || spec != nil {
		return r, errors.New(`it has the field "spec"; the fields of the specification belong beside "name"`)
	}
	for _, field := range [...]struct {
		name string
		to   *string
	}{{"type", &r.kind}, {"mesh", &r.mesh}, {"name", &r.name}, {"zone", &r.zone}} {
		if *field.to, err = root.text(field.name); err != nil {
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

// object holds the fields of an object of JSON or YAML. It is no map, since making one takes
// longer than looking through a few fields.
type object []field

// field is a field of an object. Its value is an object, []any, a string, nil, or other for
// what no field that is read may be.
type field struct {
	name  string
	value any
}

type other struct{}

// get returns a field, or nil if it is absent or null. A field that is spelled in
// another case is refused, since some readers take it for this one.
func (o object) get(name string) (value any, err error) {
	for _, f := range o {
		if f.name == name {
			value = f.value
		} else if strings.EqualFold(f.name, name) {
			return nil, fmt.Errorf("it has the field %s, which is spelled %q", quote(f.name), name)
		}
	}
	return value, nil
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
	return text, nil
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
	for _, f := range field {
		text, ok := f.value.(string)
		if !ok {
			return nil, fmt.Errorf("%q has a value that is not a string, for %s", name, quote(f.name))
		}
		texts[strings.Clone(f.name)] = strings.Clone(text) // not to keep all of the resource
	}
	return texts, nil
}

// objectReader collects the fields of an object.
type objectReader struct {
	fields object
	many   map[string]bool // their names, once there are more than few
}

const (
	usual = 8 // an empty object gets no room for them: a peer may send 80,000
	few   = 16
)

func (r *objectReader) add(name string, value any) error {
	if name == mergeKey {
		return fmt.Errorf("it has the field %q, which some readers of YAML replace by the fields of its value", mergeKey)
	}
	if r.has(name) {
		return fmt.Errorf("it has the field %s twice", quote(name))
	}
	if len(r.fields) == 0 {
		r.fields = make(object, 0, usual)
	}
	r.fields = append(r.fields, field{name, value})
	return nil
}

// has reports whether a field was added. It takes a map for many fields, so that a hostile
// object does not take quadratic time.
func (r *objectReader) has(name string) bool {
	if len(r.fields) <= few {
		return slices.ContainsFunc(r.fields, func(f field) bool { return f.name == name })
	}
	if r.many == nil {
		r.many = make(map[string]bool)
		for _, f := range r.fields {
			r.many[f.name] = true
		}
	}
	has := r.many[name]
	r.many[name] = true
	return has
}

// mergeKey means in YAML 1.1 that the fields of the value belong to the object around it.
// In quotes it does not, unless some readers meet "!" before the quotes.
const mergeKey = "<<"

var errTooDeep = fmt.Errorf("nested more than %d levels deep", maxDepth)

var errNotJSON = errors.New("not valid JSON")

func readJSON(text string) (any, error) {
	r := jsonReader{text}
	value, err := r.value(maxDepth)
	if r.next(); err == nil && r.rest != "" {
		err = errNotJSON
	}
	switch {
	case err == nil:
		return value, nil
	case !json.Valid([]byte(text)):
		return nil, errNotJSON // whatever else is wrong with it
	}
	return nil, err
}

// jsonReader reads JSON as encoding/json does, but several times faster. Strings are slices
// of the text where they can be.
type jsonReader struct{ rest string }

func (r *jsonReader) value(depth int) (any, error) {
	if depth == 0 {
		return nil, errTooDeep
	}
	switch r.next() {
	case '{':
		return r.object(depth)
	case '[':
		list := []any{}
		for {
			more, err := r.more(']', len(list) == 0)
			if err != nil || !more {
				return list, err
			}
			value, err := r.value(depth - 1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
	case '"':
		return r.text()
	}
	switch word := r.word(); {
	case word == "null":
		return nil, nil
	case json.Valid([]byte(word)): // a number, true or false
		return other{}, nil
	}
	return nil, errNotJSON
}

// word reads up to what can follow a value.
func (r *jsonReader) word() string {
	end := 0
	for end < len(r.rest) && !strings.ContainsRune(",]} \t\r\n", rune(r.rest[end])) {
		end++
	}
	word := r.rest[:end]
	r.skip(end)
	return word
}

func (r *jsonReader) object(depth int) (object, error) {
	read := objectReader{fields: object{}}
	for {
		more, err := r.more('}', len(read.fields) == 0)
		if err != nil || !more {
			return read.fields, err
		}
		if r.next() != '"' {
			return nil, errNotJSON
		}
		name, err := r.text()
		if err != nil {
			return nil, err
		}
		if r.next() != ':' {
			return nil, errNotJSON
		}
		r.skip(1)
		value, err := r.value(depth - 1)
		if err != nil {
			return nil, err
		}
		if err := read.add(name, value); err != nil {
			return nil, err
		}
	}
}

func (r *jsonReader) skip(bytes int) { r.rest = r.rest[bytes:] }

// next skips white space and returns the byte after it, or 0 at the end.
func (r *jsonReader) next() byte {
	for i := range len(r.rest) {
		switch c := r.rest[i]; c {
		case ' ', '\t', '\r', '\n':
		default:
			r.skip(i)
			return c
		}
	}
	r.rest = ""
	return 0
}

// more skips what is before an element, the opening bracket or a comma, or the closing
// bracket. It reports whether there is an element.
func (r *jsonReader) more(end byte, first bool) (bool, error) {
	if first {
		r.skip(1)
		if r.next() != end {
			return true, nil
		}
	}
	switch r.next() {
	case end:
		r.skip(1)
		return false, nil
	case ',':
		r.skip(1)
		return true, nil
	}
	return false, errNotJSON
}

// text reads a string.
func (r *jsonReader) text() (string, error) {
	for i := 1; i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '"':
			text := r.rest[1:i]
			r.skip(i + 1)
			return text, nil
		case c == '\\' || c < ' ' || c >= utf8.RuneSelf:
			return r.encoded(i)
		}
	}
	return "", errNotJSON
}

// encoded reads a string that is not plain from a byte on.
func (r *jsonReader) encoded(from int) (text string, err error) {
	for i := from; i < len(r.rest); i++ {
		switch r.rest[i] {
		case '\\':
			i++
		case '"':
			err = json.Unmarshal([]byte(r.rest[:i+1]), &text)
			r.skip(i + 1)
			return text, err
		}
	}
	return "", errNotJSON
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
		read := objectReader{fields: object{}}
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
			if err := read.add(name, value); err != nil {
				return nil, err
			}
		}
		return read.fields, nil
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
