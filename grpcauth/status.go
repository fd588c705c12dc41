package grpcauth

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/token"
)

var (
	unauthenticated  = status.New(codes.Unauthenticated, "the credentials were not accepted")
	permissionDenied = status.New(codes.PermissionDenied, "the credentials do not permit this")
	unavailable      = status.New(codes.Unavailable, "the credentials could not be checked")
)

// Status is what a peer is told of an error about its token. There is one sentence
// for each code, and no reason:
//
//   - PermissionDenied for token.ErrNotPermitted and token.ErrScope: the token is good,
//     but not for this;
//   - Unauthenticated for everything else of token.ErrInvalid, and for [ErrUnauthenticated];
//   - Unavailable for token.ErrUnavailable, which includes token.ErrClosed, and for every error
//     that is not known here, one with a status of its own too: nobody said no, so it is worth another try;
//   - OK for nil.
func Status(err error) *status.Status {
	switch {
	case err == nil:
		return nil // which is OK
	case errors.Is(err, token.ErrNotPermitted), errors.Is(err, token.ErrScope):
		return permissionDenied
	case errors.Is(err, token.ErrInvalid), errors.Is(err, ErrUnauthenticated):
		return unauthenticated
	}
	return unavailable
}
