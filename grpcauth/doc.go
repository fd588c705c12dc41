// Package grpcauth authenticates gRPC calls with mesh tokens, and ends an open
// stream when its token does.
//
// A server puts interceptors in front of its services. An [AuthFunc]
// authenticates each call: [Zone] by zone tokens, [Proxy] by dataplane tokens:
//
//	auth := grpcauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP)
//	unary, err := grpcauth.UnaryServerInterceptor(auth)
//	stream, err := grpcauth.StreamServerInterceptor(auth)
//	server := grpc.NewServer(grpc.Creds(tls),
//		grpc.ChainUnaryInterceptor(unary), grpc.ChainStreamInterceptor(stream))
//
// A handler gets the caller from [FromContext]:
//
//	func zoneOf(stream grpc.ServerStream) string {
//		caller, _ := grpcauth.FromContext[zone.Verified](stream.Context())
//		return caller.Claims().Zone
//	}
//
// Both interceptors are needed: gRPC runs one for unary calls only and the
// other for streams only.
//
// A client sends its token with the credentials of [NewTokenFileCredentials] or
// [NewTokenCredentials].
//
// The subpackage xdsauth does the same for the proxies of an xDS server. Only
// that package depends on Envoy's message types.
//
// # Metadata
//
// The token is in the metadata "authorization", either bare or after "Bearer ".
// A zone sends its name in "client-id". Both must have exactly one value.
//
// A peer gets one of three codes with a constant message, see [Status]:
// Unauthenticated, PermissionDenied or Unavailable. The reason is in the log,
// with the method, the peer's address and the token's id, but never the token.
//
// # The end of a stream
//
// The session of a stream ends when its token expires or is revoked, when its
// key is removed, when the store cannot be read for too long, or when the
// validator is closed. The stream interceptor then returns the status at once,
// whatever the handler is doing. It therefore runs the handler in a separate
// goroutine. For the handler this means:
//
//   - The context of its stream ends with the session, with the reason as its
//     cause (context.Cause).
//   - From then on all methods of its stream return the status and do nothing.
//     A Recv or Send in progress returns too, even a Send that is blocked by a
//     client that does not read.
//   - It may still run after the end of the stream, until it notices. Its
//     result is then dropped. Server.GracefulStop does not wait for it.
//   - A panic in it continues in the goroutine of the interceptors, where outer
//     interceptors can recover it; the log has its original stack. If the
//     stream is already over, the panic is only logged.
//
// If the handler returns and the session ends, the earlier event counts. If the
// interceptor finds both, the end of the session counts.
//
// Messages that the handler sent before the end are still delivered before the
// status. A client that does not read gets the status after it has read the
// rest.
package grpcauth
