// Package grpcauth authenticates gRPC calls with mesh tokens, and ends an open
// stream when its token does.
//
// A server puts interceptors before its services. They authenticate each call with
// an [AuthFunc]: [Zone] for zone tokens, or [Proxy] for dataplane tokens:
//
//	auth := grpcauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP)
//	options, err := grpcauth.ServerOptions(auth)
//	server := grpc.NewServer(append(options, grpc.Creds(tls))...)
//
// A handler gets the caller from [FromContext]:
//
//	func zoneOf(stream grpc.ServerStream) string {
//		caller, _ := grpcauth.FromContext[zone.Verified](stream.Context())
//		return caller.Claims().Zone
//	}
//
// [ServerOptions] has two interceptors, since gRPC runs one for unary calls only and the
// other for streams only. They refuse every call without a good token, except to services
// in [WithOpenServices] and [WithServicesGuardedElsewhere].
//
// A client sends its token with the credentials of [NewTokenFileCredentials] or
// [NewTokenCredentials].
//
// The subpackage xdsauth does the same for the proxies of an xDS server. Only it
// depends on Envoy's message types.
//
// # Metadata
//
// The token is in the metadata "authorization", either bare or after "Bearer ".
// A zone sends its name in "client-id". Both must have exactly one value.
//
// A peer gets one of three codes with a constant message, see [Status]:
// Unauthenticated, PermissionDenied or Unavailable. The log has the reason, the
// method, the peer's address and the token's id, but never the token.
//
// # The end of a stream
//
// The session of a stream ends when its token expires or is revoked, when its
// key is removed, when the store cannot be read for too long, or when the
// validator is closed. The peer then gets the status at once, whatever the handler does:
// the interceptor writes it to the server's transport, as grpc does when a handler
// returns. For the handler this means:
//
//   - The context of its stream ends with the session, with the reason as its
//     cause (context.Cause).
//   - From then on all methods of its stream return the status and do nothing. A
//     Recv or Send in progress returns too, even if a client that does not read
//     blocks the Send.
//   - It may still run after the end of the stream, until it notices the end. The
//     interceptor then drops its result and returns the status. Until then, as after a
//     client that has left, it counts for grpc.MaxConcurrentStreams and
//     Server.GracefulStop waits for it.
//   - A panic in it reaches the outer interceptors, which can recover it; the log has
//     its stack. If the stream is already over, the panic is only logged.
//
// Outer interceptors see the status when the handler has returned. They can no longer
// change it, or add trailers to it. [WithHandlerGoroutines] is for servers with such
// interceptors, and for those with handlers that ignore the end of their streams.
//
// If the handler returns and the session ends, the first event decides the status.
// If the interceptor finds both, the end of the session decides.
//
// gRPC still delivers the messages that the handler sent before the end. The client
// gets the status after it has read them.
package grpcauth
