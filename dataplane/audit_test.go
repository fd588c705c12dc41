package dataplane_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// audited is a context of alice, and the log of its events.
func audited(t *testing.T) (context.Context, *logtest.Buffer) {
	log := &logtest.Buffer{}
	return audit.WithActor(audit.WithLogger(t.Context(), log.Logger()), "alice"), log
}

func TestAuditHasAnEventForEveryDecision(t *testing.T) {
	ctx, log := audited(t)
	store := keystore.NewMemory()
	_, err := dataplane.EnsureKey(ctx, store, "default")
	require.NoError(t, err)
	assert.Equal(t, 1, log.Count("audit: done", `action="create key"`, "actor=alice", "kind=dataplane", "mesh=default", "kid=1"))
	_, err = dataplane.EnsureKey(ctx, store, "default")
	require.NoError(t, err)
	assert.Equal(t, 1, log.Count("create key"), "nothing was decided the second time")

	issuer := newIssuer(t, store)
	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, day)
	require.NoError(t, err)
	_, claims := inside(t, issued.Token)
	assert.Equal(t, 1, log.Count("audit: done", "action=issue", "actor=alice", "kind=dataplane", "mesh=default", "name=dp-1",
		"jti="+claims.ID, "kid=1", "expires="+claims.ExpiresAt.Format(time.RFC3339)))
	_, err = issuer.Issue(ctx, token.Dataplane{Mesh: "other"}, day)
	require.ErrorIs(t, err, signing.ErrNoKey)
	assert.Equal(t, 1, log.Count("audit: not done", "action=issue", "actor=alice", "mesh=other", "reason="))

	require.NoError(t, dataplane.Revoke(ctx, store, "default", claims.ID, "another-id"))
	assert.Equal(t, 1, log.Count("audit: done", "action=revoke", "actor=alice", "kind=dataplane", "mesh=default", "jti="+claims.ID))
	assert.Equal(t, 1, log.Count("audit: done", "action=revoke", "jti=another-id"))
	require.NoError(t, dataplane.Restore(ctx, store, "default", claims.ID))
	assert.Equal(t, 1, log.Count("audit: done", "action=restore", "jti="+claims.ID))
	require.Error(t, dataplane.Revoke(ctx, store, "default", "not, an id"))
	assert.Equal(t, 1, log.Count("audit: not done", "action=revoke", `jti="not, an id"`, "reason="))

	_, err = dataplane.AddKey(ctx, store, "default", testKey(1))
	require.NoError(t, err)
	assert.Equal(t, 1, log.Count("audit: done", `action="add key"`, "kid=2"))
	require.ErrorIs(t, dataplane.RemoveKey(ctx, store, "default", 2), signing.ErrInUse)
	assert.Equal(t, 1, log.Count("audit: not done", `action="remove key"`, "kid=2", "it is the newest"))
	require.NoError(t, dataplane.RemoveKey(ctx, store, "default", 1))
	assert.Equal(t, 1, log.Count("audit: done", `action="remove key"`, "kid=1"))
	assert.Zero(t, log.Count(issued.Token), "lines with a token")
}

func TestAuditEventSaysWhatTheTokenPermits(t *testing.T) {
	ctx, log := audited(t)
	issuer := newOfflineIssuer(t, testKey(0), "key-1")
	claims := token.Dataplane{Mesh: "default", Type: "ingress", Workload: "shop", Tags: map[string][]string{"region": {"eu", "us"}}}
	_, err := issuer.Issue(ctx, claims, day)
	require.NoError(t, err)
	_, err = issuer.Issue(ctx, claims, 0)
	require.ErrorIs(t, err, token.ErrNotIssuable)
	for _, decision := range []string{"audit: done", "audit: not done"} {
		assert.Equal(t, 1, log.Count(decision, "mesh=default", "type=ingress", "workload=shop", `tags="{\"region\":[\"eu\",\"us\"]}"`), decision)
	}
}

func TestAuditEventsOfAnIssuerGoToItsOwnLogUnlessTheContextNamesOne(t *testing.T) {
	var own logtest.Buffer
	issuer := newOfflineIssuer(t, testKey(0), "key-1", dataplane.WithLogger(own.Logger()))
	_, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
	require.NoError(t, err)
	assert.Equal(t, 1, own.Count("audit: done", "action=issue", "kid=key-1"))

	ctx, log := audited(t)
	_, err = issuer.Issue(ctx, token.Dataplane{Mesh: "default"}, day)
	require.NoError(t, err)
	assert.Equal(t, 1, log.Count("action=issue"))
	assert.Equal(t, 1, own.Count("action=issue"))
}

func TestIssuerAsksItsPolicyAboutTheWholeRequestBeforeAnythingIsReadOrSigned(t *testing.T) {
	store := newFaultStore()
	putKey(t, store.Memory, "default", 1, testKey(0))
	request := token.Dataplane{Mesh: "default", Name: "dp-1", Type: "dataplane", Workload: "shop",
		Tags: map[string][]string{"kuma.io/service": {"backend"}}}
	forbidden := errors.New("backend is not yours")
	allow := false
	issuer := newIssuer(t, store, quiet, dataplane.WithPolicy(func(ctx context.Context, claims token.Dataplane, validFor time.Duration) error {
		assert.Equal(t, request, claims)
		assert.Equal(t, 2*time.Hour, validFor)
		assert.Equal(t, "of the caller", ctx.Value(policyContext{}))
		if allow {
			return nil
		}
		return forbidden
	}))
	ctx := context.WithValue(t.Context(), policyContext{}, "of the caller")
	var log logtest.Buffer
	ctx = audit.WithLogger(ctx, log.Logger())

	issued, err := issuer.Issue(ctx, request, 2*time.Hour)
	assert.ErrorIs(t, err, token.ErrDenied)
	assert.ErrorIs(t, err, forbidden)
	assert.NotErrorIs(t, err, token.ErrUnavailable)
	assert.NotErrorIs(t, err, token.ErrNotIssuable)
	assert.Empty(t, issued)
	assert.Zero(t, len(store.readsSoFar()))
	assert.Equal(t, 1, log.Count("audit: not done", "action=issue", "backend is not yours"))

	allow = true
	issued, err = issuer.Issue(ctx, request, 2*time.Hour)
	require.NoError(t, err)
	_, claims := inside(t, issued.Token)
	assert.Equal(t, request, claims.Dataplane)
	assert.True(t, slices.ContainsFunc(store.readsSoFar(), func(r storeRead) bool { return r.scope == "default" }))
}

type policyContext struct{}

func TestIssuerAsksItsPolicyOnlyAboutRequestsThatCouldBeGranted(t *testing.T) {
	issuer := newOfflineIssuer(t, testKey(0), "key-1", quiet, dataplane.WithMaxLifetime(day),
		dataplane.WithPolicy(func(context.Context, token.Dataplane, time.Duration) error {
			t.Error("the policy was asked")
			return nil
		}))
	for name, validFor := range map[string]time.Duration{"": day, "default": 0, "a/b": day, "prod": 2 * day} {
		_, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: name}, validFor)
		assert.ErrorIs(t, err, token.ErrNotIssuable)
	}
}

func TestIssuerTakesOnePolicy(t *testing.T) {
	allow := dataplane.WithPolicy(func(context.Context, token.Dataplane, time.Duration) error { return nil })
	_, err := dataplane.NewOfflineIssuer(testKey(0), "key-1", allow, allow)
	assert.ErrorContains(t, err, "twice")
	_, err = dataplane.NewOfflineIssuer(testKey(0), "key-1", dataplane.WithPolicy(nil))
	assert.ErrorContains(t, err, "the policy is nil")
}

func TestIssuerCanBeDisabled(t *testing.T) {
	var log logtest.Buffer
	issuer, err := dataplane.NewDisabledIssuer(dataplane.WithLogger(log.Logger()))
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
	assert.ErrorIs(t, err, token.ErrIssuingDisabled)
	assert.NotErrorIs(t, err, token.ErrNotIssuable)
	assert.Empty(t, issued)
	assert.Equal(t, 1, log.Count("audit: not done", "action=issue", "mesh=default", "switched off"))
}
