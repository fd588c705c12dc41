package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

var quiet = slog.New(slog.DiscardHandler)

// zoneAuth returns zone authentication of a type, and a zone token for west.
func zoneAuth(t *testing.T, kind string) (*zoneAuthentication, string) {
	store := keystore.NewMemory()
	_, err := zone.EnsureKey(t.Context(), store)
	require.NoError(t, err)
	issuer, err := zone.NewIssuer(store)
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	require.NoError(t, err)
	validator, err := zone.NewValidator(store, zone.WithLogger(quiet))
	require.NoError(t, err)
	t.Cleanup(func() { validator.Close() })
	auth, err := newZoneAuthentication(kind, validator, quiet)
	require.NoError(t, err)
	return auth, issued.Token
}

// call is the context of a call with metadata.
func call(t *testing.T, pairs ...string) context.Context {
	return metadata.NewIncomingContext(t.Context(), metadata.Pairs(pairs...))
}

func TestZoneAuthenticationTurnedOnEndsTheStreamsWithoutATokenAndNoOthers(t *testing.T) {
	auth, raw := zoneAuth(t, authNone)
	with, err := auth.authenticate(call(t, "client-id", "west", "authorization", raw), "/m")
	require.NoError(t, err)
	without, err := auth.authenticate(call(t, "client-id", "east"), "/m")
	require.NoError(t, err)
	late, err := auth.authenticate(call(t, "client-id", "north"), "/m")
	require.NoError(t, err)
	streamWith, release := with.Bind(t.Context())
	defer release()
	streamWithout, release := without.Bind(t.Context())
	defer release()
	require.Equal(t, 1, auth.open())

	auth.turnOn()
	<-streamWithout.Done()
	require.ErrorIs(t, context.Cause(streamWithout), grpcauth.ErrUnauthenticated)
	require.NoError(t, streamWith.Err())
	streamLate, release := late.Bind(t.Context()) // it was let in just before
	defer release()
	<-streamLate.Done()

	_, err = auth.authenticate(call(t, "client-id", "east"), "/m")
	require.ErrorIs(t, err, grpcauth.ErrUnauthenticated)
	_, err = auth.authenticate(call(t, "client-id", "west", "authorization", raw), "/m")
	require.NoError(t, err)
}

func TestZoneAuthenticationHoldsAZoneToItsTokenAlsoWhileNoneIsNeeded(t *testing.T) {
	auth, raw := zoneAuth(t, authNone)
	_, err := auth.authenticate(call(t, "client-id", "east", "authorization", raw), "/m")
	require.ErrorIs(t, err, token.ErrNotPermitted)
	_, err = auth.authenticate(call(t, "client-id", "east", "authorization", "no token"), "/m")
	require.ErrorIs(t, err, grpcauth.ErrUnauthenticated)
	_, err = auth.authenticate(call(t), "/m")
	require.ErrorIs(t, err, grpcauth.ErrUnauthenticated)
}

func TestZoneAuthenticationCountsAStreamWithoutATokenUntilItIsReleased(t *testing.T) {
	auth, _ := zoneAuth(t, authNone)
	identity, err := auth.authenticate(call(t, "client-id", "east"), "/m")
	require.NoError(t, err)
	ctx, release := identity.Bind(t.Context())
	require.Equal(t, 1, auth.open())
	release()
	release()
	require.Equal(t, 0, auth.open())
	require.ErrorIs(t, context.Cause(ctx), context.Canceled)
}

func TestZoneAuthenticationOfAnUnknownTypeIsRefused(t *testing.T) {
	_, err := newZoneAuthentication("off", nil, quiet)
	require.ErrorContains(t, err, `"off"`)
}
