package dir

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/meshpass/meshpass/keystore"
)

// A scope's folder is named after the scope, and a record's file after the record.
// What some file system would not keep apart, or not take, is written as a percent
// sign and two hexadecimal digits: each upper-case letter, a dot at the end (Windows
// drops it), and the first letter of a name that Windows takes for a device. A name
// that gets too long for a file name is cut into pieces: all but the last are folders
// within each other. The percent signs around each cut keep pieces apart from whole
// names.
const (
	pieceLength = 200 // bytes; file systems take 255
	cut         = "%/%"
)

// encodeName returns the path, with slashes, for a checked scope or record name.
func encodeName(name string) string { return encodeAs("%%%02X", name) }

func encodeAs(format, name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' || c == '.' && i == len(name)-1 || i == 0 && isDevice(name) {
			fmt.Fprintf(&b, format, c)
		} else {
			b.WriteByte(c)
		}
	}
	encoded := b.String()
	var path strings.Builder
	for len(encoded) > pieceLength {
		path.WriteString(encoded[:pieceLength] + cut)
		encoded = encoded[pieceLength:]
	}
	path.WriteString(encoded)
	return path.String()
}

// decodeName returns the name for which encodeName returns path, if there is one.
func decodeName(path string) (string, bool) {
	name, err := url.PathUnescape(strings.ReplaceAll(path, cut, ""))
	return name, err == nil && encodeName(name) == path
}

// misspellings returns how people write a name that is to be encoded: as it is, or with
// hexadecimal digits in lower case. For most names there are none.
func misspellings(name string) []string {
	right := encodeName(name)
	if right == name {
		return nil
	}
	wrong := slices.Compact([]string{name, encodeAs("%%%02x", name)})
	return slices.DeleteFunc(wrong, func(path string) bool { return path == right })
}

// guessName returns the name of which path is a misspelling, if there is one.
func guessName(path string) (string, bool) {
	decoded, _ := url.PathUnescape(strings.ReplaceAll(path, cut, ""))
	for _, name := range []string{path, decoded} {
		if keystore.CheckName(name) == nil && slices.Contains(misspellings(name), path) {
			return name, true
		}
	}
	return "", false
}

// isPiece reports whether path can be what encodeName returns up to a cut, and so be
// the path of a folder.
func isPiece(path string) bool {
	pieces, ok := strings.CutSuffix(path, "%")
	length := len(strings.ReplaceAll(pieces, cut, ""))
	return ok && length > 0 && length%pieceLength == 0 && length < 3*keystore.MaxNameLength
}

// isDevice reports whether Windows takes a file of this name for a device. What
// follows the first dot does not matter. Upper-case names are harmless, since they
// are encoded.
func isDevice(name string) bool {
	name, _, _ = strings.Cut(name, ".")
	switch name {
	case "con", "prn", "aux", "nul":
		return true
	}
	digit, ok := strings.CutPrefix(name, "com")
	if !ok {
		digit, ok = strings.CutPrefix(name, "lpt")
	}
	return ok && len(digit) == 1 && '0' <= digit[0] && digit[0] <= '9'
}
