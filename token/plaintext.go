package token

import (
	"bytes"
	"errors"
)

// ErrEncoding: a text is in UTF-16 or UTF-32. The editor or the shell that saved it can
// save it as UTF-8.
var ErrEncoding = errors.New("the text is UTF-16 or UTF-32, want UTF-8: save it as UTF-8")

// PlainText returns a text that a person may have saved, such as a token, a key in PEM
// or a configuration: without a byte order mark of UTF-8 and without white space around
// it, as Unicode defines it. The result is a part of data.
//
// The error is [ErrEncoding] if the text begins with a byte order mark of UTF-16 or
// UTF-32, or if it has none, has at least 4 bytes, and its first character is ASCII in
// UTF-16 or UTF-32. The error contains nothing of the text. PlainText does not check that the text is UTF-8.
func PlainText(data []byte) ([]byte, error) {
	if isWide(data) {
		return nil, ErrEncoding
	}
	return bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))), nil
}

// isWide reports whether a text looks like UTF-16 or UTF-32. In the two, one half of an
// ASCII character is NUL, which no text of UTF-8 begins with.
func isWide(data []byte) bool {
	if bytes.HasPrefix(data, []byte{0xfe, 0xff}) || bytes.HasPrefix(data, []byte{0xff, 0xfe}) {
		return true
	}
	if len(data) < 4 { // too short to be told from DER
		return false
	}
	if data[0] == 0 && data[1] == 0 { // UTF-32, big-endian
		return data[2] == 0xfe && data[3] == 0xff || (data[2] == 0) != (data[3] == 0)
	}
	return data[0] == 0 || data[1] == 0
}
