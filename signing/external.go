package signing

import (
	"bytes"
	"context"
	"crypto"
	"fmt"

	"github.com/meshpass/meshpass/token"
)

// Signers finds the private half of a key among the keys outside the store, such as
// those in a KMS, by its public half. It returns an error that matches [ErrNoSigner] if
// it has no such key. It may run concurrently, may block, and returns when ctx ends. The
// issuer remembers the key that it returns until signing with it fails.
type Signers func(ctx context.Context, public *PublicKey) (*PrivateKey, error)

// SignersOf returns Signers that have the given keys and no others.
func SignersOf(keys ...*PrivateKey) Signers {
	return func(_ context.Context, public *PublicKey) (*PrivateKey, error) {
		for _, key := range keys {
			if public.Equal(key.Public()) {
				return key, nil
			}
		}
		return nil, ErrNoSigner
	}
}

// maxCalls limits the calls of a signer that run at once, so that callers that have
// given up do not leave more and more of them behind.
const maxCalls = 32

// external signs with a key in a KMS or HSM.
type external struct {
	signer crypto.Signer
	public *PublicKey
	calls  chan struct{} // holds an element for each call that runs
}

func newExternal(signer crypto.Signer, public *PublicKey) *external {
	return &external{signer, public, make(chan struct{}, maxCalls)}
}

func (e *external) sign(ctx context.Context, signingInput []byte) ([]byte, error) {
	gaveUp := func() error {
		return fmt.Errorf("%w: the signer of the key %s has not answered: %w", token.ErrUnavailable, e.public.Fingerprint(), ctx.Err())
	}
	if ctx.Err() != nil {
		return nil, gaveUp()
	}
	select {
	case e.calls <- struct{}{}:
	case <-ctx.Done():
		return nil, gaveUp()
	}
	type result struct {
		signature []byte
		err       error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: fmt.Errorf("%w: the signer of the key %s ended its goroutine", token.ErrUnavailable, e.public.Fingerprint())}
		defer func() { <-e.calls; done <- r }()
		r.signature, r.err = e.call(signingInput)
	}()
	select {
	case r := <-done:
		return r.signature, r.err
	case <-ctx.Done():
		return nil, gaveUp()
	}
}

func (e *external) call(signingInput []byte) (signature []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // on this goroutine it would end the program
			signature, err = nil, fmt.Errorf("%w: the signer of the key %s panicked: %v", token.ErrUnavailable, e.public.Fingerprint(), p)
		}
	}()
	signature, err = signRS256(e.signer, signingInput)
	if err != nil {
		return nil, fmt.Errorf("%w: the signer of the key %s failed: %w", token.ErrUnavailable, e.public.Fingerprint(), err)
	}
	signature = bytes.Clone(signature) // the signer may use its buffer again
	if e.public.Verify(signingInput, signature) != nil {
		return nil, unusable("a signature that the signer's public key "+e.public.Fingerprint()+" does not verify", "an RS256 signature")
	}
	return signature, nil
}
