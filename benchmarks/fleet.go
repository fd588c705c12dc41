package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshpass/meshpass/grpcauth/xdsauth"
)

const serviceTag = "kuma.io/service"

// atOnce is how many proxies may be making their connections at the same time: more than the
// queue of a listening socket is not a measurement of the server.
const atOnce = 256

// Envoy's pause before it opens a stream again is random, up to these.
const firstPause, longestPause = 500 * time.Millisecond, 30 * time.Second

// fleet is the proxies of a mesh, each with a connection and a stream of its own.
type fleet struct {
	events  chan event
	stop    func() // ends all streams and connections
	running sync.WaitGroup
}

// event is what a proxy sees.
type event struct {
	what    happening
	proxy   int
	old     bool // the stream is one of an old token
	at      time.Time
	took    time.Duration // opened: since the proxy began to open its connection or stream
	version string        // opened, updated: of the configuration
	code    codes.Code    // ended, refused
}

type happening int

const (
	opened  happening = iota // and the first configuration has come
	updated                  // another configuration has come
	ended                    // after it was opened
	refused                  // before the first configuration
)

// proxy is one of the fleet.
type proxy struct {
	*fleet
	number int
	conn   *grpc.ClientConn
	node   *corev3.Node
	raw    string // the token of its stream
	old    bool   // which is an old one
	next   string // the replacement that it holds, for its next stream; or ""
}

// newFleet makes n proxies, of which the replicas serve equal shares. each says which tokens
// a proxy has. Nothing connects before start.
func newFleet(n int, all replicas, certificate []byte, each func(p *proxy)) (*fleet, []*proxy, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	creds := credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13})
	f := &fleet{events: make(chan event, 4*n), stop: func() {}}
	proxies := make([]*proxy, n)
	for i := range proxies {
		node, err := nodeOf(i)
		if err != nil {
			return nil, nil, err
		}
		conn, err := grpc.NewClient(all[i%len(all)].address, grpc.WithTransportCredentials(creds),
			grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10))
		if err != nil {
			return nil, nil, err
		}
		proxies[i] = &proxy{fleet: f, number: i, conn: conn, node: node}
		each(proxies[i])
	}
	return f, proxies, nil
}

// start lets the proxies connect, and connect again when their streams end, until stop.
func (f *fleet) start(ctx context.Context, proxies []*proxy) {
	ctx, cancel := context.WithCancel(ctx)
	f.stop = func() {
		cancel()
		f.running.Wait()
	}
	turns := make(chan struct{}, atOnce)
	for _, p := range proxies {
		f.running.Go(func() {
			defer p.conn.Close()
			p.run(ctx, turns)
		})
	}
}

func (p *proxy) run(ctx context.Context, turns chan struct{}) {
	select {
	case turns <- struct{}{}:
	case <-ctx.Done():
		return
	}
	connected := sync.OnceFunc(func() { <-turns })
	defer connected()
	for pause := firstPause; ; {
		wasOpen := p.stream(ctx, connected)
		connected()
		if p.next != "" {
			p.raw, p.old, p.next = p.next, false, ""
		}
		if wasOpen {
			pause = firstPause
			continue // at once: the server has to cope with all of them
		}
		select {
		case <-time.After(mathrand.N(pause)):
			pause = min(2*pause, longestPause)
		case <-ctx.Done():
			return
		}
	}
}

// stream opens a stream and stays until it ends. It reports whether it was open.
func (p *proxy) stream(ctx context.Context, connected func()) (wasOpen bool) {
	tell := func(e event) {
		e.proxy, e.old, e.at = p.number, p.old, time.Now()
		select {
		case p.events <- e:
		case <-ctx.Done():
		}
	}
	over := func(err error) bool {
		if ctx.Err() != nil {
			return wasOpen // the benchmark ended it
		}
		what := refused
		if wasOpen {
			what = ended
		}
		tell(event{what: what, code: status.Code(err)})
		return wasOpen
	}
	began := time.Now()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(p.conn).
		StreamAggregatedResources(metadata.AppendToOutgoingContext(ctx, "authorization", p.raw))
	if err != nil {
		return over(err)
	}
	request := &discoveryv3.DiscoveryRequest{Node: p.node, TypeUrl: resourcev3.ClusterType}
	for {
		_ = stream.Send(request) // if that fails the stream is over, and Recv returns why
		response, err := stream.Recv()
		if err != nil {
			return over(err)
		}
		if wasOpen {
			tell(event{what: updated, version: response.VersionInfo})
		} else {
			tell(event{what: opened, version: response.VersionInfo, took: time.Since(began)})
			wasOpen = true
			connected()
		}
		request = &discoveryv3.DiscoveryRequest{TypeUrl: response.TypeUrl, VersionInfo: response.VersionInfo, ResponseNonce: response.Nonce}
	}
}

func proxyName(number int) string { return fmt.Sprint("dp-", number) }

// nodeOf is the node of a proxy, with its resource, as kuma-dp sends it.
func nodeOf(number int) (*corev3.Node, error) {
	name := proxyName(number)
	resource, err := json.Marshal(map[string]any{"type": "Dataplane", "mesh": mesh, "name": name,
		"networking": map[string]any{"inbound": []any{map[string]any{"port": 8080, "tags": map[string]string{serviceTag: "backend"}}}}})
	if err != nil {
		return nil, err
	}
	fields, err := structpb.NewStruct(map[string]any{xdsauth.MetadataResource: string(resource)})
	if err != nil {
		return nil, err
	}
	return &corev3.Node{Id: mesh + "." + name, Metadata: fields}, nil
}

// newCertificate returns a self-signed ECDSA certificate for this machine, and its key, PEM.
func newCertificate() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), nil
}
