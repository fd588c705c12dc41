package grpcauth_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// A global control plane authenticates the control planes of zones. Zone west opens a
// stream, its token is revoked, and the stream ends.
func Example() {
	ctx := context.Background()
	quiet := slog.New(slog.DiscardHandler)

	// Keys, a token, and a validator.
	store := keystore.NewMemory()
	if _, err := zone.EnsureKey(ctx, store); err != nil {
		log.Fatal(err)
	}
	issuer, err := zone.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	validator, err := zone.NewValidator(store, zone.WithLogger(quiet))
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()

	// The server. Its service here is the health service of grpc.
	auth := grpcauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP)
	options, err := grpcauth.ServerOptions(auth, grpcauth.WithLogger(quiet))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(append(options, grpc.ChainStreamInterceptor(greet))...)
	healthpb.RegisterHealthServer(server, health.NewServer())
	defer server.Stop()
	listener := bufconn.Listen(1 << 16)
	go func() { _ = server.Serve(listener) }()

	// The zone. Between processes it would use TLS, and no WithInsecureTransport.
	creds, err := grpcauth.NewTokenCredentials(issued.Token, grpcauth.WithInsecureTransport())
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///global", grpc.WithPerRPCCredentials(creds),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	watch, err := healthpb.NewHealthClient(conn).Watch(
		metadata.AppendToOutgoingContext(ctx, "client-id", "west"), &healthpb.HealthCheckRequest{})
	if err != nil {
		log.Fatal(err)
	}
	response, err := watch.Recv()
	fmt.Println(response.GetStatus(), err)

	unverified, err := token.ParseUnverified(issued.Token)
	if err != nil {
		log.Fatal(err)
	}
	claims, err := unverified.Claims()
	if err != nil {
		log.Fatal(err)
	}
	if err := zone.Revoke(ctx, store, claims.ID); err != nil {
		log.Fatal(err)
	}
	_, err = watch.Recv()
	fmt.Println(err)
	// Output:
	// hello, zone west
	// SERVING <nil>
	// rpc error: code = Unauthenticated desc = the credentials were not accepted
}

// greet is an interceptor behind the authentication, so it knows who is calling, as
// handlers do.
func greet(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if caller, ok := grpcauth.FromContext[zone.Verified](stream.Context()); ok {
		fmt.Println("hello, zone", caller.Claims().Zone)
	}
	return handler(server, stream)
}

// The health and reflection services answer everybody. The names are those of the services, in full.
func ExampleWithOpenServices() {
	validator, err := zone.NewValidator(keystore.NewMemory())
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	_, err = grpcauth.ServerOptions(grpcauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP),
		grpcauth.WithOpenServices("grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"))
	fmt.Println(err)
	// Output: <nil>
}

// The credentials of a process whose token is in a file, which somebody replaces now
// and then.
func ExampleNewTokenFileCredentials() {
	creds, err := grpcauth.NewTokenFileCredentials("/var/run/secrets/mesh/token")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(creds, creds.RequireTransportSecurity())
	// Output: grpcauth token credentials true
}

// An authenticator of one's own: it combines those that exist.
func ExampleAuthFunc() {
	validator, err := zone.NewValidator(keystore.NewMemory())
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	controlPlane, ingress := grpcauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP), grpcauth.Zone(zone.NewAuthenticator(validator), zone.ScopeIngress)
	auth := func(ctx context.Context, method string) (grpcauth.Identity, error) {
		switch method {
		case "/mesh.Sync/Zone":
			return controlPlane(ctx, method)
		case "/mesh.Sync/Ingress":
			return ingress(ctx, method)
		}
		return nil, fmt.Errorf("%w: nobody may call %q", token.ErrNotPermitted, method)
	}
	_, err = auth(context.Background(), "/mesh.Sync/Everything")
	fmt.Println(err)
	fmt.Println(grpcauth.Status(err).Err())
	// Output:
	// token does not permit this: nobody may call "/mesh.Sync/Everything"
	// rpc error: code = PermissionDenied desc = the credentials do not permit this
}
