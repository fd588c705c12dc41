package live

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

func TestACacheThatIsFullHoldsAsManyTokensAsItIsFor(t *testing.T) {
	var all []digest
	for n := range 20000 {
		all = append(all, digestOf(fmt.Sprint(n)))
	}
	for tokens, want := range map[int]int{1: 16, 16: 16, 17: 32, 32: 32, 33: 48, 1000: 1008, Defaults().cache: 16384} { // the same in each of 16 parts
		c := newCache(tokens)
		for _, d := range all {
			verified := &Verified{}
			c.put(d, verified)
			require.True(t, c.get(d) == verified, "the latest one is there")
		}
		var held []digest
		for _, d := range all {
			if c.get(d) != nil {
				held = append(held, d)
			}
		}
		assert.Len(t, held, want, "a cache of %d tokens", tokens)
		c.drop(held[0])
		assert.Nil(t, c.get(held[0]))
		if len(held) > 1 {
			assert.NotNil(t, c.get(held[1]))
		}
	}
	assert.Nil(t, newCache(0))
}

func TestAMemoOfHeadersThatIsFullStartsOver(t *testing.T) {
	var memo headerMemo
	header := func(n int) token.Header {
		return token.Header{KeyID: fmt.Sprint("kid ", n), Type: fmt.Sprint("type ", n)}
	}
	const most = 256
	for n := range most {
		memo.put(fmt.Sprint(n), header(n))
	}
	for n := range most {
		got, ok := memo.get(fmt.Sprint(n))
		assert.True(t, ok)
		assert.Equal(t, header(n), got)
	}
	memo.put("one more", header(most))
	got, ok := memo.get("one more")
	assert.True(t, ok)
	assert.Equal(t, header(most), got)
	for n := range most {
		_, ok := memo.get(fmt.Sprint(n))
		assert.False(t, ok)
	}
}

func TestAMemoOfHeadersKeepsNoPartOfAToken(t *testing.T) {
	var memo headerMemo
	text := strings.Repeat("a token ", 100)
	pointer := weak.Make(unsafe.StringData(text))
	memo.put(text[:10], token.Header{KeyID: text[10:20], Type: text[20:30]})
	text = ""
	for range 3 {
		runtime.GC()
	}
	assert.Nil(t, pointer.Value())
	runtime.KeepAlive(&memo)
}
