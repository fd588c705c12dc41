package interop_test

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/c2sp/wycheproof"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Wycheproof's verdict on each case is "valid", "invalid" or "acceptable". A case is
// accounted for if we accept what is valid and refuse what is invalid. Every other
// case is an exception, which a table below lists with its reason; acceptable cases,
// where both answers are right, are listed too. What is in a table and turns out
// otherwise fails the test as well, and so do cases and files that a later version
// of the module adds: all of them are counted.

// exception is a case on which we decide otherwise than its verdict, or on which
// there is none.
type exception struct {
	file   string
	cases  []int // their tcId
	answer string
	reason string
}

// The answers, beside the names of errors.
const accepted = "accepted"

// exceptionsOf returns the exceptions of a file by tcId.
func exceptionsOf(t *testing.T, table []exception, file string) map[int]exception {
	t.Helper()
	byID := map[int]exception{}
	for _, e := range table {
		for _, id := range e.cases {
			if e.file == file {
				require.NotContains(t, byID, id, "%s, case %d is listed twice", file, id)
				byID[id] = e
			}
		}
	}
	return byID
}

// upTo returns the numbers from the first to the last.
func upTo(first, last int) []int {
	var numbers []int
	for n := first; n <= last; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}

// account checks the answer on one case and removes its exception, if it has one.
func account(t *testing.T, open map[int]exception, file string, id int, verdict, comment, answer string) {
	t.Helper()
	what := fmt.Sprintf("%s, case %d (%s): %s, we say: %s", file, id, comment, verdict, answer)
	if e, listed := open[id]; listed {
		require.Equal(t, e.answer, answer, "%s; it is listed as an exception: %s", what, e.reason)
		agrees := verdict == "valid" && answer == accepted || verdict == "invalid" && answer != accepted
		require.False(t, agrees, "%s; that is no exception", what)
		delete(open, id)
		return
	}
	switch verdict {
	case "valid":
		require.Equal(t, accepted, answer, what)
	case "invalid":
		require.NotEqual(t, accepted, answer, what)
	default:
		require.Fail(t, "neither valid nor invalid, and no exception", what)
	}
}

// answerOf names an error by the check that failed. An answer without a name is a
// failure of the test.
func answerOf(t *testing.T, err error) string {
	t.Helper()
	for name, sentinel := range map[string]error{
		"ErrKey":        signing.ErrKey,
		"ErrMalformed":  token.ErrMalformed,
		"ErrHeader":     token.ErrHeader,
		"ErrUnknownKey": token.ErrUnknownKey,
		"ErrSignature":  token.ErrSignature,
		"ErrClaims":     token.ErrClaims,
	} {
		if errors.Is(err, sentinel) {
			return name
		}
	}
	require.NoError(t, err)
	return accepted
}

// readVectors decodes a file of the module.
func readVectors(t *testing.T, file string, into any) {
	t.Helper()
	data, err := fs.ReadFile(wycheproof.TestVectors, file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into), file)
}

func vectorFiles(t *testing.T, patterns ...string) []string {
	t.Helper()
	var files []string
	for _, pattern := range patterns {
		matches, err := fs.Glob(wycheproof.TestVectors, pattern)
		require.NoError(t, err)
		files = append(files, matches...)
	}
	slices.Sort(files)
	return files
}

// hexBytes is text that is hexadecimal in JSON.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	decoded, err := hex.DecodeString(string(text))
	*h = decoded
	return err
}

// verifyVectors is a file of signatures to verify.
type verifyVectors struct {
	NumberOfTests int
	TestGroups    []struct {
		KeySize      int
		SHA          string
		PublicKeyPem string
		PublicKeyDer hexBytes
		PublicKeyAsn hexBytes
		Tests        []struct {
			ID      int `json:"tcId"`
			Comment string
			Flags   []string
			Msg     hexBytes
			Sig     hexBytes
			Result  string
		}
	}
}

// The reasons that several tables share.
const (
	exponentThree = "the key has the public exponent 3; only 65537 is accepted"
	shortKey      = "the key has less than 2048 bits (RFC 7518, section 3.3)"
)

var verifyExceptions = func() []exception {
	const noNull = "the NULL parameter is missing in the DigestInfo: RFC 8017, section 9.2, note 1, has it, and crypto/rsa compares the whole encoding"
	return []exception{
		{"rsa_signature_2048_sha256_test.json", []int{8}, "ErrSignature", noNull},
		{"rsa_signature_3072_sha256_test.json", []int{8}, "ErrSignature", noNull},
		{"rsa_signature_4096_sha256_test.json", []int{8}, "ErrSignature", noNull},
		{"rsa_signature_8192_sha256_test.json", []int{8}, "ErrSignature", noNull},
		{"rsa_signature_2048_sha256_test.json", []int{258, 259}, "ErrKey", exponentThree},
		{"rsa_signature_3072_sha256_test.json", []int{259}, "ErrKey", exponentThree},
	}
}()

// The vectors are signatures over any bytes, so they go to the key and not through a
// validator, whose signing inputs are tokens.
func TestWycheproofSignaturesGetTheVerdictsThatTheyMust(t *testing.T) {
	files := map[string]struct {
		total   int
		answers map[string]int
	}{
		"rsa_signature_2048_sha256_test.json": {259, map[string]int{accepted: 7, "ErrSignature": 250, "ErrKey": 2}},
		"rsa_signature_3072_sha256_test.json": {259, map[string]int{accepted: 7, "ErrSignature": 251, "ErrKey": 1}},
		"rsa_signature_4096_sha256_test.json": {258, map[string]int{accepted: 7, "ErrSignature": 251}},
		"rsa_signature_8192_sha256_test.json": {258, map[string]int{accepted: 7, "ErrSignature": 251}},
	}
	require.ElementsMatch(t, vectorFiles(t, "rsa_signature_*_sha256_test.json"), slices.Collect(maps.Keys(files)), "every file of the module, and no other")
	for file, want := range files {
		var vectors verifyVectors
		readVectors(t, file, &vectors)
		require.Equal(t, want.total, vectors.NumberOfTests, file)
		open := exceptionsOf(t, verifyExceptions, file)
		answers := map[string]int{}
		for _, group := range vectors.TestGroups {
			require.Equal(t, "SHA-256", group.SHA)
			key, err := signing.ParsePublicKey([]byte(group.PublicKeyPem))
			for form, data := range map[string][]byte{"PKIX": group.PublicKeyDer, "PKCS#1": group.PublicKeyAsn} {
				other, otherErr := signing.ParsePublicKey(data)
				require.Equal(t, answerOf(t, err), answerOf(t, otherErr), "%s: %s", file, form)
				require.True(t, err != nil || key.Equal(other), "%s: %s is another key", file, form)
			}
			for _, test := range group.Tests {
				answer := answerOf(t, err)
				if err == nil {
					require.Equal(t, group.KeySize, key.Bits())
					answer = answerOf(t, key.Verify(test.Msg, test.Sig))
				}
				account(t, open, file, test.ID, test.Result, test.Comment, answer)
				answers[answer]++
			}
		}
		require.Empty(t, open, "%s: listed as exceptions, but not there", file)
		require.Equal(t, want.answers, answers, file)
	}
}

// An RS256 signature is one with SHA-256 and no other hash. What is valid with
// another hash is not accepted, and what is accepted is invalid there because it is
// a good signature with SHA-256.
func TestWycheproofSignaturesWithOtherHashesAreNoneOfOurs(t *testing.T) {
	total := 0
	answers := map[string]int{}
	for _, file := range vectorFiles(t, "rsa_signature_*_test.json") {
		if matched, err := path.Match("rsa_signature_*_sha256_test.json", file); matched || err != nil {
			continue
		}
		var vectors verifyVectors
		readVectors(t, file, &vectors)
		total += vectors.NumberOfTests
		for _, group := range vectors.TestGroups {
			require.NotEqual(t, "SHA-256", group.SHA)
			key, err := signing.ParsePublicKey([]byte(group.PublicKeyPem))
			for _, test := range group.Tests {
				answer := answerOf(t, err)
				if err == nil {
					answer = answerOf(t, key.Verify(test.Msg, test.Sig))
				}
				if answer == accepted {
					require.Equal(t, "invalid", test.Result, "%s, case %d", file, test.ID)
					require.Equal(t, []string{"WrongHash"}, test.Flags, "%s, case %d", file, test.ID)
					require.Contains(t, test.Comment, "SHA-256", "%s, case %d", file, test.ID)
				}
				answers[answer]++
			}
		}
	}
	require.Equal(t, 5168, total)
	require.Equal(t, map[string]int{accepted: 20, "ErrSignature": 5146, "ErrKey": 2}, answers, "one in each of 20 files")
}

// generateVectors is a file of signatures to make. PKCS#1 v1.5 signatures depend on
// nothing random.
type generateVectors struct {
	NumberOfTests int
	TestGroups    []struct {
		KeySize         int
		SHA             string
		KeyPem          string
		PrivateKeyPem   string
		PrivateKeyPkcs8 hexBytes
		Tests           []struct {
			ID      int `json:"tcId"`
			Comment string
			Msg     hexBytes
			Sig     hexBytes
			Result  string
		}
	}
}

var generateExceptions = func() []exception {
	const otherHash = "the signature has another hash than SHA-256, the only one of RS256: we make another signature, and do not accept this one"
	return []exception{
		{"rsa_pkcs1_1024_sig_gen_test.json", append(upTo(1, 32), 153), "ErrKey", shortKey},
		{"rsa_pkcs1_1536_sig_gen_test.json", upTo(33, 64), "ErrKey", shortKey},
		{"rsa_pkcs1_2048_sig_gen_test.json", upTo(65, 80), "ErrSignature", otherHash},
		{"rsa_pkcs1_2048_sig_gen_test.json", upTo(89, 104), "ErrSignature", otherHash},
		{"rsa_pkcs1_2048_sig_gen_test.json", []int{154, 155, 158}, "ErrKey", exponentThree},
		{"rsa_pkcs1_3072_sig_gen_test.json", upTo(113, 128), "ErrSignature", otherHash},
		{"rsa_pkcs1_3072_sig_gen_test.json", []int{156, 157}, "ErrKey", exponentThree},
		{"rsa_pkcs1_4096_sig_gen_test.json", upTo(137, 152), "ErrSignature", otherHash},
	}
}()

func TestWycheproofSignaturesAreWhatWeMake(t *testing.T) {
	files := map[string]struct {
		total   int
		answers map[string]int
	}{
		"rsa_pkcs1_1024_sig_gen_test.json": {33, map[string]int{"ErrKey": 33}},
		"rsa_pkcs1_1536_sig_gen_test.json": {32, map[string]int{"ErrKey": 32}},
		"rsa_pkcs1_2048_sig_gen_test.json": {43, map[string]int{accepted: 8, "ErrSignature": 32, "ErrKey": 3}},
		"rsa_pkcs1_3072_sig_gen_test.json": {26, map[string]int{accepted: 8, "ErrSignature": 16, "ErrKey": 2}},
		"rsa_pkcs1_4096_sig_gen_test.json": {24, map[string]int{accepted: 8, "ErrSignature": 16}},
	}
	require.ElementsMatch(t, vectorFiles(t, "rsa_pkcs1_*_sig_gen_test.json"), slices.Collect(maps.Keys(files)), "every file of the module, and no other")
	for file, want := range files {
		var vectors generateVectors
		readVectors(t, file, &vectors)
		require.Equal(t, want.total, vectors.NumberOfTests, file)
		open := exceptionsOf(t, generateExceptions, file)
		answers := map[string]int{}
		for _, group := range vectors.TestGroups {
			key, err := signing.ParsePrivateKey([]byte(group.PrivateKeyPem))
			pkcs8, pkcs8Err := signing.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: group.PrivateKeyPkcs8}))
			require.Equal(t, answerOf(t, err), answerOf(t, pkcs8Err), "%s: PKCS#8", file)
			if err == nil {
				require.True(t, pkcs8.Public().Equal(key.Public()), "%s: PKCS#8 is another key", file)
				require.Equal(t, group.KeySize, key.Public().Bits())
				public, err := signing.ParsePublicKey([]byte(group.KeyPem))
				require.NoError(t, err)
				require.True(t, public.Equal(key.Public()))
				issueAndValidate(t, key)
			}
			for _, test := range group.Tests {
				answer := answerOf(t, err)
				if err == nil {
					signature, err := key.Sign(test.Msg)
					require.NoError(t, err)
					if answer = accepted; !slices.Equal(signature, test.Sig) {
						answer = answerOf(t, key.Public().Verify(test.Msg, test.Sig))
						require.NotEqual(t, accepted, answer, "%s, case %d: two signatures over one message", file, test.ID)
					}
				}
				account(t, open, file, test.ID, test.Result, test.Comment, answer)
				answers[answer]++
			}
		}
		require.Empty(t, open, "%s: listed as exceptions, but not there", file)
		require.Equal(t, want.answers, answers, file)
	}
}

// issueAndValidate shows that a key is good for tokens.
func issueAndValidate(t *testing.T, key *signing.PrivateKey) {
	t.Helper()
	issuer, err := dataplane.NewOfflineIssuer(key, "wycheproof", dataplane.WithLogger(quiet))
	require.NoError(t, err)
	validator := validatorWith(t, map[string]*signing.PublicKey{"wycheproof": key.Public()})
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.NoError(t, err)
	_, err = validator.Validate(t.Context(), "default", issued.Token)
	require.NoError(t, err)
}

// validatorWith returns a validator with these keys by kid, and the key of no one
// beside them, since it has to have one.
func validatorWith(t *testing.T, keys map[string]*signing.PublicKey) dataplane.Validator {
	t.Helper()
	another, err := signing.NewPublicKey(&forge.OtherKey().PublicKey)
	require.NoError(t, err)
	options := []dataplane.ValidatorOption{dataplane.WithLogger(quiet), dataplane.WithPublicKey("default", "of no one", another)}
	for kid, key := range keys {
		options = append(options, dataplane.WithPublicKey("default", kid, key))
	}
	validator, err := dataplane.NewOfflineValidator(options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, validator.Close()) })
	return validator
}

// jsonWebVectors is a file of JWS and JWE, each with the keys to check it with. A
// group has a single key or a set, in private alone or in public too.
type jsonWebVectors struct {
	NumberOfTests int
	TestGroups    []struct {
		Comment string
		Public  json.RawMessage
		Private json.RawMessage
		Tests   []struct {
			ID      int `json:"tcId"`
			Comment string
			JWS     serialized
			JWE     serialized
			Result  string
		}
	}
}

// serialized is the text of a JWS or JWE: a string of its compact serialisation, or
// the object of its JSON serialisation as it stands.
type serialized string

func (s *serialized) UnmarshalJSON(data []byte) error {
	var compact string
	if err := json.Unmarshal(data, &compact); err != nil {
		*s = serialized(data)
		return nil
	}
	*s = serialized(compact)
	return nil
}

// jsonWebKey holds what of a JSON Web Key there is room for in a PEM block: the
// numbers. The kid is what a user configures the key under.
type jsonWebKey struct {
	Kty, Kid, N, E string
	Keys           []jsonWebKey // of a set
}

func (k jsonWebKey) public() (*signing.PublicKey, error) {
	n, err := base64.RawURLEncoding.DecodeString(k.N)
	if err != nil {
		return nil, err
	}
	e, err := base64.RawURLEncoding.DecodeString(k.E)
	if err != nil {
		return nil, err
	}
	return signing.NewPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())})
}

var jsonWebExceptions = func() []exception {
	const (
		otherAlgorithm = "the algorithm is not RS256, the only one that a token may have"
		encrypted      = "it is encrypted (JWE), and a token is signed"
		noPayload      = "the payload is empty, where the claims of a token are to be"
		alphabet       = "the text has characters that are not of base64url (RFC 7515, section 2); also, the algorithm is not RS256"
		purpose        = "the JSON Web Key says that it is for something else; Meshpass reads PEM, where a key says nothing of the kind, and uses each for RS256 alone"
		roca           = "the key has primes of the form that CVE-2017-15361 (ROCA) is about; size and exponent of a key are checked, not how it was generated"
	)
	return []exception{
		{"json_web_signature_test.json", []int{1, 18}, "ErrHeader", otherAlgorithm},
		{"json_web_signature_test.json", upTo(265, 267), "ErrHeader", otherAlgorithm},
		{"json_web_signature_test.json", upTo(269, 271), "ErrHeader", otherAlgorithm},
		{"json_web_signature_test.json", upTo(273, 275), "ErrHeader", otherAlgorithm},
		{"json_web_signature_test.json", []int{287, 288}, "ErrHeader", otherAlgorithm},
		{"json_web_signature_test.json", upTo(321, 323), "ErrHeader", otherAlgorithm},
		{"json_web_signature_test.json", upTo(326, 328), "ErrHeader", otherAlgorithm},
		{"json_web_signature_test.json", upTo(346, 348), "ErrHeader", otherAlgorithm},
		{"json_web_signature_test.json", upTo(350, 352), "ErrHeader", otherAlgorithm},
		{"json_web_signature_test.json", upTo(357, 359), "ErrHeader", otherAlgorithm},
		{"json_web_signature_test.json", upTo(376, 378), "ErrHeader", otherAlgorithm},
		{"json_web_signature_test.json", []int{259, 264, 268, 272, 320, 325}, "ErrMalformed", noPayload},
		{"json_web_signature_test.json", []int{372, 373}, "ErrMalformed", alphabet},
		{"json_web_signature_test.json", []int{332, 353, 355}, accepted, purpose},

		{"json_web_crypto_test.json", []int{1, 18, 48}, "ErrHeader", otherAlgorithm},
		{"json_web_crypto_test.json", []int{50, 67}, "ErrMalformed", encrypted},
		{"json_web_crypto_test.json", []int{46}, accepted, roca},

		{"json_web_key_test.json", []int{2, 13, 14, 15}, "ErrHeader", otherAlgorithm},
		{"json_web_key_test.json", []int{6}, accepted, purpose},
		{"json_web_key_test.json", []int{7}, accepted, roca},

		{"json_web_encryption_test.json", []int{1, 23, 112, 121}, "ErrMalformed", encrypted},
		{"json_web_encryption_test.json", upTo(28, 35), "ErrMalformed", encrypted},
		{"json_web_encryption_test.json", upTo(52, 62), "ErrMalformed", encrypted},
		{"json_web_encryption_test.json", upTo(66, 93), "ErrMalformed", encrypted},
		{"json_web_encryption_test.json", upTo(100, 105), "ErrMalformed", encrypted},
		{"json_web_encryption_test.json", upTo(128, 135), "ErrMalformed", encrypted},
	}
}()

// The vectors go through a whole validator, which has the RSA keys of their group.
// Their payloads are not claims of a token, so a signature counts as accepted when
// the payload is what is refused.
func TestWycheproofJSONWebSignaturesGetTheVerdictsThatTheyMust(t *testing.T) {
	files := map[string]struct {
		total   int
		answers map[string]int
	}{
		"json_web_signature_test.json":  {401, map[string]int{accepted: 10, "ErrSignature": 215, "ErrHeader": 120, "ErrMalformed": 55, "ErrUnknownKey": 1}},
		"json_web_crypto_test.json":     {83, map[string]int{accepted: 2, "ErrSignature": 2, "ErrHeader": 13, "ErrMalformed": 65, "ErrUnknownKey": 1}},
		"json_web_key_test.json":        {26, map[string]int{accepted: 3, "ErrHeader": 20, "ErrKey": 3}},
		"json_web_encryption_test.json": {139, map[string]int{"ErrMalformed": 139}},
	}
	require.ElementsMatch(t, vectorFiles(t, "json_web_*_test.json"), slices.Collect(maps.Keys(files)), "every file of the module, and no other")
	for file, want := range files {
		var vectors jsonWebVectors
		readVectors(t, file, &vectors)
		require.Equal(t, want.total, vectors.NumberOfTests, file)
		open := exceptionsOf(t, jsonWebExceptions, file)
		answers := map[string]int{}
		for _, group := range vectors.TestGroups {
			source := group.Public
			if source == nil {
				source = group.Private
			}
			var set jsonWebKey
			require.NoError(t, json.Unmarshal(source, &set))
			keys := map[string]*signing.PublicKey{}
			var keyErr error
			for _, key := range append(set.Keys, set) {
				if key.Kty != "RSA" {
					continue // Meshpass has no other keys
				}
				public, err := key.public()
				if err != nil {
					keyErr = err
					continue
				}
				keys[key.Kid] = public
			}
			validator := validatorWith(t, keys)
			for _, test := range group.Tests {
				answer := answerOf(t, keyErr)
				if keyErr == nil {
					_, err := validator.Validate(context.Background(), "default", string(test.JWS+test.JWE))
					require.Error(t, err, "%s, case %d: it has no claims", file, test.ID)
					if answer = answerOf(t, err); answer == "ErrClaims" {
						answer = accepted
					}
				}
				account(t, open, file, test.ID, test.Result, test.Comment, answer)
				answers[answer]++
			}
		}
		require.Empty(t, open, "%s: listed as exceptions, but not there", file)
		require.Equal(t, want.answers, answers, file)
	}
}
