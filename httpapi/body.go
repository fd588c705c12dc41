package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/meshpass/meshpass/token"
)

const maxFaults = 10 // in one answer

// field is a field of a request. Its target is a *string, a *bool, an *int, a *[]string, a
// *map[string][]string, a *jwk, or privateHalf.
type field struct {
	name   string
	target any
}

// privateHalf is the target of a field that has no place in a request.
type privateHalf struct{}

// ofJWK returns the fields of a public key. Those of a private one (RFC 7518, section 6)
// are refused by name.
func ofJWK(k *jwk) []field {
	var operations []string // as some tools write them
	fields := []field{{"kty", &k.KeyType}, {"n", &k.Modulus}, {"e", &k.Exponent}, {"use", &k.Use}, {"alg", &k.Algorithm}, {"kid", &k.KeyID}, {"key_ops", &operations}}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		fields = append(fields, field{name, privateHalf{}})
	}
	return fields
}

// readBody reads a body of at most limit bytes into fields. It refuses the body at the
// first name or type that it does not expect, and keeps nothing else. It is stricter
// than encoding/json, which ignores case in names and takes the last of two equal
// names: two readers could see two different requests.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, fields []field) error {
	if r.ContentLength == 0 { // before its type, which a proxy that drops a body drops too
		return missingBody(r, fields)
	}
	if err := checkMediaType(r.Header, "application/json"); err != nil {
		return unsupported(err.Error())
	}
	if len(r.Header.Values("Content-Encoding")) > 0 {
		return unsupported("want no Content-Encoding")
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge(limit)
	case errors.Is(err, errBusy):
		return err
	case err != nil:
		return unreadable(errors.New("it ends early"))
	case len(data) == 0:
		return missingBody(r, fields)
	}
	if _, err := token.PlainText(data); err != nil {
		return unreadable(err)
	}
	if err := checkJSON(data); err != nil {
		return unreadable(err)
	}
	d := decoder{json.NewDecoder(bytes.NewReader(data)), data}
	d.UseNumber()
	return d.object(fields)
}

// missingBody returns the error for a request without a body.
func missingBody(r *http.Request, fields []field) error {
	detail := "the body is missing: want a JSON object with " + names(fields)
	if r.Method == http.MethodDelete {
		detail += "; some proxies drop the body of a DELETE: send it with POST to the same path and " + restorePath
	}
	return newAnswer(http.StatusBadRequest, titleInvalid, detail)
}

// checkJSON returns an error unless a text is exactly one JSON value.
func checkJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		return errors.New("it begins with a byte order mark")
	}
	var nothing struct{} // so that nothing is kept
	var syntax *json.SyntaxError
	if err := json.Unmarshal(data, &nothing); errors.As(err, &syntax) {
		return fmt.Errorf("it is not exactly one JSON value: see byte %d", syntax.Offset)
	}
	return nil
}

// decoder reads valid JSON piece by piece.
type decoder struct {
	*json.Decoder
	data []byte
}

// object reads an object with the fields.
func (d decoder) object(fields []field) error {
	next, err := d.Token()
	if err != nil {
		return unreadable(err)
	}
	if next != json.Delim('{') {
		return unreadable(fmt.Errorf("it is %s, want an object", typeOf(next)))
	}
	return d.members("", fields)
}

// members reads the rest of an object. The names of its fields follow the prefix in errors.
func (d decoder) members(prefix string, fields []field) error {
	var seen []string
	for d.More() {
		name, err := d.text()
		if err != nil {
			return unreadable(err)
		}
		at := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if at < 0 {
			return invalid(InvalidParameter{prefix + shown(name), "is unknown, want " + names(fields)})
		}
		if slices.Contains(seen, name) {
			return unreadable(twice(name))
		}
		seen = append(seen, name)
		if list, ok := fields[at].target.(*[]string); ok {
			*list = make([]string, 0, bytes.Count(d.data, []byte{','})+1) // a list that grows takes twice the memory
		}
		if err := d.value(prefix+name, fields[at].target); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return orUnreadable(err)
}

// shown returns an unknown name for an answer and the log. A long one may be a secret.
func shown(name string) string {
	if len(name) > 64 {
		return fmt.Sprintf("(a name of %d bytes)", len(name))
	}
	return name
}

func twice(name string) error { return fmt.Errorf("name %q appears twice in one object", shown(name)) }

// text reads a name.
func (d decoder) text() (string, error) {
	next, err := d.Token()
	if err != nil {
		return "", err
	}
	text, _ := next.(string) // a name is always a string
	return text, checkText(text)
}

// value reads the value of a field into its target. If the value is null, a list is nil
// and other targets stay as they are. An empty list of a field is not nil.
func (d decoder) value(field string, target any) error {
	next, err := d.Token()
	if err != nil {
		return unreadable(err)
	}
	want := ""
	switch target := target.(type) {
	case privateHalf:
		return invalid(InvalidParameter{field, "is of a private key, which must stay where it is: send the public half alone"})
	case *int:
		if number, ok := next.(json.Number); ok {
			if *target, err = strconv.Atoi(number.String()); err == nil {
				return nil
			}
			return invalid(InvalidParameter{field, "is not a whole number"})
		}
		want = "a number"
	case *jwk:
		if next == json.Delim('{') {
			err := d.members(field+".", ofJWK(target))
			if err == nil && *target == (jwk{}) {
				err = invalid(InvalidParameter{field, "is empty"})
			}
			return err
		}
		want = "an object"
	case *string:
		if text, ok := next.(string); ok {
			*target = text
			return orUnreadable(checkText(text))
		}
		want = "a string"
	case *bool:
		if is, ok := next.(bool); ok {
			*target = is
			return nil
		}
		want = "true or false"
	case *[]string:
		if next == json.Delim('[') {
			return d.list(field, target)
		}
		want = "a list of strings"
	case *map[string][]string:
		if next == json.Delim('{') {
			return d.lists(field, target)
		}
		want = "an object of lists of strings"
	}
	if next == nil {
		if list, ok := target.(*[]string); ok {
			*list = nil
		}
		return nil
	}
	return wrongType(field, next, want)
}

func wrongType(field string, found json.Token, want string) error {
	return invalid(InvalidParameter{field, fmt.Sprintf("is %s, want %s", typeOf(found), want)})
}

// list reads the rest of a list of strings.
func (d decoder) list(field string, target *[]string) error {
	for i := 0; d.More(); i++ {
		next, err := d.Token()
		if err != nil {
			return unreadable(err)
		}
		text, ok := next.(string)
		if !ok { // null too, which other readers take for an empty string
			return wrongType(fmt.Sprintf("%s[%d]", field, i), next, "a string")
		}
		if err := checkText(text); err != nil {
			return unreadable(err)
		}
		*target = append(*target, text)
	}
	_, err := d.Token()
	return orUnreadable(err)
}

// lists reads the rest of an object of lists of strings.
func (d decoder) lists(field string, target *map[string][]string) error {
	for d.More() {
		name, err := d.text()
		if err != nil {
			return unreadable(err)
		}
		if _, has := (*target)[name]; has {
			return unreadable(twice(name))
		}
		var list []string
		if err := d.value(fmt.Sprintf("%s[%.64q]", field, name), &list); err != nil {
			return err
		}
		if *target == nil {
			*target = map[string][]string{}
		}
		(*target)[name] = list
	}
	_, err := d.Token()
	return orUnreadable(err)
}

func orUnreadable(err error) error {
	if err == nil {
		return nil
	}
	return unreadable(err)
}

func names(fields []field) string {
	var list []string
	for _, f := range fields {
		if f.target != (privateHalf{}) {
			list = append(list, f.name)
		}
	}
	return strings.Join(list, ", ")
}

// checkMediaType returns an error unless the content has one of the media types, in UTF-8.
// Other parameters of a type have no effect (RFC 8259, section 11).
func checkMediaType(header http.Header, wanted ...string) error {
	want := strings.Join(wanted, " or ")
	types := header.Values("Content-Type")
	if len(types) != 1 {
		return fmt.Errorf("want one Content-Type, %s", want)
	}
	media, params, err := mime.ParseMediaType(types[0])
	if err != nil || !slices.Contains(wanted, media) {
		return fmt.Errorf("want Content-Type %s", want)
	}
	if charset, has := params["charset"]; has && !strings.EqualFold(charset, "utf-8") {
		return fmt.Errorf("want Content-Type %s, in UTF-8", want)
	}
	return nil
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

func typeOf(value json.Token) string {
	switch value {
	case json.Delim('['):
		return "a list"
	case json.Delim('{'):
		return "an object"
	}
	switch value.(type) {
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	}
	return "null"
}
