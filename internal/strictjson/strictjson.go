// Package strictjson reads JSON that a peer sent, such as a token or a key set. It accepts
// less than encoding/json: see [Reader].
package strictjson

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is the maximum nesting of objects and arrays, the outermost
// included.
const MaxDepth = 8

// Reader reads JSON (RFC 8259) more strictly than the RFC requires: no
// duplicate name in an object, no unpaired surrogate, at most MaxDepth levels.
// The strings that it returns are slices of the text unless they contain an escape.
//
// Each method that reads a value starts at its first character. Errors quote one
// character or the name of a member, escaped and cut.
type Reader struct {
	text  string
	pos   int
	depth int
}

// NewReader returns a reader at the start of a text.
func NewReader(text string) Reader { return Reader{text: text} }

// Document reads a text that is one object and nothing else. It calls member as
// Object does.
func (r *Reader) Document(member func(name string) error) error {
	if strings.HasPrefix(r.text, "\ufeff") {
		return errors.New("starts with a byte order mark, want a JSON object")
	}
	if !utf8.ValidString(r.text) {
		return errors.New("not valid UTF-8")
	}
	r.space()
	if err := r.Object(member); err != nil {
		return err
	}
	r.space()
	if r.pos < len(r.text) {
		return r.unexpected("nothing after the JSON object")
	}
	return nil
}

// Object reads an object. For each member it calls member, which must read the
// value.
func (r *Reader) Object(member func(name string) error) error {
	if err := r.open('{', "a JSON object"); err != nil {
		return err
	}
	if r.Peek() == '}' {
		r.close()
		return nil
	}
	var seen names
	for {
		at := r.pos
		name, err := r.Text()
		if err != nil {
			return err
		}
		if !seen.add(name) {
			return fmt.Errorf("name %.64q appears twice in one object, again at byte %d", name, at)
		}
		r.space()
		if r.Peek() != ':' {
			return r.unexpected("':'")
		}
		r.pos++
		r.space()
		if err := member(name); err != nil {
			return err
		}
		if more, err := r.more('}', "',' or '}'"); err != nil || !more {
			return err
		}
	}
}

// Array reads an array. For each element it calls element, which must read it.
func (r *Reader) Array(element func() error) error {
	if err := r.open('[', "a JSON array"); err != nil {
		return err
	}
	if r.Peek() == ']' {
		r.close()
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if more, err := r.more(']', "',' or ']'"); err != nil || !more {
			return err
		}
	}
}

func (r *Reader) open(bracket byte, want string) error {
	if r.Peek() != bracket {
		return r.unexpected(want)
	}
	if r.depth == MaxDepth {
		return fmt.Errorf("more than %d levels deep at byte %d", MaxDepth, r.pos)
	}
	r.depth++
	r.pos++
	r.space()
	return nil
}

func (r *Reader) close() {
	r.depth--
	r.pos++
}

// more reads the character after an element: a comma or the closing bracket.
func (r *Reader) more(bracket byte, want string) (bool, error) {
	r.space()
	switch r.Peek() {
	case ',':
		r.pos++
		r.space()
		return true, nil
	case bracket:
		r.close()
		return false, nil
	}
	return false, r.unexpected(want)
}

// Texts reads an array of strings; an empty one is nil.
func (r *Reader) Texts() ([]string, error) {
	var few [8]string // most lists are short: one allocation, of the right size
	list := few[:0]
	err := r.Array(func() error {
		s, err := r.Text()
		list = append(list, s)
		return err
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return append(make([]string, 0, len(list)), list...), nil
}

// Text reads a string.
func (r *Reader) Text() (string, error) {
	if r.Peek() != '"' {
		return "", r.unexpected("a string")
	}
	start := r.pos + 1
	for i := start; i < len(r.text); i++ {
		c := r.text[i]
		if c == '"' {
			r.pos = i + 1
			return r.text[start:i], nil
		}
		if c == '\\' || c < ' ' {
			r.pos = i
			return r.unescape(r.text[start:i])
		}
	}
	r.pos = len(r.text)
	return "", r.unexpected("the end of a string")
}

// unescape reads the rest of a string that starts with before.
func (r *Reader) unescape(before string) (string, error) {
	var s strings.Builder
	s.WriteString(before)
	for r.pos < len(r.text) {
		c := r.text[r.pos]
		switch {
		case c == '"':
			r.pos++
			return s.String(), nil
		case c < ' ':
			return "", r.unexpected("no bare control character in a string")
		case c != '\\':
			s.WriteByte(c)
			r.pos++
		default:
			char, err := r.escape()
			if err != nil {
				return "", err
			}
			s.WriteRune(char)
		}
	}
	return "", r.unexpected("the end of a string")
}

// escape reads an escape sequence, or two that make a surrogate pair.
func (r *Reader) escape() (rune, error) {
	r.pos++
	c := r.Peek()
	if c == 'u' {
		return r.unicodeEscape()
	}
	// The letters and their characters, in the order of RFC 8259, section 7.
	i := strings.IndexByte(`"\/bfnrt`, c)
	if i < 0 {
		return 0, r.unexpected("a JSON escape")
	}
	r.pos++
	return rune("\"\\/\b\f\n\r\t"[i]), nil
}

func (r *Reader) unicodeEscape() (rune, error) {
	at := r.pos
	char, err := r.hex4()
	if err != nil || !utf16.IsSurrogate(char) {
		return char, err
	}
	if strings.HasPrefix(r.text[r.pos:], `\u`) {
		r.pos++
		second, err := r.hex4()
		if err != nil {
			return 0, err
		}
		if pair := utf16.DecodeRune(char, second); pair != utf8.RuneError {
			return pair, nil
		}
	}
	return 0, fmt.Errorf("half of a surrogate pair at byte %d", at)
}

// hex4 reads the letter u and four hexadecimal digits.
func (r *Reader) hex4() (rune, error) {
	var char rune
	for range 4 {
		r.pos++
		switch c := r.Peek(); {
		case c >= '0' && c <= '9':
			char = char<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			char = char<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			char = char<<4 | rune(c-'A'+10)
		default:
			return 0, r.unexpected(`four hexadecimal digits after \u`)
		}
	}
	r.pos++
	return char, nil
}

// Number reads a number and returns its text.
func (r *Reader) Number() (string, error) {
	start := r.pos
	if r.Peek() == '-' {
		r.pos++
	}
	if r.Peek() == '0' {
		r.pos++
	} else if !r.digits() {
		return "", r.unexpected("a number")
	}
	if r.Peek() == '.' {
		r.pos++
		if !r.digits() {
			return "", r.unexpected("a digit after the decimal point")
		}
	}
	if c := r.Peek(); c == 'e' || c == 'E' {
		r.pos++
		if c := r.Peek(); c == '+' || c == '-' {
			r.pos++
		}
		if !r.digits() {
			return "", r.unexpected("a digit in the exponent")
		}
	}
	return r.text[start:r.pos], nil
}

// digits skips digits and reports whether there were any.
func (r *Reader) digits() bool {
	i := r.pos
	for i < len(r.text) && r.text[i] >= '0' && r.text[i] <= '9' {
		i++
	}
	some := i > r.pos
	r.pos = i
	return some
}

// Word skips a word at the current position and reports whether it was there.
// After a longer word the next read fails.
func (r *Reader) Word(word string) bool {
	if !strings.HasPrefix(r.text[r.pos:], word) {
		return false
	}
	r.pos += len(word)
	return true
}

// TextOf returns the text of the value that read reads.
func (r *Reader) TextOf(read func() error) (string, error) {
	start := r.pos
	err := read()
	return r.text[start:r.pos], err
}

// Skip reads a value of any kind, as strictly as any other.
func (r *Reader) Skip() error {
	switch c := r.Peek(); {
	case c == '{':
		return r.Object(func(string) error { return r.Skip() })
	case c == '[':
		return r.Array(r.Skip)
	case c == '"':
		_, err := r.Text()
		return err
	case c == '-' || c >= '0' && c <= '9':
		_, err := r.Number()
		return err
	case r.Word("true") || r.Word("false") || r.Word("null"):
		return nil
	}
	return r.unexpected("a JSON value")
}

// space skips white space.
func (r *Reader) space() {
	for {
		switch r.Peek() {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// Peek returns the current byte, or 0 at the end of the text: no value starts
// with it or contains it.
func (r *Reader) Peek() byte {
	if r.pos < len(r.text) {
		return r.text[r.pos]
	}
	return 0
}

func (r *Reader) unexpected(want string) error {
	if r.pos >= len(r.text) {
		return fmt.Errorf("the text ends at byte %d, want %s", r.pos, want)
	}
	found, _ := utf8.DecodeRuneInString(r.text[r.pos:])
	return fmt.Errorf("%q at byte %d, want %s", found, r.pos, want)
}

// names holds the names seen in one object.
type names struct {
	few  [16]string // more than any token needs
	n    int
	bits uint64              // one for each of few, by length and ends: most new names have another
	many map[string]struct{} // avoids quadratic time for a hostile object
}

// add adds a name and reports whether it is new.
func (s *names) add(name string) bool {
	bit := uint64(1)
	if n := len(name); n > 0 {
		bit <<= (n + 5*int(name[0]) + 3*int(name[n-1])) % 64
	}
	if s.bits&bit != 0 {
		for _, other := range s.few[:s.n] {
			if other == name {
				return false
			}
		}
	}
	s.bits |= bit
	if s.n < len(s.few) {
		s.few[s.n] = name
		s.n++
		return true
	}
	if s.many == nil {
		s.many = map[string]struct{}{}
	}
	before := len(s.many)
	s.many[name] = struct{}{}
	return len(s.many) > before
}
