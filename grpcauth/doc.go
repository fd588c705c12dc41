// Package grpcauth authenticates gRPC calls with mesh tokens, and keeps the
// decision true: an open stream ends when its token does.
//
// A server puts interceptors in front of its services. An [Authenticator] decides
// about each call; [Zone] is the one for zones and their tokens. Handlers find
// who is calling with [FromContext]:
//
//	auth := grpcauth.Zone(validator, zone.ScopeCP)
//	unary, err := grpcauth.UnaryServerInterceptor(auth)
//	stream, err := grpcauth.StreamServerInterceptor(auth)
//	server := grpc.NewServer(grpc.Creds(tls),
//		grpc.ChainUnaryInterceptor(unary), grpc.ChainStreamInterceptor(stream))
//
//	func (s *sync) Sync(stream pb.Sync_SyncServer) error {
//		caller, _ := grpcauth.FromContext[zone.Verified](stream.Context())
//		...
//
// Both interceptors are needed: gRPC runs the one for unary calls only and the other for
// streams only.
//
// A client sends its token with the credentials of [NewTokenFileCredentials] or
// [NewTokenCredentials].
//
// Package xdsauth, below this one, does the same for the proxies of an xDS server. It is
// the only part that needs Envoy's message types.
//
// # What travels
//
// The token is in the metadata "authorization", bare or after "Bearer ". A zone names
// itself in "client-id". Both have exactly one value.
//
// A peer is told one of three codes with a constant sentence, see [Status]:
// Unauthenticated, PermissionDenied or Unavailable. The reason is in the log, with the
// method, the peer's address and the token's id, and never with the token.
//
// # The end of a stream
//
// When the session of a stream ends, because its token expired or was revoked, its key was
// removed, nobody could know for too long, or the validator was closed, the stream
// interceptor returns the status at once, whatever the handler is doing. To be able to, it
// runs the handler in a goroutine of its own. For the handler this means:
//
//   - The context of its stream ends with the session, with the reason as its cause
//     (context.Cause).
//   - From then on all methods of its stream return the status and do nothing. A Recv or Send
//     in progress returns too, also a Send that waits for a client that does not read.
//   - It may still be running when the stream is over, for as long as it ignores all of this. What it
//     returns then is dropped. Server.GracefulStop does not wait for it.
//   - A panic in it goes on in the goroutine that runs the interceptors, where those around this one can
//     recover it, and the log has the stack that it came from. Where the stream was over
//     already, it is only logged.
//
// Of a handler's return and the end of the session, the earlier one counts; where both have
// happened before the interceptor looks, the end of the session does.
//
// What the handler had sent before the end is still delivered before the status. A client that does
// not read gets the status when it has read the rest.
package grpcauth
