package grpcauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestAnAuthFuncLearnsFromWhereATokenIsPresented(t *testing.T) {
	g := newGlobal(t)
	seen := make(chan string, 1)
	g.serve(func(ctx context.Context, _ string) (grpcauth.Identity, error) {
		seen <- audit.Address(ctx)
		return nil, token.ErrRevoked
	})
	_, err := g.client().EmptyCall(asWest(t, "a.b.c"), &testpb.Empty{})
	assert.Equal(t, codes.Unauthenticated, status.Code(err))
	assert.NotEmpty(t, <-seen)
}

func TestAZoneWithAGoodTokenReachesHandlersThatKnowIt(t *testing.T) {
	g := newGlobal(t)
	raw := g.issue(time.Hour)
	check := func(ctx context.Context) error {
		caller, ok := grpcauth.FromContext[zone.Verified](ctx)
		if !ok || caller.Claims().Zone != west || caller.Registered().ID != idOf(t, raw) {
			return fmt.Errorf("found %v, %v", caller.Claims(), ok)
		}
		if _, ok := grpcauth.FromContext[grpcauth.Identity](ctx); !ok {
			return errors.New("not found as an identity of any type")
		}
		if _, ok := grpcauth.FromContext[dataplane.Verified](ctx); ok {
			return errors.New("found as a dataplane token, which it is not")
		}
		return nil
	}
	g.service.unary = check
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		return errors.Join(check(stream.Context()), stream.Send(&testpb.StreamingOutputCallResponse{}))
	}
	g.serve(byZone(g))

	_, err := g.client().EmptyCall(asWest(t, raw), &testpb.Empty{})
	require.NoError(t, err)
	_, err = g.client().EmptyCall(asWest(t, "Bearer "+raw), &testpb.Empty{})
	require.NoError(t, err)

	stream := g.open(raw)
	require.NoError(t, stream.Send(&testpb.StreamingOutputCallRequest{}))
	_, err = stream.Recv()
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, io.EOF, err)
}

func TestPeersLearnACodeAndTheLogTheReasonOnce(t *testing.T) {
	const (
		unauthenticated  = "the credentials were not accepted"
		permissionDenied = "the credentials do not permit this"
		unavailable      = "the credentials could not be checked"
	)
	g := newGlobal(t)
	revoked, cutOff := g.issue(time.Hour), g.issue(time.Hour)
	g.revoke(revoked)
	g.cutOff()
	good := g.issue(time.Hour)
	ingress, err := g.issuer.Issue(context.Background(), token.Zone{Zone: west, Scope: []string{zone.ScopeIngress}}, time.Hour)
	require.NoError(t, err)
	offline, err := zone.NewOfflineIssuer(zoneKey(), "configured-nowhere")
	require.NoError(t, err)
	foreign, err := offline.Issue(context.Background(), token.Zone{Zone: west, Scope: []string{zone.ScopeCP}}, time.Hour)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := g.validator.Validate(context.Background(), west, zone.ScopeCP, cutOff)
		return errors.Is(err, token.ErrRevoked)
	}, patience, time.Millisecond)

	byZone := byZone(g)
	failing := func(err error) grpcauth.AuthFunc {
		return func(context.Context, string) (grpcauth.Identity, error) { return nil, err }
	}
	closed, err := zone.NewValidator(g.store, zone.WithLogger(g.log.Logger()))
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	g.service.unary = func(context.Context) error { return nil }

	for name, c := range map[string]struct {
		auth     grpcauth.AuthFunc
		metadata []string
		code     codes.Code
		message  string
		reason   string // as the interceptor logs it; empty: the validator does
	}{
		"nothing":                         {byZone, nil, codes.Unauthenticated, unauthenticated, `no metadata`},
		"no token":                        {byZone, []string{"client-id", west}, codes.Unauthenticated, unauthenticated, `no metadata`},
		"two tokens":                      {byZone, []string{"client-id", west, "authorization", good, "authorization", good}, codes.Unauthenticated, unauthenticated, `2 values`},
		"another scheme":                  {byZone, []string{"client-id", west, "authorization", "Basic " + good}, codes.Unauthenticated, unauthenticated, `neither a token nor Bearer`},
		"no client-id":                    {byZone, []string{"authorization", good}, codes.Unauthenticated, unauthenticated, `no metadata`},
		"an empty client-id":              {byZone, []string{"authorization", good, "client-id", ""}, codes.Unauthenticated, unauthenticated, `is empty`},
		"two client-ids":                  {byZone, []string{"authorization", good, "client-id", west, "client-id", west}, codes.Unauthenticated, unauthenticated, `2 values`},
		"what is no token":                {byZone, []string{"authorization", "aaaa", "client-id", west}, codes.Unauthenticated, unauthenticated, ``},
		"an unknown key":                  {byZone, []string{"authorization", foreign.Token, "client-id", west}, codes.Unauthenticated, unauthenticated, ``},
		"a revoked token":                 {byZone, []string{"authorization", revoked, "client-id", west}, codes.Unauthenticated, unauthenticated, ``},
		"a token before a cutoff":         {byZone, []string{"authorization", cutOff, "client-id", west}, codes.Unauthenticated, unauthenticated, ``},
		"another zone's token":            {byZone, []string{"authorization", good, "client-id", "east"}, codes.PermissionDenied, permissionDenied, `the token's zone is \"west\"`},
		"another scope's token":           {byZone, []string{"authorization", ingress.Token, "client-id", west}, codes.PermissionDenied, permissionDenied, `the peer's scope is \"cp\"`},
		"asking for another scope":        {grpcauth.Zone(zone.NewAuthenticator(g.validator), zone.ScopeIngress), []string{"authorization", good, "client-id", west}, codes.PermissionDenied, permissionDenied, `the peer's scope is \"ingress\"`},
		"a closed validator":              {grpcauth.Zone(zone.NewAuthenticator(closed), zone.ScopeCP), []string{"authorization", good, "client-id", west}, codes.Unavailable, unavailable, ``},
		"not permitted":                   {failing(fmt.Errorf("%w: not today", token.ErrNotPermitted)), nil, codes.PermissionDenied, permissionDenied, `not today`},
		"an unknown error":                {failing(errors.New("out of luck")), nil, codes.Unavailable, unavailable, `out of luck`},
		"an error with a status":          {failing(status.Error(codes.NotFound, "secret detail")), nil, codes.Unavailable, unavailable, `secret detail`},
		"an authenticator with no answer": {failing(nil), nil, codes.Unavailable, unavailable, `neither an identity nor an error`},
	} {
		t.Run(name, func(t *testing.T) {
			log := &logtest.Buffer{}
			server := &global{tb: t, log: log, service: testService{unary: g.service.unary}}
			server.serve(c.auth)
			_, err := server.client().EmptyCall(with(t, c.metadata...), &testpb.Empty{})
			assert.Equal(t, c.code, status.Code(err))
			assert.Equal(t, c.message, status.Convert(err).Message())

			stream, err := server.client().FullDuplexCall(with(t, c.metadata...))
			require.NoError(t, err)
			assert.Equal(t, c.message, endOf(stream).Message())

			if c.reason == "" {
				assert.Empty(t, log.String())
			} else {
				assert.Equal(t, 1, log.Count("call refused", c.reason, "EmptyCall", "127.0.0.1"))
				assert.Equal(t, 1, log.Count("call refused", c.reason, "FullDuplexCall"))
			}
			assert.NotContains(t, log.String(), good)
		})
	}
	assert.GreaterOrEqual(t, g.log.Count("token refused"), 1)
	assert.NotContains(t, g.log.String(), good)
}

func TestRefusalsThatAFloodCausesAreLoggedAtALimitedRate(t *testing.T) {
	g := newGlobal(t)
	g.serve(byZone(g))
	for range 200 {
		_, err := g.client().EmptyCall(with(t), &testpb.Empty{})
		require.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	assert.GreaterOrEqual(t, g.log.Count("call refused"), 10)
	assert.Less(t, g.log.Count("call refused"), 100)
}

func TestServicesArePassedByTheirWholeNames(t *testing.T) {
	for name, c := range map[string]struct {
		names []string
		want  codes.Code
	}{
		"none":                   {nil, codes.Unauthenticated},
		"the services":           {[]string{"grpc.reflection.v1.ServerReflection", "grpc.health.v1.Health"}, codes.OK},
		"a prefix of them":       {[]string{"grpc.health.v1", "grpc.health.v1.Heal", "grpc.reflection.v1"}, codes.Unauthenticated},
		"names that they begin":  {[]string{"grpc.health.v1.HealthCheck", "grpc.reflection.v1.ServerReflectionInfo"}, codes.Unauthenticated},
		"them otherwise spelled": {[]string{"grpc.health.v1.health", "grpc.reflection.v1.serverReflection"}, codes.Unauthenticated},
	} {
		for option, pass := range map[string]func(...string) grpcauth.Option{"open": grpcauth.WithOpenServices, "guarded elsewhere": grpcauth.WithServicesGuardedElsewhere} {
			t.Run(name+", "+option, func(t *testing.T) {
				g := newGlobal(t)
				g.serve(byZone(g), pass(c.names...))
				client := healthpb.NewHealthClient(g.conn)
				_, err := client.Check(with(t), &healthpb.HealthCheckRequest{})
				assert.Equal(t, c.want, status.Code(err))
				watch, err := client.Watch(with(t), &healthpb.HealthCheckRequest{})
				require.NoError(t, err)
				_, err = watch.Recv()
				assert.Equal(t, c.want, status.Code(err))
				services, err := reflectionpb.NewServerReflectionClient(g.conn).ServerReflectionInfo(with(t))
				require.NoError(t, err)
				_ = services.Send(&reflectionpb.ServerReflectionRequest{
					MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}) // it fails if the stream has ended, which Recv says
				_, err = services.Recv()
				assert.Equal(t, c.want, status.Code(err))

				_, err = g.client().EmptyCall(with(t), &testpb.Empty{})
				assert.Equal(t, codes.Unauthenticated, status.Code(err), "unary calls of the others stay closed")
				stream, err := g.client().FullDuplexCall(with(t))
				require.NoError(t, err)
				assert.Equal(t, codes.Unauthenticated, endOf(stream).Code(), "and so do their streams")
			})
		}
	}
}

func TestHandlersOfOpenServicesFindNoIdentity(t *testing.T) {
	g := newGlobal(t)
	g.service.unary = func(ctx context.Context) error {
		if _, ok := grpcauth.FromContext[grpcauth.Identity](ctx); ok {
			return errors.New("found one")
		}
		return nil
	}
	g.serve(byZone(g), grpcauth.WithOpenServices("grpc.testing.TestService"))
	_, err := g.client().EmptyCall(asWest(t, g.issue(time.Hour)), &testpb.Empty{})
	require.NoError(t, err)
}

func TestUnusableArgumentsOfInterceptorsAreRefused(t *testing.T) {
	g := newGlobal(t)
	auth := byZone(g)
	for name, c := range map[string]struct {
		auth   grpcauth.AuthFunc
		option grpcauth.Option
		want   string
	}{
		"no authenticator":             {nil, grpcauth.WithOpenServices(), "AuthFunc is nil"},
		"a zone without a validator":   {grpcauth.Zone(nil, zone.ScopeCP), grpcauth.WithOpenServices(), "AuthFunc is nil"},
		"a zone without a scope":       {grpcauth.Zone(zone.NewAuthenticator(g.validator), ""), grpcauth.WithOpenServices(), "AuthFunc is nil"},
		"no logger":                    {auth, grpcauth.WithLogger(nil), "logger is nil"},
		"an open service with no name": {auth, grpcauth.WithOpenServices(""), `"" is not a service`},
		"a guarded method":             {auth, grpcauth.WithServicesGuardedElsewhere("/grpc.health.v1.Health/Check"), "WithServicesGuardedElsewhere: "},
		"no option":                    {auth, nil, "option is nil"},
		"an open method":               {auth, grpcauth.WithOpenServices("/grpc.health.v1.Health/Check"), "is not a service"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := grpcauth.ServerOptions(c.auth, c.option)
			require.ErrorContains(t, err, c.want)
			_, err = grpcauth.UnaryServerInterceptor(c.auth, c.option)
			require.ErrorContains(t, err, c.want)
			_, err = grpcauth.StreamServerInterceptor(c.auth, c.option)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestAServiceIsOpenOrGuardedElsewhereAndNotBoth(t *testing.T) {
	const name = "grpc.health.v1.Health"
	_, err := grpcauth.ServerOptions(byZone(newGlobal(t)), grpcauth.WithOpenServices(name), grpcauth.WithServicesGuardedElsewhere(name))
	require.EqualError(t, err, "grpcauth: WithServicesGuardedElsewhere: grpc.health.v1.Health is also in WithOpenServices, want it in one of them")
}

func TestAUnaryHandlerThatItsTokensEndStopsIsAnsweredForWithTheStatus(t *testing.T) {
	for name, failure := range map[string]func(ctx context.Context) error{
		"returning its context's error": func(ctx context.Context) error { return ctx.Err() },
		"returning the cause":           context.Cause,
		"returning a status of it":      func(ctx context.Context) error { return status.FromContextError(ctx.Err()).Err() },
		"wrapping it":                   func(ctx context.Context) error { return fmt.Errorf("reading: %w", ctx.Err()) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGlobal(t)
			var end func()
			g.service.unary = func(ctx context.Context) error {
				end()
				<-ctx.Done()
				return failure(ctx)
			}
			g.serve(byZone(g))
			var raw string
			for reason, by := range map[string]func(){"on the revocation list": func() { g.revoke(raw) }, "issued before": g.cutOff} {
				end = by
				raw = g.issue(time.Hour)
				_, err := g.client().EmptyCall(asWest(t, raw), &testpb.Empty{})
				assert.Equal(t, codes.Unauthenticated, status.Code(err))
				assert.Equal(t, "the credentials were not accepted", status.Convert(err).Message())
				assert.Equal(t, 1, g.log.Count("session ended", "token revoked", reason, "zone=west", "EmptyCall"))
			}
		})
	}
}

func TestAUnaryHandlersOwnAnswerIsPassedOn(t *testing.T) {
	own := status.Error(codes.FailedPrecondition, "not now")
	for name, c := range map[string]struct {
		afterTheEnd bool
		result      error
	}{
		"an error":                     {false, own},
		"a cancellation of its own":    {false, status.Error(codes.Canceled, "a call of its own was cancelled")},
		"an error after the end":       {true, own},
		"success although it is ended": {true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGlobal(t)
			raw := g.issue(time.Hour)
			g.service.unary = func(ctx context.Context) error {
				if c.afterTheEnd {
					g.revoke(raw)
					<-ctx.Done()
				}
				return c.result
			}
			g.serve(byZone(g))
			_, err := g.client().EmptyCall(asWest(t, raw), &testpb.Empty{})
			assert.Equal(t, status.Convert(c.result).String(), status.Convert(err).String())
		})
	}
}

func TestWhatHappensBetweenValidatingAndBindingCounts(t *testing.T) {
	g := newGlobal(t)
	called := make(chan struct{}, 2)
	g.service.unary = func(context.Context) error { called <- struct{}{}; return nil }
	g.service.stream = func(testpb.TestService_FullDuplexCallServer) error { called <- struct{}{}; return nil }
	byZone := byZone(g)
	g.serve(func(ctx context.Context, method string) (grpcauth.Identity, error) {
		identity, err := byZone(ctx, method)
		if err != nil {
			return nil, err
		}
		g.revoke(mustToken(t, ctx))
		require.Eventually(t, func() bool {
			_, err := byZone(ctx, method)
			return errors.Is(err, token.ErrRevoked)
		}, patience, time.Millisecond)
		return identity, nil
	})
	_, err := g.client().EmptyCall(asWest(t, g.issue(time.Hour)), &testpb.Empty{})
	assert.Equal(t, codes.Unauthenticated, status.Code(err))
	assert.Equal(t, codes.Unauthenticated, endOf(g.open(g.issue(time.Hour))).Code())
	assert.Empty(t, called)
	assert.Equal(t, 2, g.log.Count("session ended", "token revoked"))
}

func mustToken(t *testing.T, ctx context.Context) string {
	raw, err := grpcauth.TokenFromMetadata(ctx)
	require.NoError(t, err)
	return raw
}

func TestAnIdentityOfOnesOwnIsBoundAndLoggedAsItSays(t *testing.T) {
	g := newGlobal(t)
	ctx, end := context.WithCancelCause(context.Background())
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		if _, ok := grpcauth.FromContext[visitor](stream.Context()); !ok {
			return errors.New("not found")
		}
		end(fmt.Errorf("%w: closing time", token.ErrNotPermitted))
		<-stream.Context().Done()
		return nil
	}
	g.serve(func(context.Context, string) (grpcauth.Identity, error) { return visitor{ctx}, nil })
	assert.Equal(t, codes.PermissionDenied, endOf(g.open("unused")).Code())
	require.Eventually(t, func() bool {
		return g.log.Count("session ended", "closing time", "name=alice") == 1
	}, patience, time.Millisecond)
}

// visitor may stay for as long as a context says.
type visitor struct{ until context.Context }

func (v visitor) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(v.until, func() { end(context.Cause(v.until)) })
	return ctx, func() { stop(); end(nil) }
}

func (v visitor) LogValue() slog.Value { return slog.GroupValue(slog.String("name", "alice")) }
