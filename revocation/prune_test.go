package revocation_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

// prunings are the two ways to prune the list of the mesh default.
var prunings = map[string]func(ctx context.Context, store keystore.KeyStore) (revocation.Pruning, error){
	"Prune": func(ctx context.Context, store keystore.KeyStore) (revocation.Pruning, error) {
		return revocation.Prune(ctx, store, revocation.Dataplane("default"), revocation.DataplaneCutoffs("default"), time.Hour, false)
	},
	"PruneDataplane": func(ctx context.Context, store keystore.KeyStore) (revocation.Pruning, error) {
		return revocation.PruneDataplane(ctx, store, "default", time.Hour, false)
	},
}

func TestPruneThatFailsSaysWhereAndIsAnAuditEventOnceItHasBegunToWrite(t *testing.T) {
	const ofCutoffs, ofList = `cutoffs "dataplane-token-cutoffs-default" in scope "default": `, `revocation list "dataplane-token-revocations-default" in scope "default": `
	list, cutoffs := revocation.Dataplane("default"), revocation.DataplaneCutoffs("default")
	failure := errors.New("connection refused")
	for name, prune := range prunings {
		for what, c := range map[string]struct {
			interrupt func(store *interrupted)
			says      string
			err       error
			begun     bool
		}{
			"the cutoffs cannot be read":       {func(s *interrupted) { s.beforeGet = nth(1, always(failure)) }, "loading " + ofCutoffs, failure, false},
			"the list cannot be read":          {func(s *interrupted) { s.beforeGet = nth(2, always(failure)) }, "loading " + ofList, failure, false},
			"the cutoffs cannot be read again": {func(s *interrupted) { s.beforeGet = nth(3, always(failure)) }, "adding to " + ofCutoffs, failure, true},
			"the floor cannot be written":      {func(s *interrupted) { s.beforeCreate = always(failure) }, "adding to " + ofCutoffs, failure, true},
			"the list cannot be read again":    {func(s *interrupted) { s.beforeGet = nth(4, always(failure)) }, "pruning " + ofList, failure, true},
			"the list cannot be written":       {func(s *interrupted) { s.beforeUpdate = always(failure) }, "pruning " + ofList, failure, true},
			"the cutoffs are damaged meanwhile": {func(s *interrupted) {
				s.beforeGet = nth(3, func() error { put(t, s.KeyStore, revocation.Ref(cutoffs), "damaged"); return nil })
			}, "adding to " + ofCutoffs, revocation.ErrUnreadable, true},
			"the list is damaged meanwhile": {func(s *interrupted) {
				s.beforeGet = nth(4, func() error { put(t, s.KeyStore, list, "\x00"); return nil })
			}, "pruning " + ofList, revocation.ErrUnreadable, true},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				store := interrupted{KeyStore: keystore.NewMemory()}
				expired := id7(time.Now().Add(-3 * time.Hour))
				require.NoError(t, list.Add(t.Context(), store, expired))
				c.interrupt(&store)
				var log logtest.Buffer
				_, err := prune(audit.WithLogger(t.Context(), log.Logger()), store)
				require.ErrorIs(t, err, c.err)
				assert.ErrorContains(t, err, c.says)
				if !c.begun {
					assert.Empty(t, log.String())
					return
				}
				assert.Equal(t, 1, log.Count("audit: not done", "action=prune", "kind=dataplane", "mesh=default", "reason="))
			})
		}
	}
}

func TestPruneCountsInWholeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 2 {
			time.Sleep(1700 * time.Millisecond)
			for name, prune := range prunings {
				p, err := prune(t.Context(), keystore.NewMemory())
				require.NoError(t, err)
				assert.Equal(t, time.Unix(time.Now().Add(-75*time.Minute).Unix(), 0).UTC(), p.Floor, name)
			}
		}
	})
}

func TestCutoffsAndFloorOfAMeshGoToTheRecordThatAFlatStoreHas(t *testing.T) {
	store, list := flatStore{keystore.NewMemory()}, revocation.Dataplane("default")
	own, global := revocation.DataplaneCutoffs("default"), revocation.DataplaneCutoffsGlobal("default")
	first, second := revocation.Cutoff{Before: ten, Name: "dp-1"}, revocation.Cutoff{Before: ten}
	_, err := global.Add(t.Context(), store, first)
	require.NoError(t, err)
	expired := id7(time.Now().Add(-3 * time.Hour))
	require.NoError(t, list.Add(t.Context(), store, expired, "a"))

	ctx, log := audited(t)
	inForce, err := revocation.AddDataplaneCutoff(ctx, store, "default", second)
	require.NoError(t, err)
	assert.Equal(t, second, inForce)
	assert.Contains(t, log.String(), `action="cut off"`)
	log.Reset()
	p, err := revocation.PruneDataplane(ctx, store, "default", time.Hour, false)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1, -1}, []int{p.Dropped, p.Kept, p.Sessions})
	assert.Contains(t, log.String(), `msg="audit: done" action=prune kind=dataplane mesh=default`)
	assert.Contains(t, log.String(), "dropped=1")
	log.Reset()
	_, err = revocation.PruneDataplane(ctx, store, "default", time.Hour, true)
	require.NoError(t, err)
	assert.Empty(t, log.String(), "a dry run is no event")

	_, err = store.Get(t.Context(), own.Scope, own.Name)
	assert.ErrorIs(t, err, keystore.ErrNotFound, "the name is taken")
	c, err := global.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Equal(t, []revocation.Cutoff{first, second}, c.All())
	assert.Equal(t, p.Floor, c.Floor())
	assert.Equal(t, "a", string(get(t, store.Memory, list).Data))

	require.NoError(t, revocation.RemoveDataplaneCutoff(ctx, store, "default", first))
	c, err = global.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Equal(t, []revocation.Cutoff{second}, c.All())
}
