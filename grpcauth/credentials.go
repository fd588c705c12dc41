package grpcauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/token"
)

// NewTokenFileCredentials returns credentials that send the token in a file, without the
// white space around it, as the metadata "authorization". They read the file at each call,
// and block for as long as that takes, so a token that replaces another counts from the
// next call or stream on. The file need not exist yet.
//
// A call fails with codes.Unavailable while there is no token in the file: when it
// cannot be read, is empty, or has more than token.MaxSize bytes or other than
// visible ASCII characters in it. Nobody has refused the token then, and a retry, which
// reads the file anew, may find a good one; grpc makes them if the service config has that
// code in its retryPolicy.
//
// An error says that an argument is unusable.
func NewTokenFileCredentials(path string, options ...CredentialsOption) (credentials.PerRPCCredentials, error) {
	if path == "" {
		return nil, errors.New("grpcauth: the token file has no name")
	}
	return newTokenCredentials(func() (string, error) { return readToken(path) }, options), nil
}

// NewTokenCredentials returns credentials that send a token, without the white space around it,
// as the metadata "authorization".
//
// An error says that there is no token, that it has more than token.MaxSize
// bytes, or other than visible ASCII characters in it.
func NewTokenCredentials(raw string, options ...CredentialsOption) (credentials.PerRPCCredentials, error) {
	raw = strings.TrimSpace(raw)
	if err := checkSendable(raw); err != nil {
		return nil, fmt.Errorf("grpcauth: %w", err)
	}
	return newTokenCredentials(func() (string, error) { return raw, nil }, options), nil
}

// CredentialsOption is an option of credentials.
type CredentialsOption func(*tokenCredentials)

// WithBearer writes "Bearer " before the token (RFC 6750, section 2.1), which some
// servers expect. Those of this package take it either way.
func WithBearer() CredentialsOption {
	return func(c *tokenCredentials) { c.prefix = bearer + " " }
}

// WithInsecureTransport sends the token over connections that are not encrypted too, where
// everybody on the way can read it and use it. It is for tests, and for connections that
// something else protects.
func WithInsecureTransport() CredentialsOption {
	return func(c *tokenCredentials) { c.insecure = true }
}

// tokenCredentials keep the token inside of a function, where nothing that prints
// or marshals a value finds it.
type tokenCredentials struct {
	token    func() (string, error)
	prefix   string
	insecure bool
}

func newTokenCredentials(token func() (string, error), options []CredentialsOption) *tokenCredentials {
	c := &tokenCredentials{token: token}
	for _, option := range options {
		option(c)
	}
	return c
}

// GetRequestMetadata returns the metadata for one call.
func (c *tokenCredentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if !c.insecure {
		info, _ := credentials.RequestInfoFromContext(ctx)
		if err := credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity); err != nil {
			return nil, status.Errorf(codes.Unauthenticated, "a token is not sent over an insecure connection: %v", err)
		}
	}
	raw, err := c.token()
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "there is no token to send: %v", err)
	}
	return map[string]string{authorizationKey: c.prefix + raw}, nil
}

// RequireTransportSecurity makes grpc refuse to use the credentials without TLS.
func (c *tokenCredentials) RequireTransportSecurity() bool { return !c.insecure }

// Format prints no token, whatever the verb.
func (c *tokenCredentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue shows no token.
func (c *tokenCredentials) LogValue() slog.Value { return slog.StringValue(hidden) }

const hidden = "grpcauth token credentials"

// maxWhiteSpace is how many bytes of white space a token file may have.
const maxWhiteSpace = 1024

func readToken(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, token.MaxSize+maxWhiteSpace+1))
	if err != nil {
		return "", err
	}
	if len(text) > token.MaxSize+maxWhiteSpace {
		return "", fmt.Errorf("%s: longer than a token may be, %d bytes", path, token.MaxSize)
	}
	raw := strings.TrimSpace(string(text))
	if err := checkSendable(raw); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return raw, nil
}

// checkSendable refuses what cannot be a token, for what the peer would say to it is
// less clear. It never shows it.
func checkSendable(raw string) error {
	if raw == "" {
		return errors.New("the token is empty")
	}
	if len(raw) > token.MaxSize {
		return fmt.Errorf("the token has %d bytes, the maximum is %d", len(raw), token.MaxSize)
	}
	for at := range len(raw) {
		if raw[at] <= ' ' || raw[at] > '~' {
			return fmt.Errorf("byte %d of the token is no visible ASCII character", at+1)
		}
	}
	return nil
}
