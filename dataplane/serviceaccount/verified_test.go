package serviceaccount_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane/serviceaccount"
	"github.com/meshpass/meshpass/token"
)

// What the interceptors of grpcauth ask of an identity.
var (
	_ interface {
		Bind(context.Context) (context.Context, context.CancelFunc)
	} = serviceaccount.Verified{}
	_ slog.LogValuer = serviceaccount.Verified{}
)

func TestSessionEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := open(t, good())
		defer v.Close()
		expires := time.Now().Add(time.Hour)
		verified, err := v.Validate(t.Context(), unsigned(map[string]any{"exp": expires.Unix()}))
		require.NoError(t, err)
		ctx, stop := verified.Bind(t.Context())
		defer stop()
		other, release := verified.Bind(t.Context())
		release()
		require.ErrorIs(t, context.Cause(other), context.Canceled)

		time.Sleep(time.Until(expires) - 1)
		synctest.Wait()
		require.NoError(t, ctx.Err())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.ErrorIs(t, context.Cause(ctx), token.ErrExpired)
		require.Equal(t, expires, time.Now())
	})
}

func TestSessionEndsWithItsParentAndForItsReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := open(t, good())
		defer v.Close()
		verified, err := v.Validate(t.Context(), unsigned(nil))
		require.NoError(t, err)
		parent, end := context.WithCancelCause(t.Context())
		ctx, stop := verified.Bind(parent)
		defer stop()
		gone := errors.New("the peer has gone")
		end(gone)
		require.ErrorIs(t, context.Cause(ctx), gone)
	})
}

func TestSessionEndsWithinTenSecondsOfAJumpOfTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := newClock(time.Now())
		v := open(t, good(), serviceaccount.WithClock(wall.get))
		defer v.Close()
		expires := time.Now().Add(time.Hour)
		verified, err := v.Validate(t.Context(), unsigned(map[string]any{"exp": expires.Unix()}))
		require.NoError(t, err)
		ctx, stop := verified.Bind(t.Context())
		defer stop()
		time.Sleep(time.Minute)
		require.NoError(t, ctx.Err())
		wall.set(expires)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.ErrorIs(t, context.Cause(ctx), token.ErrExpired)
	})
}

func TestSessionIsNotProlongedByAWallClockThatGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := newClock(time.Now())
		v := open(t, good(), serviceaccount.WithClock(wall.get))
		defer v.Close()
		verified, err := v.Validate(t.Context(), unsigned(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}))
		require.NoError(t, err)
		ctx, stop := verified.Bind(t.Context())
		defer stop()
		wall.set(wall.get().Add(-24 * time.Hour))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.ErrorIs(t, context.Cause(ctx), token.ErrExpired)
	})
}

func TestSessionBoundWhileTheWallClockIsPutBackEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var behind atomic.Int64
		v := open(t, good(), serviceaccount.WithClock(func() time.Time { return time.Now().Add(-time.Duration(behind.Load())) }))
		defer v.Close()
		expires := time.Now().Add(time.Hour)
		verified, err := v.Validate(t.Context(), unsigned(map[string]any{"exp": expires.Unix()}))
		require.NoError(t, err)
		_, stopFirst := verified.Bind(t.Context())
		defer stopFirst()
		time.Sleep(time.Minute + time.Second)
		behind.Store(int64(30 * time.Minute))
		ctx, stop := verified.Bind(t.Context())
		defer stop()
		time.Sleep(time.Second)
		behind.Store(0)
		time.Sleep(time.Until(expires) + 10*time.Second)
		synctest.Wait()
		require.ErrorIs(t, context.Cause(ctx), token.ErrExpired)
	})
}

func TestSessionIsNotLookedAtUntilItsTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		v := open(t, good(), serviceaccount.WithClock(func() time.Time { looks.Add(1); return time.Now() }))
		defer v.Close()
		verified, err := v.Validate(t.Context(), unsigned(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}))
		require.NoError(t, err)
		const sessions = 10_000
		for range sessions {
			_, stop := verified.Bind(t.Context())
			defer stop()
		}
		looks.Store(0)
		time.Sleep(time.Hour - time.Second)
		require.Less(t, looks.Load(), int64(sessions), "one look at the clock is for all of them")
	})
}

func TestSessionEndsInTimeByAWallClockThatRunsAheadSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		clock := func() time.Time { return began.Add(time.Since(began) * 1005 / 1000) } // 50 ms in 10 s
		v := open(t, good(), serviceaccount.WithClock(clock))
		defer v.Close()
		expires := began.Add(time.Hour)
		verified, err := v.Validate(t.Context(), unsigned(map[string]any{"exp": expires.Unix()}))
		require.NoError(t, err)
		ctx, stop := verified.Bind(t.Context())
		defer stop()
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), token.ErrExpired)
		require.Less(t, clock().Sub(expires), 10*time.Second)
	})
}

func TestSessionUsesNoGoroutine(t *testing.T) {
	v := open(t, good())
	defer v.Close()
	verified, err := v.Validate(t.Context(), unsigned(nil))
	require.NoError(t, err)
	before := runtime.NumGoroutine()
	for range 1000 {
		_, stop := verified.Bind(t.Context())
		defer stop()
	}
	require.Less(t, runtime.NumGoroutine(), before+100)
}

func TestVerifiedZeroValuePermitsNothing(t *testing.T) {
	var none serviceaccount.Verified
	require.ErrorIs(t, none.Permits(serviceaccount.Pod{}), token.ErrNotPermitted)
	ctx, stop := none.Bind(t.Context())
	defer stop()
	require.ErrorIs(t, context.Cause(ctx), token.ErrInvalid)
	require.Zero(t, none.Pod())
	require.Empty(t, none.Audiences())
	require.Zero(t, none.ExpiresAt())
	require.Empty(t, none.ID())
	require.NotPanics(t, func() { none.LogValue() })
}

func TestVerifiedIsLoggedByItsPod(t *testing.T) {
	v := open(t, good())
	defer v.Close()
	verified, err := v.Validate(t.Context(), unsigned(nil))
	require.NoError(t, err)
	var text bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("session ended", "identity", verified)
	require.Contains(t, text.String(),
		"identity.namespace=shop identity.service_account=backend identity.pod=backend-0 identity.jti=c4b6f1a0-8f0a-4b3f-9d3f-2f6f1c1b7a10\n")
}
