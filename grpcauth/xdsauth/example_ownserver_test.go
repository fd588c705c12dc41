package xdsauth_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// ownServer is an ADS server of one's own, without the interceptors of this package. It
// ends an idle stream when the token of the proxy does.
type ownServer struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	validator dataplane.Validator
}

type stream = discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer

func (s *ownServer) StreamAggregatedResources(ads stream) error {
	raw, err := grpcauth.TokenFromMetadata(ads.Context())
	if err != nil {
		return grpcauth.Status(err).Err()
	}
	verified, err := s.validator.Validate(ads.Context(), "default", raw) // it is for the proxies of this mesh
	if err != nil {
		return grpcauth.Status(err).Err()
	}
	session, release := verified.Bind(ads.Context())
	defer release()

	// Recv waits on the context of the stream and not on the session, so it waits in
	// another goroutine, which ends when this handler returns.
	requests, failed := make(chan *discoveryv3.DiscoveryRequest), make(chan error, 1)
	go func() {
		for {
			request, err := ads.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- request:
			case <-session.Done():
				return
			}
		}
	}()
	id := ""
	for {
		select {
		case <-session.Done(): // revoked, for example
			return grpcauth.Status(context.Cause(session)).Err()
		case err := <-failed:
			return err
		case request := <-requests:
			if node := request.GetNode(); node != nil || id == "" {
				if err := permit(verified, node, id); err != nil {
					return grpcauth.Status(err).Err()
				}
				id = node.GetId()
			}
			// It would send from another goroutine if the client may be slow to read.
			if err := ads.Send(&discoveryv3.DiscoveryResponse{TypeUrl: request.GetTypeUrl(), VersionInfo: "1"}); err != nil {
				return err
			}
		}
	}
}

// permit checks the node of a request. The id of an earlier node must not change.
func permit(verified dataplane.Verified, node *corev3.Node, id string) error {
	if id != "" && node.GetId() != id {
		return fmt.Errorf("%w: the node id changed", token.ErrNotPermitted)
	}
	proxy, err := xdsauth.ResolveNode(context.Background(), node)
	if err != nil {
		return err
	}
	return verified.Permits(proxy)
}

// A server of one's own hands the session to its handler. A proxy gets its configuration
// and then waits for news. Its token is revoked, and the idle stream ends.
func Example_ownServer() {
	ctx := context.Background()
	store := keystore.NewMemory()
	if _, err := dataplane.EnsureKey(ctx, store, "default"); err != nil {
		log.Fatal(err)
	}
	issuer, err := dataplane.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	validator, err := dataplane.NewValidator(store, dataplane.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	server := grpc.NewServer() // between processes with grpc.Creds, for TLS
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, &ownServer{validator: validator})
	defer server.Stop()
	listener := bufconn.Listen(1 << 16)
	go func() { _ = server.Serve(listener) }()

	creds, err := grpcauth.NewTokenCredentials(issued.Token, grpcauth.WithInsecureTransport())
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///zone", grpc.WithPerRPCCredentials(creds),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	proxy, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := proxy.Send(&discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: "default.dp-1"}}); err != nil {
		log.Fatal(err)
	}
	response, err := proxy.Recv()
	fmt.Println("version", response.GetVersionInfo(), err)

	unverified, err := token.ParseUnverified(issued.Token)
	if err != nil {
		log.Fatal(err)
	}
	claims, err := unverified.Claims()
	if err != nil {
		log.Fatal(err)
	}
	if err := dataplane.Revoke(ctx, store, "default", claims.ID); err != nil {
		log.Fatal(err)
	}
	_, err = proxy.Recv()
	fmt.Println(err)
	_, err = validator.Validate(ctx, "default", issued.Token)
	fmt.Println("revoked:", errors.Is(err, token.ErrRevoked))
	// Output:
	// version 1 <nil>
	// rpc error: code = Unauthenticated desc = the credentials were not accepted
	// revoked: true
}
