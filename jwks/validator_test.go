package jwks_test

import (
	"context"
	"crypto/rsa"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// validatorOf returns a validator with the keys of a source alone. It is closed at the end
// of the test.
func validatorOf(t *testing.T, source signing.Source, options ...dataplane.ValidatorOption) (dataplane.Validator, *logtest.Buffer) {
	t.Helper()
	log := &logtest.Buffer{}
	validator, err := dataplane.NewOfflineValidator(append(options, dataplane.WithSource("default", source), dataplane.WithLogger(log.Logger()))...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, validator.Close()) })
	return validator, log
}

// tokenBy returns a token of the provider that the demands name.
func tokenBy(kid string, key *rsa.PrivateKey) string { return signedToken(kid, forge.RS256(key)) }

func signedToken(kid string, sign forge.Signer) string {
	header := fmt.Sprintf(`{"alg":"RS256","typ":"JWT","kid":%q}`, kid)
	payload := fmt.Sprintf(`{"Mesh":"default","iss":"https://id.example.com","aud":["other","mesh.example.com"],"jti":"1","exp":%d}`, time.Now().Add(24*time.Hour).Unix())
	return forge.Token(header, payload, sign)
}

// verdict is "good", or says which error a token gets.
func verdict(t *testing.T, validator dataplane.Validator, raw string) string {
	t.Helper()
	_, err := validator.Validate(t.Context(), "default", raw)
	if err == nil {
		return "good"
	}
	return token.ClassOf(err).String()
}

// sessions binds a token so many times.
func sessions(t *testing.T, validator dataplane.Validator, raw string, n int) (open func() int) {
	t.Helper()
	all := make([]context.Context, n)
	for i := range all {
		verified, err := validator.Validate(t.Context(), "default", raw)
		require.NoError(t, err)
		ctx, stop := verified.Bind(t.Context())
		t.Cleanup(stop)
		all[i] = ctx
	}
	return func() (open int) {
		for _, ctx := range all {
			if ctx.Err() == nil {
				open++
			}
		}
		return open
	}
}

func TestAKeyThatLeavesTheURLEndsItsSessionsAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var body atomic.Pointer[string]
		body.Store(&setA)
		source := newSource(t, "https://id.example.com", jwks.WithHTTPClient(inProcess(answer(func(w http.ResponseWriter, r *http.Request) {
			says(*body.Load(), "Cache-Control", "max-age=60")(w, r)
		}))))
		validator, _ := validatorOf(t, source)
		synctest.Wait()
		ofA := sessions(t, validator, tokenBy("a", forge.Key()), 1000)

		body.Store(&setAB)
		time.Sleep(61 * time.Second)
		ofB := sessions(t, validator, tokenBy("b", forge.OtherKey()), 1000)
		require.Equal(t, 1000, ofA())

		body.Store(&setB)
		time.Sleep(61 * time.Second)
		require.Equal(t, 0, ofA())
		require.Equal(t, 1000, ofB())
		time.Sleep(10 * time.Second) // until it can be known that the key has not come back
		require.Equal(t, token.Invalid.String(), verdict(t, validator, tokenBy("a", forge.Key())))
	})
}

func TestAKeyThatLeavesTheFileEndsItsSessionsWithinASecondAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "keys.json")
		replace := func(text string) {
			require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
			require.NoError(t, os.Rename(path+".new", path))
		}
		replace(setA)
		validator, _ := validatorOf(t, jwks.File(path, demands))
		ofA := sessions(t, validator, tokenBy("a", forge.Key()), 1000)
		replace(setAB)
		// A token that names the new key waits for the next read.
		ofB := sessions(t, validator, tokenBy("b", forge.OtherKey()), 1000)
		require.Equal(t, 1000, ofA())

		replace(setB)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 0, ofA())
		require.Equal(t, 1000, ofB())
	})
}

// What the endpoint gives after a set with keys a and b, and what tokens of key a get
// after that. The sessions of both keys were open.
func TestWhatAnEndpointGivesAfterAGoodSet(t *testing.T) {
	good, invalid := "good", token.Invalid.String()
	for name, c := range map[string]struct {
		give    answer
		verdict string
		open    int
		log     string
	}{
		"the same":                   {says(setAB), good, 2, ""},
		"another set":                {says(setA), good, 1, "key is gone"},
		"an error":                   {saysStatus(500, setB), good, 2, "status 500"},
		"rubbish":                    {says("<html>"), good, 2, "want a JSON object"},
		"a redirect to another host": {saysStatus(302, "", "Location", "https://evil.example.com/?S3CR3T"), good, 2, "want the same scheme, host and port"},
		"nothing, for ever":          {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, good, 2, "deadline exceeded"},
		"an empty set":               {says(setOf()), invalid, 0, "the source has no key"},
		"kid a twice":                {says(setOf(jwk("a", forge.Key(), nil), jwk("a", forge.OtherKey(), nil), jwk("b", forge.OtherKey(), nil))), invalid, 1, "found its kid 2 times"},
		"kid a for an EC key":        {says(setOf(members{"kty": "EC", "kid": "a"}, jwk("b", forge.OtherKey(), nil))), invalid, 1, `found kty \"EC\"`},
		"kid a for another key":      {says(setOf(jwk("a", forge.OtherKey(), nil), jwk("b", forge.OtherKey(), nil))), invalid, 1, "another key has this kid now"},
		"kid a with its private key": {says(setOf(jwk("a", forge.Key(), members{"d": "S3CR3T"}), jwk("b", forge.OtherKey(), nil))), invalid, 1, "found a private key"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := newSource(t, "https://id.example.com/keys?S3CR3T", jwks.WithHTTPClient(inProcess(inTurn(says(setAB), c.give))))
				validator, log := validatorOf(t, source)
				synctest.Wait()
				a := tokenBy("a", forge.Key())
				ofA, ofB := sessions(t, validator, a, 1), sessions(t, validator, tokenBy("b", forge.OtherKey()), 1)
				time.Sleep(6 * time.Minute)
				require.Equal(t, c.verdict, verdict(t, validator, a))
				require.Equal(t, c.open, ofA()+ofB())
				require.Contains(t, log.String(), c.log)
				require.NotContains(t, log.String(), "S3CR3T")
				if c.verdict == good && c.open == 2 && c.log != "" { // the read failed
					time.Sleep(time.Hour)
					require.Equal(t, token.Unavailable.String(), verdict(t, validator, a), "the last keys have aged")
					require.Equal(t, 0, ofA()+ofB())
					require.Equal(t, 1, log.Count("reading a source of keys fails"))
				}
			})
		})
	}
}

func TestATokenOfAKeyThatIsNotKnownCausesAFetchEveryTenSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int64
		var body atomic.Pointer[string]
		body.Store(&setA)
		source := newSource(t, "https://id.example.com", jwks.WithHTTPClient(inProcess(answer(func(w http.ResponseWriter, r *http.Request) {
			fetches.Add(1)
			says(*body.Load())(w, r)
		}))))
		validator, _ := validatorOf(t, source)
		synctest.Wait()
		b := tokenBy("b", forge.OtherKey())
		body.Store(&setAB)
		time.Sleep(5 * time.Second)
		require.Equal(t, token.Unavailable.String(), verdict(t, validator, b), "its key may be newer than the last fetch")
		require.EqualValues(t, 1, fetches.Load())
		time.Sleep(5 * time.Second)
		require.Equal(t, "good", verdict(t, validator, b))
		require.EqualValues(t, 2, fetches.Load())

		for i := range 600 { // a minute, in which peers name keys that do not exist
			require.NotEqual(t, "good", verdict(t, validator, signedToken(fmt.Sprint("none", i), forge.Signature(make([]byte, 256)))))
			time.Sleep(100 * time.Millisecond)
		}
		require.LessOrEqual(t, fetches.Load(), int64(2+8))
		require.Equal(t, "good", verdict(t, validator, b))
	})
}

// The second validator reads within ten seconds after the fetch of the first. A token that
// came after the fetch may have a key that is newer still.
func TestASharedFetchDoesNotAnswerForATokenThatCameAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int64
		var body atomic.Pointer[string]
		body.Store(&setA)
		source := newSource(t, "https://id.example.com", jwks.WithHTTPClient(inProcess(answer(func(w http.ResponseWriter, r *http.Request) {
			fetches.Add(1)
			says(*body.Load())(w, r)
		}))))
		first, _ := validatorOf(t, source)
		synctest.Wait()
		time.Sleep(4 * time.Second)
		body.Store(&setAB)
		time.Sleep(time.Second)
		second, _ := validatorOf(t, source)
		synctest.Wait()
		require.EqualValues(t, 1, fetches.Load(), "they share it")
		require.Equal(t, "good", verdict(t, second, tokenBy("a", forge.Key())))
		b := tokenBy("b", forge.OtherKey())
		require.Equal(t, token.Unavailable.String(), verdict(t, second, b))
		time.Sleep(5 * time.Second)
		require.Equal(t, "good", verdict(t, second, b))
		require.EqualValues(t, 2, fetches.Load())
		require.NotEqual(t, token.Invalid.String(), verdict(t, first, b))
	})
}

func TestTheDemandsOfASourceHoldForItsTokens(t *testing.T) {
	server := httptest.NewServer(says(setA))
	defer server.Close()
	validator, _ := validatorOf(t, newSource(t, server.URL))
	require.Eventually(t, func() bool { _, read := validator.Staleness(); return read }, time.Minute, time.Millisecond)
	header := `{"alg":"RS256","typ":"JWT","kid":"a"}`
	exp := time.Now().Add(time.Hour).Unix()
	for payload, want := range map[string]string{
		fmt.Sprintf(`{"Mesh":"default","iss":"https://id.example.com","aud":"mesh.example.com","jti":"1","exp":%d}`, exp):  "good",
		fmt.Sprintf(`{"Mesh":"default","iss":"https://id.example.com/","aud":"mesh.example.com","jti":"1","exp":%d}`, exp): "invalid",
		fmt.Sprintf(`{"Mesh":"default","iss":"https://id.example.com","aud":"shop.example.com","jti":"1","exp":%d}`, exp):  "invalid",
		fmt.Sprintf(`{"mesh":"default","iss":"https://id.example.com","aud":"mesh.example.com","jti":"1","exp":%d}`, exp):  "invalid",
	} {
		require.Equal(t, want, verdict(t, validator, forge.Token(header, payload, forge.RS256(forge.Key()))), payload)
	}
}
