package main

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The stream between zones and the global control plane. A zone opens it with its name in the
// metadata "client-id" and sends one empty message. The global control plane sends an encoded
// snapshot at once and after every change. This is what protoc would make of
//
//	service ZoneSync {
//	  rpc Snapshots(google.protobuf.Empty) returns (stream google.protobuf.BytesValue);
//	}
const (
	zoneSyncService = "meshpass.example.ZoneSync"
	snapshotsMethod = "Snapshots"
)

// maxSnapshot is the maximum size of a snapshot, in bytes.
const maxSnapshot = 64 << 20

type (
	snapshotServer = grpc.ServerStreamingServer[wrapperspb.BytesValue]
	snapshotClient = grpc.ServerStreamingClient[wrapperspb.BytesValue]
)

type zoneSyncServer interface {
	snapshots(stream snapshotServer) error
}

var snapshotsDesc = grpc.StreamDesc{
	StreamName:    snapshotsMethod,
	ServerStreams: true,
	Handler: func(server any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		return server.(zoneSyncServer).snapshots(
			&grpc.GenericServerStream[emptypb.Empty, wrapperspb.BytesValue]{ServerStream: stream})
	},
}

var zoneSyncDesc = grpc.ServiceDesc{
	ServiceName: zoneSyncService,
	HandlerType: (*zoneSyncServer)(nil),
	Streams:     []grpc.StreamDesc{snapshotsDesc},
}

// openSnapshots opens a stream as a client. The stream ends with ctx.
func openSnapshots(ctx context.Context, conn *grpc.ClientConn, options ...grpc.CallOption) (snapshotClient, error) {
	stream, err := conn.NewStream(ctx, &snapshotsDesc, "/"+zoneSyncService+"/"+snapshotsMethod, options...)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	return &grpc.GenericClientStream[emptypb.Empty, wrapperspb.BytesValue]{ClientStream: stream}, nil
}

// sendSnapshots sends each snapshot of a publisher until the stream ends.
func sendSnapshots(p *publisher, stream snapshotServer) error {
	for {
		encoded, changed := p.latest()
		if encoded != nil {
			if err := stream.Send(wrapperspb.Bytes(encoded)); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}
