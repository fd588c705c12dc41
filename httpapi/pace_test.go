package httpapi

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/token"
)

func TestOfTooManyIDsTheOldestAreForgottenAndRenewedTooOften(t *testing.T) {
	var p pace
	now := time.Now()
	of := func(n int) attempt { return attempt{id: renewedID{id: fmt.Sprint(n)}} }
	const ids = 3 * maxPaced
	for n := range ids {
		wait, _, _ := p.begin(of(n), now)
		assert.Zero(t, wait)
		enter(t, &p, of(n).id)
		p.leave(of(n).id, time.Hour)
	}
	assert.LessOrEqual(t, len(p.renewed.lately)+len(p.renewed.before), maxPaced)
	assert.LessOrEqual(t, len(p.failed.lately)+len(p.failed.before), maxPaced)
	assert.Empty(t, p.running)
	for n := ids - maxPaced/2; n < ids; n++ {
		wait, why, told := p.begin(of(n), now)
		assert.GreaterOrEqual(t, wait, time.Hour)
		assert.Equal(t, detailRenewed, why)
		assert.False(t, told)
	}
	_, _, told := p.begin(of(ids-1), now)
	assert.True(t, told)
	wait, _, _ := p.begin(of(0), now)
	assert.Zero(t, wait)
}

func TestTwoHostsDoNotRenewATokenOfOneIDTogether(t *testing.T) {
	var p pace
	now := time.Now()
	id := renewedID{id: "1"}
	for _, host := range []string{"10.0.0.1", "6.6.6.6"} {
		wait, _, _ := p.begin(attempt{id, host}, now)
		assert.Zero(t, wait, "neither keeps the other from trying")
	}
	enter(t, &p, id)
	_, other := p.tryToEnter(id, now)
	assert.NotNil(t, other, "the other is renewing one")
	gone, leave := context.WithCancel(t.Context())
	leave()
	_, err := p.enter(gone, id)
	assert.ErrorIs(t, err, token.ErrUnavailable)
	p.leave(id, 0)
	<-other
	enter(t, &p, id) // which has failed
	p.leave(id, time.Hour)
	wait, err := p.enter(t.Context(), id)
	assert.NoError(t, err)
	assert.Positive(t, wait, "which was renewed")
}

func enter(t *testing.T, p *pace, id renewedID) {
	t.Helper()
	wait, err := p.enter(t.Context(), id)
	assert.NoError(t, err)
	assert.Zero(t, wait)
}

func TestHostsAreToldApartByWhatAHostCannotChoose(t *testing.T) {
	for address, host := range map[string]string{
		"10.0.0.1:80": "10.0.0.1", "10.0.0.1": "10.0.0.1", "[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64", "[fe80::1%eth0]:80": "fe80::/64",
		"[::ffff:10.0.0.1]:80": "::ffff:10.0.0.1", "proxy.example:80": "proxy.example", "": "", "@": "@",
	} {
		assert.Equal(t, host, hostOf(address))
	}
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
	p.begin(attempt{id, "10.0.0.1"}, time.Now())
	enter(t, &p, id)
	p.leave(id, time.Hour)
	remembered := slices.Collect(maps.Keys(p.renewed.lately))
	for a := range p.failed.lately {
		remembered = append(remembered, a.id)
	}
	assert.Equal(t, []renewedID{id, id}, remembered)
	for _, id := range remembered {
		assert.False(t, within(id.id), "the id")
		assert.False(t, within(id.mesh), "the mesh")
	}
}
