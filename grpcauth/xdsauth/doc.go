// Package xdsauth authenticates the proxies of an xDS server with dataplane tokens, and
// ends their streams when their tokens do.
//
// It is one interceptor, in front of any server that speaks Envoy's xDS version 3, state of the
// world or delta, aggregated or not, such as github.com/envoyproxy/go-control-plane:
//
//	auth, err := xdsauth.StreamServerInterceptor(validator)
//	server := grpc.NewServer(grpc.Creds(tls), grpc.ChainStreamInterceptor(auth))
//	discovery.RegisterAggregatedDiscoveryServiceServer(server, xds.NewServer(ctx, cache, nil))
//
// A proxy opens a stream with its token in the metadata "authorization", bare or after
// "Bearer ". The token must be good for the mesh that it names, or the stream ends
// there. The first request says which node is asking: a [Resolver] makes the node into
// a dataplane.Proxy, and the token must permit that. Only then does the server see the
// request. For the rest of the stream the node keeps its id; requests may leave the node
// out, and one that does not is checked like the first, since the server would believe what
// it says. A proxy that says nothing is not waited for long.
//
// Handlers and callbacks that have the stream's context find the token with
// grpcauth.FromContext[dataplane.Verified]. That it permits the node is known from the
// first request on.
//
// # Why an interceptor, and no callbacks
//
// go-control-plane has callbacks, but they can neither do this alone nor add to it. Those
// that are told of a stream's opening have its context, and with it the token, but not the node;
// those that are told of a request have the node, but no context; and a stream on
// which nothing happens cannot be ended from either, as the server waits on its own
// context, and takes a failed read for a normal end. The interceptor sees the metadata, each request
// before the server does, and the end of the session, and gives the status itself.
//
// # What it does not cover
//
// Services that are not aggregated have unary methods too, such as
// EndpointDiscoveryService.FetchEndpoints, and gRPC shows those to unary interceptors only. Register
// the aggregated service alone, which has none, or put something in front of them.
package xdsauth
