package etcd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/meshpass/meshpass/keystore"
)

// Watch implements [keystore.Watcher]. It waits for a connection. The watch is lost
// with its connection, when the member that serves it has no leader, and when etcd
// compacts a change before the watch has got it.
func (s *Store) Watch(ctx context.Context, changed func(keystore.Scope)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("etcd: cannot watch: %w", err)
	}
	// The watcher of clientv3 resumes a lost watch silently. This one ends, for two
	// reasons. The next watch announces all scopes, so a reader whose reads failed during
	// an outage reads as soon as the outage is over. And after a restore from a backup, a
	// resumed watch would wait for revisions that may not come for a long time.
	streaming, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	err := s.watch(streaming, changed)
	if ctx.Err() == nil && s.client().Ctx().Err() != nil {
		err = errClosed
	}
	return fmt.Errorf("etcd: watch lost: %w", explain(ctx, rpctypes.Error(err), nil))
}

func (s *Store) watch(ctx context.Context, changed func(keystore.Scope)) error {
	stream, err := pb.NewWatchClient(s.client().ActiveConnection()).Watch(ctx,
		grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(math.MaxInt32))
	if err != nil {
		return err
	}
	// Without a StartRevision the watch begins with the first change that the member
	// applies after it has created the watch. A read after that sees all earlier ones.
	err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key:      []byte(s.prefix),
		RangeEnd: []byte(clientv3.GetPrefixRangeEnd(string(s.prefix))),
		Fragment: true, // the events have values, of up to 1 MiB each
	}}})
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		switch {
		case err != nil:
			return err
		case response.CompactRevision != 0:
			return rpctypes.ErrCompacted
		case response.Canceled:
			return errors.New(response.CancelReason)
		}
		scopes := map[keystore.Scope]struct{}{}
		if response.Created {
			scopes[keystore.AllScopes] = struct{}{}
		}
		for _, event := range response.Events {
			if scope, _, ok := s.prefix.parse(event.Kv.Key); ok {
				scopes[scope] = struct{}{}
			}
		}
		for _, scope := range slices.Sorted(maps.Keys(scopes)) {
			if err := ctx.Err(); err != nil {
				return err
			}
			changed(scope)
		}
	}
}
