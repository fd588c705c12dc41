package signing_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// samples are the encodings that the tests of both parsers draw on.
type samples struct {
	pkcs1, pkcs8, publicPKCS1, publicPKIX []byte // DER of one RSA key
	ecSEC1, ecPKCS8, ecPKIX               []byte
	edPKCS8, edPKIX                       []byte
	certificate                           []byte
}

func newSamples(t testing.TB) samples {
	t.Helper()
	key := firstRSA()
	var s samples
	var err error
	s.pkcs1 = x509.MarshalPKCS1PrivateKey(key)
	s.pkcs8, err = x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	s.publicPKCS1 = x509.MarshalPKCS1PublicKey(&key.PublicKey)
	s.publicPKIX, err = x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)

	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s.ecSEC1, err = x509.MarshalECPrivateKey(ec)
	require.NoError(t, err)
	s.ecPKCS8, err = x509.MarshalPKCS8PrivateKey(ec)
	require.NoError(t, err)
	s.ecPKIX, err = x509.MarshalPKIXPublicKey(&ec.PublicKey)
	require.NoError(t, err)

	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	s.edPKCS8, err = x509.MarshalPKCS8PrivateKey(ed)
	require.NoError(t, err)
	s.edPKIX, err = x509.MarshalPKIXPublicKey(edPublic)
	require.NoError(t, err)

	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	s.certificate, err = x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return s
}

func crlf(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func withHeaders(label string, content []byte, headers map[string]string) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: content, Headers: headers})
}

func TestPrivateKeyIsReadInEveryFormThatIsInUse(t *testing.T) {
	s := newSamples(t)
	want := newPrivateKey(t, firstRSA())
	canonical, err := want.PEM()
	require.NoError(t, err)
	pkcs1, pkcs8 := pemBlock("RSA PRIVATE KEY", s.pkcs1), pemBlock("PRIVATE KEY", s.pkcs8)

	for name, data := range map[string][]byte{
		"PEM of PKCS#1":                        pkcs1,
		"PEM of PKCS#8":                        pkcs8,
		"raw DER of PKCS#1":                    s.pkcs1,
		"PEM with CRLF":                        crlf(pkcs1),
		"PEM with white space before it":       join([]byte("\n \t\r\n"), pkcs1),
		"PEM with white space after it":        join(pkcs8, []byte("\r\n\n  \t")),
		"PEM without the last line end":        bytes.TrimSpace(pkcs8),
		"PEM whose base64 stands on one line":  []byte("-----BEGIN RSA PRIVATE KEY-----\n" + base64.StdEncoding.EncodeToString(s.pkcs1) + "\n-----END RSA PRIVATE KEY-----"),
		"PEM with CRLF and white space around": join([]byte(" "), crlf(pkcs8), []byte("\r\n\r\n")),
	} {
		t.Run(name, func(t *testing.T) {
			key, err := signing.ParsePrivateKey(data)
			require.NoError(t, err)
			encoded, err := key.PEM()
			require.NoError(t, err)
			assert.Equal(t, string(canonical), string(encoded))
			assert.True(t, key.Public().Equal(want.Public()))
			signature, err := key.Sign([]byte("message"))
			require.NoError(t, err)
			assert.NoError(t, want.Public().Verify([]byte("message"), signature))
		})
	}
}

func TestPublicKeyIsReadInEveryFormThatIsInUse(t *testing.T) {
	s := newSamples(t)
	want := newPrivateKey(t, firstRSA()).Public()
	pkcs1, pkix := pemBlock("RSA PUBLIC KEY", s.publicPKCS1), pemBlock("PUBLIC KEY", s.publicPKIX)

	for name, data := range map[string][]byte{
		"PEM of PKCS#1":                 pkcs1,
		"PEM of PKIX":                   pkix,
		"raw DER of PKCS#1":             s.publicPKCS1,
		"raw DER of PKIX":               s.publicPKIX,
		"PEM with CRLF":                 crlf(pkcs1),
		"PEM with white space around":   join([]byte("\r\n\t "), pkix, []byte(" \n\n")),
		"PEM without the last line end": bytes.TrimSpace(pkix),
	} {
		t.Run(name, func(t *testing.T) {
			key, err := signing.ParsePublicKey(data)
			require.NoError(t, err)
			assert.True(t, key.Equal(want))
			assert.Equal(t, string(pkcs1), string(key.PEM()))
			assert.Equal(t, string(pkix), string(key.PKIX()))
		})
	}
}

// refused is data that a parser must refuse, and what its error must say.
type refused struct {
	data []byte
	says string
}

func TestPrivateKeyThatIsNotUsableIsRefusedWithWhatWasFound(t *testing.T) {
	s := newSamples(t)
	key, two := firstRSA(), pemBlock("RSA PRIVATE KEY", s.pkcs1)
	numbers := numbersOf(key)
	with := func(change func(*pkcs1Numbers)) []byte {
		changed := numbersOf(key)
		change(&changed)
		return der(t, changed)
	}
	type algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	rsaID := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	pkcs8 := func(version int, id asn1.ObjectIdentifier, parameters asn1.RawValue) []byte {
		return pemBlock("PRIVATE KEY", der(t, struct {
			Version int
			ID      algorithm
			Key     []byte
		}{version, algorithm{id, parameters}, s.pkcs1}))
	}
	longLength := join([]byte{0x30, 0x83, 0x00}, s.pkcs1[2:])
	var sequence asn1.RawValue
	_, err := asn1.Unmarshal(s.pkcs1, &sequence)
	require.NoError(t, err)
	withByteInside := der(t, asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: join(sequence.Bytes, []byte{5})})
	short := numbersOf(handMade(t, 1024, 2, 65537))

	for name, c := range map[string]refused{
		"nothing":                       {nil, "found nothing"},
		"an empty slice":                {[]byte{}, "found nothing"},
		"white space":                   {[]byte(" \r\n\t"), "found nothing"},
		"text":                          {[]byte("hunter2"), "no PEM block, but bytes that are not DER"},
		"text that begins like DER":     {[]byte("0hunter2"), "no PEM block, but bytes that are not DER"},
		"NUL bytes":                     {make([]byte, 100), "no PEM block, but bytes that are not DER"},
		"base64 without PEM":            {[]byte(base64.StdEncoding.EncodeToString(s.pkcs1)), "no PEM block"},
		"hex of DER":                    {[]byte(hex.EncodeToString(s.pkcs1)), "no PEM block"},
		"more than a key takes":         {join(two, bytes.Repeat([]byte("\n"), 16<<10)), "bytes, which is more than any key takes"},
		"an empty DER sequence":         {[]byte{0x30, 0}, "DER that is not a key"},
		"DER of indefinite length":      {[]byte{0x30, 0x80, 2, 1, 0, 0, 0}, "not DER"},
		"DER with a length too long":    {longLength, "not DER"},
		"DER cut short":                 {s.pkcs1[:len(s.pkcs1)-1], "not DER"},
		"DER with trailing bytes":       {join(s.pkcs1, []byte{0, 0, 0}), "3 bytes after the end of the DER encoding"},
		"DER with a trailing line end":  {join(s.pkcs1, []byte("\n")), "1 bytes after the end of the DER encoding"},
		"DER with white space first":    {join([]byte("\n"), s.pkcs1), "not DER"},
		"DER twice":                     {join(s.pkcs1, s.pkcs1), "bytes after the end of the DER encoding"},
		"PKCS#1 with trailing bytes":    {pemBlock("RSA PRIVATE KEY", join(s.pkcs1, []byte{0})), "1 bytes after the end of the DER encoding"},
		"PKCS#1 with a byte inside":     {pemBlock("RSA PRIVATE KEY", withByteInside), "not DER"},
		"PKCS#8 as raw DER":             {s.pkcs8, "a private key (PKCS#8) as raw DER"},
		"a certificate":                 {pemBlock("CERTIFICATE", s.certificate), "found a certificate"},
		"a certificate as raw DER":      {s.certificate, "found a certificate"},
		"a certificate and its key":     {join(pemBlock("CERTIFICATE", s.certificate), two), "more than one PEM block"},
		"an EC key in SEC 1":            {pemBlock("EC PRIVATE KEY", s.ecSEC1), "an EC private key"},
		"an EC key in SEC 1 as raw DER": {s.ecSEC1, "an EC private key"},
		"an EC key in PKCS#8":           {pemBlock("PRIVATE KEY", s.ecPKCS8), "a private key of algorithm EC"},
		"an Ed25519 key in PKCS#8":      {pemBlock("PRIVATE KEY", s.edPKCS8), "a private key of algorithm Ed25519"},
		"an RSA-PSS key":                {pkcs8(0, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, asn1.RawValue{}), "of algorithm RSA-PSS"},
		"a key of an unknown algorithm": {pkcs8(0, asn1.ObjectIdentifier{1, 2, 3}, asn1.RawValue{}), "of an algorithm other than RSA"},
		"PKCS#8 of another version":     {pkcs8(1, rsaID, asn1.NullRawValue), "other extra content"},
		"PKCS#8 without parameters":     {pkcs8(0, rsaID, asn1.RawValue{}), "other extra content"},
		"PKCS#8 with trailing bytes":    {pemBlock("PRIVATE KEY", join(s.pkcs8, []byte{0})), "1 bytes after the end of the DER encoding"},
		"PKCS#8 with attributes": {pemBlock("PRIVATE KEY", der(t, struct {
			Version    int
			ID         algorithm
			Key        []byte
			Attributes []int `asn1:"tag:0,set"`
		}{0, algorithm{rsaID, asn1.NullRawValue}, s.pkcs1, []int{1}})), "attributes"},
		"PKCS#8 around trailing bytes": {pemBlock("PRIVATE KEY", der(t, struct {
			Version int
			ID      algorithm
			Key     []byte
		}{0, algorithm{rsaID, asn1.NullRawValue}, join(s.pkcs1, []byte{0})})), "extra content"},
		"PKCS#8 of a sequence too much": {pemBlock("PRIVATE KEY", der(t, struct {
			Version int
			ID      struct{ ID []int }
			Key     []byte
		}{0, struct{ ID []int }{[]int{1}}, s.pkcs1})), "a damaged private key (PKCS#8)"},
		"PKCS#8 around nothing": {pemBlock("PRIVATE KEY", der(t, struct {
			Version int
			ID      algorithm
			Key     []byte
		}{0, algorithm{rsaID, asn1.NullRawValue}, nil})), "a damaged RSA private key"},
		"an encrypted key in PKCS#1": {withHeaders("RSA PRIVATE KEY", s.pkcs1[:1184],
			map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00112233445566778899AABBCCDDEEFF"}), "an encrypted private key"},
		"an encrypted key in PKCS#8":      {pemBlock("ENCRYPTED PRIVATE KEY", s.pkcs8), "an encrypted private key"},
		"PEM with headers":                {withHeaders("RSA PRIVATE KEY", s.pkcs1, map[string]string{"Comment": "mine"}), "a PEM block with headers"},
		"an OpenSSH key":                  {pemBlock("OPENSSH PRIVATE KEY", s.pkcs1), `a PEM block of type "OPENSSH PRIVATE KEY"`},
		"PEM with a label in lower case":  {pemBlock("rsa private key", s.pkcs1), "a PEM block of an unknown type"},
		"two PEM blocks":                  {join(two, two), "more than one PEM block"},
		"a public key after the key":      {join(two, pemBlock("RSA PUBLIC KEY", s.publicPKCS1)), "more than one PEM block"},
		"text before the block":           {join([]byte("my key:\n"), two), "text before the PEM block"},
		"text after the block":            {join(two, []byte("that was my key\n")), "extra content after the PEM block"},
		"a NUL byte after the block":      {join(two, []byte{0}), "extra content after the PEM block"},
		"PEM cut short":                   {two[:len(two)/2], "a damaged PEM block"},
		"PEM whose line ends are lost":    {bytes.ReplaceAll(two, []byte("\n"), []byte(" ")), "a damaged PEM block"},
		"PEM with two labels":             {bytes.Replace(two, []byte("END RSA PRIVATE"), []byte("END RSA PUBLIC"), 1), "a damaged PEM block"},
		"an empty PEM block":              {pemBlock("RSA PRIVATE KEY", nil), "a damaged PEM block"},
		"PEM around text":                 {pemBlock("RSA PRIVATE KEY", []byte("hunter2")), "a damaged PEM block"},
		"PKCS#8 labelled as PKCS#1":       {pemBlock("RSA PRIVATE KEY", s.pkcs8), `type "RSA PRIVATE KEY" that holds a private key (PKCS#8)`},
		"PKCS#1 labelled as PKCS#8":       {pemBlock("PRIVATE KEY", s.pkcs1), `type "PRIVATE KEY" that holds an RSA private key (PKCS#1)`},
		"a public key labelled as a key":  {pemBlock("RSA PRIVATE KEY", s.publicPKCS1), "that holds an RSA public key"},
		"a public key in PKCS#1":          {pemBlock("RSA PUBLIC KEY", s.publicPKCS1), "an RSA public key (PKCS#1) where a private key belongs"},
		"a public key in PKIX":            {pemBlock("PUBLIC KEY", s.publicPKIX), "a public key (PKIX) where a private key belongs"},
		"a public key as raw DER":         {s.publicPKCS1, "an RSA public key (PKCS#1) where a private key belongs"},
		"1024 bits":                       {der(t, short), "an RSA key of 1024 bits, wanted one of 2048 to 8192"},
		"2047 bits":                       {der(t, numbersOf(handMade(t, 2047, 2, 65537))), "an RSA key of 2047 bits"},
		"more than 8192 bits":             {with(func(n *pkcs1Numbers) { n.N = oddNumber(t, 8193) }), "an RSA key of 8193 bits"},
		"exponent 3":                      {der(t, numbersOf(handMade(t, 2048, 2, 3))), "the public exponent 3, wanted 65537"},
		"exponent 1":                      {with(func(n *pkcs1Numbers) { n.E = big.NewInt(1) }), "the public exponent 1"},
		"an even exponent":                {with(func(n *pkcs1Numbers) { n.E = big.NewInt(65536) }), "the public exponent 65536"},
		"an exponent above 2^64":          {with(func(n *pkcs1Numbers) { n.E = new(big.Int).Lsh(big.NewInt(1), 64) }), "a public exponent of 65 bits"},
		"three primes":                    {der(t, numbersOf(handMade(t, 2048, 3, 65537))), "version 1"},
		"three primes passed off as two":  {with(func(n *pkcs1Numbers) { n.Others = []otherPrime{{n.P, n.Dp, n.Qinv}} }), "extra content"},
		"version 2":                       {with(func(n *pkcs1Numbers) { n.Version = 2 }), "version 2"},
		"a number added":                  {der(t, append([]*big.Int{new(big.Int), numbers.N, numbers.E, numbers.D, numbers.P, numbers.Q}, numbers.Dp, numbers.Dq, numbers.Qinv, numbers.N)), "extra content"},
		"no CRT values":                   {der(t, []*big.Int{new(big.Int), numbers.N, numbers.E, numbers.D, numbers.P, numbers.Q}), "a damaged RSA private key"},
		"a wrong modulus":                 {with(func(n *pkcs1Numbers) { n.N = secondRSA().N }), "not valid"},
		"a wrong private exponent":        {with(func(n *pkcs1Numbers) { n.D = new(big.Int).Sub(n.D, big.NewInt(2)) }), "not valid"},
		"a wrong prime":                   {with(func(n *pkcs1Numbers) { n.P = secondRSA().Primes[0] }), "not valid"},
		"a wrong coefficient":             {with(func(n *pkcs1Numbers) { n.Qinv = big.NewInt(7) }), "not valid"},
		"a wrong exponent for a prime":    {with(func(n *pkcs1Numbers) { n.Dp = big.NewInt(7) }), "not valid"},
		"the same prime twice":            {with(func(n *pkcs1Numbers) { n.Q, n.N = n.P, new(big.Int).Mul(n.P, n.P) }), "not valid"},
		"the modulus as its own prime":    {with(func(n *pkcs1Numbers) { n.P, n.Q = n.N, big.NewInt(1) }), "not valid"},
		"a prime longer than the modulus": {with(func(n *pkcs1Numbers) { n.P = oddNumber(t, 60000) }), "do not match"},
		"an exponent longer than the modulus": {with(func(n *pkcs1Numbers) { n.D = oddNumber(t, 60000) }),
			"do not match"},
		"a modulus that is negative": {with(func(n *pkcs1Numbers) { n.N = new(big.Int).Neg(n.N) }), "an RSA key with a negative modulus"},
		"a prime that is negative":   {with(func(n *pkcs1Numbers) { n.P = new(big.Int).Neg(n.P) }), "missing or non-positive"},
		"a prime that is zero":       {with(func(n *pkcs1Numbers) { n.P = new(big.Int) }), "missing or non-positive"},
		"an exponent that is zero":   {with(func(n *pkcs1Numbers) { n.D = new(big.Int) }), "missing or non-positive"},
		"a CRT value of zero":        {with(func(n *pkcs1Numbers) { n.Dp = new(big.Int) }), "a CRT value that is not positive"},
		"a CRT value below zero":     {with(func(n *pkcs1Numbers) { n.Dp = new(big.Int).Neg(n.Dp) }), "a CRT value that is not positive"},
		"an even modulus":            {with(func(n *pkcs1Numbers) { n.N = new(big.Int).Sub(n.N, big.NewInt(1)) }), "an even modulus"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := signing.ParsePrivateKey(c.data)
			require.ErrorIs(t, err, signing.ErrKey)
			assert.Nil(t, got)
			assert.ErrorContains(t, err, c.says)
			assert.Contains(t, err.Error(), "wanted")
			assertNoPartOf(t, c.data, err)

			records := []keystore.Record{in(defaultKeys.KeyName(1), c.data)}
			_, err = defaultKeys.CheckedSet(records, nil).Find("1")
			assert.ErrorIs(t, err, signing.ErrKey)
			set := defaultKeys.PublicSet(records, nil, nil)
			if c.says == "not valid" || c.says == "do not match" { // only the private half has a fault
				assert.NotNil(t, find(t, set, "1"))
				return
			}
			_, err = set.Find("1")
			assert.ErrorIs(t, err, signing.ErrKey)
			assertNoPartOf(t, c.data, err)
		})
	}
}

func TestPublicKeyThatIsNotUsableIsRefusedWithWhatWasFound(t *testing.T) {
	s := newSamples(t)
	key := firstRSA().PublicKey
	block := pemBlock("PUBLIC KEY", s.publicPKIX)
	e := big.NewInt(65537)
	public := func(modulus, exponent *big.Int) []byte { return der(t, publicNumbers{modulus, exponent}) }
	exponent := func(e *big.Int) []byte { return pemBlock("RSA PUBLIC KEY", public(key.N, e)) }
	type algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	pkix := func(parameters asn1.RawValue, content []byte) []byte {
		return der(t, struct {
			Algorithm algorithm
			Key       asn1.BitString
		}{algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, parameters}, asn1.BitString{Bytes: content, BitLength: 8 * len(content)}})
	}

	for name, c := range map[string]refused{
		"nothing":                          {nil, "found nothing"},
		"text":                             {[]byte("hunter2"), "no PEM block"},
		"an ssh public key":                {[]byte("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7 me@here"), "no PEM block"},
		"a certificate":                    {pemBlock("CERTIFICATE", s.certificate), "found a certificate"},
		"a certificate as raw DER":         {s.certificate, "found a certificate"},
		"an EC key":                        {pemBlock("PUBLIC KEY", s.ecPKIX), "a public key of algorithm EC"},
		"an EC key as raw DER":             {s.ecPKIX, "a public key of algorithm EC"},
		"an Ed25519 key":                   {pemBlock("PUBLIC KEY", s.edPKIX), "a public key of algorithm Ed25519"},
		"a private key in PKCS#1":          {pemBlock("RSA PRIVATE KEY", s.pkcs1), "an RSA private key (PKCS#1) where a public key belongs"},
		"a private key in PKCS#8":          {pemBlock("PRIVATE KEY", s.pkcs8), "a private key (PKCS#8) where a public key belongs"},
		"a private key as raw DER":         {s.pkcs1, "an RSA private key (PKCS#1) where a public key belongs"},
		"a private key as raw PKCS#8":      {s.pkcs8, "a private key (PKCS#8) where a public key belongs"},
		"an EC private key":                {s.ecSEC1, "an EC private key where a public key belongs"},
		"an encrypted private key":         {pemBlock("ENCRYPTED PRIVATE KEY", s.pkcs8), "an encrypted private key where a public key belongs"},
		"two blocks":                       {join(block, block), "more than one PEM block"},
		"text before the block":            {join([]byte("key\n"), block), "text before the PEM block"},
		"text after the block":             {join(block, []byte("x")), "extra content after the PEM block"},
		"PKIX labelled as PKCS#1":          {pemBlock("RSA PUBLIC KEY", s.publicPKIX), "that holds a public key (PKIX)"},
		"PKCS#1 labelled as PKIX":          {pemBlock("PUBLIC KEY", s.publicPKCS1), "that holds an RSA public key (PKCS#1)"},
		"PEM with trailing bytes inside":   {pemBlock("PUBLIC KEY", join(s.publicPKIX, []byte{0})), "1 bytes after the end"},
		"DER with trailing bytes":          {join(s.publicPKCS1, []byte{0}), "1 bytes after the end"},
		"PKIX with trailing bytes inside":  {pkix(asn1.NullRawValue, join(s.publicPKCS1, []byte{0})), "extra content"},
		"PKIX without parameters":          {pkix(asn1.RawValue{}, s.publicPKCS1), "extra content"},
		"PKIX around nothing":              {pkix(asn1.NullRawValue, nil), "a damaged RSA public key"},
		"PKIX around a number added":       {pkix(asn1.NullRawValue, der(t, []*big.Int{key.N, e, e})), "extra content"},
		"1024 bits":                        {public(oddNumber(t, 1024), e), "an RSA key of 1024 bits"},
		"2047 bits":                        {public(oddNumber(t, 2047), e), "an RSA key of 2047 bits"},
		"8193 bits":                        {public(oddNumber(t, 8193), e), "an RSA key of 8193 bits"},
		"more than a key takes":            {public(oddNumber(t, 16<<10*8), e), "more than any key takes"},
		"a modulus of zero":                {public(new(big.Int), e), "an RSA key of 0 bits"},
		"a negative modulus":               {public(new(big.Int).Neg(key.N), e), "an RSA key with a negative modulus"},
		"an even modulus":                  {public(new(big.Int).Lsh(big.NewInt(1), 2047), e), "an even modulus"},
		"exponent 0":                       {exponent(new(big.Int)), "the public exponent 0"},
		"exponent 1":                       {exponent(big.NewInt(1)), "the public exponent 1"},
		"exponent 3":                       {exponent(big.NewInt(3)), "the public exponent 3"},
		"an even exponent":                 {exponent(big.NewInt(65536)), "the public exponent 65536"},
		"a negative exponent":              {exponent(big.NewInt(-65537)), "the public exponent -65537"},
		"an exponent above 2^31":           {exponent(big.NewInt(1<<31 + 1)), "the public exponent 2147483649"},
		"65537 above 2^64":                 {exponent(new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 64), e)), "a public exponent of 65 bits"},
		"an exponent as long as a modulus": {exponent(key.N), "a public exponent of 2048 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := signing.ParsePublicKey(c.data)
			require.ErrorIs(t, err, signing.ErrKey)
			assert.Nil(t, got)
			assert.ErrorContains(t, err, c.says)
			assert.Contains(t, err.Error(), "wanted")
			assertNoPartOf(t, c.data, err)
		})
	}
}

func TestPrivateKeyOfAnUnknownPEMTypeIsRefusedWithoutRepeatingIt(t *testing.T) {
	body := base64.StdEncoding.EncodeToString(newSamples(t).pkcs1)
	data := []byte("-----BEGIN " + body + "-----\n" + body + "\n-----END " + body + "-----\n")
	_, err := signing.ParsePrivateKey(data)
	require.ErrorIs(t, err, signing.ErrKey)
	assert.NotContains(t, err.Error(), body[:16])
}

var pemLabel = regexp.MustCompile("-----(BEGIN|END) [A-Za-z ]{1,30}-----")

// assertNoPartOf fails if the error repeats what was to be read: a stretch of its
// text outside of PEM's labels, or of its bytes in hex or base64.
func assertNoPartOf(t testing.TB, data []byte, err error) {
	t.Helper()
	const stretch = 9
	for line := range bytes.Lines(pemLabel.ReplaceAll(data, []byte("\n"))) {
		for _, text := range []string{string(line), hex.EncodeToString(line), base64.StdEncoding.EncodeToString(line)} {
			for i := 0; i+stretch <= len(text); i++ {
				if strings.Contains(err.Error(), text[i:i+stretch]) {
					t.Fatalf("the error repeats a part of the data: %v", err)
				}
			}
		}
	}
}
