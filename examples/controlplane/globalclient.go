package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/keystore"
)

const (
	tokenCheckInterval = 500 * time.Millisecond // how often to check the token file
	firstSnapshot      = 10 * time.Second       // how long the first snapshot of a stream may take
)

// globalClient applies the snapshots of the global control plane to a zone's store. While the
// global control plane cannot be reached, the store stays as it is.
type globalClient struct {
	zone      string
	address   string
	creds     credentials.TransportCredentials
	tokenFile string // until it exists, the zone connects without a token
	store     keystore.KeyStore
	log       *slog.Logger

	connected atomic.Bool
	lost      atomic.Int64 // nanoseconds since 1970; when the latest stream ended
}

// staleness returns how long there has been no stream.
func (c *globalClient) staleness(now time.Time) time.Duration {
	if c.connected.Load() {
		return 0
	}
	return now.Sub(time.Unix(0, c.lost.Load()))
}

// run stays connected until ctx ends. When the token changes, run opens a second stream with
// the new token, and closes the first stream only when the second works: a bad token loses
// nothing.
func (c *globalClient) run(ctx context.Context) error {
	c.lost.Store(time.Now().UnixNano())
	replaced := make(chan struct{}, 1)
	known, _ := os.ReadFile(c.tokenFile) // watchToken tries again
	go c.watchToken(ctx, known, replaced)
	var pause backoff
	var current *globalStream
	for ctx.Err() == nil {
		next, err := c.open(ctx)
		switch {
		case err == nil:
			current.close()
			current = next
			c.connected.Store(true)
			c.log.Info("connected to the global control plane")
			go current.follow(c)
		case ctx.Err() == nil:
			c.log.Warn("no stream from the global control plane", "code", status.Code(err).String(), "reason", err.Error())
		}
		if current == nil {
			pause.wait(ctx)
			continue
		}
		select {
		case <-replaced:
			c.log.Info("the zone token was replaced")
		case <-current.ended:
			if ctx.Err() == nil {
				c.log.Warn("stream from the global control plane ended",
					"code", status.Code(current.err).String(), "reason", current.err.Error())
			}
			if current.applied {
				pause.reset()
			}
			current.close()
			current = nil
			c.lost.Store(time.Now().UnixNano())
			c.connected.Store(false)
			pause.wait(ctx)
		}
	}
	current.close()
	return nil
}

// open opens a stream and receives the first snapshot.
func (c *globalClient) open(ctx context.Context) (*globalStream, error) {
	conn, err := dial(c.address, c.creds)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &globalStream{conn: conn, cancel: cancel, ended: make(chan struct{})}
	defer time.AfterFunc(firstSnapshot, cancel).Stop()
	if err := s.begin(metadata.AppendToOutgoingContext(ctx, "client-id", c.zone), c.tokenFile); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

// globalStream is an open stream. The client follows only one at a time, so that an older
// snapshot of one stream never overwrites a newer one of another.
type globalStream struct {
	conn   *grpc.ClientConn
	cancel context.CancelFunc
	stream snapshotClient
	first  snapshot

	ended   chan struct{} // closed when follow has returned
	applied bool          // applied a snapshot; set, like err, before ended is closed
	err     error         // how it ended
}

// begin opens the stream, with the token in the file if the file exists.
func (s *globalStream) begin(ctx context.Context, tokenFile string) error {
	options := []grpc.CallOption{grpc.MaxCallRecvMsgSize(maxSnapshot)}
	if _, err := os.Stat(tokenFile); tokenFile != "" && !errors.Is(err, fs.ErrNotExist) {
		creds, err := grpcauth.NewTokenFileCredentials(tokenFile)
		if err != nil {
			return err
		}
		options = append(options, grpc.PerRPCCredentials(creds))
	}
	var err error
	if s.stream, err = openSnapshots(ctx, s.conn, options...); err != nil {
		return err
	}
	s.first, err = receiveSnapshot(s.stream)
	return err
}

// follow applies snapshots to the zone's store until the stream ends, or is closed.
func (s *globalStream) follow(c *globalClient) {
	defer close(s.ended)
	next := s.first
	for {
		changes, err := next.applyTo(s.stream.Context(), c.store)
		if err != nil {
			s.err = err
			return
		}
		s.applied = true
		if changes > 0 {
			c.log.Info("keys and revocations received", "records", len(next.Records), "changes", changes)
		}
		if next, s.err = receiveSnapshot(s.stream); s.err != nil {
			return
		}
	}
}

// close ends a stream, and waits until follow has returned. The stream may be nil.
func (s *globalStream) close() {
	if s == nil {
		return
	}
	s.release()
	<-s.ended
}

// release frees the resources of a stream.
func (s *globalStream) release() {
	s.cancel()
	_ = s.conn.Close()
}

func receiveSnapshot(stream snapshotClient) (snapshot, error) {
	message, err := stream.Recv()
	if err != nil {
		return snapshot{}, err
	}
	return decodeSnapshot(message.Value)
}

// watchToken signals when the file has another token than the known one.
func (c *globalClient) watchToken(ctx context.Context, known []byte, replaced chan<- struct{}) {
	if c.tokenFile == "" {
		return
	}
	ticker := time.NewTicker(tokenCheckInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now, err := os.ReadFile(c.tokenFile)
		if err != nil || len(now) == 0 || bytes.Equal(now, known) {
			continue
		}
		known = now
		select {
		case replaced <- struct{}{}:
		default: // already signalled
		}
	}
}
