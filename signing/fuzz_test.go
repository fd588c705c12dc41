package signing_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"regexp"
	"strconv"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// addSamples seeds a target with every kind of key, whole and damaged.
func addSamples(f *testing.F) {
	s := newSamples(f)
	for label, content := range map[string][]byte{
		"RSA PRIVATE KEY": s.pkcs1, "PRIVATE KEY": s.pkcs8, "RSA PUBLIC KEY": s.publicPKCS1, "PUBLIC KEY": s.publicPKIX,
		"EC PRIVATE KEY": s.ecSEC1, "ENCRYPTED PRIVATE KEY": s.pkcs8, "CERTIFICATE": s.certificate,
	} {
		block := pemBlock(label, content)
		for _, data := range [][]byte{content, block, crlf(block), join([]byte("\n "), block, []byte(" \n")), join(block, block),
			join([]byte("\ufeff"), block), join([]byte("Key:\n"), block), join([]byte("\v\u00a0"), block, []byte("\u2028\f")),
			block[:len(block)-8], content[:len(content)/2], join(content, []byte{0})} {
			f.Add(data)
		}
	}
	for _, content := range [][]byte{s.ecPKCS8, s.edPKCS8, s.ecPKIX, s.edPKIX, {}, {0x30}, {0x30, 0x80}, {0x30, 0x84, 0xff, 0xff, 0xff, 0xff}} {
		f.Add(content)
	}
}

// content is the DER in accepted data, found without the parser under test. It also
// holds the data to one block with nothing but a byte order mark and white space, as
// Unicode defines it, around it.
func content(t *testing.T, data []byte) []byte {
	text := bytes.TrimLeftFunc(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), unicode.IsSpace)
	block, rest := pem.Decode(text)
	if block == nil {
		return data
	}
	require.True(t, bytes.HasPrefix(text, []byte("-----BEGIN ")), "encoding/pem passes over what comes before")
	require.Empty(t, bytes.TrimLeftFunc(rest, unicode.IsSpace))
	require.Equal(t, 1, bytes.Count(data, []byte("-----BEGIN ")))
	require.Empty(t, block.Headers)
	return block.Bytes
}

func FuzzParsePrivateKey(f *testing.F) {
	addSamples(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		given := bytes.Clone(data)
		key, err := signing.ParsePrivateKey(data)
		require.Equal(t, given, data, "the data is not written to")
		public, unread := defaultKeys.PublicSet([]keystore.Record{in(defaultKeys.KeyName(1), data)}, nil, nil).Find("1")
		if unread == nil {
			require.Contains(t, string(content(t, data)), string(public.RSA().N.Bytes()), "the modulus is that of the record")
		}
		if err != nil {
			require.ErrorIs(t, err, signing.ErrKey)
			require.Nil(t, key)
			require.Less(t, len(err.Error()), 500)
			return
		}
		require.NoError(t, unread, "a key that signs can be read without its private half")
		require.True(t, public.Equal(key.Public()))

		der := content(t, data)
		independent, err := x509.ParsePKCS1PrivateKey(der)
		if err != nil {
			parsed, err := x509.ParsePKCS8PrivateKey(der)
			require.NoError(t, err, "crypto/x509 reads it too")
			independent = parsed.(*rsa.PrivateKey)
			canonical, err := x509.MarshalPKCS8PrivateKey(independent)
			require.NoError(t, err)
			require.Equal(t, canonical, der, "what is accepted is canonical")
		} else {
			require.Equal(t, x509.MarshalPKCS1PrivateKey(independent), der, "what is accepted is canonical")
		}
		require.GreaterOrEqual(t, key.Public().Bits(), signing.MinBits)
		require.LessOrEqual(t, key.Public().Bits(), signing.MaxBits)
		require.Equal(t, 65537, independent.E)
		require.Len(t, independent.Primes, 2)
		encoded, err := key.PEM()
		require.NoError(t, err)
		require.Equal(t, pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(independent)), encoded)

		signature, err := key.Sign(data)
		require.NoError(t, err)
		digest := sha256.Sum256(data)
		require.NoError(t, rsa.VerifyPKCS1v15(&independent.PublicKey, crypto.SHA256, digest[:], signature))
	})
}

func FuzzParsePublicKey(f *testing.F) {
	addSamples(f)
	signature := make([]byte, 256)
	f.Fuzz(func(t *testing.T, data []byte) {
		given := bytes.Clone(data)
		key, err := signing.ParsePublicKey(data)
		require.Equal(t, given, data, "the data is not written to")
		if err != nil {
			require.ErrorIs(t, err, signing.ErrKey)
			require.Nil(t, key)
			require.Less(t, len(err.Error()), 500)
			return
		}

		der := content(t, data)
		independent, err := x509.ParsePKCS1PublicKey(der)
		if err != nil {
			parsed, err := x509.ParsePKIXPublicKey(der)
			require.NoError(t, err, "crypto/x509 reads it too")
			independent = parsed.(*rsa.PublicKey)
			canonical, err := x509.MarshalPKIXPublicKey(independent)
			require.NoError(t, err)
			require.Equal(t, canonical, der, "what is accepted is canonical")
		} else {
			require.Equal(t, x509.MarshalPKCS1PublicKey(independent), der, "what is accepted is canonical")
		}
		require.True(t, key.RSA().Equal(independent))
		require.Equal(t, uint(1), independent.N.Bit(0))
		require.Equal(t, 65537, independent.E)
		require.GreaterOrEqual(t, key.Bits(), signing.MinBits)
		require.LessOrEqual(t, key.Bits(), signing.MaxBits)
		for _, encoded := range [][]byte{key.PEM(), key.PKIX()} {
			again, err := signing.ParsePublicKey(encoded)
			require.NoError(t, err)
			require.True(t, again.Equal(key))
		}
		require.Error(t, key.Verify(data, signature))
	})
}

func FuzzKeyName(f *testing.F) {
	for _, suffix := range []string{"", "-1", "-0", "-10", "-0002", "-+3", "--1", "-2-1", "-backup", "-99999999999999999999", "-9223372036854775807"} {
		for _, mesh := range []string{"default", "default-2", "a", "a-1", "", "1", "public-key"} {
			f.Add(mesh, "dataplane-token-signing-key-default"+suffix)
			f.Add(mesh, "dataplane-token-signing-public-key-"+mesh+suffix)
			f.Add(mesh, "dataplane-token-signing-external-key-"+mesh+suffix)
			f.Add(mesh, "zone-token-signing-key"+suffix)
		}
	}
	f.Add("default", "dataplane-token-revocations-default")
	f.Add("\ufffd", "dataplane-token-signing-key-\xff-1")
	f.Fuzz(func(t *testing.T, mesh, name string) {
		if !utf8.ValidString(mesh) {
			t.Skip("it is no mesh, and package regexp does not read it")
		}
		for series, pattern := range map[signing.Series]string{
			signing.DataplaneKeys(mesh): `dataplane-token-signing-(public-|external-)?key-` + regexp.QuoteMeta(mesh),
			signing.ZoneKeys():          `zone-token-signing-(public-|external-)?key`,
		} {
			serial, kind, err := series.ParseName(name)

			// The rule in other words: the name, then nothing or a dash and a number.
			match := regexp.MustCompile(`^` + pattern + `(?:-([1-9][0-9]{0,18}))?$`).FindStringSubmatch(name)
			if !utf8.ValidString(name) {
				match = nil // package regexp takes what is not UTF-8 for U+FFFD
			}
			var want uint64
			if match != nil && match[2] != "" {
				want, _ = strconv.ParseUint(match[2], 10, 64)
			}
			isKey := match != nil && want < 1<<63
			require.Equal(t, isKey, err == nil, "%q in mesh %q: %v", name, mesh, err)

			prefixed := len(name) >= len(series.Prefix()) && name[:len(series.Prefix())] == series.Prefix()
			if err != nil {
				require.Zero(t, serial)
				require.Zero(t, kind)
				require.Equal(t, prefixed, errors.Is(err, signing.ErrKey))
				require.Equal(t, !prefixed, errors.Is(err, signing.ErrNotKey))
				continue
			}
			require.True(t, prefixed)
			require.Equal(t, want, uint64(serial))
			require.Equal(t, map[string]signing.RecordKind{"": signing.PrivateRecord, "external-": signing.ExternalRecord, "public-": signing.PublicRecord}[match[1]], kind)
			again := [...]string{series.KeyName(serial), series.ExternalKeyName(serial), series.PublicKeyName(serial)}[kind-signing.PrivateRecord]
			require.Equal(t, name, again, "a key has one name")
			parsed, ok := signing.ParseSerial(serial.KeyID())
			require.True(t, ok)
			require.Equal(t, serial, parsed)
		}
	})
}
