package signing

import "strconv"

// Serial is the number of a key in a series. The private key with the highest
// serial signs. The record name of serial 0 has no number; new series start at
// 1. A negative Serial is invalid.
type Serial int64

// KeyID returns the serial in decimal, as used for the kid in a token header
// (RFC 7515, section 4.1.4). Serial 0 is "0".
func (s Serial) KeyID() string { return strconv.FormatInt(int64(s), 10) }

// ParseSerial parses a kid and reports whether it is a serial: canonical decimal
// from "0" to "9223372036854775807", without a sign, a leading zero, or anything
// before or after.
func ParseSerial(kid string) (Serial, bool) {
	if kid == "" || kid[0] < '0' || kid[0] > '9' || kid[0] == '0' && kid != "0" { // ParseInt takes +1 and 01
		return 0, false
	}
	n, err := strconv.ParseInt(kid, 10, 64)
	if err != nil {
		return 0, false
	}
	return Serial(n), true
}
