package revocation

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// otherForm returns the ids inside of an item that looks like a list in another form,
// such as JSON or ids between semicolons, and what the form is. The form is empty if
// the item does not look like one.
func otherForm(item []byte) (ids []string, form string) {
	if !mayBeOtherForm(item) {
		return nil, ""
	}
	switch {
	case firstUnusable(item) >= 0:
		return nil, ""
	case bytes.ContainsAny(item, `"'`):
		form = "ids in quotes"
	case bytes.ContainsAny(item, ";|"):
		form = "ids separated by a semicolon or a bar"
	case bytes.ContainsAny(item, "[]"):
		form = "ids in brackets"
	case bytes.Contains(item, []byte(`\n`)), bytes.Contains(item, []byte(`\r`)), bytes.Contains(item, []byte(`\t`)):
		form = `ids separated by the two characters of a \n`
	case bytes.IndexByte(item, '=') > 0 && bytes.IndexByte(bytes.TrimRight(item, "="), '=') > 0: // not the padding of base64
		form = "ids after a key and an equals sign"
	default:
		if text := decodedList(item); text != nil {
			for _, id := range items(text) {
				ids = append(ids, inside(id)...)
			}
			return ids, "ids in base64"
		}
		return nil, ""
	}
	return inside(item), form
}

// mayBeOtherForm is a quick look, false for nearly all ids.
func mayBeOtherForm(item []byte) bool {
	for _, c := range item {
		if foreignSign[c] {
			return true
		}
	}
	return len(item) >= shortestBase64
}

// foreignSign holds the characters that other forms have, besides letters and digits.
var foreignSign = func() (set [256]bool) {
	for _, c := range `"'[];|=\` {
		set[c] = true
	}
	return set
}()

// shortestBase64 is the length of a UUID in base64.
const shortestBase64 = 48

// escapes are what stands for white space where text was escaped once too often.
var escapes = strings.NewReplacer(`\n`, " ", `\r`, " ", `\t`, " ")

// inside returns the ids between the signs of other forms.
func inside(item []byte) (ids []string) {
	for _, id := range strings.FieldsFunc(escapes.Replace(string(item)), func(r rune) bool {
		return strings.ContainsRune(` "'[]{}();|=`, r)
	}) {
		if wellFormed(id) && strings.IndexFunc(id, isLetterOrDigit) >= 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

func isLetterOrDigit(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// decodedList decodes base64, and returns nil unless that gives a text with a UUID. An
// id may well be base64 of something else.
func decodedList(item []byte) []byte {
	if len(item) < shortestBase64 {
		return nil
	}
	encoding := base64.StdEncoding.WithPadding(base64.NoPadding)
	if bytes.ContainsAny(item, "-_") {
		encoding = base64.URLEncoding.WithPadding(base64.NoPadding)
	}
	text, err := encoding.DecodeString(string(bytes.TrimRight(item, "=")))
	if err != nil {
		return nil
	}
	for _, id := range items(text) {
		for _, part := range inside(id) {
			if groupedAsUUID(part) {
				return text
			}
		}
	}
	return nil
}
