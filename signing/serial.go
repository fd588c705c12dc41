package signing

import "strconv"

// Serial numbers the keys of a series. The private key with the highest serial
// signs. Serial 0 is the key whose record name ends without a number; keys that
// are made today begin at 1. A negative Serial is no key's.
type Serial int64

// KeyID returns the serial in decimal, as it stands in the kid of a token header
// (RFC 7515, section 4.1.4). Serial 0 is "0".
func (s Serial) KeyID() string { return strconv.FormatInt(int64(s), 10) }

// ParseSerial reads a kid that is a serial number, and reports whether it is one:
// canonical decimal from "0" to "9223372036854775807", without a sign, a leading
// zero, or anything before or after.
func ParseSerial(kid string) (Serial, bool) {
	n, err := strconv.ParseInt(kid, 10, 64)
	if err != nil || n < 0 || Serial(n).KeyID() != kid {
		return 0, false
	}
	return Serial(n), true
}
