package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"google.golang.org/grpc/metadata"

	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/zone"
)

// The types of zone authentication.
const (
	authNone    = "none"    // a zone needs no token; if it sends one, the token must be good
	authCPToken = "cpToken" // a zone needs a token with scope cp
)

// maxZoneName is the maximum length of the name of a zone without a token, in bytes.
const maxZoneName = 128

// errTurnedOn ends the streams without a token. The zone gets the same status as any zone
// without a token.
var errTurnedOn = fmt.Errorf("%w: zone authentication was turned on", grpcauth.ErrUnauthenticated)

// zoneAuthentication decides which zones may connect. It can be turned on while zones are
// connected: zones that connected with a token keep their streams.
type zoneAuthentication struct {
	withToken grpcauth.AuthFunc
	log       *slog.Logger

	optional context.Context // ends when a token is required
	require  context.CancelCauseFunc

	mu           sync.Mutex
	withoutToken int // open streams
}

// newZoneAuthentication returns zone authentication of a type, none or cpToken.
func newZoneAuthentication(kind string, validator zone.Validator, log *slog.Logger) (*zoneAuthentication, error) {
	a := &zoneAuthentication{withToken: grpcauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP), log: log}
	a.optional, a.require = context.WithCancelCause(context.Background())
	switch kind {
	case authNone:
	case authCPToken:
		a.require(errTurnedOn)
	default:
		return nil, fmt.Errorf("zone authentication %q, want %s or %s", kind, authNone, authCPToken)
	}
	return a, nil
}

// authenticate is a grpcauth.AuthFunc.
func (a *zoneAuthentication) authenticate(ctx context.Context, method string) (grpcauth.Identity, error) {
	if a.optional.Err() != nil || len(metadata.ValueFromIncomingContext(ctx, "authorization")) > 0 {
		return a.withToken(ctx, method)
	}
	names := metadata.ValueFromIncomingContext(ctx, "client-id")
	if len(names) != 1 || names[0] == "" || len(names[0]) > maxZoneName {
		return nil, fmt.Errorf("%w: want one client-id of 1 to %d bytes", grpcauth.ErrUnauthenticated, maxZoneName)
	}
	return zoneWithoutToken{of: a, name: names[0]}, nil
}

// turnOn requires a token from now on, and ends the streams without one.
func (a *zoneAuthentication) turnOn() {
	a.log.Info("zone authentication is turned on", "streams_without_token", a.open())
	a.require(errTurnedOn)
}

// open returns how many streams without a token are open.
func (a *zoneAuthentication) open() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.withoutToken
}

func (a *zoneAuthentication) count(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.withoutToken += n
}

// zoneWithoutToken is the identity of a zone without a token.
type zoneWithoutToken struct {
	of   *zoneAuthentication
	name string
}

// Bind implements grpcauth.Identity.
func (z zoneWithoutToken) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(z.of.optional, func() { cancel(context.Cause(z.of.optional)) })
	z.of.count(1)
	return ctx, sync.OnceFunc(func() {
		stop()
		cancel(context.Canceled)
		z.of.count(-1)
	})
}

// LogValue names the zone in the interceptor's log.
func (z zoneWithoutToken) LogValue() slog.Value {
	return slog.GroupValue(slog.String("zone_without_token", z.name))
}

// logZone logs which zone has opened a stream.
func logZone(ctx context.Context, log *slog.Logger) error {
	if verified, ok := grpcauth.FromContext[zone.Verified](ctx); ok {
		log.Info("Zone CP successfully authenticated", "zone", verified.Claims().Zone,
			"kid", verified.KeyID(), "jti", verified.Registered().ID)
		return nil
	}
	if z, ok := grpcauth.FromContext[zoneWithoutToken](ctx); ok {
		log.Warn("Zone CP connected without a token", "zone", z.name)
		return nil
	}
	return errors.New("the stream has no identity")
}
