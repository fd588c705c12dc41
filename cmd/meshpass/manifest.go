package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// maxManifest is how many bytes of manifests the tool reads from a file: more than a
// revocation list with 300,000 ids.
const maxManifest = 16 << 20

// The types of a Secret that Kuma reads on Kubernetes, and its label for the mesh.
const (
	kubernetesSecret       = "system.kuma.io/secret"
	kubernetesGlobalSecret = "system.kuma.io/global-secret"
	kubernetesMeshLabel    = "kuma.io/mesh"
)

// manifest is a resource that a file holds: a record, or the reason why it is none.
type manifest struct {
	name    string // of the resource, for people
	record  keystore.Record
	foreign string // not nil if the resource is none of Kuma's secrets: what it is
	fault   error  // not nil if the secret cannot be read
}

// resource has the fields of a resource of Kuma, of Kubernetes, and of the lists of both.
type resource struct {
	Type string    `yaml:"type"`
	Mesh string    `yaml:"mesh"`
	Name string    `yaml:"name"`
	Data yaml.Node `yaml:"data"`

	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name     string            `yaml:"name"`
		Labels   map[string]string `yaml:"labels"`
		Continue string            `yaml:"continue"`
	} `yaml:"metadata"`

	Items yaml.Node `yaml:"items"`
	Next  string    `yaml:"next"`
}

// readManifests reads resources in YAML or JSON, which may be lists, in any number of
// documents.
func (a *app) readManifests(path string) ([]manifest, error) {
	if path == "-" {
		if a.inRead {
			return nil, usagef(`"-" is given twice, and standard input can be read only once`)
		}
		a.inRead = true
	}
	file, err := a.open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxManifest+1))
	if err == nil && len(data) > maxManifest {
		err = fmt.Errorf("%s has more than %d bytes", nameOf(path), maxManifest)
	}
	if err != nil {
		return nil, advise(err, "export fewer secrets into one file")
	}
	text, err := plainText(path, data)
	if err != nil {
		return nil, err
	}
	var found []manifest
	for next := documents(text); ; {
		document, err := next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s is neither YAML nor JSON: %w", nameOf(path), err)
		}
		if hasAlias(document) { // a few bytes of them could stand for gigabytes
			err = errors.New("it holds an alias of YAML, which neither tool prints")
		} else {
			found, err = a.appendManifests(found, path, document, true)
		}
		if err != nil {
			return nil, advise(fmt.Errorf("%s: %w", nameOf(path), err), `want what "kumactl get secrets -o yaml" or "kubectl get secrets -o yaml" prints`)
		}
	}
}

// documents returns a function that reads the next document, up to io.EOF. JSON has
// escapes that the reader of YAML does not know, and documents without a mark between
// them.
func documents(text []byte) func() (*yaml.Node, error) {
	if !bytes.HasPrefix(text, []byte("{")) {
		from := yaml.NewDecoder(bytes.NewReader(text))
		return func() (*yaml.Node, error) {
			document := new(yaml.Node)
			return document, from.Decode(document)
		}
	}
	from := json.NewDecoder(bytes.NewReader(text))
	return func() (*yaml.Node, error) {
		var value any
		if err := from.Decode(&value); err != nil {
			return nil, err
		}
		document := new(yaml.Node)
		return document, document.Encode(value)
	}
}

func hasAlias(node *yaml.Node) bool {
	return node.Kind == yaml.AliasNode || slices.ContainsFunc(node.Content, hasAlias)
}

// appendManifests appends the resource in a node, or those of the list in it.
func (a *app) appendManifests(found []manifest, path string, node *yaml.Node, mayBeList bool) ([]manifest, error) {
	var r resource
	if err := node.Decode(&r); err != nil {
		return nil, errors.New("it holds what is no resource, or one whose fields have another form") // err may quote a secret
	}
	switch {
	case len(node.Content) == 1 && node.Content[0].ShortTag() == "!!null":
		return found, nil // an empty document
	case r.Items.Kind == 0 && (r.Type != "" || r.Kind != ""):
		return append(found, manifestOf(&r)), nil
	case r.Items.Kind == 0 || !mayBeList:
		return nil, errors.New("it holds what is no resource")
	}
	if r.Next != "" || r.Metadata.Continue != "" {
		a.say("warning: %s holds one page of a list, and there are more: get all with --size, or import each page", nameOf(path))
	}
	var items []yaml.Node
	if err := r.Items.Decode(&items); err != nil {
		return nil, errors.New(`it holds a list whose "items" are none`)
	}
	for i := range items {
		var err error
		if found, err = a.appendManifests(found, path, &items[i], false); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func manifestOf(r *resource) manifest {
	m := manifest{record: keystore.Record{Name: r.Name}}
	value := &r.Data
	switch {
	case r.APIVersion != "" || r.Kind != "":
		m.record.Name = r.Metadata.Name
		var data map[string]yaml.Node
		if r.Kind != "Secret" || r.APIVersion != "v1" || r.Type != kubernetesSecret && r.Type != kubernetesGlobalSecret {
			m.foreign = strings.TrimSpace(r.Kind + " " + r.Type)
		} else if err := r.Data.Decode(&data); err != nil || data["value"].Kind == 0 {
			m.fault = errors.New(`it has no "data.value"`)
		} else {
			found := data["value"]
			value = &found
		}
		if r.Type == kubernetesSecret {
			m.record.Scope = "default"
			if mesh := r.Metadata.Labels[kubernetesMeshLabel]; mesh != "" { // empty would be the global scope
				m.record.Scope = keystore.Scope(mesh)
			}
		}
	case r.Type == "Secret" && r.Mesh == "":
		m.fault = errors.New(`it has no "mesh"`)
	case r.Type == "Secret":
		m.record.Scope = keystore.Scope(r.Mesh)
	case r.Type != "GlobalSecret":
		m.foreign = r.Type
	case r.Mesh != "":
		m.fault = errors.New("it is a GlobalSecret and names a mesh")
	}
	m.name = named(m.record)
	if m.foreign != "" || m.fault != nil {
		return m
	}
	var text string
	if value.Kind == 0 || value.Decode(&text) != nil {
		m.fault = errors.New(`it has no "data"`)
		return m
	}
	var err error
	if m.record.Data, err = base64.StdEncoding.DecodeString(text); err != nil {
		m.fault = errors.New("its data is not base64") // err would quote the secret
	}
	return m
}

// content is what a record holds.
type content string

const (
	foreign     content = "" // no record of this library
	privateKey  content = "private key"
	externalKey content = "key in a KMS or HSM"
	publicKey   content = "public key"
	list        content = "revocation list"
)

// contentOf says by its name and scope what a record holds. The error says what is wrong
// with the name of a record that seems to be one of this library.
func contentOf(scope keystore.Scope, name string) (content, signing.Serial, error) {
	if kind, mesh, ok := revocation.ParseName(name); ok {
		switch {
		case kind == token.KindZone && scope != keystore.Global:
			return foreign, 0, errors.New("the list of zone tokens belongs into the global scope, not into a mesh")
		case scope != keystore.Global && string(scope) != mesh:
			return foreign, 0, fmt.Errorf("by its name it is the list of mesh %q", mesh)
		}
		return list, 0, nil
	}
	serial, kind, err := seriesOf(scope).ParseName(name)
	switch {
	case err == nil:
		return map[signing.RecordKind]content{
			signing.PrivateRecord: privateKey, signing.ExternalRecord: externalKey, signing.PublicRecord: publicKey,
		}[kind], serial, nil
	case !errors.Is(err, signing.ErrNotKey):
		return foreign, 0, err
	case strings.HasPrefix(name, signing.DataplaneKeys("").Prefix()):
		return foreign, 0, errors.New("a key of dataplane tokens belongs into its mesh, not into the global scope")
	case strings.HasPrefix(name, signing.ZoneKeys().Prefix()):
		return foreign, 0, errors.New("a key of zone tokens belongs into the global scope, not into a mesh")
	}
	return foreign, 0, nil
}

// seriesOf returns the keys that a scope has.
func seriesOf(scope keystore.Scope) signing.Series {
	if scope == keystore.Global {
		return signing.ZoneKeys()
	}
	return signing.DataplaneKeys(string(scope))
}

// checkContent says why a record cannot be used. With publicOnly it makes the public
// half of a key that signs.
func checkContent(r keystore.Record, what content, serial signing.Serial, publicOnly bool) (keystore.Record, error) {
	switch what {
	case list:
		_, err := revocation.Parse(r.Data)
		return r, err
	case publicKey, externalKey:
		public, err := signing.ParsePublicKey(r.Data)
		if err != nil || what == publicKey || !publicOnly {
			return r, err
		}
		return copyOf(public, r.Scope, serial), nil
	}
	private, err := signing.ParsePrivateKey(r.Data)
	if err != nil || !publicOnly {
		return r, err
	}
	return copyOf(private.Public(), r.Scope, serial), nil
}

// copyOf returns the record of a zone that verifies with a key.
func copyOf(public *signing.PublicKey, scope keystore.Scope, serial signing.Serial) keystore.Record {
	return keystore.Record{Scope: scope, Name: seriesOf(scope).PublicKeyName(serial), Data: public.PEM()}
}

// writeManifest writes a record as a resource of Kuma or, if a namespace is given, as a
// Secret of Kubernetes.
func writeManifest(to *bytes.Buffer, r keystore.Record, namespace string) {
	data := base64.StdEncoding.EncodeToString(r.Data)
	switch {
	case namespace != "" && r.Scope == keystore.Global:
		fmt.Fprintf(to, "apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\ntype: %s\ndata:\n  value: %q\n",
			quoted(r.Name), quoted(namespace), kubernetesGlobalSecret, data)
	case namespace != "":
		fmt.Fprintf(to, "apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\n  labels:\n    %s: %s\ntype: %s\ndata:\n  value: %q\n",
			quoted(r.Name), quoted(namespace), kubernetesMeshLabel, quoted(string(r.Scope)), kubernetesSecret, data)
	case r.Scope == keystore.Global:
		fmt.Fprintf(to, "type: GlobalSecret\nname: %s\ndata: %q\n", quoted(r.Name), data)
	default:
		fmt.Fprintf(to, "type: Secret\nmesh: %s\nname: %s\ndata: %q\n", quoted(string(r.Scope)), quoted(r.Name), data)
	}
}

// quoted returns a text in quotes of JSON, which YAML reads as that text: without them
// it takes a mesh named on or 1 for something else.
func quoted(text string) string {
	data, _ := json.Marshal(text) // a string never fails
	return string(data)
}
