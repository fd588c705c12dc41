//go:build !windows

package hsm_test

import (
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/examples/hsm"
	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/signing"
)

func newTPM(t *testing.T) device {
	to, err := linuxudstpm.Open(engines.NewTPM(t))
	require.NoError(t, err)
	tpm := hsm.NewTPM(to)
	handle, handles := uint32(0x81000100), map[string]uint32{}
	return device{
		newKey: func() *signing.PublicKey {
			key, err := tpm.NewKey(handle)
			require.NoError(t, err)
			requireKeyStaysInTPM(t, to, handle)
			handles[key.Fingerprint()] = handle
			handle++
			return key
		},
		remove: func(key *signing.PublicKey) {
			require.NoError(t, tpm.RemoveKey(handles[key.Fingerprint()]))
		},
		signers: tpm.Signers,
	}
}

// requireKeyStaysInTPM holds the TPM to it that the key never leaves.
func requireKeyStaysInTPM(t *testing.T, to transport.TPM, handle uint32) {
	t.Helper()
	read, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(handle)}.Execute(to)
	require.NoError(t, err)
	public, err := read.OutPublic.Contents()
	require.NoError(t, err)
	require.Equal(t, tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true}, public.ObjectAttributes)
}

func TestKeysOfATPMSignAreRotatedAndNeverLeaveIt(t *testing.T) { newTPM(t).rotate(t) }

func TestKeyOfATPMSignsForManyGoroutines(t *testing.T) { newTPM(t).issueAtOnce(t) }
