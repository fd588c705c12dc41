package signing_test

import (
	"context"
	"crypto"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func TestSignerFromElsewhereThatHangsIsCalledABoundedNumberOfTimesAtOnce(t *testing.T) {
	const limit = 32
	synctest.Test(t, func(t *testing.T) {
		calls, answer := make(chan struct{}, 10*limit), make(chan struct{})
		key, err := signing.NewPrivateKey(signer{&firstRSA().PublicKey, func(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
			calls <- struct{}{}
			<-answer
			return firstRSA().Sign(random, digest, options)
		}})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		errs := make(chan error, 3*limit)
		for range cap(errs) {
			go func() {
				_, err := key.SignContext(ctx, []byte("header.payload"))
				errs <- err
			}()
		}
		for range cap(errs) {
			err := <-errs
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorIs(t, err, token.ErrUnavailable)
		}
		assert.Equal(t, time.Second, time.Since(began))
		assert.Len(t, calls, limit)
		_, err = key.SignContext(ctx, []byte("header.payload"))
		assert.ErrorIs(t, err, context.DeadlineExceeded, "it has ended before")

		done := make(chan error)
		go func() { // it waits for one of the calls to end
			signature, err := key.SignContext(t.Context(), []byte("header.payload"))
			assert.NoError(t, key.Public().Verify([]byte("header.payload"), signature))
			done <- err
		}()
		synctest.Wait()
		assert.Len(t, calls, limit)
		close(answer)
		assert.NoError(t, <-done)
		assert.Len(t, calls, limit+1)
	})
}

func TestSignerFromElsewhereMayUseTheBufferOfItsSignatureAgain(t *testing.T) {
	var buffer []byte
	key, err := signing.NewPrivateKey(signer{&firstRSA().PublicKey, func(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
		signature, err := firstRSA().Sign(random, digest, options)
		buffer = append(buffer[:0], signature...)
		return buffer, err
	}})
	require.NoError(t, err)
	first, err := key.Sign([]byte("header.payload"))
	require.NoError(t, err)
	_, err = key.Sign([]byte("header.another"))
	require.NoError(t, err)
	assert.NoError(t, key.Public().Verify([]byte("header.payload"), first))
}

func TestSignerFromElsewhereThatEndsItsGoroutineIsAFailure(t *testing.T) {
	key, err := signing.NewPrivateKey(signer{&firstRSA().PublicKey, func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
		runtime.Goexit() // as FailNow of a test does
		return nil, nil
	}})
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = key.SignContext(ctx, []byte("header.payload"))
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestSignerFromElsewhereThatPanicsIsAFailure(t *testing.T) {
	key, err := signing.NewPrivateKey(signer{&firstRSA().PublicKey, func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
		panic("no session")
	}})
	require.NoError(t, err)
	signature, err := key.Sign([]byte("header.payload"))
	assert.Nil(t, signature)
	assert.ErrorIs(t, err, token.ErrUnavailable)
	assert.ErrorContains(t, err, "the signer of the key "+key.Public().Fingerprint()+" panicked: no session")
}

func TestSignersOfFindsAKeyByItsPublicHalf(t *testing.T) {
	first, err := signing.ParsePrivateKey(firstEncoded().private)
	require.NoError(t, err)
	second, err := signing.ParsePrivateKey(secondEncoded().private)
	require.NoError(t, err)
	public, err := signing.ParsePublicKey(secondEncoded().public)
	require.NoError(t, err)
	found, err := signing.SignersOf(nil, &signing.PrivateKey{}, first, second)(t.Context(), public)
	require.NoError(t, err)
	assert.Same(t, second, found)
	for _, public := range []*signing.PublicKey{public, nil, {}} {
		_, err = signing.SignersOf(nil, &signing.PrivateKey{}, first)(t.Context(), public)
		assert.ErrorIs(t, err, signing.ErrNoSigner)
	}
}
