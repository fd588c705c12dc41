package token

import (
	"fmt"
	"maps"
	"slices"
	"unicode"
	"unicode/utf8"
)

// CheckName returns nil if a token can be issued with the text as a name: of a mesh, a
// proxy, a tag or its value, a type, a workload, a zone or a scope. The empty text stands
// for no name, and is allowed. CheckName refuses what a person cannot type or see:
//
//   - a text that is not UTF-8, and U+FFFD, which stands for a damaged character
//   - a space at the start or the end, and every other kind of blank
//   - control characters, line ends and NUL
//   - characters without a shape of their own, such as U+200B (zero width space), U+202E
//     (right-to-left override), U+FEFF (byte order mark), U+FE0F (variation selector) and
//     U+3164 (Hangul filler)
//   - characters for private use, and those that the Unicode tables of package unicode do
//     not have
//
// The error quotes the text in ASCII, and names the character and its offset in bytes. A
// token that another issuer made with such a name is read and validated all the same.
func CheckName(text string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("%+q is not valid UTF-8", cut(text))
	}
	for at, r := range text {
		if !visible(r) {
			return fmt.Errorf("%+q has %U at byte %d, want visible characters", cut(text), r, at)
		}
	}
	if text != "" && (text[0] == ' ' || text[len(text)-1] == ' ') {
		return fmt.Errorf("%+q starts or ends with a space", cut(text))
	}
	return nil
}

// visible reports whether a reader sees a character, or knows from those around it that
// it is there.
func visible(r rune) bool {
	if r >= ' ' && r <= '~' { // as nearly all are
		return true
	}
	const brailleBlank = '\u2800' // a symbol without a dot
	return unicode.IsPrint(r) && r != brailleBlank && r != utf8.RuneError &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// checkNames returns an error for the first name that cannot be issued.
func checkNames(c Claims) error {
	d, z := c.Dataplane, c.Zone
	type named struct{ what, text string }
	names := []named{{"mesh", d.Mesh}, {"name", d.Name}, {"type", d.Type}, {"workload", d.Workload}, {"zone", z.Zone}}
	for _, scope := range z.Scope {
		names = append(names, named{"scope", scope})
	}
	for _, tag := range slices.Sorted(maps.Keys(d.Tags)) {
		names = append(names, named{"tag", tag})
		for _, value := range d.Tags[tag] {
			names = append(names, named{fmt.Sprintf("value of tag %+q:", cut(tag)), value})
		}
	}
	for _, n := range names {
		if err := CheckName(n.text); err != nil {
			return fmt.Errorf("%s %w", n.what, err)
		}
	}
	return nil
}
