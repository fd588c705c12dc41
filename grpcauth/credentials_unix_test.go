//go:build unix

package grpcauth_test

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/grpcauth"
)

func TestACallDoesNotWaitForTheWriterOfANamedPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "token")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	creds, err := grpcauth.NewTokenFileCredentials(pipe, grpcauth.WithInsecureTransport())
	require.NoError(t, err)
	_, err = creds.GetRequestMetadata(context.Background())
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorContains(t, err, "is not a regular file")
}
