package revocation

import (
	"fmt"
	"hash/maphash"
)

// uuid is the value of an id that is a canonical UUID: lower case digits in
// groups of 8, 4, 4, 4 and 12 (RFC 9562, section 4). Each value has exactly one
// such text, so comparing values is comparing ids.
type uuid struct{ high, low uint64 }

// highDigits and lowDigits hold the positions of the two digits of each byte.
var (
	highDigits = [8]int{0, 2, 4, 6, 9, 11, 14, 16}
	lowDigits  = [8]int{19, 21, 24, 26, 28, 30, 32, 34}
)

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
	return len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-'
}

func parseUUID[T text](id T) (u uuid, ok bool) {
	if !groupedAsUUID(id) {
		return uuid{}, false
	}
	var all byte
	for _, at := range highDigits {
		first, second := hexDigit[id[at]], hexDigit[id[at+1]]
		all |= first | second
		u.high = u.high<<8 | uint64(first<<4|second)
	}
	for _, at := range lowDigits {
		first, second := hexDigit[id[at]], hexDigit[id[at+1]]
		all |= first | second
		u.low = u.low<<8 | uint64(first<<4|second)
	}
	return u, all <= 0xf // otherwise one was not a digit
}

func (u uuid) text() string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x",
		u.high>>32, u.high>>16&0xffff, u.high&0xffff, u.low>>48, u.low&0xffff_ffff_ffff)
}

// hashSeed differs between processes, so that an attacker cannot choose ids
// that collide.
var hashSeed = maphash.MakeSeed()

func (u uuid) hash() uint64 { return maphash.Comparable(hashSeed, u) }
