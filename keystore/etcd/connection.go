package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/status"
)

// How the store keeps and regains its connections. gRPC's own defaults would let
// it wait up to 120 s between two attempts.
const (
	minReconnect   = 100 * time.Millisecond
	maxReconnect   = 400 * time.Millisecond
	connectTimeout = 2 * time.Second // with the TLS handshake

	keepAliveTime    = 10 * time.Second // gRPC takes no less
	keepAliveTimeout = 3 * time.Second
)

const (
	// requestTimeout is longer than etcd's own for a request, 7 s by default.
	requestTimeout = 10 * time.Second

	// minReadTimeout is how long a read waits for the first member that it asks.
	minReadTimeout = time.Second
)

var errClosed = errors.New("the store is closed")

// Open returns a store in the cluster that config names; the Endpoints are
// required. Where config leaves these unset, Open sets them: DialKeepAliveTime and
// DialKeepAliveTimeout to 10 s and 3 s, the backoff between attempts to connect to
// at most 0.4 s, and the logger to none. DialOptions in config count for more than
// what Open sets.
//
// Open does not wait for etcd, so that a process can start without it. Only with a
// Username and a Password does it get a token first, for at most 10 s. The context
// is for opening: the store lives until Close, or until config.Context ends.
func Open(ctx context.Context, config clientv3.Config, options ...Option) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("etcd: cannot open a store: %w", err)
	}
	settings := settings{prefix: DefaultPrefix}
	for i, option := range options {
		if option == nil {
			return nil, fmt.Errorf("etcd: cannot open a store: option %d of %d is nil", i+1, len(options))
		}
		option(&settings)
	}
	prefix, err := newKeyPrefix(settings.prefix)
	if err != nil {
		return nil, fmt.Errorf("etcd: cannot open a store: %w", err)
	}
	if err := checkEndpoints(config); err != nil {
		return nil, fmt.Errorf("etcd: cannot open a store: %w", err)
	}
	if config.DialKeepAliveTime == 0 {
		config.DialKeepAliveTime = keepAliveTime
	}
	if config.DialKeepAliveTimeout == 0 {
		config.DialKeepAliveTimeout = keepAliveTimeout
	}
	if config.Logger == nil && config.LogConfig == nil {
		config.Logger = zap.NewNop()
	}
	config.DialOptions = append([]grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minReconnect, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxReconnect},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithChainUnaryInterceptor(keepReason),
	}, config.DialOptions...)
	client, err := connect(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("etcd: cannot open a store: %w", err)
	}
	return &Store{client: func() *clientv3.Client { return client }, prefix: prefix}, nil
}

// checkEndpoints refuses what would be taken otherwise than it was meant.
func checkEndpoints(config clientv3.Config) error {
	if len(config.Endpoints) == 0 {
		return errors.New("config has no Endpoints, want those of the members, such as https://etcd-1:2379")
	}
	for i, endpoint := range config.Endpoints {
		switch {
		case endpoint == "":
			return fmt.Errorf("endpoint %d is empty, want one such as https://etcd-1:2379", i+1)
		case strings.Contains(endpoint, "@"):
			return fmt.Errorf("endpoint %d has an @: a user and a password belong into config.Username and config.Password", i+1)
		case config.TLS != nil && scheme(endpoint) == "http":
			return fmt.Errorf("endpoint %q is without TLS though config.TLS is set, want https", endpoint)
		}
	}
	// Without config.TLS the client speaks with all as the first one asks.
	first := config.Endpoints[0]
	for _, endpoint := range config.Endpoints {
		if config.TLS == nil && asksForTLS(endpoint) != asksForTLS(first) {
			return fmt.Errorf("endpoints %q and %q: one asks for TLS and one does not, want https for both or for neither", first, endpoint)
		}
	}
	if (config.Username == "") != (config.Password == "") {
		return errors.New("config has one of Username and Password, want both or none")
	}
	return nil
}

func asksForTLS(endpoint string) bool {
	return scheme(endpoint) == "https" || scheme(endpoint) == "unixs"
}

// scheme returns what stands before the first colon, as the client reads it: in
// small letters.
func scheme(endpoint string) string {
	before, _, _ := strings.Cut(endpoint, ":")
	return strings.ToLower(before)
}

// connect makes the client, which asks etcd for a token if it has a password.
func connect(ctx context.Context, config clientv3.Config) (*clientv3.Client, error) {
	life := config.Context
	if life == nil {
		life = context.Background()
	}
	life, end := context.WithCancel(life)
	opening, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	proceed := context.AfterFunc(opening, end)
	var reason error
	config.Context = context.WithValue(life, reasonKey{}, &reason)
	client, err := clientv3.New(config)
	if !proceed() && err == nil {
		client.Close()
		err = context.Canceled
	}
	if err != nil {
		end()
		return nil, explain(opening, err, reason)
	}
	context.AfterFunc(client.Ctx(), end)
	return client, nil
}

// reasonKey is the key of a context's value, a *error: what gRPC said last.
type reasonKey struct{}

// keepReason notes why a call failed. When a context ends, the client returns the
// context's error alone, and not, say, that there is no connection because etcd's
// certificate is signed by an unknown authority.
func keepReason(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	err := invoke(ctx, method, request, reply, conn, options...)
	if reason, ok := ctx.Value(reasonKey{}).(*error); ok && err != nil {
		*reason = err
	}
	return err
}

// request makes a request and explains its error. It takes at most requestTimeout,
// whatever the context allows.
func (s *Store) request(ctx context.Context, do func(ctx context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	defer context.AfterFunc(s.client().Ctx(), cancel)() // or the client would try again for a while
	var reason error
	err := do(context.WithValue(limited, reasonKey{}, &reason))
	if err != nil && s.client().Ctx().Err() != nil {
		return errClosed
	}
	return explain(limited, err, reason)
}

// read gets a key or a range of keys. A member that is cut off from the others
// stays connected and leaves reads unanswered, so read does not wait for one
// member for long: each attempt is made at the next one.
func (s *Store) read(ctx context.Context, key string, options ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	var response *clientv3.GetResponse
	err := s.request(ctx, func(ctx context.Context) (err error) {
		for timeout := minReadTimeout; ; timeout *= 2 { // it may just be slow
			attempt, cancel := context.WithTimeout(ctx, timeout)
			response, err = s.client().Get(attempt, key, options...)
			unanswered := over(attempt)
			cancel()
			if err == nil || !unanswered || over(ctx) {
				return err
			}
		}
	})
	return response, err
}

// explain returns the error of a request. If its time was up, that is the error of
// the context, with the reason that gRPC gave.
func explain(ctx context.Context, err, reason error) error {
	if err == nil || !over(ctx) {
		return err
	}
	err = cmp.Or(ctx.Err(), context.DeadlineExceeded)
	if reason == nil {
		return err
	}
	return fmt.Errorf("%w: %s", err, status.Convert(reason).Message())
}

// over reports whether the context has ended. It looks at the clock too: etcd knows
// the deadline, and its answer that time is up can be here before the context's own
// timer has run.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}
