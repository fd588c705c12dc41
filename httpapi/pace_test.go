package httpapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

func TestOfTooManyIDsTheOldestAreForgottenAndRenewedTooOften(t *testing.T) {
	var p pace
	now := time.Now()
	of := func(n int) attempt { return attempt{id: renewedID{id: fmt.Sprint(n)}} }
	const ids = 3 * maxPaced
	for n := range ids {
		wait, _ := p.begin(of(n), now)
		assert.Zero(t, wait)
		assert.Zero(t, p.enter(of(n).id, now))
		p.leave(of(n).id, now.Add(time.Hour))
	}
	assert.LessOrEqual(t, len(p.renewed.lately)+len(p.renewed.before), maxPaced)
	assert.LessOrEqual(t, len(p.failed.lately)+len(p.failed.before), maxPaced)
	assert.Empty(t, p.running)
	for n := ids - maxPaced/2; n < ids; n++ {
		wait, told := p.begin(of(n), now)
		assert.Equal(t, time.Hour, wait)
		assert.False(t, told)
	}
	wait, told := p.begin(of(ids-1), now)
	assert.Equal(t, time.Hour, wait)
	assert.True(t, told)
	wait, _ = p.begin(of(0), now)
	assert.Zero(t, wait)
}

func TestTwoHostsDoNotRenewATokenOfOneIDTogether(t *testing.T) {
	var p pace
	now := time.Now()
	id := renewedID{id: "1"}
	for _, host := range []string{"10.0.0.1", "6.6.6.6"} {
		wait, _ := p.begin(attempt{id, host}, now)
		assert.Zero(t, wait, "neither keeps the other from trying")
	}
	assert.Zero(t, p.enter(id, now))
	assert.Equal(t, betweenAttempts, p.enter(id, now), "the other is renewing one")
	p.leave(id, time.Time{})
	assert.Zero(t, p.enter(id, now), "which has failed")
	p.leave(id, now.Add(time.Hour))
	assert.Equal(t, time.Hour, p.enter(id, now), "which was renewed")
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
	p.leave(id, time.Now().Add(time.Hour))
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
