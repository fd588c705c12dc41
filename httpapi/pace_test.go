package httpapi

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

func TestOfTooManyIDsTheOldestAreForgottenAndRenewedTooOften(t *testing.T) {
	var p pace
	now := time.Now()
	id := func(n int) renewedID { return renewedID{id: fmt.Sprint(n)} }
	const ids = 3 * maxPaced
	for n := range ids {
		wait, _ := p.begin(id(n), now)
		assert.Zero(t, wait)
		p.done(id(n), now.Add(time.Hour))
	}
	assert.LessOrEqual(t, len(p.lately)+len(p.before), maxPaced)
	for n := ids - maxPaced/2; n < ids; n++ {
		wait, told := p.begin(id(n), now)
		assert.Equal(t, time.Hour, wait)
		assert.False(t, told)
	}
	wait, told := p.begin(id(ids-1), now)
	assert.Equal(t, time.Hour, wait)
	assert.True(t, told)
	wait, _ = p.begin(id(0), now)
	assert.Zero(t, wait)
}

func TestAnIDThatIsRememberedKeepsNoMemoryOfItsToken(t *testing.T) {
	var p pace
	claims := strings.Repeat("c", 8<<10) // the claims of a token are parts of one text
	within := func(part string) bool {
		at, from := uintptr(unsafe.Pointer(unsafe.StringData(part))), uintptr(unsafe.Pointer(unsafe.StringData(claims)))
		return from <= at && at < from+uintptr(len(claims))
	}
	id := renewedID{mesh: claims[:7], id: claims[7:43]}
	assert.True(t, within(id.id))
	p.begin(id, time.Now())
	p.done(id, time.Now().Add(time.Hour))
	for remembered := range p.lately {
		assert.Equal(t, id, remembered)
		assert.False(t, within(remembered.id), "the id")
		assert.False(t, within(remembered.mesh), "the mesh")
	}
	assert.Len(t, p.lately, 1)
}
