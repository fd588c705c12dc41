package httpapi_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestKeysOfAReadOnlyStoreAreListedAndNotChanged(t *testing.T) {
	w := newWorld(t)
	client := served(t, w)
	ctx := quiet(t)
	for _, c := range keysClients(client) {
		w.store.refuse = nil
		_, err := c.add(ctx, 0)
		require.NoError(t, err)
		w.store.refuse = keystore.ErrReadOnly
		_, err = c.add(ctx, 0)
		require.ErrorIs(t, err, keystore.ErrReadOnly)
		_, _, err = c.extern(ctx, testKey(2).Public())
		require.ErrorIs(t, err, keystore.ErrReadOnly)
		require.ErrorIs(t, c.remove(ctx, 1, httpapi.KeyRemoval{}), keystore.ErrReadOnly)
		_, created, err := c.create(ctx, nil)
		require.NoError(t, err, "there is one")
		assert.False(t, created)
		list, _, err := c.list(ctx)
		require.NoError(t, err)
		assert.Len(t, list, 2)
	}
	_, _, err := client.CreateKeyDataplane(ctx, "other", nil)
	require.ErrorIs(t, err, keystore.ErrReadOnly)
}

// keysClient is the methods of a client on the keys of one kind.
type keysClient struct {
	path   string
	series signing.Series
	list   func(context.Context) ([]httpapi.KeyState, []string, error)
	create func(context.Context, *signing.PublicKey) (httpapi.KeyState, bool, error)
	add    func(context.Context, int) (httpapi.KeyState, error)
	extern func(context.Context, *signing.PublicKey) (httpapi.KeyState, bool, error)
	remove func(context.Context, signing.Serial, httpapi.KeyRemoval) error
}

// keysClients returns a client of each kind, for mesh default and the zones.
func keysClients(client *httpapi.Client) []keysClient {
	const mesh = "default"
	return []keysClient{
		{
			"/keys/dataplane/default", signing.DataplaneKeys(mesh),
			func(ctx context.Context) ([]httpapi.KeyState, []string, error) {
				return client.KeyStatesDataplane(ctx, mesh)
			},
			func(ctx context.Context, key *signing.PublicKey) (httpapi.KeyState, bool, error) {
				return client.CreateKeyDataplane(ctx, mesh, key)
			},
			func(ctx context.Context, bits int) (httpapi.KeyState, error) {
				return client.AddKeyDataplane(ctx, mesh, bits)
			},
			func(ctx context.Context, key *signing.PublicKey) (httpapi.KeyState, bool, error) {
				return client.AddExternalKeyDataplane(ctx, mesh, key)
			},
			func(ctx context.Context, serial signing.Serial, how httpapi.KeyRemoval) error {
				return client.RemoveKeyDataplane(ctx, mesh, serial, how)
			},
		},
		{
			"/keys/zone", signing.ZoneKeys(),
			client.KeyStatesZone, client.CreateKeyZone, client.AddKeyZone, client.AddExternalKeyZone, client.RemoveKeyZone,
		},
	}
}

// served returns a client of a server with the handler of a world.
func served(t *testing.T, w *world) *httpapi.Client {
	t.Helper()
	server := httptest.NewServer(w.handler)
	t.Cleanup(server.Close)
	client, err := httpapi.NewClient(server.URL, as("alice", http.DefaultTransport))
	require.NoError(t, err)
	return client
}

// withoutKeys is a world with an empty store.
func withoutKeys(t *testing.T, options ...httpapi.Option) *world {
	w := newWorld(t, options...)
	require.NoError(t, w.store.Delete(t.Context(), "default", signing.DataplaneKeys("default").KeyName(1)))
	require.NoError(t, w.store.Delete(t.Context(), keystore.Global, signing.ZoneKeys().KeyName(1)))
	return w
}

func TestKeysAreCreatedAddedListedAndRemovedByTheClient(t *testing.T) {
	w := withoutKeys(t)
	ctx := quiet(t)
	for _, c := range keysClients(served(t, w)) {
		none, problems, err := c.list(ctx)
		require.NoError(t, err)
		assert.Empty(t, none)
		assert.Empty(t, problems)
		_, err = c.add(ctx, 0)
		require.ErrorIs(t, err, signing.ErrNoKey, "only create makes the first one")
		_, _, err = c.extern(ctx, testKey(2).Public())
		require.ErrorIs(t, err, signing.ErrNoKey)

		first, created, err := c.create(ctx, nil)
		require.NoError(t, err)
		assert.True(t, created)
		again, created, err := c.create(ctx, nil)
		require.NoError(t, err)
		assert.False(t, created)
		assert.Equal(t, first, again)
		stored, err := w.store.Memory.Get(ctx, c.series.Scope(), c.series.KeyName(1))
		require.NoError(t, err)
		private, err := signing.ParsePrivateKey(stored.Data)
		require.NoError(t, err)
		assert.Equal(t, httpapi.KeyState{KeyID: "1", Created: stored.Created.UTC(), Bits: 2048, Fingerprint: private.Public().Fingerprint(),
			State: httpapi.KeySigns, Place: httpapi.PlaceStore}, first)

		second, err := c.add(ctx, 3072)
		require.NoError(t, err)
		assert.Equal(t, 3072, second.Bits)
		third, added, err := c.extern(ctx, testKey(2).Public())
		require.NoError(t, err)
		assert.True(t, added)
		assert.Equal(t, httpapi.KeyState{KeyID: "3", Created: third.Created, Bits: 2048, Fingerprint: testKey(2).Public().Fingerprint(),
			State: httpapi.KeySigns, Place: httpapi.PlaceExternal}, third)
		again, added, err = c.extern(ctx, testKey(2).Public())
		require.NoError(t, err)
		assert.False(t, added, "the newest one is not added again")
		assert.Equal(t, third, again)
		first.State, second.State = httpapi.KeyVerifies, httpapi.KeyVerifies
		list, _, err := c.list(ctx)
		require.NoError(t, err)
		assert.Equal(t, []httpapi.KeyState{first, second, third}, list)

		err = c.remove(ctx, 3, httpapi.KeyRemoval{Force: true})
		require.ErrorIs(t, err, signing.ErrInUse)
		assert.ErrorContains(t, err, "Newest key is not removed")
		require.NoError(t, c.remove(ctx, 1, httpapi.KeyRemoval{}))
		require.ErrorIs(t, c.remove(ctx, 1, httpapi.KeyRemoval{}), signing.ErrNoKey)
		fourth, err := c.add(ctx, 0)
		require.NoError(t, err)
		assert.Equal(t, "4", fourth.KeyID)
		_, _, err = c.extern(ctx, testKey(2).Public())
		require.ErrorIs(t, err, signing.ErrKey, "an older key is not added again")
		third.State = httpapi.KeyVerifies
		list, _, err = c.list(ctx)
		require.NoError(t, err)
		assert.Equal(t, []httpapi.KeyState{second, third, fourth}, list)
	}
}

func TestTheFirstKeyMayBeAnExternalOne(t *testing.T) {
	w := withoutKeys(t)
	ctx := quiet(t)
	for _, c := range keysClients(served(t, w)) {
		first, created, err := c.create(ctx, testKey(2).Public())
		require.NoError(t, err)
		assert.True(t, created)
		assert.Equal(t, httpapi.PlaceExternal, first.Place)
		for _, other := range []*signing.PublicKey{nil, testKey(0).Public()} {
			there, created, err := c.create(ctx, other)
			require.NoError(t, err)
			assert.False(t, created)
			assert.Equal(t, first, there)
		}
	}
}

func TestAnExternalKeyMayComeAsAJWK(t *testing.T) {
	for _, more := range []string{``, `,"use":"sig","alg":"RS256","kid":"https://kms.example/keys/7","key_ops":["verify","sign"]`, `,"use":null,"kid":""`} {
		w := newWorld(t)
		answer, body := w.do(t, "POST", "/keys/dataplane/default", `{"jwk":{"kty":"RSA","n":"`+modulus(testKey(2))+`","e":"AQAB"`+more+`}}`)
		require.Equal(t, http.StatusOK, answer.StatusCode, body)
		asked := w.asked.last(t)
		assert.True(t, asked.PublicKey.Equal(testKey(2).Public()))
		assert.Zero(t, asked.Bits)
		stored, err := w.store.Memory.Get(t.Context(), "default", signing.DataplaneKeys("default").ExternalKeyName(2))
		require.NoError(t, err)
		assert.Equal(t, string(testKey(2).Public().PEM()), string(stored.Data))
	}
}

func TestKeysAreActionsOfTheirOwnAndTheAuthoriserSeesAllOfThem(t *testing.T) {
	at := time.Date(2026, 11, 29, 10, 0, 0, 500e6, time.UTC)
	dataplanes, zones := token.KindDataplane, token.KindZone
	for _, x := range []struct {
		method, path, body string
		want               httpapi.Request
	}{
		{"GET", "/keys/dataplane/default", "", httpapi.Request{Action: httpapi.ListKeys, Kind: dataplanes, Mesh: "default"}},
		{"HEAD", "/keys/zone", "", httpapi.Request{Action: httpapi.ListKeys, Kind: zones}},
		{"POST", "/keys/dataplane/default", `{}`, httpapi.Request{Action: httpapi.AddKey, Kind: dataplanes, Mesh: "default", Bits: 2048}},
		{"POST", "/keys/dataplane/first", `{"bits":4096}`, httpapi.Request{Action: httpapi.AddKey, Kind: dataplanes, Mesh: "first", Bits: 4096}},
		{"POST", "/keys/zone", `{"bits":null,"public":null,"jwk":null}`, httpapi.Request{Action: httpapi.AddKey, Kind: zones, Bits: 2048}},
		{"POST", "/keys/zone/first", `{"public":""}`, httpapi.Request{Action: httpapi.CreateKey, Kind: zones}},
		{"POST", "/keys/dataplane/remove/remove", `{"kid":"0"}`, httpapi.Request{Action: httpapi.RemoveKey, Kind: dataplanes, Mesh: "remove", KeyID: "0"}},
		{"POST", "/keys/zone/remove", `{"kid":"1","force":true}`, httpapi.Request{Action: httpapi.RemoveKey, Kind: zones, KeyID: "1", Force: true}},
		{"POST", "/keys/zone/remove", `{"kid":"7","unlessUsedSince":"2026-11-29T11:00:00.5+01:00"}`,
			httpapi.Request{Action: httpapi.RemoveKey, Kind: zones, KeyID: "7", UnlessUsedSince: at}},
	} {
		w, _, _ := liveWorld(t)
		w.do(t, x.method, x.path, x.body)
		assert.Equal(t, x.want, w.asked.last(t))
		for user, status := range map[string]int{"bob": 403, "": 401} {
			w := newWorld(t)
			if !x.want.UnlessUsedSince.IsZero() {
				continue // a world without validators refuses it
			}
			before := w.store.reads()
			answer, _ := w.do(t, x.method, x.path, x.body, "As", user)
			assert.Equal(t, status, answer.StatusCode)
			assert.Equal(t, before, w.store.reads(), "nothing is read")
			kept, err := w.store.Memory.List(t.Context(), keystore.AllScopes, "")
			require.NoError(t, err)
			assert.Len(t, kept, 2)
			assert.Equal(t, 1, w.log.Count("audit: not done", `action="`+string(x.want.Action)+`"`))
		}
	}
	w := newWorld(t)
	for _, path := range []string{"/keys", "/keys/dataplane/", "/keys/user", "/keys/zone/restore", "/keys/zone/1", "/keys/zone/first/x", "/cutoffs/zone/first", "/revocations/zone/first", "/tokens/zone/remove"} {
		answer, _ := w.do(t, "POST", path, `{}`)
		assert.Equal(t, http.StatusNotFound, answer.StatusCode, path)
	}
	assert.Empty(t, w.asked.all())
}

func TestKeysAreListedWithTheirUseAndOneInUseIsNotRemoved(t *testing.T) {
	began := time.Now()
	_, client, sessions := liveWorld(t)
	ctx := quiet(t)
	for i, c := range keysClients(client) {
		_, err := c.add(ctx, 0)
		require.NoError(t, err)
		list, _, err := c.list(ctx)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.NotNil(t, list[0].Use)
		last := list[0].Use.LastUsed
		assert.WithinRange(t, last, began.Add(-time.Second), time.Now())
		assert.Equal(t, httpapi.KeyUse{Validations: 1, LastUsed: last, Sessions: 1}, *list[0].Use)
		assert.Equal(t, &httpapi.KeyUse{}, list[1].Use)

		err = c.remove(ctx, 1, httpapi.KeyRemoval{})
		require.ErrorIs(t, err, signing.ErrInUse)
		assert.ErrorContains(t, err, "1 sessions with tokens that it signed are open")
		require.NoError(t, context.Cause(sessions[i]))
		require.NoError(t, c.remove(ctx, 1, httpapi.KeyRemoval{Force: true}))
		<-sessions[i].Done()
		require.ErrorIs(t, context.Cause(sessions[i]), token.ErrUnknownKey)
	}
}

func TestAKeyThatIsUsedAfterAMomentIsNotRemoved(t *testing.T) {
	w := newWorld(t)
	dataplanes, err := dataplane.NewValidator(w.store, dataplane.WithLogger(w.log.Logger()))
	require.NoError(t, err)
	zones, err := zone.NewValidator(w.store, zone.WithLogger(w.log.Logger()))
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = dataplanes.Close(), zones.Close() })
	w.serve(t, w.dataplanes, w.zones, httpapi.WithDataplaneValidators(dataplanes), httpapi.WithZoneValidators(zones))
	client := served(t, w)
	ctx := quiet(t)
	ofProxy, err := client.IssueDataplane(ctx, token.Dataplane{Mesh: "default"}, time.Hour)
	require.NoError(t, err)
	_, err = dataplanes.Validate(ctx, "default", ofProxy.Token)
	require.NoError(t, err)
	ofZone, err := client.IssueZone(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	require.NoError(t, err)
	_, err = zones.Validate(ctx, "west", zone.ScopeCP, ofZone.Token)
	require.NoError(t, err)
	for _, c := range keysClients(client) {
		_, err := c.add(ctx, 0)
		require.NoError(t, err)
		list, _, err := c.list(ctx)
		require.NoError(t, err)
		last := list[0].Use.LastUsed
		err = c.remove(ctx, 1, httpapi.KeyRemoval{UnlessUsedSince: last.Add(-time.Nanosecond)})
		require.ErrorIs(t, err, signing.ErrInUse)
		assert.ErrorContains(t, err, "a token that it signed was accepted at")
		require.NoError(t, c.remove(ctx, 1, httpapi.KeyRemoval{UnlessUsedSince: last}))
	}
}

func TestThePublishDelayDecidesWhichKeySigns(t *testing.T) {
	w := newWorld(t, httpapi.WithPublishDelay(time.Hour))
	ctx := quiet(t)
	for _, c := range keysClients(served(t, w)) {
		added, err := c.add(ctx, 0)
		require.NoError(t, err)
		assert.Equal(t, httpapi.KeyNext, added.State)
		list, _, err := c.list(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{httpapi.KeySigns, httpapi.KeyNext}, []string{list[0].State, list[1].State})
		err = c.remove(ctx, 1, httpapi.KeyRemoval{})
		require.ErrorIs(t, err, signing.ErrInUse)
		assert.ErrorContains(t, err, "it signs")
		require.NoError(t, c.remove(ctx, 1, httpapi.KeyRemoval{Force: true}))
		list, _, err = c.list(ctx)
		require.NoError(t, err)
		assert.Equal(t, httpapi.KeySigns, list[0].State, "the only one signs, however young it is")
	}
	_, err := httpapi.New(w.store, w.dataplanes, w.zones, w.authorize, httpapi.WithPublishDelay(-1))
	assert.ErrorContains(t, err, "negative")
}

// Two handlers on one store are two processes.
func TestOfAdministratorsThatAddAtTheSameTimeEachGetsAKeyOfItsOwnOrAConflict(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	other.store = w.store
	other.serve(t, w.dataplanes, w.zones)
	external := `{"public":` + string(must(json.Marshal(string(testKey(2).Public().PEM())))) + `}`
	var group sync.WaitGroup
	var mu sync.Mutex
	added, statuses := map[string]int{}, map[int]int{}
	for i := range 12 {
		group.Go(func() {
			body := `{}`
			if i%3 == 0 {
				body = external
			}
			answer, text := []*world{w, other}[i%2].do(t, "POST", "/keys/zone", body)
			mu.Lock()
			defer mu.Unlock()
			statuses[answer.StatusCode]++
			if answer.StatusCode == http.StatusOK {
				var key struct {
					KID   string
					Added bool
				}
				assert.NoError(t, json.Unmarshal([]byte(text), &key))
				if key.Added {
					added[key.KID]++
				}
				return
			}
			var e httpapi.Error
			assert.NoError(t, json.Unmarshal([]byte(text), &e))
			assert.True(t, errors.Is(&e, keystore.ErrExists) || errors.Is(&e, signing.ErrKey), text)
		})
	}
	group.Wait()
	assert.Equal(t, 12, statuses[http.StatusOK]+statuses[http.StatusConflict], statuses)
	keys, err := zone.Keys(t.Context(), w.store)
	require.NoError(t, err)
	for _, key := range keys[1:] {
		assert.Positive(t, added[key.Serial.KeyID()], "key %d was given out", key.Serial)
		if key.Private {
			assert.Equal(t, 1, added[key.Serial.KeyID()], "key %d was given out once", key.Serial)
		}
	}
	assert.Len(t, added, len(keys)-1)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestChangesOfKeysAreAuditEventsDoneOrNot(t *testing.T) {
	w := newWorld(t)
	external := `{"public":` + string(must(json.Marshal(string(testKey(2).Public().PEM())))) + `}`
	for _, x := range []struct {
		path, body string
		status     int
		event      []string
	}{
		{"/keys/dataplane/prod/first", `{}`, 200, []string{"audit: done", `action="create key"`, "mesh=prod", "kid=1"}},
		{"/keys/dataplane/default", `{}`, 200, []string{"audit: done", `action="add key"`, "mesh=default", "kid=2"}},
		{"/keys/zone", external, 200, []string{"audit: done", `action="add key"`, "kind=zone", "kid=2"}},
		{"/keys/zone/remove", `{"kid":"1"}`, 204, []string{"audit: done", `action="remove key"`, "kind=zone", "kid=1"}},
		{"/keys/zone/remove", `{"kid":"2","force":true}`, 409, []string{"audit: not done", `action="remove key"`, "kind=zone", "kid=2", "it is the newest"}},
		{"/keys/zone/remove", `{"kid":"7"}`, 404, []string{"audit: not done", `action="remove key"`, "kind=zone", "kid=7"}},
		{"/keys/dataplane/other", `{}`, 404, []string{"audit: not done", `action="add key"`, "mesh=other"}},
		{"/keys/dataplane/default", `{"bits":1}`, 400, []string{"audit: not done", `action="add key"`, "mesh=default", "bits is 1"}},
	} {
		before := w.log.Count("audit:")
		answer, body := w.do(t, "POST", x.path, x.body)
		require.Equal(t, x.status, answer.StatusCode, body)
		assert.Equal(t, 1, w.log.Count(append(x.event, "actor=alice")...)+w.log.Count(append(x.event, "reason=\"Invalid request")...), "%v in %s", x.event, w.log)
		assert.Equal(t, before+1, w.log.Count("audit:"), x.path)
	}
	w.store.set(errors.New("connection refused"), false)
	for path, action := range map[string]string{"/keys/zone/first": "create key", "/keys/zone": "add key", "/keys/zone/remove": "remove key"} {
		body := `{}`
		if path == "/keys/zone/remove" {
			body = `{"kid":"2"}`
		}
		before := w.log.Count("audit: not done", action, "connection refused")
		answer, _ := w.do(t, "POST", path, body)
		assert.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
		assert.Equal(t, before+1, w.log.Count("audit: not done", action, "connection refused"))
	}
}

// secretsOf returns the private numbers of a key in the forms in which they could leak.
func secretsOf(t *testing.T, key *signing.PrivateKey) (forms []string) {
	private := rsaOf(t, key)
	for _, secret := range []*big.Int{private.D, private.Primes[0], private.Primes[1], private.Precomputed.Dp, private.Precomputed.Dq, private.Precomputed.Qinv} {
		forms = append(forms, base64.RawURLEncoding.EncodeToString(secret.Bytes()), base64.RawStdEncoding.EncodeToString(secret.Bytes()),
			secret.String(), secret.Text(16), string(secret.Bytes()))
	}
	lines := strings.Split(strings.TrimSpace(string(pemOf(t, key))), "\n")
	return append(forms, lines[len(lines)/3:len(lines)-1]...) // the modulus, which is public, is before
}

func TestAPrivateKeyInARequestIsRefusedAndNeitherKeptNorToldNorLogged(t *testing.T) {
	key := testKey(2)
	private := rsaOf(t, key)
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	asJWK := `{"kty":"RSA","n":"` + modulus(key) + `","e":"AQAB","d":"` + number(private.D) + `","p":"` + number(private.Primes[0]) + `","q":"` + number(private.Primes[1]) +
		`","dp":"` + number(private.Precomputed.Dp) + `","dq":"` + number(private.Precomputed.Dq) + `","qi":"` + number(private.Precomputed.Qinv) + `"}`
	pkcs8 := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(private))}))
	pkcs1 := string(pemOf(t, key))
	quote := func(text string) string { return string(must(json.Marshal(text))) }
	bodies := []string{pkcs1, asJWK, quote(pkcs1), `{"keys":[` + asJWK + `]}`, `{` + quote(pkcs1) + `:1}`, `{"jwk":` + quote(asJWK) + `}`, `{"jwk":{` + quote(pkcs1) + `:1}}`}
	for _, field := range []string{"public", "bits", "kid", "unlessUsedSince", "force", "private", "key"} {
		for _, text := range []string{pkcs1, pkcs8, "\ufeff" + pkcs1, "x" + pkcs1, pkcs1 + pkcs1, pkcs1[:len(pkcs1)/2], base64.StdEncoding.EncodeToString([]byte(pkcs1)),
			strings.Replace(pkcs1, "RSA PRIVATE", "RSA PUBLIC", 2), strings.ReplaceAll(pkcs1, "-----", "---"), number(private.D)} {
			bodies = append(bodies, `{"`+field+`":`+quote(text)+`}`, `{"kid":"1","`+field+`":`+quote(text)+`}`)
		}
	}
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		for _, value := range []string{quote(number(private.D)), `[{"d":` + quote(number(private.D)) + `}]`, "null", "1"} {
			bodies = append(bodies, `{"jwk":{"kty":"RSA","n":"`+modulus(key)+`","e":"AQAB","`+member+`":`+value+`}}`,
				`{"jwk":{"`+member+`":`+value+`,"kty":"RSA"}}`)
		}
	}
	bodies = append(bodies, `{"jwk":`+asJWK+`}`)

	w := newWorld(t)
	var said strings.Builder
	for _, path := range []string{"/keys/dataplane/default", "/keys/dataplane/default/first", "/keys/dataplane/default/remove", "/keys/zone", "/keys/zone/first", "/keys/zone/remove"} {
		for _, body := range bodies {
			answer, text := w.do(t, "POST", path, body)
			assert.Equal(t, http.StatusBadRequest, answer.StatusCode, "%s: %.200s", path, body)
			said.WriteString(text)
		}
	}
	_, text := w.do(t, "POST", "/keys/zone", `{"jwk":`+asJWK+`}`)
	assert.Contains(t, text, "jwk.d")
	_, text = w.do(t, "POST", "/keys/zone", `{"public":`+quote(pkcs8)+`}`)
	assert.Contains(t, text, "it must stay secret")
	said.WriteString(w.log.String())
	for _, secret := range secretsOf(t, key) {
		assert.False(t, strings.Contains(said.String(), secret), "private material was told")
	}
	assert.NotContains(t, said.String(), "-----BEGIN")
	assert.Empty(t, w.asked.all())
	kept, err := w.store.Memory.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	assert.Len(t, kept, 2)
}

func TestNothingPrivateOfTheKeysThatAServerMakesLeavesIt(t *testing.T) {
	w := withoutKeys(t)
	var said strings.Builder
	for _, path := range []string{"/keys/dataplane/default", "/keys/zone"} {
		for _, x := range [][3]string{
			{"POST", path + "/first", `{}`}, {"POST", path, `{"bits":3072}`}, {"POST", path, `{}`}, {"GET", path, ""}, {"GET", "/jwks" + strings.TrimPrefix(path, "/keys"), ""},
			{"POST", path + "/first", `{}`}, {"POST", path + "/remove", `{"kid":"3"}`},
		} {
			_, text := w.do(t, x[0], x[1], x[2])
			said.WriteString(text)
		}
	}
	said.WriteString(w.log.String())
	assert.Contains(t, said.String(), "SHA256:")
	assert.NotContains(t, said.String(), "-----BEGIN")
	records, err := w.store.Memory.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Len(t, records, 6)
	for _, record := range records {
		key, err := signing.ParsePrivateKey(record.Data)
		require.NoError(t, err)
		for _, secret := range secretsOf(t, key) {
			assert.False(t, strings.Contains(said.String(), secret), "private material was told")
		}
	}
}

func TestAListOfKeysNamesWhatCannotBeReadAndLeaksNoReasonOfTheStore(t *testing.T) {
	w := newWorld(t)
	keys := signing.DataplaneKeys("default")
	put(t, w.store, "default", keys.KeyName(2), append(pemOf(t, testKey(2)), "spoilt"...))
	put(t, w.store, "default", keys.KeyName(0)+"-0004", pemOf(t, testKey(2)))
	w.store.unreadable = []*keystore.Error{{Op: "read", Scope: "default", Name: keys.KeyName(3), Err: errors.New("open /srv/keys on 10.1.2.3: denied")}}
	states, problems, err := served(t, w).KeyStatesDataplane(quiet(t), "default")
	require.NoError(t, err)
	require.Len(t, states, 3)
	assert.Equal(t, httpapi.KeyVerifies, states[0].State)
	assert.Empty(t, states[0].Problem)
	assert.Contains(t, states[1].Problem, "extra content after the PEM block")
	assert.Equal(t, httpapi.KeySigns, states[2].State, "it would sign")
	assert.Contains(t, states[2].Problem, "the store cannot read it")
	assert.Len(t, problems, 3)
	assert.Contains(t, strings.Join(problems, "\n"), "-0004")
	assert.NotContains(t, strings.Join(problems, "\n")+states[2].Problem, "10.1.2.3")
	assert.Equal(t, 1, w.log.Count("key records with faults", "10.1.2.3"))
	_, _, err = served(t, w).CreateKeyDataplane(quiet(t), "default", nil)
	require.ErrorIs(t, err, signing.ErrKey)
	require.NoError(t, served(t, w).RemoveKeyDataplane(quiet(t), "default", 2, httpapi.KeyRemoval{}), "a key that cannot be read can be removed")
}

func TestClientTakesNoAnswerForAKeyThatIsNotTheOneAskedFor(t *testing.T) {
	public := testKey(2).Public()
	good := `"kid":"2","bits":2048,"fingerprint":"` + public.Fingerprint() + `","state":"signs","added":true`
	answerWith := func(body string) *httpapi.Client {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(server.Close)
		client, err := httpapi.NewClient(server.URL, nil)
		require.NoError(t, err)
		return client
	}
	ctx := t.Context()
	_, err := answerWith(`{`+good+`,"place":"store"}`).AddKeyZone(ctx, 2048)
	require.NoError(t, err)
	_, _, err = answerWith(`{`+good+`,"place":"external"}`).AddExternalKeyZone(ctx, public)
	require.NoError(t, err)
	for _, body := range []string{
		`{}`, `[]`, `{"keys":[]}`, `{` + good + `}`, `{` + good + `,"place":"elsewhere"}`, `{` + good + `,"place":"moon"}`,
		`{"kid":"02","bits":2048,"fingerprint":"x","state":"signs","place":"store","added":true}`,
		`{"kid":"2","bits":1024,"fingerprint":"x","state":"signs","place":"store","added":true}`,
		`{"kid":"2","bits":2048,"fingerprint":"x","state":"sings","place":"store","added":true}`,
		`{"kid":"2","bits":3072,"fingerprint":"x","state":"signs","place":"store","added":true}`,
		`{"kid":"2","bits":2048,"fingerprint":"x","state":"signs","place":"store"}`,
		`{"kid":"2","bits":2048,"fingerprint":"x","state":"signs","place":"external","added":true}`,
		`{"kid":"2","state":"signs","place":"store","problem":"spoilt","added":true}`,
	} {
		client := answerWith(body)
		_, err := client.AddKeyZone(ctx, 2048)
		assert.ErrorIs(t, err, httpapi.ErrAnswer, body)
		_, _, err = client.AddExternalKeyDataplane(ctx, "default", public)
		assert.ErrorIs(t, err, httpapi.ErrAnswer, body)
		assert.ErrorIs(t, client.RemoveKeyZone(ctx, 1, httpapi.KeyRemoval{}), httpapi.ErrAnswer, "204 was promised")
	}
	for _, body := range []string{`{` + good + `,"place":"store"}`, `{` + strings.Replace(good, `"2"`, `"1"`, 1) + `,"place":"external"}`} {
		_, _, err := answerWith(body).CreateKeyZone(ctx, nil)
		assert.ErrorIs(t, err, httpapi.ErrAnswer, body)
	}
	for _, body := range []string{
		`{}`, `{"keys":null}`, `{"keys":[{}]}`, `{"keys":[{` + good + `,"place":"store"},{` + good + `,"place":"store"}]}`,
		`{"keys":[{` + good + `,"place":"store","use":{"sessions":-1}}]}`, `{"keys":[{` + good + `,"place":"store","problem":"spoilt"}]}`,
	} {
		_, _, err := answerWith(body).KeyStatesZone(ctx)
		assert.ErrorIs(t, err, httpapi.ErrAnswer, body)
	}
	_, _, err = answerWith(`{}`).KeyStatesDataplane(ctx, "")
	require.ErrorIs(t, err, keystore.ErrName)
	_, err = answerWith(`{}`).AddKeyDataplane(ctx, "a/b", 0)
	require.ErrorIs(t, err, keystore.ErrName)
	_, _, err = answerWith(`{}`).AddExternalKeyZone(ctx, nil)
	require.ErrorContains(t, err, "the external key is nil")
}
