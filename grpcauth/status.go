package grpcauth

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/internal/caller"
	"github.com/meshpass/meshpass/token"
)

var (
	unauthenticated  = status.New(codes.Unauthenticated, "the credentials were not accepted")
	permissionDenied = status.New(codes.PermissionDenied, "the credentials do not permit this")
	unavailable      = status.New(codes.Unavailable, "the credentials could not be checked")
)

// Status returns the status for a peer whose token caused an error. Each code
// has one constant message, without the reason:
//
//   - PermissionDenied for the class token.NotPermitted: the token is good, but
//     not for this use;
//   - Unauthenticated for the class token.Invalid, and for [ErrUnauthenticated];
//   - Unavailable for the class token.Unavailable, which includes
//     token.ErrClosed, and for all other errors, even those with a gRPC status:
//     none of them is a definite rejection, so the peer may retry;
//   - OK for nil.
func Status(err error) *status.Status {
	if err == nil {
		return nil // a nil *Status is OK
	}
	switch caller.ClassOf(err) {
	case token.NotPermitted:
		return permissionDenied
	case token.Invalid:
		return unauthenticated
	}
	return unavailable
}
