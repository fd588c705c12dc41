package hsm

import (
	"context"
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/meshpass/meshpass/signing"
)

// firstHandle is where the owner's persistent objects begin in a TPM.
const firstHandle, maxHandles = 0x81000000, 256

// TPM makes, finds and uses RSA keys in a TPM 2.0. It is safe for concurrent use; the TPM
// does one thing at a time. Open the TPM with linuxtpm.Open("/dev/tpmrm0").
type TPM struct {
	mu sync.Mutex
	to transport.TPM
}

// NewTPM uses an open TPM.
func NewTPM(to transport.TPM) *TPM { return &TPM{to: to} }

// NewKey makes a key, keeps it in the TPM under a persistent handle, 0x81000000 to
// 0x817fffff, and returns its public half. The key signs, does nothing else, and cannot
// leave the TPM. It has no password: who may use the TPM may sign.
func (t *TPM) NewKey(handle uint32) (*signing.PublicKey, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	parent, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.RSASRKTemplate)}.Execute(t.to)
	if err != nil {
		return nil, fmt.Errorf("making the storage key: %w", err)
	}
	defer t.flush(parent.ObjectHandle)
	of := tpm2.NamedHandle{Handle: parent.ObjectHandle, Name: parent.Name}
	made, err := tpm2.Create{ParentHandle: of, InPublic: tpm2.New2B(tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgRSA,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, // it cannot be copied
			SensitiveDataOrigin: true, // the TPM makes it
			UserWithAuth:        true,
			SignEncrypt:         true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{Scheme: rs256, KeyBits: signing.DefaultBits}),
	})}.Execute(t.to)
	if err != nil {
		return nil, fmt.Errorf("making the key: %w", err)
	}
	loaded, err := tpm2.Load{ParentHandle: of, InPrivate: made.OutPrivate, InPublic: made.OutPublic}.Execute(t.to)
	if err != nil {
		return nil, fmt.Errorf("loading the key: %w", err)
	}
	defer t.flush(loaded.ObjectHandle)
	_, err = tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: &tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name},
		PersistentHandle: tpm2.TPMHandle(handle)}.Execute(t.to)
	if err != nil {
		return nil, fmt.Errorf("keeping the key as %#x: %w", handle, err)
	}
	return publicHalfOf(made.OutPublic)
}

// rs256 is the only scheme that the keys sign with.
var rs256 = tpm2.TPMTRSAScheme{
	Scheme:  tpm2.TPMAlgRSASSA,
	Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
}

func (t *TPM) flush(handle tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: handle}.Execute(t.to)
}

// RemoveKey removes the key under a handle from the TPM, for ever.
func (t *TPM) RemoveKey(handle uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	object := tpm2.TPMHandle(handle)
	read, err := tpm2.ReadPublic{ObjectHandle: object}.Execute(t.to)
	if err == nil {
		_, err = tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: &tpm2.NamedHandle{Handle: object, Name: read.Name}, PersistentHandle: object}.Execute(t.to)
	}
	return err
}

// Signers is a signing.Signers that has the persistent keys of the TPM, also those that
// are made later.
func (t *TPM) Signers(_ context.Context, public *signing.PublicKey) (*signing.PrivateKey, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: firstHandle, PropertyCount: maxHandles}.Execute(t.to)
	if err != nil {
		return nil, fmt.Errorf("listing the keys of the TPM: %w", err)
	}
	handles, err := found.CapabilityData.Data.Handles()
	if err != nil {
		return nil, err
	}
	for _, handle := range handles.Handle {
		read, err := tpm2.ReadPublic{ObjectHandle: handle}.Execute(t.to)
		if err != nil {
			return nil, fmt.Errorf("reading the key %#x: %w", handle, err)
		}
		if half, err := publicHalfOf(read.OutPublic); err == nil && half.Equal(public) {
			return signing.NewPrivateKey(&tpmKey{t, tpm2.NamedHandle{Handle: handle, Name: read.Name}, half.RSA()})
		}
	}
	return nil, fmt.Errorf("%w: not in the TPM", signing.ErrNoSigner)
}

func publicHalfOf(public tpm2.TPM2BPublic) (*signing.PublicKey, error) {
	contents, err := public.Contents()
	if err != nil {
		return nil, err
	}
	parameters, err := contents.Parameters.RSADetail()
	if err != nil {
		return nil, err
	}
	modulus, err := contents.Unique.RSA()
	if err != nil {
		return nil, err
	}
	key, err := tpm2.RSAPub(parameters, modulus)
	if err != nil {
		return nil, err
	}
	return signing.NewPublicKey(key)
}

// tpmKey is a crypto.Signer.
type tpmKey struct {
	tpm    *TPM
	handle tpm2.NamedHandle
	public *rsa.PublicKey
}

func (k *tpmKey) Public() crypto.PublicKey { return k.public }

func (k *tpmKey) Sign(_ io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	if options.HashFunc() != crypto.SHA256 {
		return nil, fmt.Errorf("the key signs SHA-256 digests, not %v", options.HashFunc())
	}
	k.tpm.mu.Lock()
	defer k.tpm.mu.Unlock()
	signed, err := tpm2.Sign{
		KeyHandle:  k.handle,
		Digest:     tpm2.TPM2BDigest{Buffer: digest},
		InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, // that of the key
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}.Execute(k.tpm.to)
	if err != nil {
		return nil, err
	}
	signature, err := signed.Signature.Signature.RSASSA()
	if err != nil {
		return nil, err
	}
	return signature.Sig.Buffer, nil
}
