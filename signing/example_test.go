package signing_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func Example() {
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		fmt.Println(err)
		return
	}
	signature, err := key.Sign([]byte("header.payload"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(key.Public().Verify([]byte("header.payload"), signature))
	fmt.Println(errors.Is(key.Public().Verify([]byte("header.other"), signature), token.ErrSignature))
	// Output:
	// <nil>
	// true
}

func ExampleParsePrivateKey() {
	_, err := signing.ParsePrivateKey([]byte("-----BEGIN PUBLIC KEY-----\nMDAwDQYJKoZIhvcNAQEBBQADHwAwHAIVAA==\n-----END PUBLIC KEY-----\n"))
	fmt.Println(errors.Is(err, signing.ErrKey))
	_, err = signing.ParsePrivateKey(nil)
	fmt.Println(err)
	// Output:
	// true
	// unusable key: found nothing, wanted an RSA private key: PEM of type RSA PRIVATE KEY or PRIVATE KEY, or the DER of PKCS#1
}

func ExampleSeries() {
	keys := signing.DataplaneKeys("default")
	fmt.Println(keys.KeyName(1))
	fmt.Println(keys.PublicKeyName(1))
	fmt.Println(signing.ZoneKeys().KeyName(0))

	serial, kind, err := keys.ParseName("dataplane-token-signing-key-default-10")
	fmt.Println(serial, kind == signing.PrivateRecord, err)
	_, _, err = keys.ParseName("dataplane-token-signing-key-default-backup")
	fmt.Println(errors.Is(err, signing.ErrKey))
	// Output:
	// dataplane-token-signing-key-default-1
	// dataplane-token-signing-public-key-default-1
	// zone-token-signing-key
	// 10 true <nil>
	// true
}

func ExampleSeries_Signing() {
	keys := signing.ZoneKeys()
	record, serial, err := keys.Signing([]keystore.Record{
		{Name: "zone-token-signing-key-10"},
		{Name: "zone-token-signing-key-9"},
		{Name: "zone-token-signing-key-11-backup"},
	}, nil, time.Time{})
	fmt.Println(record.Name, serial.KeyID(), err)
	_, _, err = keys.Signing(nil, nil, time.Time{})
	fmt.Println(err)
	// Output:
	// zone-token-signing-key-10 10 <nil>
	// no such signing key: the global scope has no record named "zone-token-signing-key-{serial}" (EnsureKey creates the first one)
}

func ExampleSeries_PublicSet() {
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		fmt.Println(err)
		return
	}
	keys := signing.DataplaneKeys("default")
	set := keys.PublicSet([]keystore.Record{
		{Scope: keys.Scope(), Name: keys.PublicKeyName(1), Data: key.Public().PEM()},
		{Scope: keys.Scope(), Name: keys.PublicKeyName(2), Data: []byte("damaged")},
	}, nil, nil)
	found, err := set.Find("1")
	fmt.Println(found.Equal(key.Public()), err)
	_, err = set.Find("3")
	fmt.Println(errors.Is(err, signing.ErrNoKey))
	for _, problem := range set.Problems() {
		fmt.Println(problem)
	}
	// Output:
	// true <nil>
	// true
	// record "dataplane-token-signing-public-key-default-2" in mesh "default": unusable key: found no PEM block, but bytes that are not DER, wanted an RSA public key: PEM of type RSA PUBLIC KEY or PUBLIC KEY, or the DER of either
}
