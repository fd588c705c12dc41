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

// How the store keeps and regains its connections. With gRPC's defaults it would wait
// up to 120 s between two attempts.
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

	// minReadTimeout is how long a read waits for the first member.
	minReadTimeout = time.Second
)

var errClosed = errors.New("the store is closed")

// Open returns a store in the cluster that config names. Endpoints are required. If
// they are unset, Open sets DialKeepAliveTime to 10 s, DialKeepAliveTimeout to 3 s,
// the backoff between attempts to connect to at most 0.4 s, and the logger to none.
// DialOptions in config override what Open sets.
//
// Open does not wait for etcd, so a process can start without it. Only with a Username
// and a Password does it get a token first, for at most 10 s. The context bounds the
// opening alone: the store lives until Close, or until config.Context ends.
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

// checkEndpoints refuses what the client would take in another way than it is meant.
func checkEndpoints(config clientv3.Config) error {
	if len(config.Endpoints) == 0 {
		return errors.New("config has no Endpoints, want those of the members, such as https://etcd-1:2379")
	}
	for i, endpoint := range config.Endpoints {
		switch {
		case endpoint == "":
			return fmt.Errorf("endpoint %d is empty, want one such as https://etcd-1:2379", i+1)
		case strings.Contains(endpoint, "@"):
			return fmt.Errorf("endpoint %d has an @: put the user and the password into config.Username and config.Password", i+1)
		case config.TLS != nil && scheme(endpoint) == "http":
			return fmt.Errorf("endpoint %q has no TLS although config.TLS is set, want https", endpoint)
		}
	}
	// Without config.TLS the client treats all endpoints like the first one.
	first := config.Endpoints[0]
	for _, endpoint := range config.Endpoints {
		if config.TLS == nil && asksForTLS(endpoint) != asksForTLS(first) {
			return fmt.Errorf("endpoints %q and %q: one has TLS and one does not, want https for both or for neither", first, endpoint)
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

// scheme returns what is before the first colon, in lower case, as the client reads it.
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

// reasonKey is the key of a context's value, a *error: the last error of gRPC.
type reasonKey struct{}

// keepReason notes why a call failed. When a context ends, the client returns only the
// context's error. The reason may be, for example, that there is no connection because
// an unknown authority signed etcd's certificate.
func keepReason(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	err := invoke(ctx, method, request, reply, conn, options...)
	if reason, ok := ctx.Value(reasonKey{}).(*error); ok && err != nil {
		*reason = err
	}
	return err
}

// request makes a request and explains its error. It takes at most requestTimeout.
func (s *Store) request(ctx context.Context, do func(ctx context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	defer context.AfterFunc(s.client().Ctx(), cancel)() // or a closed client would try again for a while
	var reason error
	err := do(context.WithValue(limited, reasonKey{}, &reason))
	if err != nil && s.client().Ctx().Err() != nil {
		return errClosed
	}
	return explain(limited, err, reason)
}

// read gets a key or a range of keys. A member that is cut off from the others stays
// connected and does not answer reads. So read does not wait long for one member: each
// attempt asks the next one.
func (s *Store) read(ctx context.Context, key string, options ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	var response *clientv3.GetResponse
	err := s.request(ctx, func(ctx context.Context) (err error) {
		for timeout := minReadTimeout; ; timeout *= 2 { // the members may just be slow
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

// explain returns the error of a request. If the context has ended, that is the error
// of the context, with the reason that gRPC gave.
func explain(ctx context.Context, err, reason error) error {
	if err == nil || !over(ctx) {
		return err
	}
	err = cmp.Or(ctx.Err(), context.DeadlineExceeded)
	if reason == nil {
		return err
	}
	why := status.Convert(reason).Message()
	// Without an error of the connection. The member may see the deadline first, and end the stream.
	if why == context.DeadlineExceeded.Error() || strings.HasPrefix(why, "stream terminated by RST_STREAM") {
		why = "a member has the request and does not answer; without a majority of the members none does"
	}
	return fmt.Errorf("%w: %s", err, why)
}

// over reports whether the context has ended. It looks at the clock too: etcd knows
// the deadline, and its answer can arrive before the context's own timer fires.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}
