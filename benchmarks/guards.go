package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

// The servers that are compared. They differ in how they authenticate.
const (
	meshpass    = "Meshpass"
	once        = "golang-jwt, once"             // at the first request of a stream
	everyTime   = "golang-jwt, each request"     // of each stream
	tokenReview = "TokenReview, once"            // of kube-apiserver, at the first request of a stream
	nothing     = "no authentication"            // for the storm: what everything else costs
	mesh        = "default"                      // of all proxies
	audience    = "mesh.example.com"             // of service account tokens
	rereadAfter = time.Second                    // how long golang-jwt's keys and lists may be old
	refusal     = "the token is not good enough" // of all servers but Meshpass
)

var quiet = slog.New(slog.DiscardHandler)

// guard returns the options of a server that authenticate its proxies, until the process ends.
func guard(config Config, store *counted) ([]grpc.ServerOption, error) {
	switch config.Server {
	case meshpass:
		validator, err := dataplane.NewValidator(store, dataplane.WithLogger(quiet))
		if err != nil {
			return nil, err
		}
		return xdsauth.ServerOptions(dataplane.NewAuthenticator(validator), xdsauth.WithLogger(quiet))
	case once, everyTime:
		checker := &golangJWT{store: store}
		return checking(checker.check, config.Server == everyTime), nil
	case tokenReview:
		client, err := authenticationv1.NewForConfig(config.Kubernetes.rest())
		if err != nil {
			return nil, err
		}
		checker := &reviewer{reviews: client.TokenReviews(), namespace: config.Kubernetes.Namespace}
		return checking(checker.check, false), nil
	case nothing:
		return nil, nil
	default:
		return nil, fmt.Errorf("there is no server %q", config.Server)
	}
}

// check reports whether a token is good for a node.
type check func(ctx context.Context, raw string, node *corev3.Node) error

// checking authenticates streams with a check at their first request, or at each. The
// first request names the node.
func checking(check check, each bool) []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainStreamInterceptor(
		func(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			raw, err := grpcauth.TokenFromMetadata(stream.Context())
			if err != nil {
				return status.Error(codes.Unauthenticated, refusal)
			}
			checked := &checkedStream{ServerStream: stream, raw: raw, check: check, each: each}
			err = handler(service, checked)
			if checked.refused != nil { // go-control-plane takes that for the end of the stream
				return checked.refused
			}
			return err
		})}
}

// checkedStream is a stream with requests that are checked before the server sees them.
type checkedStream struct {
	grpc.ServerStream
	raw     string
	check   check
	each    bool
	node    *corev3.Node // of the first request; nil before it
	refused error        // read after the handler has returned
}

// RecvMsg implements grpc.ServerStream.
func (s *checkedStream) RecvMsg(into any) error {
	if err := s.ServerStream.RecvMsg(into); err != nil {
		return err
	}
	first := s.node == nil
	if first {
		s.node = into.(*discoveryv3.DiscoveryRequest).GetNode()
	}
	if first || s.each {
		if s.check(s.Context(), s.raw, s.node) != nil {
			s.refused = status.Error(codes.Unauthenticated, refusal)
			return s.refused
		}
	}
	return nil
}

// golangJWT checks dataplane tokens with github.com/golang-jwt/jwt. It reads keys, revoked ids
// and cutoffs of the mesh from the store when they are needed and older than rereadAfter, for
// all checks together.
type golangJWT struct {
	store keystore.KeyStore

	mu      sync.Mutex
	readAt  time.Time
	keys    map[string]*rsa.PublicKey
	revoked *revocation.List
	cutoffs []dataplane.Cutoff
}

type golangJWTClaims struct {
	Mesh, Name, Workload string
	Tags                 map[string][]string
	jwt.RegisteredClaims
}

var golangJWTParser = jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(), jwt.WithLeeway(30*time.Second))

func (c *golangJWT) check(ctx context.Context, raw string, node *corev3.Node) error {
	keys, revoked, cutoffs, err := c.state(ctx)
	if err != nil {
		return err
	}
	var claims golangJWTClaims
	token, err := golangJWTParser.ParseWithClaims(raw, &claims, func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		if key := keys[kid]; key != nil {
			return key, nil
		}
		return nil, errors.New("no such key")
	})
	switch {
	case err != nil:
		return err
	case claims.Mesh+"."+claims.Name != node.GetId():
		return errors.New("the token is of another proxy")
	case revoked.Contains(claims.ID):
		return errors.New("revoked")
	}
	for _, cutoff := range cutoffs {
		if (cutoff.Name == "" || cutoff.Name == claims.Name) && (cutoff.Workload == "" || cutoff.Workload == claims.Workload) &&
			(cutoff.KeyID == "" || cutoff.KeyID == token.Header["kid"]) &&
			(claims.IssuedAt == nil || claims.IssuedAt.Before(cutoff.Before)) {
			return errors.New("cut off")
		}
	}
	return nil
}

func (c *golangJWT) state(ctx context.Context) (map[string]*rsa.PublicKey, *revocation.List, []dataplane.Cutoff, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.readAt.IsZero() && time.Since(c.readAt) < rereadAfter {
		return c.keys, c.revoked, c.cutoffs, nil
	}
	began := time.Now()
	keys, err := dataplane.Keys(ctx, c.store, mesh)
	if err != nil {
		return nil, nil, nil, err
	}
	revoked, err := dataplane.Revoked(ctx, c.store, mesh)
	if err != nil {
		return nil, nil, nil, err
	}
	cutoffs, err := dataplane.Cutoffs(ctx, c.store, mesh)
	if err != nil {
		return nil, nil, nil, err
	}
	c.keys = map[string]*rsa.PublicKey{}
	for _, key := range keys {
		if key.Public != nil {
			c.keys[fmt.Sprint(key.Serial)] = key.Public.RSA()
		}
	}
	c.readAt, c.revoked, c.cutoffs = began, revoked, cutoffs
	return c.keys, c.revoked, c.cutoffs, nil
}

// reviewer asks an API server about service account tokens, for each check.
type reviewer struct {
	reviews   authenticationv1.TokenReviewInterface
	namespace string // of the accounts
}

func (c *reviewer) check(ctx context.Context, raw string, _ *corev3.Node) error {
	review, err := c.reviews.Create(ctx, &authentication.TokenReview{
		Spec: authentication.TokenReviewSpec{Token: raw, Audiences: []string{audience}},
	}, meta.CreateOptions{})
	switch {
	case err != nil:
		return err
	case !review.Status.Authenticated, !strings.HasPrefix(review.Status.User.Username, "system:serviceaccount:"+c.namespace+":"):
		return errors.New("not authenticated")
	}
	return nil
}

// counted is a store that counts what is read.
type counted struct {
	watched
	reads atomic.Int64
}

// watched is a store that announces changes, as all do that replicas can share.
type watched interface {
	keystore.KeyStore
	keystore.Watcher
}

// Get implements keystore.KeyStore.
func (c *counted) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	c.reads.Add(1)
	return c.watched.Get(ctx, scope, name)
}

// List implements keystore.KeyStore.
func (c *counted) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	c.reads.Add(1)
	return c.watched.List(ctx, scope, prefix)
}
