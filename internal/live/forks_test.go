package live

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// quietValidator has no keys and logs nothing.
func quietValidator() *Validator {
	config := Defaults()
	config.Log = slog.New(slog.DiscardHandler)
	return newValidator(&replica.Family{Kind: token.KindDataplane}, config)
}

func TestWhoRenewsATokenHearsWhetherThatIsAFork(t *testing.T) {
	v := quietValidator()
	made := time.Now().Unix()
	first := &Verified{validator: v, claims: madeAt(made, "id")}
	next := &Verified{validator: v, claims: madeAt(made+1, "id"), renewed: true}
	for _, fork := range []bool{false, false, true, true} {
		assert.False(t, v.notice(t.Context(), first, true))
		assert.Equal(t, fork, v.count(t.Context(), first, next.Untagged().NotBefore))
	}
	assert.False(t, v.notice(t.Context(), next, true))
	assert.False(t, v.count(t.Context(), next, next.Untagged().NotBefore.Add(time.Second)))
	assert.True(t, v.notice(t.Context(), first, true))
	assert.False(t, v.notice(t.Context(), first, true), "it is known")
	assert.False(t, v.count(t.Context(), first, next.Untagged().NotBefore), "it is not the latest")
}

func TestATokenThatWasRenewedIsLookedUpFromThenOn(t *testing.T) {
	v := quietValidator()
	at := time.Now().Unix()
	v.count(t.Context(), &Verified{validator: v, claims: madeAt(at, "id")}, time.Now())
	assert.True(t, v.notice(t.Context(), &Verified{validator: v, claims: madeAt(at-3600, "id")}, true), "an earlier one of the same id")
}

// overtaken is a context that is asked for a value while another call overtakes its own.
type overtaken struct {
	context.Context
	by func()
}

func (o overtaken) Value(key any) any {
	o.by()
	return o.Context.Value(key)
}

func TestAForkIsHeardOfOnceAlsoWhenTheTokenIsPresentedTwiceAtOnce(t *testing.T) {
	var all lineages
	config := Defaults()
	present := func(ctx context.Context, made int64) *lineage {
		return all.present(ctx, &Verified{claims: madeAt(made, "id"), renewed: true}, false, &config)
	}
	assert.Nil(t, present(t.Context(), 2))
	forks := 0
	count := func(fork *lineage) {
		if fork != nil {
			forks++
		}
	}
	count(present(overtaken{t.Context(), func() { count(present(t.Context(), 1)) }}, 1))
	assert.Equal(t, 1, forks)
}

func TestATokenThatDoesNotTellWhenItWasMadeIsEarlierThanEachOther(t *testing.T) {
	claims := madeAt(time.Now().Unix(), "00000000-0000-7000-8000-000000000000") // an id of 1970
	assert.True(t, (&Verified{claims: claims}).isRenewed())
	claims.Untagged.NotBefore = time.Time{}
	assert.Zero(t, (&Verified{claims: claims}).made())
	assert.False(t, (&Verified{claims: claims}).isRenewed())
}

func TestWhatIsKnownOfALineageKeepsNoTokenInMemory(t *testing.T) {
	var all lineages
	config := Defaults()
	text := strings.Repeat("x", 100)
	claims := madeAt(1, text[:36])
	claims.Untagged.Dataplane.Mesh = text[36:]
	all.present(t.Context(), &Verified{claims: claims, renewed: true}, false, &config)
	for i := range all.shards {
		for id := range all.shards[i].lately {
			assert.Equal(t, lineageID{scope: keystore.Scope(text[36:]), id: text[:36]}, id)
			assert.NotSame(t, unsafe.StringData(text), unsafe.StringData(id.id))
			assert.NotSame(t, unsafe.StringData(text[36:]), unsafe.StringData(string(id.scope)))
		}
	}
	assert.True(t, all.some.Load())
}
