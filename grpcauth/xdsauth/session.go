package xdsauth

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/internal/offer"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// session is the identity of one stream. It ends with the token, or with a request
// that the token does not permit.
type session struct {
	grpcauth.Identity // a dataplane.Session or a zone.Session
	of                *authenticator
	end               context.CancelCauseFunc
	timer             *time.Timer // until the first request
}

// Bind starts the timeout for the first request.
func (s *session) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	bound, release := s.Identity.Bind(ctx)
	end, taken := offer.End(ctx)
	if !taken {
		bound, end = context.WithCancelCause(bound)
	}
	s.end = end
	s.timer = time.AfterFunc(s.of.timeout, func() { s.end(s.tooLate()) })
	return bound, func() {
		s.timer.Stop()
		s.end(nil)
		release()
	}
}

func (s *session) tooLate() error {
	return fmt.Errorf("%w: no request within %s", grpcauth.ErrUnauthenticated, s.of.timeout)
}

// LogValue identifies the token's holder.
func (s *session) LogValue() slog.Value {
	switch of := s.Identity.(type) {
	case dataplane.Verified:
		claims := of.Claims()
		return slog.GroupValue(slog.String("mesh", shorten(claims.Mesh)), slog.String("name", shorten(claims.Name)),
			slog.String("kid", of.KeyID()), slog.String("jti", of.Registered().ID))
	case zone.Verified:
		return slog.GroupValue(slog.String("zone", shorten(of.Claims().Zone)), slog.String("kid", of.KeyID()), slog.String("jti", of.Registered().ID))
	case slog.LogValuer:
		return of.LogValue()
	}
	return slog.GroupValue()
}

// stream passes on the requests of one node. As with every stream, only one
// goroutine at a time may call RecvMsg.
type stream struct {
	grpc.ServerStream
	session *session
	ctx     context.Context
	node    string // node id, empty before the first request
}

func newStream(s grpc.ServerStream, session *session) *stream {
	return &stream{ServerStream: s, session: session, ctx: grpcauth.NewContext(s.Context(), session.Identity)}
}

func (s *stream) Context() context.Context { return s.ctx }

// request is an xDS request, of either variant of the protocol.
type request interface {
	proto.Message
	GetNode() *corev3.Node
}

func (s *stream) RecvMsg(m any) error {
	var r request
	switch m := m.(type) {
	case *discoveryv3.DiscoveryRequest:
		r = m
	case *discoveryv3.DeltaDiscoveryRequest:
		r = m
	default:
		return s.refuse(fmt.Errorf("%w: %T is not an xDS request", token.ErrNotPermitted, m))
	}
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	first := s.node == ""
	err := s.check(r.GetNode())
	if err == nil && first && !s.session.timer.Stop() {
		err = s.session.tooLate()
	}
	if err != nil {
		proto.Reset(r)
		return s.refuse(err)
	}
	return nil
}

// checkUnary checks the only request of a unary call.
func (s *stream) checkUnary(m any) error {
	r, ok := m.(request)
	if !ok {
		return fmt.Errorf("%w: %T is not an xDS request", token.ErrNotPermitted, m)
	}
	if err := s.check(r.GetNode()); err != nil {
		return err
	}
	if !s.session.timer.Stop() {
		return s.session.tooLate()
	}
	return nil
}

// refuse ends the stream, whatever the handler does with the error.
func (s *stream) refuse(reason error) error {
	s.session.end(reason)
	return grpcauth.Status(reason).Err()
}

// check compares the node of a request with the token, and with the node of
// earlier requests.
func (s *stream) check(node *corev3.Node) error {
	switch {
	case node == nil && s.node != "":
		return nil
	case node.GetId() == "":
		return fmt.Errorf("%w: the request has no node id", token.ErrNotPermitted)
	case s.node != "" && s.node != node.GetId():
		return fmt.Errorf("%w: the stream is for node %s, the request is from node %s",
			token.ErrNotPermitted, quote(s.node), quote(node.GetId()))
	}
	if err := s.session.permits(s.ctx, node); err != nil {
		return fmt.Errorf("node %s: %w", quote(node.GetId()), err)
	}
	s.node = node.GetId()
	return nil
}

// permits reports whether the node may use the token.
func (s *session) permits(ctx context.Context, node *corev3.Node) error {
	switch of := s.Identity.(type) {
	case zone.Session:
		peer, err := zonePeer(node, s.of.zoneName)
		if err != nil {
			return err
		}
		return of.Permits(peer)
	case dataplane.Session:
		proxies, err := s.of.resolve(ctx, node)
		if err != nil {
			return err
		}
		for _, proxy := range proxies {
			if err := of.Permits(proxy); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%w: a %T is not the session of a proxy", token.ErrNotPermitted, s.Identity)
}
