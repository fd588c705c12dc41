package revocation

import (
	"fmt"
	"iter"
	"unicode"
	"unicode/utf8"

	"github.com/meshpass/meshpass/token"
)

// items yields the items between separators, with their offsets in bytes.
func items(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for at := 0; ; {
			start, end := nextItem(data, at)
			if start == end || !yield(start, data[start:end]) {
				return
			}
			at = end
		}
	}
}

// nextItem returns where the next item at or after an offset starts and ends. It is empty
// if there is none.
func nextItem(data []byte, at int) (start, end int) {
	for at < len(data) {
		n := separator(data[at:])
		if n == 0 {
			break
		}
		at += n
	}
	// A separator cannot start inside a character, so a loop over bytes
	// finds the same separators as one over characters.
	for end = at; end < len(data) && (usable[data[end]] || separator(data[end:]) == 0); {
		end++
	}
	return at, end
}

// separator returns the length of the separator at the start of data, or 0.
func separator(data []byte) int {
	r, n := utf8.DecodeRune(data)
	if r == ',' || r == '\uFEFF' || unicode.IsSpace(r) {
		return n
	}
	return 0
}

// text is an id, given by a caller or found in a list.
type text interface{ string | []byte }

// usable holds the characters that an id may contain.
var usable = func() (set [256]bool) {
	for c := '!'; c <= '~'; c++ {
		set[c] = c != ','
	}
	return set
}()

func wellFormed[T text](id T) bool {
	return len(id) > 0 && len(id) <= token.MaxIDLength && firstUnusable(id) < 0
}

func firstUnusable[T text](id T) int {
	for i := range len(id) {
		if !usable[id[i]] {
			return i
		}
	}
	return -1
}

// fault returns why id is not well-formed.
func fault[T text](id T) string {
	if len(id) == 0 {
		return "it is empty"
	}
	if len(id) > token.MaxIDLength {
		return fmt.Sprintf("%s is %d bytes long, want at most %d", excerpt(id), len(id), token.MaxIDLength)
	}
	at := firstUnusable(id)
	found := fmt.Sprintf("byte 0x%02x", id[at])
	if r, n := utf8.DecodeRuneInString(string(id[at:min(at+utf8.UTFMax, len(id))])); r != utf8.RuneError || n > 1 {
		found = fmt.Sprintf("%U", r)
	}
	return fmt.Sprintf("%s holds %s, want visible ASCII without a comma", excerpt(id), found)
}

// CheckID returns nil if an id can be on a list: 1 to 256 visible ASCII characters
// without a comma. Otherwise the error matches [ErrID] and says what is wrong.
func CheckID(id string) error {
	if wellFormed(id) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrID, fault(id))
}

func checkIDs(ids []string) error {
	for _, id := range ids {
		if err := CheckID(id); err != nil {
			return err
		}
	}
	return nil
}

// excerpt quotes the first bytes of an item.
func excerpt[T text](id T) string {
	const shown = 32
	if len(id) > shown {
		return fmt.Sprintf("%q...", string(id[:shown]))
	}
	return fmt.Sprintf("%q", string(id))
}
