package httpapi_test

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// kids returns the kid and the modulus of each key in a set.
func kids(t testing.TB, text string) map[string]string {
	t.Helper()
	var set struct{ Keys []map[string]string }
	require.NoError(t, json.Unmarshal([]byte(text), &set), text)
	found := map[string]string{}
	for _, key := range set.Keys {
		assert.ElementsMatch(t, []string{"kty", "use", "alg", "kid", "n", "e"}, slices.Collect(maps.Keys(key)))
		found[key["kid"]] = key["n"]
	}
	require.Len(t, found, len(set.Keys))
	return found
}

func modulus(key *signing.PrivateKey) string {
	return base64.RawURLEncoding.EncodeToString(key.Public().RSA().N.Bytes())
}

func TestKeySetsOfMeshesAndZonesAreNeverMixed(t *testing.T) {
	w := newWorld(t)
	put(t, w.store, "default-2", signing.DataplaneKeys("default-2").KeyName(1), pemOf(t, testKey(2)))
	// Records that do not belong where they are.
	put(t, w.store, "default", signing.DataplaneKeys("default-2").KeyName(5), pemOf(t, testKey(2)))
	put(t, w.store, "default", signing.ZoneKeys().KeyName(6), pemOf(t, testKey(1)))
	put(t, w.store, keystore.Global, signing.DataplaneKeys("default").KeyName(7), pemOf(t, testKey(0)))
	for path, key := range map[string]*signing.PrivateKey{
		"/jwks/dataplane/default": testKey(0), "/jwks/zone": testKey(1), "/jwks/dataplane/default-2": testKey(2),
	} {
		answer, text := w.do(t, "GET", path, "")
		require.Equal(t, 200, answer.StatusCode, text)
		assert.Equal(t, map[string]string{"1": modulus(key)}, kids(t, text), path)
	}
}

func TestHandlerAnswersHoldNoPrivateKeyMaterial(t *testing.T) {
	w := newWorld(t)
	w.do(t, "POST", "/revocations/zone", `{"ids":["an-id"]}`)
	replace(t, w.store, "default", signing.DataplaneKeys("default").KeyName(1), append(pemOf(t, testKey(0)), "spoilt"...))
	put(t, w.store, "default", signing.DataplaneKeys("default").KeyName(2), pemOf(t, testKey(2)))
	var all strings.Builder
	for _, c := range everyRequest {
		_, text := w.do(t, c[0], c[1], c[2])
		all.WriteString(text)
	}
	all.WriteString(w.log.String())
	said := all.String()
	assert.NotContains(t, said, "-----BEGIN")
	for n := range 3 {
		key := rsaOf(t, testKey(n))
		for _, secret := range []*big.Int{key.D, key.Primes[0], key.Primes[1], key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv} {
			for _, written := range []string{
				base64.RawURLEncoding.EncodeToString(secret.Bytes()), base64.RawStdEncoding.EncodeToString(secret.Bytes()),
				secret.String(), secret.Text(16), string(secret.Bytes()),
			} {
				assert.False(t, strings.Contains(said, written), "private material was told")
			}
		}
	}
}

func rsaOf(t testing.TB, key *signing.PrivateKey) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(pemOf(t, key))
	private, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	require.NoError(t, err)
	return private
}

func TestKeySetLeavesAnUnreadableKeyOutAndReportsItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		keys := signing.DataplaneKeys("default")
		put(t, w.store, "default", keys.KeyName(2), []byte("spoilt"))
		put(t, w.store, "default", keys.KeyName(0)+"-0003", pemOf(t, testKey(2)))
		for range 5 {
			_, text := w.do(t, "GET", "/jwks/dataplane/default", "")
			assert.Equal(t, map[string]string{"1": modulus(testKey(0))}, kids(t, text))
			time.Sleep(time.Second)
		}
		assert.Equal(t, 1, w.log.Count("key records with faults", "default-2", "0003"))

		replace(t, w.store, "default", keys.KeyName(1), []byte("spoilt too"))
		answer, text := w.do(t, "GET", "/jwks/dataplane/default", "")
		assert.Equal(t, 503, answer.StatusCode, "no readable key is not the same as no key: %s", text)
	})
}

func TestKeySetIsReadOnceASecondAndBuiltOncePerKeyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ask := func(requests int) (etag string) {
			var group sync.WaitGroup
			var mu sync.Mutex
			for range requests {
				group.Go(func() {
					answer, text := w.do(t, "GET", "/jwks/dataplane/default", "")
					mu.Lock()
					defer mu.Unlock()
					assert.Equal(t, 200, answer.StatusCode, text)
					if etag == "" {
						etag = answer.Header.Get("ETag")
					}
					assert.Equal(t, etag, answer.Header.Get("ETag"))
				})
			}
			group.Wait()
			return etag
		}
		built := func() int { return w.log.Count("built key set") }

		first := ask(10_000)
		assert.Equal(t, 1, w.store.reads())
		assert.Equal(t, 1, built())
		for range 10 {
			time.Sleep(time.Second)
			assert.Equal(t, first, ask(100))
		}
		assert.Equal(t, 11, w.store.reads())
		assert.Equal(t, 1, built(), "nothing has changed")

		// What is no change of a key builds nothing: a list, and a record written again.
		w.do(t, "POST", "/revocations/dataplane/default", `{"ids":["an-id"]}`)
		replace(t, w.store, "default", signing.DataplaneKeys("default").KeyName(1), append(pemOf(t, testKey(0)), '\n'))
		time.Sleep(time.Second)
		assert.Equal(t, first, ask(100))
		assert.Equal(t, 1, built())

		_, err := dataplane.AddKey(quiet(t), w.store, "default", testKey(2))
		require.NoError(t, err)
		time.Sleep(time.Second)
		second := ask(10_000)
		assert.NotEqual(t, first, second)
		assert.Equal(t, 2, built())

		require.NoError(t, dataplane.RemoveKey(quiet(t), w.store, "default", 1))
		time.Sleep(time.Second)
		third := ask(10_000)
		assert.NotEqual(t, second, third)
		assert.NotEqual(t, first, third)
		assert.Equal(t, 3, built())

		// Another key under the same serial is another key.
		replace(t, w.store, "default", signing.DataplaneKeys("default").KeyName(2), pemOf(t, testKey(1)))
		time.Sleep(time.Second)
		assert.NotEqual(t, third, ask(100))
		assert.Equal(t, 4, built())

		// Nobody asks: nothing is read.
		before := w.store.reads()
		time.Sleep(time.Hour)
		assert.Equal(t, before, w.store.reads())
	})
}

func TestKeySetThatCannotBeReadIsNotServedFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		status := func() int {
			answer, _ := w.do(t, "GET", "/jwks/dataplane/default", "")
			return answer.StatusCode
		}
		assert.Equal(t, 200, status())
		w.store.set(errors.New("down"), false)
		time.Sleep(time.Second)
		before := w.store.reads()
		for range 1000 {
			assert.Equal(t, 503, status())
		}
		assert.Equal(t, before+1, w.store.reads(), "a failed read is shared too")
		assert.Equal(t, 1, w.log.Count("request failed"))
		w.store.set(nil, false)
		time.Sleep(time.Second)
		assert.Equal(t, 200, status())
		assert.Equal(t, 1, w.log.Count("built key set"), "it is still the one from before")

		require.NoError(t, dataplane.RemoveAllKeys(quiet(t), w.store, "default"))
		time.Sleep(time.Second)
		assert.Equal(t, 404, status())
	})
}

func TestKeySetsOfUnknownMeshesCauseFewReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, httpapi.WithPublicKeySets())
		answer, _ := w.do(t, "GET", "/jwks/dataplane/default", "")
		require.Equal(t, 200, answer.StatusCode)
		time.Sleep(time.Second)
		began := time.Now()
		statuses := map[int]int{}
		for second := range 20 {
			for n := range 5000 {
				answer, _ := w.do(t, "GET", fmt.Sprintf("/jwks/dataplane/m-%d-%d", second, n), "", "As", "")
				statuses[answer.StatusCode]++
				if answer.StatusCode == 503 {
					assert.Equal(t, "1", answer.Header.Get("Retry-After"))
				}
			}
			// The mesh that is known is served all the while, and so are the zones.
			answer, _ := w.do(t, "GET", "/jwks/dataplane/default", "")
			assert.Equal(t, 200, answer.StatusCode)
			answer, _ = w.do(t, "GET", "/jwks/zone", "")
			assert.Equal(t, 200, answer.StatusCode)
			time.Sleep(time.Second)
		}
		seconds := int(time.Since(began) / time.Second)
		assert.Equal(t, map[int]int{404: 10 * seconds, 503: 100_000 - 10*seconds}, statuses)
		assert.LessOrEqual(t, w.store.reads(), 12*seconds+1)
		assert.Equal(t, seconds, w.log.Count("request failed", "more than 10 meshes"), "logged once a second")
	})
}

func TestKeySetsOfUnknownMeshesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, httpapi.WithPublicKeySets())
		heap := func() uint64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		for n := range 50_000 {
			answer, _ := w.do(t, "GET", fmt.Sprintf("/jwks/dataplane/m-%d", n), "", "As", "")
			require.Equal(t, 404, answer.StatusCode)
			time.Sleep(100 * time.Millisecond)
		}
		assert.Less(t, heap(), before+2<<20)
		runtime.KeepAlive(w)
	})
}

func TestKeySetOfANewMeshIsServedOnceItHasAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		answer, _ := w.do(t, "GET", "/jwks/dataplane/new", "")
		assert.Equal(t, 404, answer.StatusCode)
		put(t, w.store, "new", signing.DataplaneKeys("new").KeyName(1), pemOf(t, testKey(2)))
		time.Sleep(time.Second)
		answer, text := w.do(t, "GET", "/jwks/dataplane/new", "")
		assert.Equal(t, 200, answer.StatusCode)
		assert.Equal(t, map[string]string{"1": modulus(testKey(2))}, kids(t, text))
	})
}

func TestKeySetHasTheKeysInAKMSToo(t *testing.T) {
	w := newWorld(t)
	put(t, w.store, "new", signing.DataplaneKeys("new").KeyName(1), pemOf(t, testKey(1)))
	put(t, w.store, "new", signing.DataplaneKeys("new").ExternalKeyName(2), testKey(2).Public().PEM())
	_, text := w.do(t, "GET", "/jwks/dataplane/new", "")
	assert.Equal(t, map[string]string{"1": modulus(testKey(1)), "2": modulus(testKey(2))}, kids(t, text))
}

func TestKeySetETagSavesTheBody(t *testing.T) {
	w := newWorld(t)
	answer, _ := w.do(t, "GET", "/jwks/zone", "")
	etag := answer.Header.Get("ETag")
	require.NotEmpty(t, etag)
	for header, status := range map[string]int{
		etag:                  304,
		"W/" + etag:           304,
		`"x", ` + etag:        304,
		`"x",W/` + etag + " ": 304,
		"*":                   304,
		`"x"`:                 200,
		etag[1:]:              200,
		"":                    200,
		etag + `x`:            200,
	} {
		answer, text := w.do(t, "GET", "/jwks/zone", "", "If-None-Match", header)
		assert.Equal(t, status, answer.StatusCode, "If-None-Match: %s", header)
		assert.Equal(t, status == 304, text == "")
		assert.Equal(t, etag, answer.Header.Get("ETag"))
	}
	answer, _ = w.do(t, "GET", "/jwks/dataplane/default", "")
	assert.NotEqual(t, etag, answer.Header.Get("ETag"))
}

func TestKeySetIsServedToManyWhileKeysChange(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	for _, c := range everyRequest {
		if c[0] == "POST" && strings.HasPrefix(c[1], "/keys") { // the keys are changed below
			continue
		}
		group.Go(func() {
			for range 30 {
				answer, text := w.do(t, c[0], c[1], c[2])
				assert.Less(t, answer.StatusCode, 300, "%s %s: %s", c[0], c[1], text)
			}
		})
	}
	group.Go(func() {
		for serial := signing.Serial(1); serial < 10; serial++ {
			_, err := dataplane.AddKey(quiet(t), w.store, "default", testKey(2))
			assert.NoError(t, err)
			assert.NoError(t, dataplane.RemoveKey(quiet(t), w.store, "default", serial))
		}
	})
	group.Wait()
}

func TestKeySetReadOutlivesAnImpatientClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.set(nil, true)
		var patient, impatient int
		var group sync.WaitGroup
		group.Go(func() { impatient = w.within(t, time.Second) })
		group.Go(func() { patient = w.within(t, time.Minute) })
		group.Wait()
		assert.Equal(t, 1, w.store.reads())
		assert.Equal(t, http.StatusServiceUnavailable, patient)
		assert.Equal(t, http.StatusServiceUnavailable, impatient)
	})
}

// within asks for the zones' keys with a context of its own, and returns the status.
func (w *world) within(t testing.TB, limit time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", "/jwks/zone", nil)
	r.Header.Set("As", "alice")
	answer, _ := w.answer(t, r)
	return answer.StatusCode
}

func TestKeySetHasTheOtherKeysBesideARecordThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a record is told of again when it is read again, in a second
		w := newWorld(t)
		put(t, w.store, "default", signing.DataplaneKeys("default").KeyName(2), pemOf(t, testKey(1)))
		w.store.unreadable = []*keystore.Error{{Op: "read", Scope: "default", Name: signing.DataplaneKeys("default").KeyName(3), Err: errNoRights}}
		for range 2 {
			answer, text := w.do(t, "GET", "/jwks/dataplane/default", "")
			require.Equal(t, 200, answer.StatusCode, text)
			assert.Contains(t, text, `"kid":"1"`)
			assert.Contains(t, text, `"kid":"2"`)
		}
		assert.Equal(t, 1, w.log.Count("key records with faults", "default-3", "permission denied"))

		w = newWorld(t)
		w.store.unreadable = []*keystore.Error{{Op: "read", Scope: "other", Name: signing.DataplaneKeys("other").KeyName(1), Err: errNoRights}}
		answer, text := w.do(t, "GET", "/jwks/dataplane/other", "")
		assert.Equal(t, 503, answer.StatusCode, "that there are none is not known: %s", text)
	})
}
