package offer_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/offer"
)

func TestAnOfferIsTakenOnceAndEndsTheContextThatTheServerMade(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	offered := offer.New(ctx, end)
	_, ok := offer.End(offered)
	assert.False(t, ok, "nobody has taken it yet")

	taken, endTaken, ok := offer.Take(offered)
	require.True(t, ok)
	assert.Equal(t, ctx, taken)
	_, _, ok = offer.Take(offered)
	assert.False(t, ok, "another session derives a context")
	_, ok = offer.End(offered)
	assert.True(t, ok)

	reason := errors.New("revoked")
	endTaken(reason)
	assert.Equal(t, reason, context.Cause(ctx))
}

func TestAnOfferThatIsWithdrawnIsAContextLikeAnyOther(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	defer end(nil)
	for _, take := range []bool{true, false} {
		offered := offer.New(ctx, end)
		if take {
			offer.Take(offered)
		}
		offered.Withdraw()
		_, _, ok := offer.Take(offered)
		assert.False(t, ok)
		_, ok = offer.End(offered)
		assert.False(t, ok)
	}
	_, _, ok := offer.Take(context.WithoutCancel(offer.New(ctx, end)))
	assert.False(t, ok, "a context that somebody has derived is not the server's")
}
