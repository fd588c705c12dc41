package kubernetes

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"github.com/meshpass/meshpass/keystore"
)

// A connection on which nothing arrives for idleTime is asked by an HTTP/2 ping whether it
// lives, and is dead if there is no answer within pingTime. client-go's own times are 30
// and 15 s.
const (
	idleTime = 10 * time.Second
	pingTime = 5 * time.Second
)

// Open returns a store on the Secrets of a namespace. Its connections are its own, and it
// finds within 15 s that one has died silently, unless config has a Transport. Without a
// QPS in config, client-go does not hold back requests. A List makes progress, see
// [keystore.Progress], with each part of an answer that arrives. Open makes no request,
// and does not change config.
func Open(config *rest.Config, namespace string) (*Store, error) {
	if config == nil {
		return nil, errors.New("kubernetes: cannot open a store: config is nil, want one such as of rest.InClusterConfig")
	}
	if namespace == "" {
		return nil, errors.New("kubernetes: cannot open a store: the namespace is empty, want one such as kuma-system")
	}
	config = rest.CopyConfig(config)
	if config.QPS == 0 {
		config.QPS = -1
	}
	config.WrapTransport = transport.Wrappers(withPings, withProgress, config.WrapTransport)
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: cannot open a store: %w", err)
	}
	return New(client.Secrets(namespace))
}

// withPings returns a copy of client-go's transport, which all clients with the same
// credentials share, that pings its connections sooner.
func withPings(shared http.RoundTripper) http.RoundTripper {
	t, ok := shared.(*http.Transport)
	if !ok || t.TLSNextProto["h2"] == nil { // HTTP/2 may be disabled, by DISABLE_HTTP2
		return shared
	}
	own := t.Clone()
	own.TLSNextProto = nil // or connections of HTTP/2 would be those of the shared one
	own.ForceAttemptHTTP2 = true
	own.HTTP2 = &http.HTTP2Config{SendPingTimeout: idleTime, PingTimeout: pingTime}
	return own
}

// withProgress reports the progress of an answer, which client-go reads to its end before
// it looks at it.
func withProgress(next http.RoundTripper) http.RoundTripper { return progressing{next} }

type progressing struct{ http.RoundTripper }

func (p progressing) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := p.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = progressingBody{response.Body, keystore.Progress(r.Context())}
	}
	return response, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (p progressing) WrappedRoundTripper() http.RoundTripper { return p.RoundTripper }

type progressingBody struct {
	io.ReadCloser
	progressed func()
}

func (b progressingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.progressed()
	return n, err
}
