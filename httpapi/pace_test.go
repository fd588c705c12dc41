package httpapi

import (
	"fmt"
	"testing"
	"time"

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
