// Package xdsauth authenticates the proxies of an xDS server with dataplane
// tokens, and ends their streams when their tokens do.
//
// It works with any server of Envoy's xDS version 3, state of the
// world or delta, aggregated or not, such as
// github.com/envoyproxy/go-control-plane:
//
//	validator, err := dataplane.NewValidator(store, dataplane.WithBoundary(dataplane.AsKuma30()))
//	options, err := xdsauth.ServerOptions(dataplane.NewAuthenticator(validator))
//	server := grpc.NewServer(append(options, grpc.Creds(tls))...)
//	discovery.RegisterAggregatedDiscoveryServiceServer(server, xds.NewServer(ctx, cache, nil))
//
// A proxy opens a stream with its token in the metadata "authorization", either
// bare or after "Bearer ". The interceptor ends the stream unless the token is
// valid for the mesh that it names. The first request names the node: a
// [Resolver] turns the node into a dataplane.Proxy, and the token must permit
// that proxy. Only then does the server receive the request. The id of the node
// cannot change during the stream. Later requests may omit the node. If they have
// it, the interceptor checks it again, since the server would use its content.
// The first request must arrive within 10 seconds; see [WithFirstRequestTimeout].
//
// By default the node describes itself, with the resource that kuma-dp sends in its
// metadata: see [ResolveNode]. A control plane that stores its proxies adds
// [WithStoredProxies]: the token must permit the stored proxy too. The zone proxies of
// Kuma 2, whose nodes have no mesh, need [WithZoneProxies].
//
// Handlers and callbacks that have the stream's context get the token from
// grpcauth.FromContext[dataplane.Verified]. After the first request, the token
// permits the node.
//
// # Why an interceptor instead of callbacks
//
// The callbacks of go-control-plane cannot do this. The callback for a new
// stream has the context with the token, but not the node. The callback for a
// request has the node but no context. Neither can end an idle stream, since the
// server waits on its own context and treats a failed read as a normal end. The
// interceptor sees the metadata, each request before the server does, and the end
// of the session. It returns the status itself.
//
// A server of your own that binds the token itself must end its idle streams itself: see
// the example OwnServer.
//
// # Unary methods
//
// Services that are not aggregated also have unary methods, such as
// EndpointDiscoveryService.FetchEndpoints. gRPC runs stream interceptors for
// streams only, so [ServerOptions] has [UnaryServerInterceptor] too. Without it every
// peer can call these methods.
//
// # Other services
//
// On a server that has other services too, name those that need no token in
// [WithOpenServices], and those that another interceptor authenticates in
// [WithServicesGuardedElsewhere]. All others are refused.
//
// # Memory
//
// If a client does not read, the server keeps the data that is queued for its ended
// stream until the connection closes. Limit it with grpc.MaxConcurrentStreams.
package xdsauth
