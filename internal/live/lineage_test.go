package live

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/internal/keylife"
	"github.com/meshpass/meshpass/token"
)

// madeAt returns the claims of a token of an hour that was made at a time, in seconds since 1970.
func madeAt(made int64, id string) token.PackedClaims {
	return token.PackedClaims{Untagged: token.Claims{Registered: token.Registered{
		ID: id, NotBefore: time.Unix(made, 0).Add(-keylife.Backdate), ExpiresAt: time.Unix(made, 0).Add(time.Hour),
	}}}
}

func TestOfTooManyLineagesTheOldestAreForgotten(t *testing.T) {
	var all lineages
	config := Defaults()
	present := func(n int, made int64) *lineage {
		return all.present(t.Context(), &Verified{claims: madeAt(made, fmt.Sprint("id-", n)), renewed: true}, false, &config)
	}
	all.present(audit.WithAddress(t.Context(), "10.0.0.1:1"), &Verified{claims: madeAt(2, "id-0"), renewed: true}, false, &config)
	const lineages = 3 * maxLineages
	for n := range lineages {
		assert.Nil(t, present(n, 2))
		assert.Nil(t, present(0, 2)) // which is presented again and again
	}
	held := 0
	for i := range all.shards {
		held += len(all.shards[i].lately) + len(all.shards[i].before)
		assert.Equal(t, maxLineages/len(all.shards)/2, len(all.shards[i].before), "half of those that a shard may hold")
	}
	assert.LessOrEqual(t, held, maxLineages)
	assert.Greater(t, held, maxLineages/2)
	if known := present(0, 1); assert.NotNil(t, known) {
		assert.Equal(t, "10.0.0.1:1", known.address, "what is presented is remembered")
	}
	for n := lineages - maxLineages/4; n < lineages; n++ {
		assert.NotNil(t, present(n, 1))
	}
	assert.Nil(t, present(1, 1))
}

func TestATokenThatWasNotRenewedCostsNoLookup(t *testing.T) {
	config := Defaults()
	v := &Validator{config: config}
	now := time.Now().Unix()
	first := &Verified{validator: v, claims: madeAt(now, "id")}
	assert.Zero(t, testing.AllocsPerRun(100, func() { v.notice(t.Context(), first, false) }))
	assert.False(t, v.lineages.some.Load())
	renewed := &Verified{validator: v, claims: madeAt(now+1, "id"), renewed: true}
	v.notice(t.Context(), renewed, false)
	assert.True(t, v.lineages.some.Load())
	assert.Zero(t, testing.AllocsPerRun(100, func() { v.notice(t.Context(), renewed, false) }))
	assert.Zero(t, testing.AllocsPerRun(100, func() { v.notice(t.Context(), first, false) }))
}

func BenchmarkNoticing(b *testing.B) {
	config := Defaults()
	v := &Validator{config: config}
	tokens := make([]*Verified, 10_000)
	for i := range tokens {
		tokens[i] = &Verified{validator: v, claims: madeAt(2, fmt.Sprintf("%036d", i)), renewed: true}
		v.notice(b.Context(), tokens[i], false)
	}
	for i := 0; b.Loop(); i++ {
		v.notice(b.Context(), tokens[i%len(tokens)], false)
	}
}
