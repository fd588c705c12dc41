package grpcauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/internal/keyfile"
	"github.com/meshpass/meshpass/token"
)

// NewTokenFileCredentials returns credentials that send the token in a file,
// without surrounding white space and byte order mark, as the metadata "authorization".
// They read the file at each call, and block while doing so. A new token takes effect
// with the next call or stream. The file need not exist yet. Without TLS grpc
// refuses to use the credentials; see [WithInsecureTransport].
//
// A call fails with codes.Unavailable if the file cannot be read, is not a regular file or
// is empty, since a process may be writing it. A retry reads the file again; to enable
// retries, list the code in the retryPolicy of the service config. A call fails with
// codes.Unauthenticated, which asking again does not cure, if the content of the file
// cannot be a token: it is UTF-16, has more than token.MaxSize bytes and 1 KiB of white
// space, or has characters other than visible ASCII.
//
// The error is about the arguments.
func NewTokenFileCredentials(path string, options ...CredentialsOption) (credentials.PerRPCCredentials, error) {
	if path == "" {
		return nil, errors.New("grpcauth: the token file has no name")
	}
	if _, err := token.ParseUnverified(strings.TrimSpace(path)); err == nil { // errors print the path
		return nil, errors.New("grpcauth: the name of the token file is a token, want a path; NewTokenCredentials takes a token")
	}
	return newTokenCredentials(func() (string, error) { return readToken(path) }, options)
}

// NewTokenCredentials returns credentials that send a token, without
// surrounding white space, as the metadata "authorization".
//
// The error says that the token is empty, has more than token.MaxSize bytes, or
// contains characters other than visible ASCII.
func NewTokenCredentials(raw string, options ...CredentialsOption) (credentials.PerRPCCredentials, error) {
	raw, err := sendable([]byte(raw))
	if err != nil {
		return nil, fmt.Errorf("grpcauth: %w", err)
	}
	return newTokenCredentials(func() (string, error) { return raw, nil }, options)
}

// CredentialsOption is an option of credentials.
type CredentialsOption func(*tokenCredentials)

// WithBearer sends the token after "Bearer " (RFC 6750, section 2.1), which
// some servers require. Servers of this package accept both forms.
func WithBearer() CredentialsOption {
	return func(c *tokenCredentials) { c.prefix = "Bearer " }
}

// WithInsecureTransport also sends the token over unencrypted connections, where
// others on the network can read and use it. It is for tests, and for connections
// that are protected in another way.
func WithInsecureTransport() CredentialsOption {
	return func(c *tokenCredentials) { c.insecure = true }
}

// tokenCredentials keeps the token in a function, so that printing or marshalling
// the value does not show it.
type tokenCredentials struct {
	token    func() (string, error)
	prefix   string
	insecure bool
}

func newTokenCredentials(token func() (string, error), options []CredentialsOption) (credentials.PerRPCCredentials, error) {
	c := &tokenCredentials{token: token}
	for _, option := range options {
		if option == nil {
			return nil, errors.New("grpcauth: an option is nil")
		}
		option(c)
	}
	return c, nil
}

// GetRequestMetadata returns the metadata for one call.
func (c *tokenCredentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if !c.insecure {
		info, _ := credentials.RequestInfoFromContext(ctx)
		if err := credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity); err != nil {
			return nil, status.Errorf(codes.Unauthenticated, "tokens are not sent over an insecure connection: %v", err)
		}
	}
	raw, err := c.token()
	if err != nil {
		code := codes.Unavailable
		if errors.Is(err, errNoToken) {
			code = codes.Unauthenticated
		}
		return nil, status.Errorf(code, "there is no token to send: %v", err)
	}
	return map[string]string{authorizationKey: c.prefix + raw}, nil
}

// RequireTransportSecurity makes grpc refuse to use the credentials without
// TLS.
func (c *tokenCredentials) RequireTransportSecurity() bool { return !c.insecure }

// Format prints a constant instead of the token under every verb.
func (c *tokenCredentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue logs a constant instead of the token.
func (c *tokenCredentials) LogValue() slog.Value { return slog.StringValue(hidden) }

const hidden = "grpcauth token credentials"

// errNoToken is the error about a file whose content cannot be a token.
var errNoToken = errors.New("the content is not a token")

// maxWhiteSpace is the number of bytes of white space that are always accepted
// in a token file.
const maxWhiteSpace = 1024

func readToken(path string) (string, error) {
	text, err := keyfile.Read(path, token.MaxSize+maxWhiteSpace)
	if err != nil {
		return "", err
	}
	if len(text) > token.MaxSize+maxWhiteSpace {
		return "", fmt.Errorf("%s: %w: it is longer than a token, want at most %d bytes", path, errNoToken, token.MaxSize)
	}
	if len(bytes.TrimSpace(text)) == 0 { // a process may be writing it
		return "", fmt.Errorf("%s: the token is empty", path)
	}
	raw, err := sendable(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w: %w", path, errNoToken, err)
	}
	return raw, nil
}

// sendable returns the token in a text. It rejects a text that cannot be a token, with a
// clearer error than that of the peer. The error does not contain the text.
func sendable(text []byte) (string, error) {
	text, err := token.PlainText(text)
	if err != nil {
		return "", err
	}
	raw := string(text)
	if raw == "" {
		return "", errors.New("the token is empty")
	}
	if len(raw) > token.MaxSize {
		return "", fmt.Errorf("the token has %d bytes, the maximum is %d", len(raw), token.MaxSize)
	}
	for at := range len(raw) {
		if raw[at] <= ' ' || raw[at] > '~' {
			return "", fmt.Errorf("byte %d of the token is not a visible ASCII character", at+1)
		}
	}
	return raw, nil
}
