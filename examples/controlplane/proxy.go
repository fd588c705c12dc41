package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
)

// runProxy stands in for Envoy: it keeps a stream to its zone's control plane open. With
// -hold it generates load instead: it opens one stream after the other.
func runProxy(ctx context.Context, flags *flag.FlagSet, args []string, log *slog.Logger) error {
	address := flags.String("address", "", "`address` of the zone control plane")
	zone := flags.String("zone", "", "zone of that control plane")
	ca := flags.String("ca", "", "`file` with the certificate of the CA that signed its certificate, PEM")
	tokenFile := flags.String("token-file", "", "`file` with the dataplane token, read at every connection")
	mesh := flags.String("mesh", "default", "mesh of the proxy")
	name := flags.String("name", "", "name of the proxy")
	service := flags.String("service", "", "value of the tag kuma.io/service")
	hold := flags.Duration("hold", 0, "how long to keep each stream open; 0 means until it ends")
	if err := parse(flags, args, "address", "zone", "ca", "token-file", "name"); err != nil {
		return err
	}
	creds, err := clientTLS(*ca, zoneName(*zone))
	if err != nil {
		return err
	}
	token, err := grpcauth.NewTokenFileCredentials(*tokenFile)
	if err != nil {
		return err
	}
	inbound := map[string]any{}
	if *service != "" {
		inbound["tags"] = map[string]string{"kuma.io/service": *service}
	}
	resource, err := json.Marshal(map[string]any{ // as kuma-dp sends it
		"type": "Dataplane", "mesh": *mesh, "name": *name,
		"networking": map[string]any{"inbound": []any{inbound}},
	})
	if err != nil {
		return err
	}
	fields, err := structpb.NewStruct(map[string]any{xdsauth.MetadataResource: string(resource)})
	if err != nil {
		return err
	}
	p := &proxy{
		address: *address, creds: creds, token: token, hold: *hold, log: log,
		node: &corev3.Node{Id: *mesh + "." + *name, Metadata: fields},
	}
	p.run(ctx)
	log.Info("stopped", "streams", p.streams.Load(), "failures", p.failures.Load())
	return nil
}

type proxy struct {
	address string
	creds   credentials.TransportCredentials
	token   credentials.PerRPCCredentials
	node    *corev3.Node
	hold    time.Duration
	log     *slog.Logger

	streams, failures atomic.Int64
}

// errHeld ends a stream that was open for the time of -hold.
var errHeld = errors.New("held for long enough")

// run connects, and reconnects when the stream ends, until ctx ends.
func (p *proxy) run(ctx context.Context) {
	var pause backoff
	for {
		err := p.connect(ctx, pause.reset)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errHeld):
			continue
		}
		if errors.Is(err, io.EOF) {
			err = nil // the status is OK
		}
		p.failures.Add(1)
		s := status.Convert(err)
		p.log.Warn("stream ended", "code", s.Code().String(), "message", s.Message())
		pause.wait(ctx)
	}
}

// connect opens a connection and a stream, and receives configuration until the stream ends.
func (p *proxy) connect(ctx context.Context, connected func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := dial(p.address, p.creds)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).
		StreamAggregatedResources(ctx, grpc.PerRPCCredentials(p.token))
	if err != nil {
		return err
	}
	request := &discoveryv3.DiscoveryRequest{Node: p.node, TypeUrl: resourcev3.ClusterType}
	for first := true; ; first = false {
		// If a send fails, the stream is over, and receiving returns why.
		_ = stream.Send(request)
		response, err := stream.Recv()
		if context.Cause(ctx) == errHeld {
			return errHeld
		}
		if err != nil {
			return err
		}
		request = &discoveryv3.DiscoveryRequest{TypeUrl: response.TypeUrl,
			VersionInfo: response.VersionInfo, ResponseNonce: response.Nonce}
		if first {
			connected()
			if p.streams.Add(1) == 1 || p.hold == 0 {
				p.log.Info("connected", "version", response.VersionInfo, "resources", len(response.Resources))
			}
			if p.hold > 0 {
				defer time.AfterFunc(p.hold, func() { cancel(errHeld) }).Stop()
			}
		}
	}
}
