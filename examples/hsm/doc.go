// Package hsm is reference code for signing keys outside of a store: in an HSM, through
// PKCS#11, and in a TPM 2.0.
//
// The public half of such a key is added to a store with AddExternalKey, and the issuer
// finds the private half by it:
//
//	issuer, err := dataplane.NewIssuer(store, dataplane.WithSigners(tpm.Signers))
//
//	public, err := tpm.NewKey(0x81000100)
//	_, err = dataplane.AddExternalKey(ctx, store, "default", public)
//
// To rotate, make the next key and add its public half: the issuer finds it without a
// restart. For PKCS#11 the functions are [NewKey] and [Signers], on a token that
// crypto11.Configure has opened. They need cgo, since a PKCS#11 module is a library in C.
package hsm
