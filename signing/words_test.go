package signing_test

import (
	"bytes"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/signing"
)

func TestKeysThatCannotBeReadSayWhatWasFoundAndWhatIsWanted(t *testing.T) {
	const (
		private = "an RSA private key: PEM of type RSA PRIVATE KEY or PRIVATE KEY, or the DER of PKCS#1"
		public  = "an RSA public key: PEM of type RSA PUBLIC KEY or PUBLIC KEY, or the DER of either"
	)
	s := newSamples(t)
	block := pemBlock("RSA PRIVATE KEY", s.pkcs1)
	label := strings.Repeat("A", 64)
	for name, c := range map[string]struct {
		data  []byte
		found string
	}{
		"UTF-16":               {[]byte("\xff\xfe-\x00"), "UTF-16 or UTF-32 (save it as UTF-8)"},
		"nothing":              {[]byte(" "), "nothing"},
		"text before":          {join([]byte("key:\n"), block), "text before the PEM block"},
		"two blocks":           {join(block, block), "more than one PEM block"},
		"a damaged block":      {block[:len(block)-8], "a damaged PEM block (check its line breaks and its last line)"},
		"text after":           {join(block, []byte("x")), "extra content after the PEM block"},
		"headers":              {withHeaders("RSA PRIVATE KEY", s.pkcs1, map[string]string{"Comment": "x"}), "a PEM block with headers"},
		"a label of 64":        {pemBlock(label, s.pkcs1), `a PEM block of type "` + label + `"`},
		"a label of 65":        {pemBlock(label+"A", s.pkcs1), "a PEM block of an unknown type"},
		"a label in lowercase": {pemBlock("rsa private key", s.pkcs1), "a PEM block of an unknown type"},
		"no label":             {pemBlock("", s.pkcs1), "a PEM block of an unknown type"},
		"a label with a NUL":   {pemBlock("PRIVATE KEY\x00", s.pkcs1), "a PEM block of an unknown type"},
		"another label":        {pemBlock("OPENSSH PRIVATE KEY", s.pkcs1), `a PEM block of type "OPENSSH PRIVATE KEY"`},
		"too much":             {join(block, bytes.Repeat([]byte("\n"), 16<<10+1-len(block))), "16385 bytes, which is more than any key takes"},
	} {
		_, err := signing.ParsePrivateKey(c.data)
		assert.EqualError(t, err, signing.ErrKey.Error()+": found "+c.found+", wanted "+private, name)
		_, err = signing.ParsePublicKey(c.data)
		assert.EqualError(t, err, signing.ErrKey.Error()+": found "+c.found+", wanted "+public, name)
	}
	_, err := signing.ParsePrivateKey(join(block, bytes.Repeat([]byte("\n"), 16<<10-len(block))))
	assert.NoError(t, err, "16 KiB are read")

	encrypted := withHeaders("RSA PRIVATE KEY", s.pkcs1, map[string]string{"Proc-Type": "4,ENCRYPTED"})
	encryptedDER := der(t, struct { // EncryptedPrivateKeyInfo, RFC 5208, section 6
		Algorithm struct{ ID asn1.ObjectIdentifier }
		Data      []byte
	}{struct{ ID asn1.ObjectIdentifier }{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}}, []byte("secret")})
	for name, c := range map[string]struct {
		data         []byte
		found, where string
	}{
		"encrypted, by its header":   {encrypted, "an encrypted private key", " where a public key belongs (it must stay secret)"},
		"encrypted, by its label":    {pemBlock("ENCRYPTED PRIVATE KEY", s.pkcs8), "an encrypted private key", " where a public key belongs (it must stay secret)"},
		"encrypted, as raw DER":      {encryptedDER, "an encrypted private key", " where a public key belongs (it must stay secret)"},
		"an EC key, by its label":    {pemBlock("EC PRIVATE KEY", s.ecSEC1), "an EC private key", " where a public key belongs (it must stay secret)"},
		"an EC key":                  {s.ecSEC1, "an EC private key", " where a public key belongs (it must stay secret)"},
		"a certificate by its label": {pemBlock("CERTIFICATE", s.certificate), "a certificate", ""},
		"an EC key, damaged":         {pemBlock("EC PRIVATE KEY", []byte("?")), "an EC private key", " where a public key belongs (it must stay secret)"},
		"a certificate, damaged":     {pemBlock("CERTIFICATE", []byte("?")), "a certificate", ""},
		"a certificate":              {s.certificate, "a certificate", ""},
	} {
		_, err := signing.ParsePrivateKey(c.data)
		assert.EqualError(t, err, signing.ErrKey.Error()+": found "+c.found+", wanted "+private, name)
		_, err = signing.ParsePublicKey(c.data)
		assert.EqualError(t, err, signing.ErrKey.Error()+": found "+c.found+c.where+", wanted "+public, name)
	}
	for name, data := range map[string][]byte{"PKCS#1": s.publicPKCS1, "PKIX": s.publicPKIX} {
		_, err := signing.ParsePrivateKey(data)
		require.ErrorIs(t, err, signing.ErrKey)
		assert.ErrorContains(t, err, "("+name+") where a private key belongs, wanted "+private)
	}
	_, err = signing.ParsePrivateKey(s.pkcs8)
	assert.EqualError(t, err, signing.ErrKey.Error()+": found a private key (PKCS#8) as raw DER, wanted "+private)
	for algorithm, data := range map[string][]byte{"EC": s.ecPKCS8, "Ed25519": s.edPKCS8} {
		_, err := signing.ParsePrivateKey(pemBlock("PRIVATE KEY", data))
		assert.ErrorContains(t, err, "a private key of algorithm "+algorithm)
	}
	for algorithm, data := range map[string][]byte{"EC": s.ecPKIX, "Ed25519": s.edPKIX} {
		_, err := signing.ParsePublicKey(data)
		assert.ErrorContains(t, err, "of algorithm "+algorithm)
	}
}

func TestSerialsHaveDigitsAlone(t *testing.T) {
	for _, text := range []string{"1/", "1:", "1 ", "/1", ":1"} {
		_, ok := signing.ParseSerial(text)
		assert.False(t, ok, text)
	}
	for _, text := range []string{"1", "10", "19", "90"} {
		_, ok := signing.ParseSerial(text)
		assert.True(t, ok, text)
	}
}
