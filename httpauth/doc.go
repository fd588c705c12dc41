// Package httpauth authenticates HTTP requests with mesh tokens, and ends an open
// response when its token does.
//
// A server puts [Middleware] in front of its handlers, with an [AuthFunc]: [Zone] for zone
// tokens, or [Proxy] for dataplane tokens:
//
//	auth := httpauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP)
//	authenticate, err := httpauth.Middleware(auth)
//	http.Handle("GET /events", authenticate(events))
//
// A handler gets the caller from [FromContext]:
//
//	func zoneOf(r *http.Request) string {
//		caller, _ := httpauth.FromContext[zone.Verified](r.Context())
//		return caller.Claims().Zone
//	}
//
// It works with HTTP/1.1 and HTTP/2 of net/http, over TLS or without, and in front of
// httputil.ReverseProxy too.
//
// # Headers
//
// The token is in the header Authorization, either bare or after "Bearer ". A zone sends
// its name in Client-Id. Both must have exactly one value. A token in the query or in the
// body is not looked for. The handler's request has no header Authorization, see
// [WithTokenInRequest].
//
// A reverse proxy behind the middleware should name the caller to its backends in a header
// of its own, which its Rewrite sets from [FromContext]. A peer can have Client-Id removed
// on the way, by naming it in the header Connection, and can send names that some servers
// take for it, such as Client_Id.
//
// # Answers
//
// A peer gets one of three statuses, see [Status], with a constant body in the form of
// package httpapi, and the headers that go with it: 401 and 403 have WWW-Authenticate with
// the scheme Bearer (RFC 6750, section 3), 503 has Retry-After. The log has the reason, the
// method, the path without the query, the peer's address and the token's id, but never the
// token.
//
// # The end of a response
//
// The session of a request ends when its token expires or is revoked, when its key is
// removed, when the store cannot be read for too long, or when the validator is closed.
// Then the context of the handler's request ends, with the reason as its cause
// (context.Cause). Calls of the handler that read the body or write the response return an
// error, also those that are blocked. What the client sees depends on how far the handler
// has come:
//
//   - The response has not begun: the client gets the answer of [Status] when the handler
//     returns.
//   - The response has begun: it is aborted, as http.ErrAbortHandler does it, so that the
//     client does not take what it got for complete. On HTTP/2 the stream is reset, and
//     other streams of the connection go on. On HTTP/1 the connection is closed.
//   - The handler has hijacked the connection, as for a WebSocket: it is closed, even if the
//     handler has returned. What a handler sends to say goodbye is not sent.
//
// A handler that has not returned a quarter of a second later, because it ignores its
// context and makes no calls, loses its connection or stream without being asked. It still
// runs. On HTTP/1 http.Server then reports the connection as http.StateHijacked to its
// ConnState.
//
// What the handler wrote before the end may still reach the client.
//
// # What a server must do
//
// Wrap each handler that needs a token. There is no list of exceptions: a handler that is
// not wrapped is open.
//
// A ResponseWriter that other middleware puts around that of the server must have a method
// Unwrap, as http.ResponseController wants it. Otherwise a blocked call is not interrupted,
// which is logged at Warn. For the same reason the handler must not reach around the
// ResponseWriter that it is given, by its method Unwrap.
//
// If a client of HTTP/2 stops reading from its connection, no stream of it can be reset,
// and a handler that is blocked in Write stays so until the connection is closed: set
// WriteByteTimeout in the http.HTTP2Config of the server. On HTTP/1 no setting is needed.
package httpauth
