package sealed

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDataKeysRemembersManyKeysButNotAnyNumber(t *testing.T) {
	keys := newDataKeys()
	remembers := func(i int) bool {
		key, ok := keys.get(fmt.Append(nil, "header ", i))
		return ok && key == dataKeyOf(i)
	}
	put := func(from, to int) {
		for i := from; i < to; i++ {
			keys.put(fmt.Append(nil, "header ", i), dataKeyOf(i))
		}
	}
	put(0, 128<<10)
	for i := range 128 << 10 {
		if !assert.True(t, remembers(i), "key %d of the last 128 Ki", i) {
			break
		}
	}

	put(128<<10, 300<<10)
	for i := (300 - 128) << 10; i < 300<<10; i++ {
		if !assert.True(t, remembers(i), "key %d of the last 128 Ki, after many", i) {
			break
		}
	}
	remembered := 0
	for i := range 300 << 10 {
		if remembers(i) {
			remembered++
		}
	}
	assert.LessOrEqual(t, remembered, 256<<10)
}

func TestDataKeysRemembersAKeyThatIsUsedHoweverManyCome(t *testing.T) {
	keys := newDataKeys()
	keys.put([]byte("used"), dataKeyOf(-1))
	for i := range 600 << 10 {
		keys.put(fmt.Append(nil, "header ", i), dataKeyOf(i))
		if i%(64<<10) == 0 {
			key, ok := keys.get([]byte("used"))
			assert.True(t, ok && key == dataKeyOf(-1), "after %d other keys", i)
		}
	}
}

// dataKeyOf returns another key for each number.
func dataKeyOf(i int) (key [dataKeyLength]byte) {
	copy(key[:], fmt.Append(nil, i))
	return key
}
