package revocation

import (
	"fmt"
	"hash/maphash"
	"time"
)

// uuid is the value of an id that is a canonical UUID: lower case digits in
// groups of 8, 4, 4, 4 and 12 (RFC 9562, section 4). Each value has exactly one
// such text, so comparing values is comparing ids.
type uuid struct{ high, low uint64 }

// layout is where a UUID has its hyphens. All positions below follow from it.
const layout = "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh"

// hyphens holds the positions of the hyphens, and digits that of the first of the two
// digits of each byte.
var hyphens, digits = func() (hyphens [4]int, digits [16]int) {
	for at, hyphen, digit := 0, 0, 0; at < len(layout); {
		if layout[at] == '-' {
			hyphens[hyphen] = at
			hyphen, at = hyphen+1, at+1
		} else {
			digits[digit] = at
			digit, at = digit+1, at+2
		}
	}
	return hyphens, digits
}()

// hexDigit maps lower case hexadecimal digits to their values, and others to
// 0xff.
var hexDigit = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		values[c] = byte(i)
	}
	return values
}()

// groupedAsUUID reports whether id has the length and the hyphens of a UUID.
func groupedAsUUID[T text](id T) bool {
	if len(id) != len(layout) {
		return false
	}
	for _, at := range hyphens {
		if id[at] != '-' {
			return false
		}
	}
	return true
}

func parseUUID[T text](id T) (u uuid, ok bool) {
	if !groupedAsUUID(id) {
		return uuid{}, false
	}
	var all byte
	parse := func(digits []int) (half uint64) {
		for _, at := range digits {
			first, second := hexDigit[id[at]], hexDigit[id[at+1]]
			all |= first | second
			half = half<<8 | uint64(first<<4|second)
		}
		return half
	}
	u = uuid{parse(digits[:8]), parse(digits[8:])}
	return u, all <= 0xf // otherwise one was not a digit
}

// leadingUUID parses a UUID that is the first item of data, without a separator before it.
func leadingUUID(data []byte) (uuid, bool) {
	switch {
	case len(data) > len(layout) && data[len(layout)] == ',':
		return parseUUID(data[:len(layout)])
	case len(data) == len(layout):
		return parseUUID(data)
	}
	return uuid{}, false
}

func (u uuid) text() string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x",
		u.high>>32, u.high>>16&0xffff, u.high&0xffff, u.low>>48, u.low&0xffff_ffff_ffff)
}

// made returns when a UUID of version 7 was made.
func (u uuid) made() (time.Time, bool) {
	if u.high>>12&0xf != 7 || u.low>>62 != 0b10 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(u.high >> 16)).UTC(), true
}

// hashSeed differs between processes, so that an attacker cannot choose ids
// that collide.
var hashSeed = maphash.MakeSeed()

func (u uuid) hash() uint64 { return maphash.Comparable(hashSeed, u) }
