package interop_test

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// openssl is the command in a folder with keys that it made itself: pkcs1.pem and
// pkcs8.pem, the same private key, and pkix.pem and pkcs1-public.pem, its public half.
type openssl struct{ folder string }

func newOpenSSL(t *testing.T) openssl {
	t.Helper()
	version, err := exec.Command("openssl", "version").Output()
	if err != nil {
		missing(t, "the openssl command is not installed (Debian: apt-get install openssl)")
	}
	name, major, _ := strings.Cut(string(version), " ")
	major, _, _ = strings.Cut(major, ".")
	if n, err := strconv.Atoi(major); name != "OpenSSL" || err != nil || n < 3 {
		missing(t, "the openssl command is not of OpenSSL 3 or later, but "+strings.TrimSpace(string(version)))
	}
	o := openssl{t.TempDir()}
	o.must(t, "genrsa", "-out", "pkcs8.pem", "2048")
	o.must(t, "rsa", "-in", "pkcs8.pem", "-traditional", "-out", "pkcs1.pem")
	o.must(t, "rsa", "-in", "pkcs8.pem", "-pubout", "-out", "pkix.pem")
	o.must(t, "rsa", "-in", "pkcs8.pem", "-RSAPublicKey_out", "-out", "pkcs1-public.pem")
	return o
}

func (o openssl) run(args ...string) (string, error) {
	command := exec.Command("openssl", args...)
	command.Dir = o.folder
	output, err := command.CombinedOutput()
	return string(output), err
}

func (o openssl) must(t *testing.T, args ...string) {
	t.Helper()
	output, err := o.run(args...)
	require.NoError(t, err, "openssl %s: %s", strings.Join(args, " "), output)
}

func (o openssl) write(t *testing.T, name string, data []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(o.folder, name), data, 0o600))
}

func (o openssl) read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(o.folder, name))
	require.NoError(t, err)
	return data
}

func (o openssl) private(t *testing.T, name string) *signing.PrivateKey {
	t.Helper()
	key, err := signing.ParsePrivateKey(o.read(t, name))
	require.NoError(t, err, name)
	return key
}

func TestOpenSSLKeysAreReadInEveryForm(t *testing.T) {
	o := newOpenSSL(t)
	require.Contains(t, string(o.read(t, "pkcs1.pem")), "BEGIN RSA PRIVATE KEY")
	require.Contains(t, string(o.read(t, "pkcs8.pem")), "BEGIN PRIVATE KEY")
	require.Contains(t, string(o.read(t, "pkix.pem")), "BEGIN PUBLIC KEY")
	require.Contains(t, string(o.read(t, "pkcs1-public.pem")), "BEGIN RSA PUBLIC KEY")
	o.must(t, "rsa", "-in", "pkcs1.pem", "-outform", "DER", "-traditional", "-out", "pkcs1.der")
	o.must(t, "rsa", "-in", "pkcs8.pem", "-pubout", "-outform", "DER", "-out", "pkix.der")

	want := o.private(t, "pkcs1.pem").Public()
	require.Equal(t, 2048, want.Bits())
	require.True(t, want.Equal(o.private(t, "pkcs8.pem").Public()))
	require.True(t, want.Equal(o.private(t, "pkcs1.der").Public()))
	for _, name := range []string{"pkix.pem", "pkix.der", "pkcs1-public.pem"} {
		public, err := signing.ParsePublicKey(o.read(t, name))
		require.NoError(t, err, name)
		require.True(t, want.Equal(public), name)
	}
}

func TestOpenSSLReadsOurKeys(t *testing.T) {
	o := newOpenSSL(t)
	key, err := signing.Generate(signing.DefaultBits)
	require.NoError(t, err)
	private, err := key.PEM()
	require.NoError(t, err)
	o.write(t, "ours.pem", private)
	o.write(t, "ours-pkcs1-public.pem", key.Public().PEM())
	o.write(t, "ours-pkix.pem", key.Public().PKIX())
	o.must(t, "rsa", "-in", "ours.pem", "-check", "-noout")
	o.must(t, "rsa", "-in", "ours-pkcs1-public.pem", "-RSAPublicKey_in", "-noout")
	o.must(t, "rsa", "-in", "ours.pem", "-pubout", "-out", "derived.pem")
	require.Equal(t, string(key.Public().PKIX()), string(o.read(t, "derived.pem")))
	require.Equal(t, string(key.Public().PKIX()), string(o.read(t, "ours-pkix.pem")))
}

func TestOpenSSLVerifiesOurSignature(t *testing.T) {
	o := newOpenSSL(t)
	issuer, err := dataplane.NewOfflineIssuer(o.private(t, "pkcs8.pem"), "key-1", dataplane.WithLogger(quiet))
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	require.NoError(t, err)

	raw := issued.Token
	at := strings.LastIndex(raw, ".")
	signature, err := base64.RawURLEncoding.DecodeString(raw[at+1:])
	require.NoError(t, err)
	o.write(t, "signing-input", []byte(raw[:at]))
	o.write(t, "signature", signature)
	verify := []string{"dgst", "-sha256", "-verify", "pkix.pem", "-signature", "signature", "signing-input"}
	output, err := o.run(verify...)
	require.NoError(t, err, output)
	require.Contains(t, output, "Verified OK")

	o.write(t, "signing-input", []byte(raw[:at-1]+"A"))
	output, err = o.run(verify...)
	require.Error(t, err, "a changed token has no good signature")
	require.Contains(t, output, "Verification failure")
}

func TestOpenSSLMakesASignatureThatWeAccept(t *testing.T) {
	o := newOpenSSL(t)
	public, err := signing.ParsePublicKey(o.read(t, "pkix.pem"))
	require.NoError(t, err)
	validator, err := dataplane.NewOfflineValidator(dataplane.WithPublicKey("default", "key-1", public), dataplane.WithLogger(quiet))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, validator.Close()) })

	exp := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
	raw := forge.Token(`{"alg":"RS256","kid":"key-1"}`, `{"Mesh":"default","Name":"dp-1","exp":`+exp+`,"jti":"1"}`,
		func(signingInput []byte) []byte {
			o.write(t, "signing-input", signingInput)
			o.must(t, "dgst", "-sha256", "-sign", "pkcs1.pem", "-out", "signature", "signing-input")
			return o.read(t, "signature")
		})
	verified, err := validator.Validate(t.Context(), "default", raw)
	require.NoError(t, err)
	require.Equal(t, "dp-1", verified.Claims().Name)

	ours, err := o.private(t, "pkcs8.pem").Sign(o.read(t, "signing-input"))
	require.NoError(t, err)
	require.Equal(t, o.read(t, "signature"), ours, "both make the same signature, which nothing random goes into")
}
