package dir

import (
	"github.com/meshpass/meshpass/keystore"

	"fmt"
	"net/url"
	"strings"
)

// The names of a scope's folder and of a record's file are the scope and the
// name, except for what some file system would not keep apart or not take: a
// percent sign and two hexadecimal digits stand for each upper-case letter, for
// a dot at the end (Windows drops it), and for the first letter of what Windows
// takes for a device. What gets too long for a file name is cut into pieces:
// the first are folders within each other, and the percent signs around each cut
// keep them apart from anything that is not a piece.
const (
	pieceLength = 200 // bytes, far enough from the 255 that file systems take
	cut         = "%/%"
)

// encodeName returns the path, with slashes, for a scope or a record name that
// was checked.
func encodeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' || c == '.' && i == len(name)-1 || i == 0 && isDevice(name) {
			fmt.Fprintf(&b, "%%%02X", c)
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

// isPiece says whether path can be the part, up to a cut, of what encodeName
// returns, so that it is the path of a folder.
func isPiece(path string) bool {
	pieces, ok := strings.CutSuffix(path, "%")
	length := len(strings.ReplaceAll(pieces, cut, ""))
	return ok && length > 0 && length%pieceLength == 0 && length < 3*keystore.MaxNameLength
}

// isDevice says whether Windows takes a file of this name for a device, which
// it does whatever follows the first dot. In upper case the names are harmless,
// being encoded.
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
